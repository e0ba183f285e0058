"""Fuse two nodes that keep the elements in order into one: Reshape, Flatten, Squeeze, Unsqueeze.

The second reads what the first reads. A 0 in the target of a Reshape means "as in my input", so it
is kept only where both inputs agree; elsewhere it becomes the size itself, or the one -1::

    x (2, 8, 12, 12) -> Reshape [0, 8, -1] -> Reshape [-1, 144]  ==  x -> Reshape [-1, 144]

Squeeze and Unsqueeze are composed axis by axis, which needs no sizes: axes of size 1 that go and
come back between the same neighbours cancel.

Source: ONNX operators Reshape-5/13/14, Flatten-13, Squeeze-13, Unsqueeze-13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.analysis import dims
from onnxslim.analysis.shapes import known_values
from onnxslim.graph import edit
from onnxslim.passes._facts import same_shape
from onnxslim.passes._views import VIEWS, View, axes_of, is_view, make_axes_node
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext


@register
@dataclass(frozen=True)
class FuseReshape(Pass):
    """Fuse chains of Reshape, Flatten, Squeeze and Unsqueeze into one node, or none.

    Skipped when the shape cannot be written as one constant target: two dimensions that are not
    known before the model runs and that the input does not have at the same place.
    """

    name: ClassVar[str] = "fuse-reshape"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Let every view that reads another view read that one's input."""
        return sum(_fuse(node, ctx) for node in ctx.nodes(*VIEWS))


def _fuse(second: ir.Node, ctx: PassContext) -> bool:
    middle = second.inputs[0] if second.inputs else None
    first = None if middle is None else middle.producer()
    if not is_view(first, ctx.opset) or first.graph is not second.graph:
        return False
    x = first.inputs[0]
    if x is None or middle is None or edit.is_constant(x):
        return False
    if same_shape(x, second.outputs[0]) and ctx.bypass(second, x):
        ctx.remove(first)
        return True
    if _fuse_axes(first, second, x, ctx):
        return True
    if second.op_type == "Reshape" and _reads_no_zero(second, middle, x):
        ctx.replace([first, second], _reading(second, x))
        return True
    source, wanted = edit.shape_of(x), edit.shape_of(second.outputs[0])
    view = None
    if source is not None and wanted is not None:
        view = View(source, wanted, (first, second))
    graph = second.graph
    if not view or not isinstance(graph, ir.Graph):
        return ctx.skip(second, "two dimensions of the result are not known before it runs")
    new = view.build(x, graph, ctx)
    if not new:  # the same shape
        return ctx.skip(second, "a graph output needs the node")
    ctx.replace([first, second], new)
    return True


def _reading(reshape: ir.Node, x: ir.Value) -> ir.Node:
    return edit.new_node("Reshape", [x, reshape.inputs[1]], reshape.attributes)


def _reads_no_zero(reshape: ir.Node, middle: ir.Value, x: ir.Value) -> bool:
    """True when the target means the same for both inputs: no 0, or equal sizes there."""
    if edit.attr(reshape, "allowzero", 0):
        return True
    target = reshape.inputs[1]
    content = edit.ints(target)
    entries = content if content is not None else known_values(target) if target else None
    if entries is None:
        return False
    old, new = edit.shape_of(middle) or (), edit.shape_of(x) or ()
    for index, entry in enumerate(entries):
        if entry is not None and (entry == -1 or dims.known_positive(entry)):
            continue
        if index >= min(len(old), len(new)) or not dims.known_equal(old[index], new[index]):
            return False
    return True


# -------------------------------------------------------------------------- axes of size 1


def _fuse_axes(first: ir.Node, second: ir.Node, x: ir.Value, ctx: PassContext) -> bool:
    """Compose Squeeze and Unsqueeze without looking at sizes."""
    rank, graph = edit.rank_of(x), second.graph
    nodes = (first, second)
    if rank is None or not all(edit.is_op(node, "Squeeze", "Unsqueeze") for node in nodes):
        return False
    assert isinstance(graph, ir.Graph)
    entries: list[int] = list(range(rank))
    for node in nodes:
        axes = axes_of(node, ctx.opset, len(entries))
        if axes is None:
            return False
        entries = _apply(node.op_type, entries, axes)
    dropped, added = _cancel(entries, rank)
    if dropped and added:
        return False
    if not dropped and not added:
        if not ctx.bypass(second, x):
            return False
        ctx.remove(first)
        return True
    op, axes = ("Squeeze", dropped) if dropped else ("Unsqueeze", added)
    ctx.replace([first, second], make_axes_node(op, x, axes, graph, ctx))
    return True


_NEW = -1


def _apply(op: str, entries: list[int], axes: list[int]) -> list[int]:
    if op == "Squeeze":
        return [entry for index, entry in enumerate(entries) if index not in axes]
    result = list(entries)
    for axis in axes:  # ascending, so each lands where the final shape has it
        result.insert(axis, _NEW)
    return result


def _cancel(entries: list[int], rank: int) -> tuple[list[int], list[int]]:
    """Axes of the input that are dropped and axes of the output that are new, pairs cancelled.

    Between two kept axes every dropped or new axis has size 1: they stand for each other.
    """
    kept = [entry for entry in entries if entry != _NEW]
    bounds = [-1, *kept, rank]
    dropped: list[int] = []
    added: list[int] = []
    position = 0
    for low, high in zip(bounds, bounds[1:], strict=False):
        old = list(range(low + 1, high))
        new = []
        while position < len(entries) and entries[position] == _NEW:
            new.append(position)
            position += 1
        position += 1
        common = min(len(old), len(new))
        dropped.extend(old[common:])
        added.extend(new[common:])
    return dropped, added
