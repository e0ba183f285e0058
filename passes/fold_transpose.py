"""Fold the Transpose of a matrix into the product that reads it.

    Gemm(Transpose(A), B, C)  ->  Gemm(A, B, C, transA=1)        (K, M) (K, N)
    MatMul(A, Transpose(B))   ->  Gemm(A, B, transB=1)           (M, K) (N, K)

A weight that is used both as it is and transposed (tied weights) stays one.

Source: ONNX operator Gemm-13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._gemm import graph_of, make_gemm, not_a_gemm
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext


@register
@dataclass(frozen=True)
class FoldTranspose(Pass):
    """Fold the Transpose of a matrix into the Gemm or MatMul that reads it.

    A MatMul of matrices becomes a Gemm. Skipped when something else reads the Transpose too, for
    types without a Gemm, and when a factor comes from a DequantizeLinear.
    """

    name: ClassVar[str] = "fold-transpose"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Fold every Transpose of a matrix that only products read."""
        return sum(_fold(node, ctx) for node in ctx.nodes("Transpose"))


def _fold(transpose: ir.Node, ctx: PassContext) -> bool:
    x, out = transpose.inputs[0], transpose.outputs[0]
    readers = list(dict.fromkeys(use.node for use in out.uses()))
    products = [node for node in readers if edit.is_op(node, "Gemm", "MatMul")]
    if x is None or ctx.opset < 7 or not products or not _is_of_a_matrix(transpose, x):
        return False
    if len(products) < len(readers) or out.is_graph_output():
        return ctx.skip(transpose, "the transposed matrix has another reader")
    for node in products:
        reason = _refusal(node, out, transpose, ctx.opset)
        if reason is not None:
            return ctx.skip(transpose, reason) if reason else False
    for node in products:
        ctx.replace([transpose, node], _without(node, out, x, ctx))
    return True


def _is_of_a_matrix(transpose: ir.Node, x: ir.Value) -> bool:
    perm = edit.attr(transpose, "perm")
    return edit.rank_of(x) == 2 if perm is None else list(perm) == [1, 0]


def _refusal(node: ir.Node, out: ir.Value, transpose: ir.Node, opset: int) -> str | None:
    if node.graph is not transpose.graph:
        return "the product is in another scope"
    if edit.get_input(node, 2) is out:
        return "the transposed matrix is what a Gemm adds"
    return not_a_gemm(node, opset)


def _without(node: ir.Node, out: ir.Value, x: ir.Value, ctx: PassContext) -> ir.Node:
    """The product with ``x`` where it read ``out``, that factor's flag turned over."""
    attributes: dict[str, Any] = {name: item.value for name, item in node.attributes.items()}
    factors: list[ir.Value] = []
    for index, flag in enumerate(("transA", "transB")):
        value = node.inputs[index]
        assert value is not None
        if value is out:
            attributes[flag] = 1 - int(bool(attributes.get(flag, 0)))
        factors.append(x if value is out else value)
    a, b = factors
    return make_gemm(a, b, edit.get_input(node, 2), attributes, graph_of(node), ctx)
