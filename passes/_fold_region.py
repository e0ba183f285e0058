"""Which nodes depend on constants only, and which of their results are worth writing down.

A *region* is all such nodes. Results that something outside reads are its *frontier*: only these
become initializers. A frontier value that would make the file larger is refused; its node then
stays, and its inputs become frontier values in turn.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._facts import tensor_bytes

_WEIGHT_TYPES = frozenset(
    t for t in ir.DataType if t.name.startswith(("INT", "UINT", "FLOAT")) and t.bitwidth <= 8
)
"""Types that hold quantized weights: widening them undoes the quantization."""

_MAX_CONE = 256
_NODE_BYTES = 64
"""What a node costs in the file at the least: names, operator, field headers."""


class Region:
    """Foldable nodes in topological order.

    Args:
        nodes: Where to start; readers of foldable nodes are followed.
        limit: Largest result of a node in bytes.
        skip: Called with a node and a reason when a foldable node is refused.
    """

    def __init__(
        self,
        nodes: Iterable[ir.Node],
        limit: int,
        skip: Callable[[ir.Node, str], bool],
    ) -> None:
        self._limit = limit
        self._skip = skip
        self.order: dict[ir.Node, int] = {}
        self._sequence: list[ir.Node] = []
        waiting = deque(nodes)
        while waiting:
            node = waiting.popleft()
            if node not in self.order and self._belongs(node):
                self.order[node] = len(self._sequence)
                self._sequence.append(node)
                waiting.extend(node.successors())

    def _belongs(self, node: ir.Node) -> bool:
        if node.domain or node.op_type == "Constant" or not node.outputs:
            return False
        if not all(v is None or self._is_known(v) for v in node.inputs):
            return False
        if any(True for _ in edit.subgraphs(node)) or not edit.is_deterministic(node):
            return False
        if any(attribute.is_ref() for attribute in node.attributes.values()):
            return False
        if _widens_weights(node):
            return self._skip(node, "it widens quantized weights")
        return self._is_small(node)

    def _is_known(self, value: ir.Value) -> bool:
        if value.dtype == ir.DataType.STRING or not isinstance(value.type, ir.TensorType):
            return False
        return value.producer() in self.order or edit.is_constant(value)

    def _is_small(self, node: ir.Node) -> bool:
        total = 0
        for value in node.outputs:
            if not value.name and not value.uses():
                continue
            size = _non_zero_bytes(node) if node.op_type == "NonZero" else tensor_bytes(value)
            if size is None:
                return self._skip(node, "the size of the result is not known")
            total += size
        if total > self._limit:
            return self._skip(node, f"the result is larger than {self._limit} bytes")
        return True

    def remove(self, nodes: Iterable[ir.Node]) -> None:
        """Take nodes and everything that depends on them out."""
        waiting = list(nodes)
        while waiting:
            node = waiting.pop()
            if self.order.pop(node, None) is not None:
                waiting.extend(node.successors())

    def frontier(self, node: ir.Node) -> list[ir.Value]:
        """Outputs of a node that something outside the region reads."""
        return [
            value
            for value in node.outputs
            if value.is_graph_output() or any(u.node not in self.order for u in value.uses())
        ]

    def choose(self, small: int) -> list[ir.Node]:
        """The nodes whose results become initializers, in topological order; refusals leave.

        Args:
            small: A result may make the file larger by this many bytes.
        """
        chosen = []
        for node in list(reversed(self.order)):
            values = self.frontier(node)
            if not values:
                continue
            refusal = None
            growth = sum(tensor_bytes(v) or 0 for v in values)
            if any(v.is_graph_output() for v in values):
                refusal = "a graph output must be written by a node"
            elif growth > 0:
                room = small // 8 if node.op_type == "ConstantOfShape" else small
                if growth > room and growth - self._freed(node) > room:
                    refusal = "the result would make the file larger"
            if refusal is not None:
                del self.order[node]
                self._skip(node, refusal)
                continue
            chosen.append(node)
        return chosen[::-1]

    def _freed(self, node: ir.Node) -> int:
        """Bytes of the nodes and constants that only this result still needs."""
        gone: dict[ir.Node, None] = {}
        sources: dict[ir.Value, None] = {}
        heap = [-self.order[node]]
        while heap and len(gone) < _MAX_CONE:
            current = self._sequence[-heapq.heappop(heap)]
            if current in gone or (gone and not _only_read_by(current, gone)):
                continue
            gone[current] = None
            for value in current.inputs:
                if value is None:
                    continue
                producer = value.producer()
                if producer in self.order and producer is not None:
                    heapq.heappush(heap, -self.order[producer])
                else:
                    sources[value] = None
        return _NODE_BYTES * len(gone) + sum(
            tensor_bytes(v) or 0
            for v in sources
            if not v.is_graph_output() and all(u.node in gone for u in v.uses())
        )

    def needed(self, chosen: Iterable[ir.Node]) -> list[ir.Node]:
        """The chosen nodes and what they depend on, in topological order."""
        found: dict[ir.Node, None] = {}
        waiting = list(chosen)
        while waiting:
            node = waiting.pop()
            if node not in found:
                found[node] = None
                waiting.extend(p for p in node.predecessors() if p in self.order)
        return sorted(found, key=self.order.__getitem__)


def _only_read_by(node: ir.Node, gone: dict[ir.Node, None]) -> bool:
    return all(
        not value.is_graph_output() and all(use.node in gone for use in value.uses())
        for value in node.outputs
    )


def _widens_weights(node: ir.Node) -> bool:
    if node.op_type == "DequantizeLinear":
        return True
    source = node.inputs[0] if node.inputs else None
    if not edit.is_op(node, "Cast", "CastLike") or source is None or source.dtype is None:
        return False
    target = node.outputs[0].dtype
    return source.dtype in _WEIGHT_TYPES and (
        target is None or target.bitwidth > source.dtype.bitwidth
    )


def _non_zero_bytes(node: ir.Node) -> int | None:
    shape = edit.static_shape(node.inputs[0])
    if shape is None:
        return None
    count = 8 * len(shape)
    for size in shape:
        count *= size
    return count
