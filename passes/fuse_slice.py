"""Fuse Slices: one of a Slice's result, one of a Concat's, one whose only element is squeezed.

    Slice(Slice(x))                        ->  Slice(x)
    Slice(Concat(a, b, c))                 ->  b, Concat(b, c), or a Slice of b
    Squeeze(Slice(x)[k:k+1], axis)         ->  Gather(x, k, axis)

Ranges on one axis are composed: with a known size exactly, else only where the result is the same
for every size.

Source: ONNX operators Slice-1/10/13, Gather-13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._slices import TO_THE_END, Range, compose, make_slice, read_slice, state
from onnxslim.passes._views import axes_of
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

_BLOCK = 16
"""Least number of neighbouring elements that a Gather has to copy at a time to be as fast."""


@register
@dataclass(frozen=True)
class FuseSlice(Pass):
    """Fuse chains of Slices, Slices of a Concat and Slices of one element that is squeezed.

    Skipped when ranges are not constant, when something else reads the first Slice, and when two
    ranges of one axis depend on a size that is not known.
    """

    name: ClassVar[str] = "fuse-slice"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Fuse every Slice with what is before and after it."""
        rewrites = sum(_chain(node, ctx) or _of_concat(node, ctx) for node in ctx.nodes("Slice"))
        return rewrites + sum(_element(node, ctx) for node in ctx.nodes("Squeeze"))


def _chain(second: ir.Node, ctx: PassContext) -> bool:
    middle = second.inputs[0]
    first = None if middle is None else middle.producer()
    if first is None or not edit.is_op(first, "Slice") or first.graph is not second.graph:
        return False
    x, graph = first.inputs[0], second.graph
    if x is None or middle is None or not isinstance(graph, ir.Graph):
        return False
    if not edit.is_sole_consumer(middle, second):
        return ctx.skip(second, "something else reads the first Slice")
    inner, outer = read_slice(first, ctx.opset), read_slice(second, ctx.opset)
    shape = edit.shape_of(x)
    if inner is None or outer is None or shape is None:
        return ctx.skip(second, "the limits of a Slice are not constant")
    ranges = dict(inner)
    for axis, taken in outer.items():
        both = compose(inner.get(axis, Range(0, TO_THE_END)), taken, shape[axis])
        if both is None:
            return ctx.skip(second, "both Slices cut an axis whose size is not known")
        ranges[axis] = both
    if ctx.opset < 10 and any(r.step != 1 for r in ranges.values()):
        return False
    ctx.replace([first, second], make_slice(x, ranges, graph, ctx))
    return True


# -------------------------------------------------------------------------- of a Concat


def _of_concat(node: ir.Node, ctx: PassContext) -> bool:
    joined = node.inputs[0]
    concat = None if joined is None else joined.producer()
    if concat is None or not edit.is_op(concat, "Concat") or concat.graph is not node.graph:
        return False
    ranges, rank = read_slice(node, ctx.opset), edit.rank_of(joined)
    axis = edit.attr(concat, "axis")
    if ranges is None or rank is None or axis is None:
        return False
    axis += rank if axis < 0 else 0
    cut = {a: r for a, r in ranges.items() if not r.is_all}
    if list(cut) != [axis] or cut[axis].step != 1:
        return False
    found = _parts(concat, cut[axis], axis)
    return found is not None and _take(node, concat, found, axis, ctx)


def _parts(concat: ir.Node, taken: Range, axis: int) -> tuple[list[ir.Value], Range] | None:
    """The inputs that the range touches, and the range within them."""
    sizes: list[int] = []
    for value in concat.inputs:
        shape = edit.shape_of(value)
        size = None if shape is None else shape[axis]
        if not isinstance(size, int):
            return None
        sizes.append(size)
    elements = taken.resolve(sum(sizes))
    if not len(elements):
        return None
    offset = before = 0
    chosen: list[tuple[ir.Value, int]] = []
    for value, size in zip(concat.inputs, sizes, strict=True):
        if value is not None and offset < elements.stop and offset + size > elements.start and size:
            before = before if chosen else offset
            chosen.append((value, size))
        offset += size
    total = sum(size for _, size in chosen)
    inside = range(elements.start - before, elements.stop - before)
    return [value for value, _ in chosen], state(inside, total)


def _take(
    node: ir.Node,
    concat: ir.Node,
    found: tuple[list[ir.Value], Range],
    axis: int,
    ctx: PassContext,
) -> bool:
    values, taken = found
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    if len(values) == len(concat.inputs):
        return False
    if len(values) == 1:
        if not taken.is_all:
            new = make_slice(values[0], {axis: taken}, graph, ctx)
            ctx.replace([concat, node], new)
            return True
        if not ctx.bypass(node, values[0]):
            return ctx.skip(node, "a graph output needs the Slice: its input cannot have the name")
        ctx.remove(concat)
        return True
    if not taken.is_all or not edit.is_sole_consumer(concat.outputs[0], node):
        return False
    ctx.replace([concat, node], edit.new_node("Concat", values, {"axis": axis}))
    return True


# -------------------------------------------------------------------------- one element


def _element(squeeze: ir.Node, ctx: PassContext) -> bool:
    one = squeeze.inputs[0]
    cut = None if one is None else one.producer()
    if cut is None or not edit.is_op(cut, "Slice") or cut.graph is not squeeze.graph:
        return False
    ranges, rank, x = read_slice(cut, ctx.opset), edit.rank_of(one), cut.inputs[0]
    if ranges is None or rank is None or x is None or one is None:
        return False
    taken = {axis: r for axis, r in ranges.items() if not r.is_all}
    axes = axes_of(squeeze, ctx.opset, rank)
    if len(taken) != 1 or axes != list(taken) or not edit.is_sole_consumer(one, squeeze):
        return False
    axis = axes[0]
    index = _only(taken[axis], (edit.shape_of(x) or ())[axis])
    if index is None or (index < 0 and ctx.opset < 11):
        return False
    if not _copies_blocks(x, axis):
        return ctx.skip(squeeze, "a Gather of single elements would be slower than the Slice")
    graph = squeeze.graph
    assert isinstance(graph, ir.Graph)
    position = ctx.constant(graph, "index", np.array(index, np.int64))
    ctx.replace([cut, squeeze], edit.new_node("Gather", [x, position], {"axis": axis}))
    return True


def _only(taken: Range, size: int | ir.SymbolicDim) -> int | None:
    """The position of a range of one element."""
    if isinstance(size, int):
        elements = taken.resolve(size)
        return elements[0] if len(elements) == 1 else None
    if taken.step != 1:
        return None
    if taken.start == -1:
        return -1 if taken.end >= 2**31 - 1 else None
    return taken.start if taken.end == taken.start + 1 else None


def _copies_blocks(x: ir.Value, axis: int) -> bool:
    """True when the elements of one position lie together, or when there are only few."""
    shape = edit.shape_of(x)
    if axis == 0 or shape is None:
        return axis == 0
    block = 1
    for size in shape[axis + 1 :]:
        block *= size if isinstance(size, int) else 1
    return block >= _BLOCK
