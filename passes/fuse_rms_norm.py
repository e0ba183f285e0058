"""Fuse a root mean square normalization into the standard operator RMSNormalization.

    y = x / sqrt(mean(x ** 2) + epsilon) * scale

over the last axes, with Pow or Mul, Div or the reciprocal of the root, and in float between Casts
from and to float16.

Source: Zhang and Sennrich 2019, arXiv:1910.07467; ONNX operator RMSNormalization-23.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes import _norm as norm
from onnxslim.passes import _pattern as pattern
from onnxslim.passes._facts import drop_unread
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext


@register
@dataclass(frozen=True)
class FuseRmsNorm(Pass):
    """Replace the five to eight operators of an RMS normalization by RMSNormalization.

    From opset 23 on, float and float16, known sizes of the normalized axes. Skipped when a value
    inside is read elsewhere.
    """

    name: ClassVar[str] = "fuse-rms-norm"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Try every Div and Mul as the one that divides by the root."""
        return sum(_fuse(node, ctx) for node in ctx.nodes("Div", "Mul"))


def _fuse(node: ir.Node, ctx: PassContext) -> bool:
    root = norm.read_root(node)
    mean = None if root is None else norm.read_mean(root.mean, node.graph, ctx.opset)
    square = None if mean is None else norm.read_square(mean[0])
    if root is None or mean is None or square is None or square[0] is not root.numerator:
        return False
    frame, axes = norm.read_frame(node, root.numerator, mean[1]), mean[1]
    if frame is None:
        return False
    if isinstance(frame, str):
        return ctx.skip(node, frame)
    ending = frame.ending
    last, nodes = ending.last, [*root.nodes, mean[0], *square[1], *ending.nodes]
    if ending.bias is not None:  # RMSNormalization has none: leave the Add
        nodes.remove(last)
        last = nodes[-1]
    if not pattern.is_closed(nodes, last):
        return ctx.skip(node, pattern.OPENED)
    if ctx.opset < 23:  # of a difference: a LayerNormalization, which an older opset has
        return not edit.is_op(frame.x.producer(), "Sub") and ctx.wants_opset(node, 23)
    inputs = [frame.x, norm.as_vector(ending.scale, frame, ctx)]
    new = ir.node("RMSNormalization", inputs, {"axis": -axes, "epsilon": root.epsilon})
    pattern.fuse(nodes, last, [new], ctx)
    drop_unread(frame.casts, ctx)
    return True
