"""Remove ``Neg(Neg(x))``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.graph.edit import is_op
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext


@register
@dataclass(frozen=True)
class EliminateDoubleNegation(Pass):
    """Let readers of a number negated twice read the number.

    Skipped when the result is a graph output that cannot be renamed.
    """

    name: ClassVar[str] = "eliminate-double-negation"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Start from the outer of two."""
        return sum(_eliminate(node, ctx) for node in ctx.nodes("Neg"))


def _eliminate(outer: ir.Node, ctx: PassContext) -> bool:
    between = outer.inputs[0]
    inner = None if between is None else between.producer()
    if inner is None or not is_op(inner, "Neg") or inner.inputs[0] is None:
        return False
    return ctx.bypass(outer, inner.inputs[0]) or ctx.skip(outer, "it is a graph output")
