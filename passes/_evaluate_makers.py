"""Evaluate operators that make tensors from shapes and numbers, with numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = Sequence[Array | None]
Result = list[Array] | str | None

MAX_ELEMENTS = 8 << 20


def nth_input(arrays: Arrays, index: int) -> Array | None:
    """Input ``index``; None when it is omitted."""
    return arrays[index] if index < len(arrays) else None


def to_ints(array: Array | None) -> list[int] | None:
    """The elements of an integer array; None for anything else."""
    if array is None or array.dtype.kind not in "iu":
        return None
    return [int(x) for x in array.reshape(-1)]


def first_input(arrays: Arrays) -> Array:
    """Input 0, which the operator must have."""
    data = arrays[0]
    assert data is not None
    return data


def _shape(node: ir.Node, arrays: Arrays, opset: int) -> Result:
    shape = first_input(arrays).shape
    rank = len(shape)
    start, end = edit.attr(node, "start", 0), edit.attr(node, "end", rank)
    start, end = (max(0, min(rank, v + rank if v < 0 else v)) for v in (start, end))
    return [np.asarray(shape[start : max(start, end)], dtype=np.int64)]


def _size(node: ir.Node, arrays: Arrays, opset: int) -> Result:
    return [np.asarray(first_input(arrays).size, dtype=np.int64)]


def _expand(node: ir.Node, arrays: Arrays, opset: int) -> Result:
    data, wanted = first_input(arrays), to_ints(nth_input(arrays, 1))
    if wanted is None:
        return None
    try:
        shape = np.broadcast_shapes(data.shape, tuple(wanted))
    except ValueError:
        return "an Expand to a shape that does not fit"
    if int(np.prod(shape, dtype=object)) > MAX_ELEMENTS:
        return None
    return [np.ascontiguousarray(np.broadcast_to(data, shape)).reshape(shape)]


def _tile(node: ir.Node, arrays: Arrays, opset: int) -> Result:
    data, repeats = first_input(arrays), to_ints(nth_input(arrays, 1))
    if repeats is None or opset < 6 or len(repeats) != data.ndim or any(r < 0 for r in repeats):
        return None
    if data.size * int(np.prod(repeats, dtype=object)) > MAX_ELEMENTS:
        return None
    return [np.tile(data, repeats)]


def _constant_of_shape(node: ir.Node, arrays: Arrays, opset: int) -> Result:
    shape = to_ints(nth_input(arrays, 0))
    if shape is None or any(d < 0 for d in shape):
        return None
    if int(np.prod(shape, dtype=object)) > MAX_ELEMENTS:
        return None
    value = edit.attr(node, "value")
    fill = np.zeros((), np.float32) if value is None else value.numpy()
    return [np.full(shape, fill.reshape(-1)[0], dtype=fill.dtype)]


def _range(node: ir.Node, arrays: Arrays, opset: int) -> Result:
    """Integers only: how floats accumulate is the runtime's business."""
    numbers = [to_ints(a) for a in arrays]
    if any(n is None or len(n) != 1 for n in numbers) or len(numbers) != 3:
        return None
    start, limit, delta = (n[0] for n in numbers if n is not None)
    if delta == 0:
        return "a Range with a step of 0"
    if max(0, -(-(limit - start) // delta)) > MAX_ELEMENTS:
        return None
    return [np.arange(start, limit, delta, dtype=first_input(arrays).dtype)]


def _non_zero(node: ir.Node, arrays: Arrays, opset: int) -> Result:
    data = first_input(arrays)
    if data.ndim == 0 or data.dtype.kind not in "iufb":
        return None
    return [np.asarray(np.nonzero(data), dtype=np.int64).reshape(data.ndim, -1)]


MAKERS: dict[str, Callable[[ir.Node, Arrays, int], Result]] = {
    "Shape": _shape,
    "Size": _size,
    "Expand": _expand,
    "Tile": _tile,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "NonZero": _non_zero,
}
