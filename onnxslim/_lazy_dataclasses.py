"""Dataclasses whose methods are written when they are first called.

``dataclasses.dataclass`` compiles six functions for every frozen class: a millisecond for each of
the hundred classes that a command imports, most of which it never makes an object of. In the
process of the command (:mod:`onnxslim.cli.main`, the worker child) :func:`install` puts
:func:`dataclass` in its place. It knows ``frozen`` and ``eq``; whatever else is asked for (slots,
order, a base class with fields, ``InitVar``) is left to the standard library, and a class behaves
as it would there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError
from operator import attrgetter
from reprlib import recursive_repr
from typing import Any

STANDARD = dataclasses.dataclass
_WRITTEN = ("__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__")


def install() -> None:
    """Let ``from dataclasses import dataclass`` mean ours, in this process."""
    dataclasses.dataclass = dataclass


def remove() -> None:
    """Undo :func:`install`."""
    dataclasses.dataclass = STANDARD


def dataclass(cls: Any = None, /, **options: Any) -> Any:
    """Stand-in for ``dataclasses.dataclass``, with its meaning."""
    if cls is None:
        return lambda made: dataclass(made, **options)
    if not options.keys() <= {"frozen", "eq"} or not _is_plain(cls):
        return STANDARD(cls, **options)
    return _lazy(cls, options.get("frozen", False), options.get("eq", True))


def _is_plain(cls: type) -> bool:
    own = vars(cls)
    return not (
        any(name in own for name in _WRITTEN)
        or any(hasattr(base, "__dataclass_fields__") for base in cls.__mro__[1:])
        or any("InitVar" in str(kind) for kind in own.get("__annotations__", {}).values())
    )


def _lazy(cls: Any, frozen: bool, eq: bool) -> Any:
    if cls.__doc__ is None:
        cls.__doc__ = f"{cls.__name__}."  # else the signature is composed, which takes long
    STANDARD(cls, init=False, repr=False, eq=False)  # the fields; nothing is compiled
    params = cls.__dataclass_params__
    params.init, params.repr, params.eq, params.frozen = True, True, eq, frozen
    fields = dataclasses.fields(cls)
    cls.__repr__ = _repr(tuple(f.name for f in fields if f.repr))
    if eq:
        cls.__eq__ = _equal(cls, tuple(f.name for f in fields if f.compare))
        hashed = tuple(f.name for f in fields if (f.compare if f.hash is None else f.hash))
        cls.__hash__ = _hash(hashed) if frozen else None
    if frozen:
        _freeze(cls, frozenset(f.name for f in fields))
    if fields or hasattr(cls, "__post_init__"):
        cls.__init__ = _init(cls, fields, frozen)
    else:
        cls.__init__ = _nothing
    return cls


def _nothing(self: Any) -> None:
    """Constructor of a class without fields."""


def _tuple_of(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """The values of these attributes."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda self: tuple(getattr(self, name) for name in names)


def _repr(names: tuple[str, ...]) -> Callable[[Any], str]:
    def __repr__(self: Any) -> str:
        inner = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({inner})"

    return recursive_repr()(__repr__)


def _equal(cls: type, names: tuple[str, ...]) -> Callable[[Any, object], Any]:
    values = _tuple_of(names)

    def __eq__(self: Any, other: object) -> Any:
        return values(self) == values(other) if type(other) is type(self) else NotImplemented

    return __eq__


def _hash(names: tuple[str, ...]) -> Callable[[Any], int]:
    values = _tuple_of(names)

    def __hash__(self: Any) -> int:
        return hash(values(self))

    return __hash__


def _freeze(cls: Any, names: frozenset[str]) -> None:
    def __setattr__(self: Any, name: str, value: Any) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    cls.__setattr__, cls.__delattr__ = __setattr__, __delattr__


def _init(cls: Any, fields: tuple[Field[Any], ...], frozen: bool) -> Callable[..., None]:
    """A constructor that replaces itself by a compiled one when it is first called."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        written = _compile(fields, frozen, hasattr(cls, "__post_init__"))
        written.__qualname__ = f"{cls.__qualname__}.__init__"
        if cls.__init__ is __init__:
            cls.__init__ = written
        written(self, *args, **kwargs)

    return __init__


def _compile(fields: tuple[Field[Any], ...], frozen: bool, post: bool) -> Callable[..., None]:
    scope: dict[str, Any] = {"_missing": MISSING, "_set": object.__setattr__}
    given, keywords, body = ["self"], list[str](), list[str]()
    for number, field in enumerate(fields):
        name, value = field.name, field.name
        default = factory = ""
        if field.default is not MISSING:
            default = f"_default{number}"
            scope[default] = field.default
        elif field.default_factory is not MISSING:
            default, factory = "_missing", f"_factory{number}"
            scope[factory] = field.default_factory
            value = f"{factory}() if {name} is _missing else {name}"
        if field.init:
            target = keywords if field.kw_only else given
            target.append(f"{name}={default}" if default else name)
        elif not factory:
            continue
        else:
            value = f"{factory}()"
        body.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if post:
        body.append("self.__post_init__()")
    head = ", ".join([*given, *(["*", *keywords] if keywords else [])])
    lines = "\n".join(f"    {line}" for line in body or ["pass"])
    exec(f"def __init__({head}):\n{lines}", scope)
    written: Callable[..., None] = scope["__init__"]
    return written
