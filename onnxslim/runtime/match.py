"""Fitting arrays that users bring to the inputs: types, ranks, sizes, which axis is samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from onnxslim.errors import DataError
from onnxslim.runtime.specs import Array, InputSpec, kind_of, shape_text

# rows: the first axis of the input is samples; single: an extra axis in front is samples, one run
# each; repeat: the same array for every sample.
Role = Literal["rows", "single", "repeat"]

_RANKS = {"bool": 0, "int": 1, "float": 2, "complex": 3}


@dataclass(frozen=True)
class Layout:
    """How arrays become samples.

    Args:
        roles: Per input.
        count: How many samples there are.
        fixed: The batch size that the model insists on, None when it is free.
        batchable: Whether several samples may be fed at once.
    """

    roles: Mapping[str, Role]
    count: int
    fixed: int | None
    batchable: bool

    @property
    def single(self) -> frozenset[str]:
        """The inputs whose sample axis the model does not have."""
        return frozenset(name for name, role in self.roles.items() if role == "single")


def cast(spec: InputSpec, array: Array, label: str) -> Array:
    """The array in the type of the input: integers become floats unscaled, floats are narrowed.

    Raises:
        DataError: The kinds differ, or a value does not fit.
    """
    if isinstance(spec.dtype, str):
        return _strings(spec, array, label)
    if array.dtype == spec.dtype:
        return array
    if (
        array.dtype.kind == "V"
        and array.dtype.itemsize == spec.dtype.itemsize
        and spec.dtype.kind == "V"
    ):
        return array.view(spec.dtype)  # numpy.save forgets the name of bfloat16 and its like
    if not castable(spec, array.dtype):
        raise DataError(f"{label} is {array.dtype}, but input {spec}; expected {spec.dtype} values")
    return _checked(spec, array, label)


def castable(spec: InputSpec, dtype: np.dtype[Any]) -> bool:
    """Whether values of a type can be given to an input without scaling or truncation."""
    if spec.dtype == "string":
        return dtype.kind in "USO"
    if isinstance(spec.dtype, str):
        return False
    if dtype.kind == "V" and spec.dtype.kind == "V":
        return dtype.itemsize == spec.dtype.itemsize
    have, want = kind_of(dtype), spec.kind
    if want == "bool":
        return have in ("bool", "int")
    return have in _RANKS and want in _RANKS and _RANKS[have] <= _RANKS[want]


def _checked(spec: InputSpec, array: Array, label: str) -> Array:
    with np.errstate(all="ignore"):
        result = array.astype(spec.dtype)
    if spec.kind == "float":
        lost = np.isfinite(array) & ~np.isfinite(result)
        lossy = bool(np.any(lost)) if array.dtype.itemsize > result.dtype.itemsize else False
    else:
        lossy = spec.kind in ("int", "bool") and not np.array_equal(
            result.astype(array.dtype), array
        )
    if lossy:
        raise DataError(
            f"{label} has values from {array.min()} to {array.max()}, which do not fit {spec.dtype}"
            f" of input {spec.name!r}"
        )
    return result


def _strings(spec: InputSpec, array: Array, label: str) -> Array:
    if spec.dtype != "string":
        raise DataError(f"{label}: input {spec.name!r} is a {spec.dtype}, which cannot be fed")
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8").astype(object)
    if array.dtype.kind not in "UO":
        raise DataError(f"{label} is {array.dtype}, but input {spec}; expected strings")
    return array.astype(object)


def fits(declared: Sequence[int | str | None] | None, shape: Sequence[int]) -> bool:
    """Whether a shape is one of those declared."""
    if declared is None:
        return True
    return len(declared) == len(shape) and all(
        not isinstance(d, int) or d == s for d, s in zip(declared, shape, strict=True)
    )


def role_of(spec: InputSpec, shape: tuple[int, ...]) -> Role | None:
    """What an array of that shape can be for an input; None when it does not fit."""
    declared = spec.shape
    if declared is None:
        return "rows" if shape else "repeat"
    exact = fits(declared, shape)
    if exact and (not declared or isinstance(declared[0], int)):
        return "repeat"
    if declared and len(shape) == len(declared) and fits(declared[1:], shape[1:]):
        return "rows"
    if len(shape) == len(declared) + 1 and fits(declared, shape[1:]):
        return "single"
    return None


def layout(
    specs: Sequence[InputSpec], shapes: Mapping[str, tuple[int, ...]], labels: Mapping[str, str]
) -> Layout:
    """Decides what every array is, and checks that they tell of equally many samples.

    Args:
        specs: The inputs that are given.
        shapes: The shape of the array of each.
        labels: How messages name each array.

    Raises:
        DataError: A shape does not fit its input, or counts differ.
    """
    roles: dict[str, Role] = {}
    for spec in specs:
        role = role_of(spec, shapes[spec.name])
        if role is None:
            raise DataError(_mismatch(spec, shapes[spec.name], labels[spec.name]))
        roles[spec.name] = role
    if set(roles.values()) <= {"repeat"}:
        _all_exact(specs, roles)
    counts = {n: shapes[n][0] for n, role in roles.items() if role != "repeat"}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{labels[n]} has {c}" for n, c in counts.items())
        raise DataError(
            f"the arrays differ in their number of samples: {told}; expected one number"
        )
    count = next(iter(counts.values()), 1)
    if count == 0:
        raise DataError(f"{next(iter(labels.values()))} has no samples; expected at least one")
    fixed = _fixed(specs, roles)
    single = "single" in roles.values()
    if single and fixed not in (None, 1):
        raise DataError(
            f"the model takes {fixed} samples at once, but an input one; use --input-value"
        )
    return Layout(
        roles, count, 1 if single else fixed, not single and not _bound_repeat(specs, roles)
    )


def _all_exact(specs: Sequence[InputSpec], roles: dict[str, Role]) -> None:
    """Arrays of exactly the inputs' shapes are one batch: rows where all first sizes agree."""
    sizes = {spec.shape[0] if spec.shape else 0 for spec in specs}
    if len(sizes) == 1 and sizes != {0}:
        roles.update((spec.name, "rows") for spec in specs)


def _fixed(specs: Sequence[InputSpec], roles: Mapping[str, Role]) -> int | None:
    sizes: dict[int, str] = {}
    for spec in specs:
        if roles[spec.name] == "rows" and spec.shape and isinstance(spec.shape[0], int):
            sizes[spec.shape[0]] = spec.name
    if len(sizes) > 1 or 0 in sizes:
        told = ", ".join(f"{name!r} {size}" for size, name in sizes.items())
        raise DataError(
            f"the inputs take different numbers of samples at once ({told});"
            " give those that are no batch as (samples, *input shape)"
        )
    return next(iter(sizes), None)


def _bound_repeat(specs: Sequence[InputSpec], roles: Mapping[str, Role]) -> bool:
    """Whether a repeated array fixes a dynamic dimension, which may be the batch."""
    return any(
        roles[spec.name] == "repeat" and any(not isinstance(d, int) for d in spec.shape or ())
        for spec in specs
    )


def _mismatch(spec: InputSpec, shape: tuple[int, ...], label: str) -> str:
    assert spec.shape is not None
    text = f"{label} has shape {list(shape)}, but input {spec}; expected samples on the first axis"
    wanted = spec.shape[1:]
    if len(shape) == 4 and len(wanted) == 3:
        for order, form in (((3, 1, 2), "channels-last"), ((2, 3, 1), "channels-first")):
            if fits(wanted, [shape[i] for i in order]):
                axes = (0, *order)
                return f"{text}; it looks {form}: transpose it with array.transpose({axes})"
    if len(shape) == len(wanted) and fits(wanted, shape):
        return f"{text}; a single sample needs an axis in front: array[None]"
    return text


def whole_count(specs: Sequence[InputSpec], feed: Mapping[str, Array], label: str) -> int:
    """Checks a feed that is complete as it is, and says how many samples it holds.

    Raises:
        DataError: A shape does not fit.
    """
    sizes: list[int] = []
    for spec in specs:
        if spec.name not in feed:
            continue
        shape = feed[spec.name].shape
        if not fits(spec.shape, shape):
            raise DataError(
                f"{label}: {spec.name!r} has shape {list(shape)}, but input {spec};"
                " expected a full batch"
            )
        if spec.shape and shape and not isinstance(spec.shape[0], int):
            sizes.append(shape[0])
            if not shape[0]:
                raise DataError(f"{label}: {spec.name!r} has no samples; expected at least one")
    if not sizes:
        sizes = [f.shape[0] if f.ndim else 0 for f in feed.values()]
    return sizes[0] if len(set(sizes)) == 1 and sizes[0] > 0 else 1


def expected(specs: Sequence[InputSpec]) -> str:
    """The inputs, as messages list them."""
    return ", ".join(f"{s.name!r} {s.dtype} {shape_text(s.shape or ())}" for s in specs)
