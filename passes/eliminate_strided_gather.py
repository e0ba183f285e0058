"""Turn a Gather that reads a flat tensor in its own order into a Reshape.

PyTorch's exporter writes ``as_strided`` of a contiguous tensor as a Gather of flat numbers::

    index[i, j, ...] = i * s0 + j * s1 + ...        built from Range, Mul, Unsqueeze, Add
    y = Gather(Reshape(x, [-1]), index)

When the strides are those of a contiguous tensor of the result's shape, every element stays where
it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dims import Dim, Dims, known_equal, product
from onnxslim.graph.edit import attr, constant_array, get_input, ints, is_op, scalar, shape_of
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

_MAX_CONSTANT = 1 << 20

Strides = dict[int, int]
"""Step of a flat number per axis, counted from the back (-1 is the last)."""


@register
@dataclass(frozen=True)
class EliminateStridedGather(Pass):
    """Replace a Gather of ascending flat numbers by a Reshape.

    Skipped when more than one size of the result is dynamic.
    """

    name: ClassVar[str] = "eliminate-strided-gather"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Look at every Gather along the only axis of its data."""
        return sum(_eliminate(node, ctx) for node in ctx.nodes("Gather"))


def _eliminate(node: ir.Node, ctx: PassContext) -> bool:
    data, index = get_input(node, 0), get_input(node, 1)
    flat, dims = shape_of(data), shape_of(index)
    if data is None or index is None or flat is None or len(flat) != 1 or not dims:
        return False
    if len(dims) < 2:
        return False
    if not known_equal(product(dims), flat[0]) or not _in_order(_strides(index), dims):
        return False
    dynamic = [d for d in dims if not isinstance(d, int)]
    if len(dynamic) > 1 or 0 in dims:
        return ctx.skip(node, "more than one size of the result is dynamic")
    assert node.graph is not None
    sizes = np.array([d if isinstance(d, int) else -1 for d in dims], dtype=np.int64)
    shape = ctx.constant(node.graph, "shape", sizes)
    ctx.replace(node, ir.node("Reshape", [data, shape]))
    return True


def _in_order(strides: Strides | None, dims: Dims) -> bool:
    """Whether these are the strides of a contiguous tensor of this shape."""
    if strides is None:
        return False
    inner: Dim = 1
    for back in range(1, len(dims) + 1):
        size = dims[-back]
        if size != 1 and not known_equal(strides.get(-back, 0), inner):
            return False
        inner = product([inner, size])
    return True


def _strides(value: ir.Value | None) -> Strides | None:
    """The strides of an index that is a sum of one multiple per axis; None for another."""
    array = constant_array(value, limit=_MAX_CONSTANT)
    if array is not None:
        return _of_constant(array)
    node = None if value is None else value.producer()
    if node is None:
        return None
    if is_op(node, "Range"):
        begins = scalar(node.inputs[0]) == 0 and scalar(node.inputs[2]) == 1
        return {-1: 1} if begins else None
    if is_op(node, "Add"):
        return _sum(_strides(node.inputs[0]), _strides(node.inputs[1]))
    if is_op(node, "Mul"):
        return _scaled(node)
    if is_op(node, "Unsqueeze", "Reshape"):
        return _moved(node)
    return None


def _of_constant(array: np.ndarray) -> Strides | None:
    """Strides of a constant index; it must be exactly their sum."""
    if array.dtype.kind not in "iu" or array.size == 0:
        return None
    strides: Strides = {}
    expected = np.zeros((), dtype=np.int64)
    for axis, size in enumerate(array.shape):
        if size > 1:
            picked = [0] * array.ndim
            picked[axis] = 1
            strides[axis - array.ndim] = int(array[tuple(picked)])
            steps = np.arange(size, dtype=np.int64) * strides[axis - array.ndim]
            expected = expected + steps.reshape([-1 if i == axis else 1 for i in range(array.ndim)])
    return strides if np.array_equal(np.broadcast_to(expected, array.shape), array) else None


def _sum(a: Strides | None, b: Strides | None) -> Strides | None:
    if a is None or b is None:
        return None
    return {axis: a.get(axis, 0) + b.get(axis, 0) for axis in (*a, *b)}


def _scaled(node: ir.Node) -> Strides | None:
    for index in (0, 1):
        factor = scalar(node.inputs[index])
        strides = _strides(node.inputs[1 - index])
        if isinstance(factor, int) and strides is not None:
            return {axis: stride * factor for axis, stride in strides.items()}
    return None


def _moved(node: ir.Node) -> Strides | None:
    """Strides behind an Unsqueeze, or a Reshape that only inserts axes of size 1."""
    before, after = shape_of(node.inputs[0]), shape_of(node.outputs[0])
    strides = _strides(node.inputs[0])
    if before is None or after is None or strides is None:
        return None
    if is_op(node, "Unsqueeze"):
        axes = attr(node, "axes") or ints(get_input(node, 1))
        if axes is None:
            return None
        new = {a % len(after) for a in axes}
        left = [i for i in range(len(after)) if i not in new]
    else:
        left = [i for i, d in enumerate(after) if d != 1]
        if len(left) != len(before) or not all(
            known_equal(after[i], d) for i, d in zip(left, before, strict=True)
        ):
            return None
    return {left[axis] - len(after): stride for axis, stride in strides.items()}
