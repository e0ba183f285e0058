"""How a user describes inputs: ``--input-shape``, ``--dim``, ``--input-value``, ``--state``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from onnxslim.errors import UsageError
from onnxslim.runtime.specs import InputSpec, shape_text

Scalar: TypeAlias = bool | int | float | str
Values: TypeAlias = Scalar | tuple[Scalar, ...]
T = TypeVar("T")


@dataclass(frozen=True)
class Description:
    """What the user says about the inputs; checked against a model by ``describe``.

    Args:
        shapes: Full shapes by input name.
        dims: Sizes by symbol.
        values: Content by input name: one value for every element, or one per element of the
            last axis.
        state: Input name by output name: the output is fed back as that input at the next step.
    """

    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    dims: Mapping[str, int] = field(default_factory=dict)
    values: Mapping[str, Values] = field(default_factory=dict)
    state: Mapping[str, str] = field(default_factory=dict)


def describe(
    specs: Sequence[InputSpec],
    *,
    outputs: Iterable[str] = (),
    input_shapes: Iterable[str] = (),
    dims: Iterable[str] = (),
    input_values: Iterable[str] = (),
    states: Iterable[str] = (),
) -> Description:
    """Parses the texts of the four options and checks them against the model.

    Raises:
        UsageError: A text is malformed, names what does not exist, or contradicts the model or
            another text.
    """
    names = [spec.name for spec in specs]
    ends = list(outputs)
    parsed = Description(
        shapes=_unique("--input-shape", [parse_input_shape(t, names) for t in input_shapes]),
        dims=_unique("--dim", [parse_dim(t, symbols_of(specs)) for t in dims]),
        values=_unique("--input-value", [parse_input_value(t, names) for t in input_values]),
        state=_unique("--state", [parse_state(t, ends, names) for t in states]),
    )
    return check(parsed, specs, ends)


def check(
    description: Description, specs: Sequence[InputSpec], outputs: Iterable[str] | None = None
) -> Description:
    """Checks names, ranks and sizes; symbols that the shapes imply are added to the dims."""
    names = [spec.name for spec in specs]
    for option, used in (
        ("--input-shape", description.shapes),
        ("--input-value", description.values),
    ):
        for name in used:
            _known(option, "input", name, names)
    for name in description.dims:
        _known("--dim", "dimension", name, symbols_of(specs))
    for out, name in description.state.items():
        _known("--state", "input", name, names)
        if outputs is not None:
            _known("--state", "output", out, list(outputs))
    dims = dict(description.dims)
    for spec in specs:
        if spec.name in description.shapes:
            _bind(spec, description.shapes[spec.name], dims)
    return Description(description.shapes, dims, description.values, description.state)


def symbols_of(specs: Iterable[InputSpec]) -> list[str]:
    """The named dimensions of all inputs, in order."""
    found = [d for spec in specs for d in spec.shape or () if isinstance(d, str)]
    return list(dict.fromkeys(found))


def parse_input_shape(text: str, names: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    """Parses ``NAME=1,3,224,224``; ``NAME=`` is a scalar."""
    name, value = _split("--input-shape", "input", text, names, "NAME=1,3,224,224")
    parts = value.split(",") if value.strip() else []
    return name, tuple(_size("--input-shape", text, part) for part in parts)


def parse_dim(text: str, symbols: Sequence[str]) -> tuple[str, int]:
    """Parses ``seq=128``."""
    name, value = _split("--dim", "dimension", text, symbols, "seq=128")
    return name, _size("--dim", text, value)


def parse_input_value(text: str, names: Sequence[str]) -> tuple[str, Values]:
    """Parses ``NAME=16000``, ``NAME=true``, ``NAME=word`` or, one per element, ``NAME=1,2,3``."""
    name, value = _split("--input-value", "input", text, names, "NAME=16000")
    if not value:
        raise UsageError(f"--input-value {text!r} has no value: write it as NAME=16000")
    parts = tuple(_scalar(part) for part in value.split(","))
    return name, parts if len(parts) > 1 else parts[0]


def parse_state(text: str, outputs: Sequence[str], names: Sequence[str]) -> tuple[str, str]:
    """Parses ``OUT=IN``."""
    out, name = _split("--state", "output", text, outputs, "OUT=IN")
    _known("--state", "input", name, names)
    return out, name


def _split(option: str, what: str, text: str, names: Sequence[str], form: str) -> tuple[str, str]:
    """Splits at an equals sign; names may contain some, so every position is tried."""
    cuts = [i for i, char in enumerate(text) if char == "="]
    if not cuts:
        raise UsageError(f"{option} {text!r} has no equals sign: write it as {form}")
    for cut in reversed(cuts):
        if text[:cut] in names:
            return text[:cut], text[cut + 1 :]
    _known(option, what, text[: cuts[0]].strip(), names)
    return text[: cuts[0]].strip(), text[cuts[0] + 1 :]


def _known(option: str, what: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        listed = ", ".join(repr(n) for n in names[:12]) + (", ..." if len(names) > 12 else "")
        have = f"the model has {listed}" if names else f"the model has no named {what}"
        raise UsageError(f"{option}: there is no {what} {name!r}; {have}")


def _size(option: str, text: str, part: str) -> int:
    try:
        size = int(part.strip())
    except ValueError:
        size = -1
    if size < 0:
        raise UsageError(f"{option} {text!r}: {part.strip()!r} is no size; expected a whole number")
    return size


def _scalar(text: str) -> Scalar:
    text = text.strip()
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _unique(option: str, pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, value in pairs:
        if name in found and found[name] != value:
            raise UsageError(f"{option}: {name!r} is given twice, as {found[name]} and as {value}")
        found[name] = value
    return found


def _bind(spec: InputSpec, shape: tuple[int, ...], dims: dict[str, int]) -> None:
    """Checks one given shape against the declared one and records what its symbols are."""
    if spec.shape is None:
        return
    fits = len(shape) == len(spec.shape)
    for declared, size in zip(spec.shape, shape, strict=False):
        if isinstance(declared, str):
            if dims.setdefault(declared, size) != size:
                raise UsageError(
                    f"--input-shape {spec.name!r}: dimension {declared!r} would be {size} here"
                    f" and {dims[declared]} elsewhere; give it one size"
                )
        elif declared is not None and declared != size:
            fits = False
    if not fits:
        raise UsageError(
            f"--input-shape {spec.name!r} is {shape_text(shape)},"
            f" but the model declares {shape_text(spec.shape)}"
        )
