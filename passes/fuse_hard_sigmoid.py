"""Fuse a clipped line into HardSigmoid, alone or as the gate of a product.

    clip(x + 3, 0, 6) / 6              HardSigmoid<alpha=1/6, beta=1/2>(x)
    u * clip(x + 3, 0, 6) / 6          u * HardSigmoid<alpha=1/6, beta=1/2>(x)
    clip(0.2 * x + 0.5, 0, 1)          HardSigmoid<alpha=0.2, beta=0.5>(x)

for any slope and offset, in every order of the operands and however the constants are spread.

Source: Howard et al. 2019, arXiv:1905.02244, section 5.2; ONNX operator HardSigmoid-6/22.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes import _pattern as pattern
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext


@dataclass
class _Line:
    """``slope * x + offset`` with the nodes that compute it."""

    x: ir.Value
    slope: float
    offset: float
    nodes: list[ir.Node]


@register
@dataclass(frozen=True)
class FuseHardSigmoid(Pass):
    """Replace Add, Clip and Div by HardSigmoid, also inside ``x * clip(x + 3, 0, 6) / 6``.

    Float tensors only. Skipped when a value inside is read elsewhere. A Clip without an Add before
    it stays.
    """

    name: ClassVar[str] = "fuse-hard-sigmoid"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Try every Clip, Mul and Div as the last operator."""
        if ctx.opset < 7:
            return 0
        return sum(_fuse(node, ctx) for node in ctx.nodes("Clip", "Mul", "Div"))


def _fuse(last: ir.Node, ctx: PassContext) -> bool:
    product = pattern.read_product(last)
    if not 1 <= len(product.leaves) <= 2 or last.outputs[0].dtype != ir.DataType.FLOAT:
        return False
    pairs = (product.leaves[::-1], product.leaves) if len(product.leaves) == 2 else (
        [None, *product.leaves],
    )  # fmt: skip
    for factor, clipped in pairs:
        clip = None if clipped is None else clipped.producer()
        top = None if clip is None or clip.graph is not last.graph else _height(clip, ctx.opset)
        line = None if clip is None or top is None else _read_line(clip)
        if clip is None or top is None or line is None or line.offset == 0:
            continue
        if not pattern.is_close(product.constant * top, 1.0, ir.DataType.FLOAT):
            continue
        nodes = [*product.nodes, clip, *line.nodes]
        if not pattern.is_closed(nodes, last):
            return ctx.skip(last, pattern.OPENED)
        return pattern.fuse(nodes, last, _write(line, top, factor), ctx)
    return False


def _write(line: _Line, top: float, factor: ir.Value | None) -> list[ir.Node]:
    attributes = {"alpha": line.slope / top, "beta": line.offset / top}
    gate = ir.node("HardSigmoid", [line.x], attributes)
    return [gate] if factor is None else [gate, ir.node("Mul", [factor, gate.outputs[0]])]


def _height(node: ir.Node, opset: int) -> float | None:
    """The upper bound of a Clip from 0 up, or None."""
    if not edit.is_op(node, "Clip"):
        return None
    if opset < 11:
        low, high = edit.attr(node, "min"), edit.attr(node, "max")
    else:
        low, high = (edit.scalar(edit.get_input(node, i)) for i in (1, 2))
    return float(high) if low == 0 and high is not None and 0 < high < 1e6 else None


def _read_line(clip: ir.Node) -> _Line | None:
    """What a Clip reads as a line in the value before the constants."""
    value = clip.inputs[0]
    slope, offset = 1.0, 0.0
    nodes: list[ir.Node] = []
    while value is not None and len(nodes) < 4:
        node = value.producer()
        step = None if node is None or node.graph is not clip.graph else _step(node)
        if node is None or step is None or edit.sole_consumer(value) is None:
            break
        index, factor, summand = step
        offset += slope * summand
        slope *= factor
        nodes.append(node)
        value = node.inputs[index]
    return None if value is None or slope == 0 else _Line(value, slope, offset, nodes)


def _step(node: ir.Node) -> tuple[int, float, float] | None:
    """One operator as ``factor * inputs[index] + summand``."""
    if not edit.is_op(node, "Add", "Sub", "Mul", "Div"):
        return None
    for index in (0, 1):
        number = pattern.scalar_beside(node, 1 - index)
        if number is None:
            continue
        if node.op_type == "Add":
            return index, 1.0, number
        if node.op_type == "Sub":
            return (0, 1.0, -number) if index == 0 else (1, -1.0, number)
        if node.op_type == "Mul":
            return index, number, 0.0
        return (0, 1.0 / number, 0.0) if index == 0 and number else None
    return None
