"""Fuse ``x * HardSigmoid<alpha=1/6, beta=1/2>(x)`` into the standard operator HardSwish.

Source: Howard et al. 2019, arXiv:1905.02244, section 5.2; ONNX operator HardSwish-14/22.
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
class FuseHardSwish(Pass):
    """Replace HardSigmoid and the Mul with its own input by HardSwish.

    From opset 14 on, float tensors only; ``fuse-hard-sigmoid`` brings other spellings to this one.
    Skipped when something else reads the HardSigmoid.
    """

    name: ClassVar[str] = "fuse-hard-swish"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Try every Mul."""
        return sum(_fuse(node, ctx) for node in ctx.nodes("Mul"))


def _fuse(last: ir.Node, ctx: PassContext) -> bool:
    for index in (0, 1):
        x, value = last.inputs[index], last.inputs[1 - index]
        gate = None if value is None else value.producer()
        if x is None or gate is None or not edit.is_op(gate, "HardSigmoid"):
            continue
        if gate.inputs[0] is not x or gate.graph is not last.graph:
            continue
        alpha, beta = edit.attr(gate, "alpha", 0.2), edit.attr(gate, "beta", 0.5)
        if x.dtype != ir.DataType.FLOAT or not pattern.is_close(alpha, 1 / 6, x.dtype):
            continue
        if not pattern.is_close(beta, 0.5, x.dtype):
            continue
        if not pattern.is_closed([gate, last], last):
            return ctx.skip(last, pattern.OPENED)
        if ctx.opset < 14:
            return ctx.wants_opset(last, 14)
        return pattern.fuse([gate], last, [ir.node("HardSwish", [x])], ctx)
    return False
