"""Leave out initial states of recurrent layers that are zero: that is their default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._facts import drop_unread
from onnxslim.passes._uniform import uniform
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

_FIRST = 5
"""Input number of ``initial_h``; ``initial_c`` of an LSTM follows."""


@register
@dataclass(frozen=True)
class EliminateZeroState(Pass):
    """Leave out ``initial_h`` and ``initial_c`` of RNN, GRU and LSTM when they are all zero.

    What computed their shape (Shape, Gather, Concat, ConstantOfShape, Expand) is read by nothing
    afterwards.

    Source: ONNX operators RNN-7/14/22, GRU-7/14/22, LSTM-7/14/22: "If not specified - assumed to
    be 0".
    """

    name: ClassVar[str] = "eliminate-zero-state"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """One visit per recurrent layer."""
        return sum(_leave_out(node, ctx) for node in ctx.nodes("LSTM", "GRU", "RNN"))


def _leave_out(node: ir.Node, ctx: PassContext) -> int:
    count = 0
    for place in (_FIRST, _FIRST + 1):
        state = edit.get_input(node, place)
        filling = uniform(state)
        if state is None or filling is None or filling != 0:
            continue
        producer = state.producer()
        ctx.set_input(node, place, None)
        drop_unread([] if producer is None else [producer], ctx)
        count += 1
    return count
