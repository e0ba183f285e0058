"""Fuse a layer normalization written with elementary operators into LayerNormalization.

    d = x - mean(x);  y = d / sqrt(mean(d ** 2) + epsilon) * scale + bias

over the last axes, with Pow or Mul, Div or the reciprocal of the root, with and without scale and
bias, one difference or two equal ones, and in float between Casts from and to float16.

Source: Ba et al. 2016, arXiv:1607.06450; ONNX operator LayerNormalization-17.
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


@dataclass
class _Core:
    x: ir.Value
    axes: int
    epsilon: float
    nodes: list[ir.Node]


@register
@dataclass(frozen=True)
class FuseLayerNorm(Pass):
    """Replace the seven to nine operators of a layer normalization by LayerNormalization.

    From opset 17 on, float and float16, known sizes of the normalized axes. Skipped when a value
    inside is read elsewhere.
    """

    name: ClassVar[str] = "fuse-layer-norm"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Try every Div and Mul as the one that divides by the deviation."""
        return sum(_fuse(node, ctx) for node in ctx.nodes("Div", "Mul"))


def _fuse(node: ir.Node, ctx: PassContext) -> bool:
    core = _read_core(node, ctx.opset)
    frame = None if core is None else norm.read_frame(node, core.x, core.axes)
    if core is None or frame is None:
        return False
    if isinstance(frame, str):
        return ctx.skip(node, frame)
    ending, nodes = frame.ending, [*core.nodes, *frame.ending.nodes]
    if not pattern.is_closed(nodes, ending.last):
        return ctx.skip(node, pattern.OPENED)
    if ctx.opset < 17:
        return ctx.wants_opset(node, 17)
    inputs = [frame.x, norm.as_vector(ending.scale, frame, ctx)]
    if ending.bias is not None:
        inputs.append(norm.as_vector(ending.bias, frame, ctx))
    attributes = {"axis": -core.axes, "epsilon": core.epsilon}
    new = ir.node("LayerNormalization", inputs, attributes)
    pattern.fuse(nodes, ending.last, [new], ctx)
    drop_unread(frame.casts, ctx)
    return True


def _read_core(node: ir.Node, opset: int) -> _Core | None:
    """``(x - mean(x)) / sqrt(mean((x - mean(x)) ** 2) + epsilon)`` that ends in ``node``."""
    root = norm.read_root(node)
    found = None if root is None else norm.read_mean(root.mean, node.graph, opset)
    if root is None or found is None:
        return None
    variance, axes = found
    square = norm.read_square(variance)
    if square is None:
        return None
    squared, nodes = square
    above = _difference(root.numerator, node, opset)
    below = above if squared is root.numerator else _difference(squared, node, opset)
    if above is None or below is None or above[0] is not below[0]:
        return None
    if {above[1], below[1]} != {axes}:
        return None
    inner = dict.fromkeys([*root.nodes, variance, *nodes, *above[2], *below[2]])
    return _Core(above[0], axes, root.epsilon, list(inner))


def _difference(
    value: ir.Value, last: ir.Node, opset: int
) -> tuple[ir.Value, int, list[ir.Node]] | None:
    """``x - mean(x)``: x, how many axes the mean is over, and the nodes."""
    sub = value.producer()
    if sub is None or not edit.is_op(sub, "Sub") or sub.graph is not last.graph:
        return None
    x, mean = sub.inputs
    found = norm.read_mean(mean, last.graph, opset)
    if found is None or x is None or found[0].inputs[0] is not x:
        return None
    return x, found[1], [sub, found[0]]
