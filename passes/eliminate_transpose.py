"""Remove Transposes that undo each other and merge the rest of a chain into one.

    Transpose<perm=q>(Transpose<perm=p>(x))  ==  Transpose<perm=r>(x),  r[i] = p[q[i]]

Source: ONNX operator Transpose-1/13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._transposes import compose, is_identity, permutation
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext


@register
@dataclass(frozen=True)
class EliminateTranspose(Pass):
    """Remove pairs of Transposes that undo each other and merge two into one.

    When something else reads the first one too, the second reads its input. Skipped when a graph
    output needs the node of a pair that does nothing.
    """

    name: ClassVar[str] = "eliminate-transpose"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Merge every Transpose into the Transpose before it."""
        return sum(_merge(node, ctx) for node in ctx.nodes("Transpose"))


def _merge(second: ir.Node, ctx: PassContext) -> bool:
    middle = second.inputs[0]
    first = None if middle is None else middle.producer()
    if first is None or not edit.is_op(first, "Transpose") or first.graph is not second.graph:
        return False
    x, inner, outer = first.inputs[0], permutation(first), permutation(second)
    if x is None or inner is None or outer is None or len(inner) != len(outer):
        return False
    both = compose(inner, outer)
    if is_identity(both):
        if not ctx.bypass(second, x):
            return ctx.skip(second, "a graph output needs the Transpose: its name cannot move")
        ctx.remove(first)
        return True
    if middle is not None and not edit.is_sole_consumer(middle, second):
        return False  # one Transpose of the input instead of one of the result: nothing is won
    ctx.replace([first, second], edit.new_node("Transpose", [x], {"perm": both}))
    return True
