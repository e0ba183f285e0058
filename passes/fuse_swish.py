"""Fuse ``x * sigmoid(alpha * x)`` (SiLU, Swish) into the standard operator Swish.

Source: Ramachandran et al. 2017, arXiv:1710.05941; ONNX operator Swish-24.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes import _pattern as pattern
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

_TYPES = (ir.DataType.FLOAT, ir.DataType.FLOAT16)


@register
@dataclass(frozen=True)
class FuseSwish(Pass):
    """Replace Sigmoid and Mul, and a constant alpha, by the operator Swish.

    From opset 24 on. ONNX Runtime 1.31 runs the two operators faster than Swish: leave the pass out
    for that runtime (``docs/fusions.md``). Skipped when something else reads the Sigmoid.
    """

    name: ClassVar[str] = "fuse-swish"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Try every Mul."""
        return 0 if ctx.opset < 24 else sum(_fuse(node, ctx) for node in ctx.nodes("Mul"))


def _fuse(last: ir.Node, ctx: PassContext) -> bool:
    for index in (0, 1):
        x, gate = last.inputs[index], last.inputs[1 - index]
        sigmoid = None if gate is None else gate.producer()
        if x is None or sigmoid is None or not edit.is_op(sigmoid, "Sigmoid"):
            continue
        if x.dtype not in _TYPES or sigmoid.graph is not last.graph:
            continue
        nodes = [sigmoid, last]
        inside = pattern.read_polynomial(sigmoid.inputs[0], x, last.graph, nodes)
        if inside is None or set(inside) != {1}:
            continue
        if not pattern.is_closed(nodes, last):
            return ctx.skip(last, pattern.OPENED)
        alpha = inside[1]
        new = ir.node("Swish", [x], {} if alpha == 1.0 else {"alpha": alpha})
        return pattern.fuse(nodes, last, [new], ctx)
    return False
