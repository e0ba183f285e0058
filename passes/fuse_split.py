"""Make one Split of Slices that take a tensor apart, and of a Split of another Split's output.

    x[:2], x[2:]                 ->  Split(x, (2, n - 2))
    a, b = Split(x); c, d = Split(b)  ->  a, c, d = Split(x)

Source: ONNX operators Split-2/13/18, Slice-13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._slices import read_slice
from onnxslim.passes._splits import make_split, split_sizes
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext


@register
@dataclass(frozen=True)
class FuseSplit(Pass):
    """Make one Split of Slices that together take a whole tensor apart, and of nested Splits.

    Skipped when sizes are not known and when something else reads the part that is split again.
    """

    name: ClassVar[str] = "fuse-split"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Merge nested Splits, then gather Slices of one tensor."""
        rewrites = sum(_nested(node, ctx) for node in ctx.nodes("Split"))
        found = [group for node in ctx.nodes("Slice") if (group := _group(node, ctx))]
        groups = list({tuple(slices): (slices, axis) for slices, axis in found}.values())
        return rewrites + _split_all(groups, ctx)


# -------------------------------------------------------------------------- nested


def _nested(second: ir.Node, ctx: PassContext) -> bool:
    part = second.inputs[0]
    first = None if part is None else part.producer()
    if first is None or not edit.is_op(first, "Split") or first.graph is not second.graph:
        return False
    x, rank, graph = first.inputs[0], edit.rank_of(part), second.graph
    if ctx.opset < 2 or x is None or part is None or rank is None:
        return False
    axes = [edit.attr(node, "axis", 0) for node in (first, second)]
    axes = [axis + rank if axis < 0 else axis for axis in axes]
    if axes[0] != axes[1]:
        return False
    if not edit.is_sole_consumer(part, second):
        return ctx.skip(second, "something else reads the part that is split again")
    outer, inner = split_sizes(first), split_sizes(second)
    if outer is None or inner is None or not isinstance(graph, ir.Graph):
        return ctx.skip(second, "the sizes of the parts are not known")
    index = first.outputs.index(part)
    new = make_split(x, outer[:index] + inner + outer[index + 1 :], axes[0], graph, ctx)
    _put_first(first, second, index, new, ctx)
    return True


def _put_first(first: ir.Node, second: ir.Node, index: int, new: ir.Node, ctx: PassContext) -> None:
    """Put ``new`` where ``first`` stands: its other parts may be read before ``second``."""
    count = len(second.outputs)
    pairs = [(v, new.outputs[i]) for i, v in enumerate(first.outputs) if i < index]
    tail = list(zip(first.outputs[index + 1 :], new.outputs[index + count :], strict=True))
    ctx.replace([first], new, [*pairs, *tail])
    for offset in range(count):
        done = ctx.bypass(second, new.outputs[index + offset], offset)
        assert done, "a new part can carry any name"
    ctx.remove(first)


# -------------------------------------------------------------------------- Slices


def _group(node: ir.Node, ctx: PassContext) -> tuple[list[ir.Node], int] | None:
    """The Slices that take the tensor apart that ``node`` slices, in the order of the parts."""
    x = node.inputs[0]
    mine = _cut(node, ctx.opset)
    if x is None or mine is None or mine[1].start != 0 or edit.is_constant(x):
        return None
    axis, part = mine
    size = (edit.shape_of(x) or ())[axis]
    if not isinstance(size, int) or ctx.opset < 2:
        return None
    following: dict[int, tuple[int, ir.Node]] = {}
    for use in x.uses():
        cut = _cut(use.node, ctx.opset) if use.node.graph is node.graph else None
        if cut is not None and cut[0] == axis:
            if cut[1].start in following:
                return None
            following[cut[1].start] = cut[1].stop, use.node
    chain, position = [node], part.stop
    while position < size and position in following:
        position, after = following[position]
        chain.append(after)
    return (chain, axis) if position == size and len(chain) > 1 else None


def _cut(node: ir.Node, opset: int) -> tuple[int, range] | None:
    """Axis and elements of a Slice that cuts one axis of known size."""
    if not edit.is_op(node, "Slice"):
        return None
    ranges, shape = read_slice(node, opset), edit.shape_of(node.inputs[0])
    if ranges is None or shape is None:
        return None
    cut = [(axis, r) for axis, r in ranges.items() if not r.is_all]
    if len(cut) != 1 or cut[0][1].step != 1:
        return None
    axis, taken = cut[0]
    size = shape[axis]
    elements = taken.resolve(size) if isinstance(size, int) else range(0)
    return (axis, elements) if len(elements) else None


def _split_all(groups: list[tuple[list[ir.Node], int]], ctx: PassContext) -> int:
    if not groups:
        return 0
    wanted = {node.graph for slices, _ in groups for node in slices}
    place = {n: i for g in wanted if g is not None for i, n in enumerate(g)}
    for slices, axis in groups:
        sizes = []
        for node in slices:
            cut = _cut(node, ctx.opset)
            assert cut is not None
            sizes.append(len(cut[1]))
        first = min(slices, key=place.__getitem__)
        x, graph = first.inputs[0], first.graph
        assert x is not None and isinstance(graph, ir.Graph)
        new = make_split(x, sizes, axis, graph, ctx)
        index = slices.index(first)
        ctx.replace([first], new, [(first.outputs[0], new.outputs[index])])
        for position, node in enumerate(slices):
            if node is not first:
                done = ctx.bypass(node, new.outputs[position])
                assert done, "a new part can carry any name"
    return len(groups)
