"""Leave out biases that are zero: that is their default.

    Conv(x, w, 0)  ->  Conv(x, w)        Gemm(a, b, 0)  ->  Gemm(a, b)

Source: ONNX operators Conv-1/11/22, ConvTranspose-1/11/22, DeformConv-19/22, Gemm-11/13,
QLinearConv-10, RNN/GRU/LSTM-7/14/22, LayerNormalization-17; IEEE 754-2019, section 6.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._facts import drop_unread
from onnxslim.passes._uniform import uniform
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

_PLACES = {
    "Conv": 2,
    "ConvTranspose": 2,
    "DeformConv": 3,
    "Gemm": 2,
    "GRU": 3,
    "LSTM": 3,
    "LayerNormalization": 2,
    "QLinearConv": 8,
    "RNN": 3,
}
"""Operator to the number of its optional bias."""

_SINCE = {"Gemm": 11}
"""Opset from which the bias may be left out, where that was not always so."""


@register
@dataclass(frozen=True)
class EliminateZeroBias(Pass):
    """Leave out the bias of Conv, Gemm, recurrent layers and others when it is all zero.

    Skipped where the opset demands a bias. A sum that is -0.0 stays so, which the zero had turned
    into +0.0.
    """

    name: ClassVar[str] = "eliminate-zero-bias"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """One visit per node that has a bias."""
        return sum(_leave_out(node, ctx) for node in ctx.nodes(*_PLACES))


def _leave_out(node: ir.Node, ctx: PassContext) -> bool:
    place = _PLACES[node.op_type]
    bias = edit.get_input(node, place)
    filling = uniform(bias)
    if bias is None or filling is None or filling != 0:
        return False
    if ctx.opset < _SINCE.get(node.op_type, 0):
        return ctx.skip(node, f"opset {ctx.opset} demands a bias")
    producer = bias.producer()
    ctx.set_input(node, place, None)
    drop_unread([] if producer is None else [producer], ctx)
    return True
