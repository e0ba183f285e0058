"""Remove a Where that always takes the same side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._facts import same_shape
from onnxslim.passes._uniform import uniform
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext


@register
@dataclass(frozen=True)
class EliminateWhere(Pass):
    """Replace ``Where(c, x, y)`` by the side that is taken everywhere.

    Taken when the condition is the same everywhere (a constant, or filled by ConstantOfShape or
    Expand) or when both sides are one value. ``Where(Not(c), x, y)`` becomes ``Where(c, y, x)``
    when only conditions of Where read the Not. Skipped when the side would have to be broadcast,
    since the condition or the other side may enlarge it.

    Source: ONNX operator Where-9/16.
    """

    name: ClassVar[str] = "eliminate-where"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """One visit per Where."""
        return sum(_eliminate(node, ctx) for node in ctx.nodes("Where"))


def _eliminate(node: ir.Node, ctx: PassContext) -> bool:
    condition, yes, no = node.inputs
    if condition is None or yes is None or no is None:
        return False
    truth = uniform(condition)
    if truth is None and yes is not no:
        return _without_not(node, ctx)
    side = yes if yes is no or truth else no
    if not same_shape(side, node.outputs[0]):
        return ctx.skip(node, "the condition or the other side may enlarge the result")
    if not ctx.bypass(node, side):
        return ctx.skip(node, "a graph output needs the node: its input cannot carry the name")
    return True


def _without_not(node: ir.Node, ctx: PassContext) -> bool:
    condition, yes, no = node.inputs
    assert condition is not None
    negation = condition.producer()
    if negation is None or not edit.is_op(negation, "Not") or condition.is_graph_output():
        return False
    if not all(edit.is_op(use.node, "Where") and use.idx == 0 for use in condition.uses()):
        return False
    graphs = {use.node.graph for use in condition.uses()}
    if graphs != {negation.graph}:
        return False
    ctx.replace([negation, node], ir.node("Where", [negation.inputs[0], no, yes]))
    return True
