"""Fuse a product of matrices and the sum after it into one Gemm.

    Add(MatMul(A, B), C)  ->  Gemm(A, B, C)        (M, K) (K, N), C broadcasts to (M, N)

Only for matrices: for more dimensions a Gemm would need a Reshape before and after it. C may be
computed; its shape must show that it never enlarges the product.

Source: ONNX operators MatMul-13 and Gemm-13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import onnx_ir as ir

from onnxslim.analysis import dims
from onnxslim.graph import edit
from onnxslim.passes._gemm import graph_of, make_gemm, not_a_gemm
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext


@register
@dataclass(frozen=True)
class FuseGemm(Pass):
    """Fuse a MatMul of matrices, or a Gemm without C, and the Add after it into one Gemm.

    Skipped when the product has another reader, when what is added may enlarge it, for types
    without a Gemm, and when a factor comes from a DequantizeLinear.
    """

    name: ClassVar[str] = "fuse-gemm"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Fuse every Add of a product."""
        return sum(_fuse(node, ctx) for node in ctx.nodes("Add"))


def _fuse(add: ir.Node, ctx: PassContext) -> bool:
    if ctx.opset < 7 or len(add.inputs) != 2:
        return False
    reasons = []
    for side in (0, 1):
        product, bias = add.inputs[side], add.inputs[1 - side]
        node = None if product is None else product.producer()
        if node is None or bias is None or product is None or not _is_product(node):
            continue
        reason = _refusal(node, product, bias, add, ctx.opset)
        if reason is None:
            ctx.replace([node, add], _gemm(node, bias, ctx))
            return True
        if reason:
            reasons.append(reason)
    return ctx.skip(add, reasons[0]) if reasons else False


def _is_product(node: ir.Node) -> bool:
    if edit.is_op(node, "MatMul"):
        return True
    return edit.is_op(node, "Gemm") and edit.get_input(node, 2) is None


def _refusal(
    node: ir.Node, product: ir.Value, bias: ir.Value, add: ir.Node, opset: int
) -> str | None:
    """Why not; empty when nothing is to be said."""
    reason = not_a_gemm(node, opset)
    if reason is not None:
        return reason
    if node.graph is not add.graph:
        return "the product is in another scope"
    if not edit.is_sole_consumer(product, add):
        return "the product has another reader"
    return None if _broadcasts(bias, product) else "what is added may enlarge the product"


def _broadcasts(bias: ir.Value, product: ir.Value) -> bool:
    """True when the bias has at most two dimensions, each 1 or certainly that of the product."""
    own, whole = edit.shape_of(bias), edit.shape_of(product)
    if own is None or whole is None or len(own) > len(whole):
        return False
    pairs = zip(own, whole[len(whole) - len(own) :], strict=True)
    return all(d == 1 or dims.known_equal(d, w) for d, w in pairs)


def _gemm(node: ir.Node, bias: ir.Value, ctx: PassContext) -> ir.Node:
    a, b = node.inputs[0], node.inputs[1]
    assert a is not None and b is not None
    kept: dict[str, Any] = {
        name: item.value for name, item in node.attributes.items() if name != "beta"
    }
    return make_gemm(a, b, bias, kept, graph_of(node), ctx)
