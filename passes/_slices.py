"""What a Slice takes from each axis, read from and written to a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.pipeline.context import PassContext

Dim = int | ir.SymbolicDim
TO_THE_END = 2**63 - 1
_LARGE = 2**31 - 1
"""Ends from here on mean "to the end": exporters write INT32_MAX or INT64_MAX."""


@dataclass(frozen=True)
class Range:
    """Elements of one axis as a Slice states them: negative positions count from the end.

    Attributes:
        start: First element.
        end: First element that is not taken any more.
        step: Distance; negative walks backwards.
    """

    start: int
    end: int
    step: int = 1

    @property
    def is_all(self) -> bool:
        """True when the whole axis is taken, whatever its size."""
        return (self.start, self.step) == (0, 1) and self.end >= _LARGE

    def resolve(self, size: int) -> range:
        """The elements that are taken from an axis of this size (Slice-13)."""
        low, high = (0, size) if self.step > 0 else (-1, size - 1)
        start, end = (p + size if p < 0 else p for p in (self.start, self.end))
        return range(min(max(start, 0), high), min(max(end, low), high), self.step)


def state(elements: range, size: int) -> Range:
    """How a Slice states these elements of an axis of this size."""
    if not len(elements):
        return Range(0, 0)
    end = elements[-1] + (1 if elements.step > 0 else -1)
    if elements.step > 0 and end == size:
        end = TO_THE_END
    return Range(elements[0], end if end >= 0 else -size - 1, elements.step)


def read_slice(node: ir.Node, opset: int) -> dict[int, Range] | None:
    """Axis to range of a Slice with constant limits; None for another one."""
    rank = edit.rank_of(node.inputs[0])
    if rank is None:
        return None
    if opset < 10:
        parts = [edit.attr(node, name) for name in ("starts", "ends", "axes")] + [None]
        given = ["starts" in node.attributes, "ends" in node.attributes, "axes" in node.attributes]
    else:
        values = [edit.get_input(node, i) for i in range(1, 5)]
        parts = [edit.ints(value) for value in values]
        given = [value is not None for value in values]
    if any(there and part is None for there, part in zip(given, parts, strict=False)):
        return None
    starts, ends, axes, steps = parts
    if starts is None or ends is None or len(starts) != len(ends):
        return None
    axes = list(range(len(starts))) if axes is None else [a + rank if a < 0 else a for a in axes]
    steps = [1] * len(starts) if steps is None else steps
    if not len(axes) == len(steps) == len(starts) or len(set(axes)) != len(axes):
        return None
    if 0 in steps or not all(0 <= axis < rank for axis in axes):
        return None
    if any(step < 0 and end >= _LARGE for step, end in zip(steps, ends, strict=True)):
        return None  # nothing by the standard, everything in ONNX Runtime
    ranges = zip(axes, starts, ends, steps, strict=True)
    return {axis: Range(start, end, step) for axis, start, end, step in ranges}


def make_slice(
    x: ir.Value, ranges: Mapping[int, Range], graph: ir.Graph, ctx: PassContext
) -> ir.Node:
    """A Slice in the form of the opset (steps only when there are any)."""
    axes = sorted(ranges)
    columns = {
        "starts": [ranges[axis].start for axis in axes],
        "ends": [ranges[axis].end for axis in axes],
        "axes": axes,
        "steps": [ranges[axis].step for axis in axes],
    }
    if all(step == 1 for step in columns["steps"]):
        del columns["steps"]
    if ctx.opset < 10:
        return edit.new_node("Slice", [x], columns)
    inputs = [
        ctx.constant(graph, name, np.array(column, np.int64)) for name, column in columns.items()
    ]
    return edit.new_node("Slice", [x, *inputs])


def compose(first: Range, second: Range, size: Dim | None) -> Range | None:
    """The range that takes what ``second`` takes of what ``first`` takes; None when unknown.

    Args:
        first: Applied first.
        second: Applied to its result.
        size: Size of the axis before; when it is no number only what holds for every size counts.
    """
    if first.is_all:
        return second
    if second.is_all:
        return first
    if isinstance(size, int):
        inner = first.resolve(size)
        outer = second.resolve(len(inner))
        return state(inner[outer.start : _stop(outer) : outer.step], size)
    return _compose_unknown(first, second)


def _stop(elements: range) -> int | None:
    return None if elements.stop < 0 else elements.stop


def _compose_unknown(first: Range, second: Range) -> Range | None:
    """Composition of forward ranges of an axis of any size."""
    if min(first.step, second.step) < 1 or min(first.start, second.start) < 0:
        return None
    start = first.start + second.start * first.step
    end = _end_unknown(first, second)
    return None if end is None else Range(start, end, first.step * second.step)


def _end_unknown(first: Range, second: Range) -> int | None:
    open_first, open_second = first.end >= _LARGE, second.end >= _LARGE
    if open_second:
        return first.end
    if second.end > second.start:
        if first.end < 0:
            return None
        last = first.start + (second.end - 1) * first.step + 1
        return last if open_first else min(first.end, last)
    if second.end < 0 and first.step == 1:
        if open_first:
            return second.end
        return first.end + second.end if first.end < 0 else None
    return None
