"""Remove Dropout nodes that run in inference mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext


@register
@dataclass(frozen=True)
class EliminateDropout(Pass):
    """Remove Dropout in inference mode, which passes its input through.

    Skipped when the node may run in training mode, when its mask is read, or when the result is
    a graph output whose name the input cannot carry.

    Source: ONNX operators Dropout-7, 10, 12, 13 and 22 (Dropout-1 and 6: only with is_test=1).
    """

    name: ClassVar[str] = "eliminate-dropout"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Bypass every Dropout that certainly does nothing."""
        return sum(_eliminate(node, ctx) for node in ctx.nodes("Dropout"))


def _eliminate(node: ir.Node, ctx: PassContext) -> bool:
    x = node.inputs[0]
    if x is None:
        return False
    trains_by_default = ctx.opset < 7 and not edit.attr(node, "is_test", 0)
    if trains_by_default or not edit.is_inference_dropout(node):
        return ctx.skip(node, "Dropout may run in training mode")
    if any(edit.use_count(mask) for mask in node.outputs[1:]):
        return ctx.skip(node, "the mask is read")
    if not ctx.bypass(node, x):
        return ctx.skip(node, "a graph output needs the node: its input cannot carry the name")
    return True
