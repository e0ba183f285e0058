"""Evaluate operators that only move elements (and make shapes) with numpy, for any type."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._evaluate_makers import (
    MAKERS,
    MAX_ELEMENTS,
    Arrays,
    Result,
    first_input,
    nth_input,
    to_ints,
)

_LARGE = 2**31 - 1
"""Ends from here on mean "to the end": exporters write INT32_MAX or INT64_MAX."""


def _axes(node: ir.Node, arrays: Arrays, old: int, opset: int) -> list[int] | None:
    """Axes: an attribute before opset ``old``, input 1 from it on; None when omitted."""
    if opset < old:
        found = edit.attr(node, "axes")
        return None if found is None else list(found)
    return to_ints(nth_input(arrays, 1))


def _identity(node: ir.Node, arrays: Arrays, opset: int) -> Result:
    return [first_input(arrays)]


def _reshape(node: ir.Node, arrays: Arrays, opset: int) -> Result:
    data, wanted = first_input(arrays), to_ints(nth_input(arrays, 1))
    if wanted is None or opset < 5:
        return None
    if not edit.attr(node, "allowzero", 0):
        if any(w == 0 and i >= data.ndim for i, w in enumerate(wanted)):
            return "a Reshape that copies a dimension that does not exist"
        wanted = [data.shape[i] if w == 0 else w for i, w in enumerate(wanted)]
    known = int(np.prod([w for w in wanted if w != -1], dtype=object))
    if wanted.count(-1) == 1 and known and data.size % known == 0:
        wanted = [data.size // known if w == -1 else w for w in wanted]
        known = data.size
    if any(w < 0 for w in wanted) or known != data.size:
        return "a Reshape to another number of elements"
    return [data.reshape(wanted)]


def _flatten(node: ir.Node, arrays: Arrays, opset: int) -> Result:
    data = first_input(arrays)
    axis = edit.attr(node, "axis", 1)
    axis = axis + data.ndim if axis < 0 else axis
    rows = int(np.prod(data.shape[:axis], dtype=object))
    return [data.reshape(rows, int(np.prod(data.shape[axis:], dtype=object)))]


def _squeeze(node: ir.Node, arrays: Arrays, opset: int) -> Result:
    data, axes = first_input(arrays), _axes(node, arrays, 13, opset)
    if not axes:
        return [data.reshape([d for d in data.shape if d != 1])] if axes is None else None
    if any(not -data.ndim <= a < data.ndim or data.shape[a] != 1 for a in axes):
        return "a Squeeze of a dimension that is not 1"
    gone = {a % data.ndim for a in axes}
    return [data.reshape([d for i, d in enumerate(data.shape) if i not in gone])]


def _unsqueeze(node: ir.Node, arrays: Arrays, opset: int) -> Result:
    data, axes = first_input(arrays), _axes(node, arrays, 13, opset)
    if axes is None:
        return None
    rank = data.ndim + len(axes)
    places = {a % rank for a in axes if -rank <= a < rank}
    if len(places) != len(axes):
        return "an Unsqueeze with axes that are out of range or listed twice"
    rest = iter(data.shape)
    return [data.reshape([1 if i in places else next(rest) for i in range(rank)])]


def _transpose(node: ir.Node, arrays: Arrays, opset: int) -> Result:
    data = first_input(arrays)
    perm = edit.attr(node, "perm")
    if perm is not None and sorted(perm) != list(range(data.ndim)):
        return "a Transpose with a perm that does not fit"
    return [np.ascontiguousarray(np.transpose(data, perm)).reshape(np.transpose(data, perm).shape)]


def _concat(node: ir.Node, arrays: Arrays, opset: int) -> Result:
    parts = [a for a in arrays if a is not None]
    axis, rank = edit.attr(node, "axis"), parts[0].ndim
    if axis is None or not -rank <= axis < rank or any(a.ndim != rank for a in parts):
        return None
    axis %= rank
    if any(
        a.shape[:axis] + a.shape[axis + 1 :] != parts[0].shape[:axis] + parts[0].shape[axis + 1 :]
        for a in parts
    ):
        return "a Concat of shapes that do not fit"
    return [np.concatenate(parts, axis=axis)]


def _slice(node: ir.Node, arrays: Arrays, opset: int) -> Result:
    data = first_input(arrays)
    if opset < 10:
        starts, ends = list(edit.attr(node, "starts", ())), list(edit.attr(node, "ends", ()))
        given, steps = edit.attr(node, "axes"), None
    else:
        starts, ends = to_ints(nth_input(arrays, 1)) or [], to_ints(nth_input(arrays, 2)) or []
        given, steps = to_ints(nth_input(arrays, 3)), to_ints(nth_input(arrays, 4))
    axes = list(range(len(starts))) if given is None else list(given)
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        return "a Slice with lists of different lengths"
    if 0 in steps or any(not -data.ndim <= a < data.ndim for a in axes):
        return "a Slice with a step of 0 or an axis that does not exist"
    if any(step < 0 and end >= _LARGE for step, end in zip(steps, ends, strict=True)):
        return None  # nothing by the standard, everything in ONNX Runtime
    index = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        index[axis] = _clamped(start, end, step, data.shape[axis])
    return [data[tuple(index)]]


def _clamped(start: int, end: int, step: int, size: int) -> slice:
    """The Python slice of ONNX's start and end (negative: from the end; clamped)."""
    start = start + size if start < 0 else start
    end = end + size if end < 0 else end
    if step > 0:
        start, end = max(0, min(start, size)), max(0, min(end, size))
        return slice(start, max(start, end), step)
    start, end = max(0, min(start, size - 1)), max(-1, min(end, size - 1))
    if start <= end:
        return slice(0, 0)
    return slice(start, None if end < 0 else end, step)


def _gather(node: ir.Node, arrays: Arrays, opset: int) -> Result:
    data, indices = first_input(arrays), nth_input(arrays, 1)
    axis = edit.attr(node, "axis", 0)
    if indices is None or indices.dtype.kind not in "iu" or not -data.ndim <= axis < data.ndim:
        return None
    size = data.shape[axis]
    if ((indices < -size) | (indices >= size)).any():
        return "a Gather out of range"
    if data.size and indices.size * (data.size // max(size, 1)) > MAX_ELEMENTS:
        return None
    return [np.take(data, indices, axis=axis)]


def _split(node: ir.Node, arrays: Arrays, opset: int) -> Result:
    data = first_input(arrays)
    axis, parts = edit.attr(node, "axis", 0), len(node.outputs)
    if not -data.ndim <= axis < data.ndim:
        return None
    size = data.shape[axis]
    attribute = edit.attr(node, "split")
    sizes = list(attribute) if attribute is not None else to_ints(nth_input(arrays, 1))
    if sizes is None:
        each = -(-size // parts) if opset >= 18 else size // parts
        sizes = [each] * (parts - 1) + [size - each * (parts - 1)]
        if opset < 18 and size % parts:
            return "a Split into unequal parts"
    if len(sizes) != parts or sum(sizes) != size or min(sizes) < 0:
        return "a Split whose parts do not fit"
    return list(np.split(data, np.cumsum(sizes)[:-1], axis=axis))


MOVES: dict[str, Callable[[ir.Node, Arrays, int], Result]] = {
    **MAKERS,
    "Identity": _identity,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Concat": _concat,
    "Slice": _slice,
    "Gather": _gather,
    "Split": _split,
}
