"""The queue behind :meth:`PassContext.nodes`."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

import onnx_ir as ir

from onnxslim.graph import edit


class Queue:
    """Nodes waiting to be visited, in graph order; a node waits at most once.

    Args:
        ops: Operators that are let in; None lets all in.
        order: Place of every node in the graph.
        nodes: Those that wait from the start, already known to be let in.
    """

    def __init__(
        self,
        ops: frozenset[str] | None,
        order: dict[ir.Node, int],
        nodes: Iterable[ir.Node] = (),
    ) -> None:
        self._ops = ops
        self._order = order
        self._waiting: set[ir.Node] = set(nodes)
        # from the last to the first, so that the next one is taken off the end
        self._first = sorted(self._waiting, key=order.__getitem__, reverse=True)
        self._heap: list[tuple[int, ir.Node]] = []

    def push(self, node: ir.Node) -> None:
        if node in self._waiting or (self._ops is not None and edit.op_id(node) not in self._ops):
            return
        self._waiting.add(node)
        heapq.heappush(self._heap, (self._order[node], node))

    def discard(self, node: ir.Node) -> None:
        self._waiting.discard(node)

    def pop(self) -> ir.Node | None:
        while self._first or self._heap:
            node = self._next()
            if node in self._waiting and node.graph is not None:
                self._waiting.discard(node)
                return node
        return None

    def _next(self) -> ir.Node:
        if not self._heap or (self._first and self._order[self._first[-1]] < self._heap[0][0]):
            return self._first.pop()
        return heapq.heappop(self._heap)[1]


def few_readers(values: Iterable[ir.Value]) -> Iterator[ir.Node]:
    """Readers of values that have at most four: losing one of many readers enables no rewrite."""
    for value in values:
        if len(uses := value.uses()) <= 4:
            yield from (use.node for use in uses)
