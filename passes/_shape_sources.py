"""Where in a graph a size can be read, and the fewest operators that read some sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim.analysis import dims
from onnxslim.graph import edit
from onnxslim.pipeline.context import PassContext

Dim = int | ir.SymbolicDim
Dims = tuple[Dim, ...]

_PER_SIZE = 8
"""Tensors remembered for each size; the earliest ones."""


@dataclass(frozen=True)
class Part:
    """Sizes of one tensor, or (``tensor`` None) numbers."""

    tensor: ir.Value | None
    axes: tuple[int, ...] | int
    """Axes of the tensor; or the numbers; a single one for a scalar."""
    is_range: bool = False


@dataclass(frozen=True)
class Plan:
    """Parts to be concatenated, and the number of operators that takes."""

    parts: tuple[Part, ...]
    cost: int
    shapes: dict[ir.Value, ir.Value] = field(default_factory=dict)
    """Results of Shape that are there already, by tensor."""

    def build(self, graph: ir.Graph, stem: str | None, ctx: PassContext) -> list[ir.Node]:
        """The operators, the last one giving the result."""
        nodes: list[ir.Node] = []
        values = [self._part(part, graph, stem, nodes, ctx) for part in self.parts]
        if len(values) > 1:
            nodes.append(edit.new_node("Concat", values, {"axis": 0}))
        return nodes

    def _part(
        self,
        part: Part,
        graph: ir.Graph,
        stem: str | None,
        nodes: list[ir.Node],
        ctx: PassContext,
    ) -> ir.Value:
        if part.tensor is None:
            return ctx.constant(graph, stem, np.array(part.axes, np.int64))
        if part.is_range:
            assert isinstance(part.axes, tuple)
            nodes.append(_shape(part.tensor, part.axes))
            return nodes[-1].outputs[0]
        shape = self.shapes.get(part.tensor)
        if shape is None:
            nodes.append(edit.new_node("Shape", [part.tensor]))
            shape = nodes[-1].outputs[0]
        index = ctx.constant(graph, stem, np.array(part.axes, np.int64))
        nodes.append(edit.new_node("Gather", [shape, index], {"axis": 0}))
        return nodes[-1].outputs[0]


def _shape(tensor: ir.Value, axes: tuple[int, ...]) -> ir.Node:
    """Shape of consecutive axes; of all of them without attributes."""
    limits = {"start": axes[0], "end": axes[-1] + 1}
    return edit.new_node("Shape", [tensor], {} if len(axes) == edit.rank_of(tensor) else limits)


class Sources:
    """Tensors of a graph by the sizes that they have.

    Args:
        graph: Its inputs and the outputs of its nodes are looked at, once.
        opset: ``Shape`` gives a range of axes from 15 on.
    """

    def __init__(self, graph: ir.Graph, opset: int) -> None:
        self._ranges = opset >= 15
        self._order: dict[ir.Node, int] = {}
        self._by_size: dict[str, list[ir.Value]] = {}
        self._shapes: dict[ir.Value, ir.Node] = {}
        for value in graph.inputs:
            self._add(value)
        for node in graph:
            self._order[node] = len(self._order)
            if edit.is_op(node, "Shape") and not node.attributes and node.inputs[0] is not None:
                self._shapes.setdefault(node.inputs[0], node)
            for value in node.outputs:
                self._add(value)

    def _add(self, value: ir.Value) -> None:
        if isinstance(value.type, (ir.SequenceType, ir.OptionalType)):
            return
        for size in dict.fromkeys(edit.shape_of(value) or ()):
            if not isinstance(size, int) and size.value:
                tensors = self._by_size.setdefault(size.value, [])
                if len(tensors) < _PER_SIZE:
                    tensors.append(value)

    def plan(
        self, wanted: Dims, scalar: bool, before: ir.Node, dead: frozenset[ir.Node]
    ) -> Plan | None:
        """The cheapest way to the sizes ``wanted`` in front of a node, or None.

        Args:
            wanted: Numbers and sizes.
            scalar: The result has no axis.
            before: Only what is defined before this node is used.
            dead: Nodes that will not be there.
        """
        found = [*self._gathers(wanted, scalar, before, dead)]
        if not scalar and self._ranges:
            parts = self._parts(wanted, before, dead)
            if parts is not None:
                reads = sum(part.tensor is not None for part in parts)
                found.append(Plan(tuple(parts), reads + (len(parts) > 1)))
        return min(found, key=lambda plan: plan.cost, default=None)

    def _usable(self, size: Dim, before: ir.Node, dead: frozenset[ir.Node]) -> Iterator[ir.Value]:
        if isinstance(size, int):
            return
        for value in self._by_size.get(size.value or "", ()):
            producer = value.producer()
            if producer is None:
                yield value
            elif value.uses() and self._is_before(producer, before, dead):
                yield value

    def _is_before(self, node: ir.Node, before: ir.Node, dead: frozenset[ir.Node]) -> bool:
        if node.graph is None or node in dead or before not in self._order:
            return False
        return self._order.get(node, len(self._order)) < self._order[before]

    def _gathers(
        self, wanted: Dims, scalar: bool, before: ir.Node, dead: frozenset[ir.Node]
    ) -> Iterator[Plan]:
        """Shape and Gather of one tensor that has all of the sizes."""
        lead = next(size for size in wanted if not isinstance(size, int))
        for tensor in self._usable(lead, before, dead):
            axes = _axes_of(wanted, edit.shape_of(tensor) or ())
            if axes is None:
                continue
            node = self._shapes.get(tensor)
            there = node is not None and self._is_before(node, before, dead)
            shapes = {tensor: node.outputs[0]} if there and node is not None else {}
            part = Part(tensor, axes[0] if scalar else axes)
            yield Plan((part,), 1 if there else 2, shapes)

    def _parts(self, wanted: Dims, before: ir.Node, dead: frozenset[ir.Node]) -> list[Part] | None:
        """Runs of numbers and of sizes that stand together in one tensor, longest first."""
        parts: list[Part] = []
        place = 0
        while place < len(wanted):
            size = wanted[place]
            if isinstance(size, int):
                if parts and parts[-1].tensor is None and isinstance(parts[-1].axes, tuple):
                    parts[-1] = Part(None, (*parts[-1].axes, size))
                else:
                    parts.append(Part(None, (size,)))
                place += 1
                continue
            run = self._longest(wanted[place:], before, dead)
            if run is None or not isinstance(run.axes, tuple):
                return None
            parts.append(run)
            place += len(run.axes)
        return parts

    def _longest(self, wanted: Dims, before: ir.Node, dead: frozenset[ir.Node]) -> Part | None:
        best: Part | None = None
        length = 0
        for tensor in self._usable(wanted[0], before, dead):
            shape = edit.shape_of(tensor) or ()
            for start in range(len(shape)):
                count = _common(wanted, shape[start:])
                if count > length:
                    length = count
                    best = Part(tensor, tuple(range(start, start + count)), is_range=True)
        return best


def _common(a: Sequence[Dim], b: Sequence[Dim]) -> int:
    count = 0
    while count < min(len(a), len(b)) and dims.known_equal(a[count], b[count]):
        count += 1
    return count


def _axes_of(wanted: Dims, shape: Sequence[Dim]) -> tuple[int, ...] | None:
    """For each size the first axis that has it, or None."""
    axes = []
    for size in wanted:
        places = (i for i, d in enumerate(shape) if dims.known_equal(size, d))
        axis = next(places, None)
        if axis is None:
            return None
        axes.append(axis)
    return tuple(axes)
