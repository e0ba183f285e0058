"""Remove Identity nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext


@register
@dataclass(frozen=True)
class EliminateIdentity(Pass):
    """Remove Identity nodes; what read them reads their input.

    Skipped when the result is a graph output and its input cannot carry that name: a graph input,
    an initializer, another graph output, or a value of an outer scope.

    Source: ONNX operator Identity-1 to 25.
    """

    name: ClassVar[str] = "eliminate-identity"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Bypass every Identity that no graph output needs."""
        return sum(_eliminate(node, ctx) for node in ctx.nodes("Identity"))


def _eliminate(node: ir.Node, ctx: PassContext) -> bool:
    x = node.inputs[0]
    if x is None:
        return False
    if not ctx.bypass(node, x):
        return ctx.skip(node, "a graph output needs the node: its input cannot carry the name")
    return True
