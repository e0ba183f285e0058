"""A class made by the stand-in behaves as one made by the standard library."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field
from typing import Any, ClassVar

import pytest

from onnxslim import _lazy_dataclasses as lazy

Decorator = Callable[..., Any]


def _classes(dataclass: Decorator) -> dict[str, Any]:
    @dataclass(frozen=True)
    class Point:
        """A point."""

        kind: ClassVar[str] = "point"
        x: int
        y: float = 0.5
        tags: list[str] = field(default_factory=list, compare=False)

        def norm(self) -> float:
            return self.x + self.y

    @dataclass
    class Counter:
        total: int = 0
        seen: dict[str, int] = field(default_factory=dict, repr=False)
        half: float = field(init=False, default=0.0)
        more: list[int] = field(init=False, default_factory=list)
        loud: bool = field(default=False, kw_only=True)

        def __post_init__(self) -> None:
            self.half = self.total / 2

    @dataclass(frozen=True)
    class Empty:
        name: ClassVar[str] = "empty"

    @dataclass(frozen=True)
    class One:
        only: tuple[int, ...]

    @dataclass(frozen=True, eq=False)
    class Same:
        value: list[int]

    @dataclass(eq=False)
    class Loose:
        value: int = 1

    return {c.__name__: c for c in (Point, Counter, Empty, One, Same, Loose)}


LAZY: dict[str, Any] = _classes(lazy.dataclass)
STANDARD: dict[str, Any] = _classes(lazy.STANDARD)
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Point", (1,), {}),
    ("Point", (1, 2.0), {"tags": ["a"]}),
    ("Point", (), {"y": 3.0, "x": 2}),
    ("Counter", (), {}),
    ("Counter", (3,), {"loud": True}),
    ("Counter", (3, {"a": 1}), {}),
    ("Empty", (), {}),
    ("One", ((1, 2),), {}),
    ("Same", ([1],), {}),
    ("Loose", (), {}),
]
WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Point", (), {}),
    ("Point", (1, 2, [], 4), {}),
    ("Point", (1,), {"z": 1}),
    ("Counter", (1, {}, True), {}),
    ("Counter", (), {"half": 1.0}),
    ("Empty", (1,), {}),
]


def _text(made: object) -> str:
    return repr(made).replace("_classes.<locals>.", "")


@pytest.mark.parametrize(("name", "args", "kwargs"), CALLS)
def test_objects_are_made_shown_and_compared_as_ever(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    ours, theirs = (kinds[name](*args, **kwargs) for kinds in (LAZY, STANDARD))
    twin, plain = (kinds[name](*args, **kwargs) for kinds in (LAZY, STANDARD))
    assert vars(ours) == vars(theirs)
    assert _text(ours) == _text(theirs)
    assert (ours == twin) is (theirs == plain)
    assert (ours == theirs) is False
    assert ours.__eq__(3) is NotImplemented
    for made, again in ((ours, twin), (theirs, plain)):
        try:
            made_hash: object = hash(made) == hash(again)
        except TypeError:
            made_hash = "none"
        if made is ours:
            expected = made_hash
    assert made_hash == expected
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    assert dataclasses.replace(ours) == ours or name in ("Same", "Loose")
    assert vars(copy.deepcopy(ours)) == vars(theirs)


@pytest.mark.parametrize(("name", "args", "kwargs"), WRONG)
def test_wrong_arguments_are_refused(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    for kinds in (_classes(lazy.dataclass), STANDARD):
        with pytest.raises(TypeError):
            kinds[name](*args, **kwargs)


@pytest.mark.parametrize("name", list(LAZY))
def test_classes_say_of_themselves_what_they_said(name: str) -> None:
    ours, theirs = LAZY[name], STANDARD[name]
    assert hasattr(ours, "__dataclass_fields__")
    assert [f.name for f in dataclasses.fields(ours)] == [
        f.name for f in dataclasses.fields(theirs)
    ]
    for flag in ("init", "repr", "eq", "frozen", "order", "unsafe_hash"):
        assert getattr(ours.__dataclass_params__, flag) == getattr(
            theirs.__dataclass_params__, flag
        )
    assert (ours.__hash__ is None) is (theirs.__hash__ is None)


@pytest.mark.parametrize("name", ["Point", "One", "Same"])
def test_frozen_objects_cannot_be_changed(name: str) -> None:
    first = {"Point": 1, "One": (1,), "Same": [1]}[name]
    made = LAZY[name](first)
    key = dataclasses.fields(made)[0].name
    with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{key}'"):
        setattr(made, key, 2)
    with pytest.raises(FrozenInstanceError, match="cannot assign"):
        made.other = 2
    with pytest.raises(FrozenInstanceError, match=f"cannot delete field '{key}'"):
        delattr(made, key)
    assert vars(made)[key] == first


def test_defaults_are_not_shared_and_class_attributes_are_there() -> None:
    point = LAZY["Point"]
    assert point(1).tags is not point(1).tags
    assert (point.y, point.kind, point(2).norm()) == (0.5, "point", 2.5)
    assert not hasattr(point, "tags")


def test_the_constructor_is_compiled_once() -> None:
    point = _classes(lazy.dataclass)["Point"]
    before = point.__init__
    point(1)
    written = point.__init__
    point(2)
    assert before is not written is point.__init__
    assert list(inspect.signature(point).parameters) == ["x", "y", "tags"]


def test_a_subclass_with_an_own_constructor_reaches_that_of_its_base() -> None:
    base = _classes(lazy.dataclass)["Point"]

    sub: Any = type("Sub", (base,), {"__init__": lambda self: base.__init__(self, 7)})
    made = sub()
    assert [(made.x, made.y), made] == [(7, 0.5), sub()]
    with pytest.raises(FrozenInstanceError):
        made.x = 1
    made.extra = 1
    assert made.extra == 1


def test_what_it_does_not_know_is_left_to_the_standard_library() -> None:
    base = _classes(lazy.dataclass)["Point"]

    def made(bases: tuple[type, ...], fields: str, **own: Any) -> type:
        kinds = dict(item.split(":") for item in fields.split())
        return type("Made", bases, {"__annotations__": kinds, "__module__": __name__, **own})

    def add(self: Any, feed: int) -> None:
        self.a += feed

    derived: Any = lazy.dataclass(frozen=True)(made((base,), "z:int", z=3))
    slotted: Any = lazy.dataclass(slots=True)(made((), "a:int"))
    ordered: Any = lazy.dataclass(order=True)(made((), "a:int"))
    fed: Any = lazy.dataclass(
        made((), "a:int feed:dataclasses.InitVar[int]", feed=2, __post_init__=add)
    )
    own: Any = lazy.dataclass(made((), "a:int", __repr__=lambda self: "own"))
    assert repr(derived(1)) == "Made(x=1, y=0.5, tags=[], z=3)"
    assert not hasattr(slotted(1), "__dict__")
    assert ordered(1) < ordered(2)
    assert (fed(1).a, repr(own(1))) == (3, "own")


Sent: Any = lazy.dataclass(frozen=True)(
    type("Sent", (), {"__annotations__": {"value": "int"}, "__module__": __name__})
)


def test_objects_can_be_pickled_before_any_was_made_here() -> None:
    unmade: Any = lazy.STANDARD(frozen=True)(
        type("Sent", (), {"__annotations__": {"value": "int"}})
    )
    unmade.__module__ = __name__
    restored = pickle.loads(b"".join([
        b"\x80\x04c", __name__.encode(), b"\nSent\n)\x81}\x8c\x05valueK\x03sb."
    ]))  # fmt: skip
    assert (repr(restored), hash(restored)) == (repr(unmade(3)), hash(unmade(3)))
    assert pickle.loads(pickle.dumps(restored)) == Sent(3)


def test_installed_and_removed() -> None:
    lazy.install()
    try:
        assert dataclasses.dataclass is lazy.dataclass
    finally:
        lazy.remove()
    assert dataclasses.dataclass is lazy.STANDARD
