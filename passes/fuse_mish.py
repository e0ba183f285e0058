"""Fuse ``x * tanh(softplus(x))`` into the standard operator Mish.

Source: Misra 2019, arXiv:1908.08681; ONNX operator Mish-18.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes import _pattern as pattern
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext


@register
@dataclass(frozen=True)
class FuseMish(Pass):
    """Replace Softplus, Tanh and Mul by the operator Mish.

    From opset 18 on. Skipped when something else reads a value inside.
    """

    name: ClassVar[str] = "fuse-mish"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Try every Mul."""
        return sum(_fuse(node, ctx) for node in ctx.nodes("Mul"))


def _fuse(last: ir.Node, ctx: PassContext) -> bool:
    for index in (0, 1):
        x, gate = last.inputs[index], last.inputs[1 - index]
        tanh = None if gate is None else gate.producer()
        if x is None or tanh is None or not edit.is_op(tanh, "Tanh"):
            continue
        inner = tanh.inputs[0]
        softplus = None if inner is None else inner.producer()
        if softplus is None or not edit.is_op(softplus, "Softplus") or softplus.inputs[0] is not x:
            continue
        nodes = [softplus, tanh, last]
        if x.dtype != ir.DataType.FLOAT or any(n.graph is not last.graph for n in nodes):
            continue
        if not pattern.is_closed(nodes, last):
            return ctx.skip(last, pattern.OPENED)
        if ctx.opset < 18:
            return ctx.wants_opset(last, 18)
        return pattern.fuse(nodes, last, [ir.node("Mish", [x])], ctx)
    return False
