"""Remove operators that undo, or repeat without effect, the operator before them.

    Neg(Neg(x)) == x        Not(Not(x)) == x        Floor(Ceil(x)) == Ceil(x)
    Abs(Abs(x)) == Abs(x)   Abs(Neg(x)) == Abs(x)   Sign(Sign(x)) == Sign(x)

All of them bit for bit, in integers (that wrap) and in floats (NaN, infinities, the sign of zero).

Source: ONNX operators Neg, Not, BitwiseNot, Abs, Ceil, Floor, Round and Sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._facts import drop_unread
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

_UNDONE = ("Neg", "Not", "BitwiseNot")
_REPEATED: dict[str, tuple[str, ...]] = {
    "Abs": ("Abs",),
    "Sign": ("Sign",),
    "Ceil": ("Ceil", "Floor", "Round", "Sign"),
    "Floor": ("Ceil", "Floor", "Round", "Sign"),
    "Round": ("Ceil", "Floor", "Round", "Sign"),
}
"""Operator to those whose results it does not change."""


@register
@dataclass(frozen=True)
class EliminateInvolution(Pass):
    """Remove Neg of Neg, Not of Not, and Abs, Sign or rounding of what already is so.

    Skipped when a graph output needs the node.
    """

    name: ClassVar[str] = "eliminate-involution"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Compare each of these operators with the one before it."""
        return sum(_eliminate(node, ctx) for node in ctx.nodes(*_UNDONE, *_REPEATED))


def _eliminate(second: ir.Node, ctx: PassContext) -> bool:
    middle = second.inputs[0]
    first = None if middle is None else middle.producer()
    if middle is None or first is None or first.domain:
        return False
    x = edit.get_input(first, 0)
    if second.op_type in _UNDONE and first.op_type == second.op_type and x is not None:
        return _bypass(first, second, x, ctx)
    if first.op_type in _REPEATED.get(second.op_type, ()):
        return _bypass(first, second, middle, ctx)
    if (second.op_type, first.op_type) == ("Abs", "Neg") and edit.is_sole_consumer(middle, second):
        if first.graph is not second.graph:
            return False
        ctx.replace([first, second], ir.node("Abs", [x]))
        return True
    return False


def _bypass(first: ir.Node, second: ir.Node, value: ir.Value, ctx: PassContext) -> bool:
    if not ctx.bypass(second, value):
        return ctx.skip(second, "a graph output needs the node: its input cannot have the name")
    drop_unread([first], ctx)
    return True
