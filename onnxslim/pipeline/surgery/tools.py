"""What the patches of surgery share: kept indices of a value, private constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dependency.groups import Indices, Kept
from onnxslim.analysis.dependency.literals import Entry, shape_entries
from onnxslim.graph.edit import constant_tensor, get_input, shape_of
from onnxslim.pipeline.context import PassContext


@dataclass(frozen=True)
class Tools:
    """The context of the edits and the decision.

    Attributes:
        ctx: Edits go through it.
        kept: What stays.
    """

    ctx: PassContext
    kept: Kept

    def axes(self, value: ir.Value | None) -> Mapping[int, Indices]:
        """Kept indices of the axes of a value that lose something."""
        return {} if value is None else self.kept.axes.get(value.name or "", {})

    def size(self, value: ir.Value | None, axis: int) -> int | None:
        """Size of an axis afterwards; None where it is dynamic."""
        dims = shape_of(value)
        if value is None or dims is None:
            return None
        axis %= len(dims)
        index = self.axes(value).get(axis)
        if index is not None:
            return len(index)
        size = dims[axis]
        return size if isinstance(size, int) else None

    def set_ints(self, node: ir.Node, index: int, numbers: Sequence[int]) -> None:
        """Let an input read a private constant."""
        graph = node.graph
        assert graph is not None
        old = get_input(node, index)
        dtype = np.int64 if old is None or old.dtype is None else old.dtype.numpy()
        value = self.ctx.constant(graph, old.name if old else None, np.asarray(numbers, dtype))
        if index >= len(node.inputs):
            node.resize_inputs(index + 1)
        self.ctx.set_input(node, index, value)

    def set_attributes(self, node: ir.Node, attributes: Mapping[str, Any]) -> None:
        """Change attributes of a node."""
        self.ctx.set_attributes(node, attributes)

    def write_sizes(self, node: ir.Node, index: int, sizes: Mapping[int, int]) -> None:
        """Put other literal sizes into a shape input; the one that others read stays as it is.

        Args:
            node: Whose input it is.
            index: Of the input.
            sizes: New number by position in the shape.
        """
        if not sizes:
            return
        value = get_input(node, index)
        entries = shape_entries(value)
        assert entries is not None and value is not None
        producer = value.producer()
        if constant_tensor(value) is not None:
            numbers = [e.number if e.number is not None else -1 for e in entries]
            for position, size in sizes.items():
                numbers[position] = size
            self.set_ints(node, index, numbers)
        elif producer is not None and all(entries[p].piece is not None for p in sizes):
            self._rewrite_concat(node, index, producer, entries, sizes)
        else:
            self._overwrite(node, index, value, len(entries), sizes)

    def _overwrite(
        self, node: ir.Node, index: int, value: ir.Value, count: int, sizes: Mapping[int, int]
    ) -> None:
        """Replace elements of a computed shape: ``shape * mask + numbers``."""
        graph = node.graph
        assert graph is not None
        mask, numbers = np.ones(count, np.int64), np.zeros(count, np.int64)
        for position, size in sizes.items():
            mask[position], numbers[position] = 0, size
        steps, current = [], value
        for op, array in (("Mul", mask), ("Add", numbers)):
            step = ir.node(op, [current, self.ctx.constant(graph, value.name, array)])
            step.name = self.ctx.names.node(node.name, op)
            current = step.outputs[0]
            current.name = self.ctx.names.value(value.name or "shape")
            step.meta.update(node.meta)
            steps.append(step)
        graph.insert_before(node, steps)
        node.replace_input_with(index, current)

    def _rewrite_concat(
        self,
        node: ir.Node,
        index: int,
        concat: ir.Node,
        entries: Sequence[Entry],
        sizes: Mapping[int, int],
    ) -> None:
        graph = node.graph
        assert graph is not None
        pieces = list(concat.inputs)
        for number, piece in enumerate(concat.inputs):
            own = [(p, e) for p, e in enumerate(entries) if e.piece == number]
            if piece is not None and any(p in sizes for p, _ in own):
                content = [sizes.get(p, e.number) for p, e in own]
                pieces[number] = self.ctx.constant(graph, piece.name, np.asarray(content, np.int64))
        new = ir.node("Concat", pieces, {"axis": 0})
        new.name = self.ctx.names.node(concat.name, "Concat")
        new.outputs[0].name = self.ctx.names.value(concat.outputs[0].name or "shape")
        new.meta.update(concat.meta)
        graph.insert_before(node, [new])
        node.replace_input_with(index, new.outputs[0])


Patch = Callable[[ir.Node, Tools], None]
"""Rewrites what one node says about the sizes of its axes."""
