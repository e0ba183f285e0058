"""Multiply the constant weights of two products in a row.

    (x W1 + b1) W2 + b2  ->  x (W1 W2) + (b1 W2 + b2)        (.., K) (K, N) (N, P)
    V2 (V1 x)            ->  (V2 V1) x                       weights on the left, no bias

Only when the product of the weights is no larger than the two together, which also means no more
multiplications: a factorization of low rank stays.

Source: associativity; ONNX operators MatMul-13 and Gemm-13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._gemm import graph_of, make_gemm
from onnxslim.passes._linear import Array, constant, narrow, read_linear
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

MAX_WORK = 4_000_000_000
"""Multiplications that one product of weights may take (about a second)."""


@dataclass(frozen=True)
class _Factor:
    """A product with a constant matrix on one side.

    Attributes:
        node: MatMul or Gemm.
        side: Input that holds the weight: 1 for ``x W``, 0 for ``V x``.
        matrix: (K, N) float64, transB and alpha applied.
        bias: (N,) or (rows, N), beta applied; None without one.
    """

    node: ir.Node
    side: int
    matrix: Array
    bias: Array | None

    @property
    def weight(self) -> ir.Value:
        """The weight's value."""
        value = self.node.inputs[self.side]
        assert value is not None
        return value

    @property
    def data(self) -> ir.Value:
        """What is multiplied with the weight."""
        value = self.node.inputs[1 - self.side]
        assert value is not None
        return value


@register
@dataclass(frozen=True)
class FoldMatMul(Pass):
    """Fold two products with constant weights, one after the other, into one.

    Skipped when the tensor between them has another reader, when the new weight would be larger
    than the two (shared ones stay and do not count), takes too long to compute or overflows.
    """

    name: ClassVar[str] = "fold-matmul"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Fold every product that reads another one."""
        return sum(_fold(node, ctx) for node in ctx.nodes("MatMul", "Gemm"))


def _fold(node: ir.Node, ctx: PassContext) -> bool:
    side = _weight_side(node)
    if side is None:
        return False
    middle = node.inputs[1 - side]
    before = None if middle is None else middle.producer()
    if middle is None or before is None or not edit.is_op(before, "MatMul", "Gemm"):
        return False
    if _weight_side(before) != side:
        return False
    if not edit.is_sole_consumer(middle, node) or before.graph is not node.graph:
        return ctx.skip(node, "the tensor between the products has another reader")
    first, second = _read(before, side), _read(node, side)
    if isinstance(first, str) or isinstance(second, str):
        return ctx.skip(node, first if isinstance(first, str) else str(second))
    refusal = _refusal(first, second)
    return ctx.skip(node, refusal) if refusal else _merge(first, second, ctx)


def _weight_side(node: ir.Node) -> int | None:
    """Which input is a constant matrix, without reading it; None when not exactly one is."""
    if len(node.inputs) < 2:
        return None
    sides = [i for i in (0, 1) if edit.is_constant(node.inputs[i])]
    if len(sides) != 1 or edit.rank_of(node.inputs[sides[0]]) != 2:
        return None
    if edit.is_op(node, "Gemm") and (sides == [0] or node.outputs[0].shape is None):
        return None
    return sides[0]


def _read(node: ir.Node, side: int) -> _Factor | str:
    if side == 0:
        left = constant(node.inputs[0])
        if left is None or left.dtype.kind != "f":
            return "the weight is not floating point"
        return _Factor(node, 0, left.astype(np.float64), None)
    layer = read_linear(node)
    if isinstance(layer, str):
        return layer
    matrix = layer.weight.astype(np.float64)
    if edit.is_op(node, "Gemm"):
        matrix = matrix.T if edit.attr(node, "transB", 0) else matrix
        matrix = matrix * float(edit.attr(node, "alpha", 1.0))
    given = edit.get_input(node, 2) is not None
    return _Factor(node, 1, matrix, layer.bias if given else None)


def _refusal(first: _Factor, second: _Factor) -> str | None:
    left, right = _ordered(first, second)
    rows, inner, columns = left.shape[0], right.shape[0], right.shape[1]
    if left.shape[1] != inner:
        return "the weights do not fit each other"
    if edit.is_op(second.node, "Gemm") and edit.attr(second.node, "transA", 0):
        return "the tensor between the products is transposed"
    freed = sum(f.matrix.size for f in (first, second) if edit.use_count(f.weight) == 1)
    if rows * columns > freed:
        return "the product of the weights is larger than they are"
    if rows * inner * columns > MAX_WORK:
        return "the product of the weights takes too long"
    return None


def _ordered(first: _Factor, second: _Factor) -> tuple[Array, Array]:
    """The matrices in the order in which they are multiplied."""
    pair = (first.matrix, second.matrix)
    return pair if first.side == 1 else (pair[1], pair[0])


def _merge(first: _Factor, second: _Factor, ctx: PassContext) -> bool:
    left, right = _ordered(first, second)
    dtype = edit.constant_array(first.weight)
    assert dtype is not None
    weight = narrow(left @ right, dtype.dtype)
    added = None if first.bias is None else first.bias @ second.matrix
    if second.bias is not None:
        added = second.bias if added is None else added + second.bias
    bias = None if added is None else narrow(added, dtype.dtype)
    if weight is None or (added is not None and bias is None):
        return ctx.skip(second.node, f"the product of the weights does not fit {dtype.dtype}")
    if added is not None and not _bias_is_small(added, first, second):
        return ctx.skip(second.node, "the bias of the product is larger than the two were")
    graph = graph_of(second.node)
    w = ctx.constant(graph, first.weight.name, weight)
    transposed = int(edit.attr(first.node, "transA", 0))
    pair = (first.data, w) if first.side == 1 else (w, first.data)
    if bias is None and not transposed:
        ctx.replace([first.node, second.node], edit.new_node("MatMul", pair))
        return True
    b = None if bias is None else ctx.constant(graph, f"{first.weight.name}_bias", bias)
    new = make_gemm(first.data, w, b, {"transA": transposed}, graph, ctx)
    ctx.replace([first.node, second.node], new)
    return True


def _bias_is_small(added: Array, first: _Factor, second: _Factor) -> bool:
    known = [f.bias.size for f in (first, second) if f.bias is not None]
    return added.ndim == 1 or added.size <= max(known)
