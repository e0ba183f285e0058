"""The queue behind :meth:`PassContext.nodes`."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

import onnx_ir as ir

from onnxslim.graph import edit


class Queue:
    """Nodes waiting to be visited, in graph order; a node waits at most once."""

    def __init__(self, ops: frozenset[str] | None, order: dict[ir.Node, int]) -> None:
        self._ops = ops
        self._order = order
        self._heap: list[tuple[int, ir.Node]] = []
        self._waiting: set[ir.Node] = set()

    def push(self, node: ir.Node) -> None:
        if node in self._waiting or (self._ops is not None and edit.op_id(node) not in self._ops):
            return
        self._waiting.add(node)
        heapq.heappush(self._heap, (self._order[node], node))

    def discard(self, node: ir.Node) -> None:
        self._waiting.discard(node)

    def pop(self) -> ir.Node | None:
        while self._heap:
            _, node = heapq.heappop(self._heap)
            if node in self._waiting and node.graph is not None:
                self._waiting.discard(node)
                return node
        return None


def few_readers(values: Iterable[ir.Value]) -> Iterator[ir.Node]:
    """Readers of values that have at most four: losing one of many readers enables no rewrite."""
    for value in values:
        if len(uses := value.uses()) <= 4:
            yield from (use.node for use in uses)
