"""Fuse the Gaussian error linear unit into the standard operator Gelu.

    x * 0.5 * (1 + erf(x / sqrt(2)))                                    Gelu
    x * 0.5 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x ** 3)))        Gelu<approximate="tanh">

in every order of the operands and however the constants are spread.

Source: Hendrycks and Gimpel 2016, arXiv:1606.08415; ONNX operator Gelu-20.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes import _pattern as pattern
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

_K = math.sqrt(2.0 / math.pi)
_FORMS = {
    "Erf": ("none", {1: math.sqrt(0.5)}),
    "Tanh": ("tanh", {1: _K, 3: _K * 0.044715}),
}
"""Function inside to the approximation's name and the polynomial in x that it is given."""
_TYPES = (ir.DataType.FLOAT, ir.DataType.FLOAT16)


@register
@dataclass(frozen=True)
class FuseGelu(Pass):
    """Replace the five to eight operators of a Gelu, exact or with tanh, by the operator Gelu.

    From opset 20 on. Skipped when a value inside is read elsewhere; another constant than the
    function's own, up to rounding, is no Gelu.
    """

    name: ClassVar[str] = "fuse-gelu"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Try every Mul and Div as the last operator of a Gelu."""
        return sum(_fuse(node, ctx) for node in ctx.nodes("Mul", "Div"))


def _fuse(last: ir.Node, ctx: PassContext) -> bool:
    product = pattern.read_product(last)
    if len(product.leaves) != 2:
        return False
    for x, gate in (product.leaves, product.leaves[::-1]):
        nodes = list(product.nodes)
        found = _read_gate(gate, last, nodes)
        if found is None or x.dtype not in _TYPES:
            continue
        function, scale = found
        form, wanted = _FORMS[function.op_type]
        inside = pattern.read_polynomial(function.inputs[0], x, last.graph, nodes)
        if not pattern.is_polynomial(inside, wanted, x.dtype):
            continue
        if not pattern.is_close(product.constant * scale, 0.5, x.dtype):
            continue
        if not pattern.is_closed(nodes, last):
            return ctx.skip(last, pattern.OPENED)
        if ctx.opset < 20:
            return ctx.wants_opset(last, 20)
        attributes = {} if form == "none" else {"approximate": form}
        return pattern.fuse(nodes, last, [ir.node("Gelu", [x], attributes)], ctx)
    return False


def _read_gate(gate: ir.Value, last: ir.Node, nodes: list[ir.Node]) -> tuple[ir.Node, float] | None:
    """``scale * (1 + f(..))`` written as ``scale + scale * f(..)``: the node of f and the scale."""
    add = gate.producer()
    if add is None or not edit.is_op(add, "Add") or add.graph is not last.graph:
        return None
    for index in (0, 1):
        number, other = pattern.scalar_beside(add, index), add.inputs[1 - index]
        top = None if other is None else other.producer()
        if number is None or top is None or top.graph is not last.graph:
            continue
        inner = pattern.read_product(top)
        function = inner.leaves[0].producer() if len(inner.leaves) == 1 else None
        if function is None or not edit.is_op(function, *_FORMS):
            continue
        if function.graph is last.graph and pattern.is_close(inner.constant, number, gate.dtype):
            nodes.extend([add, function, *inner.nodes])
            return function, number
    return None
