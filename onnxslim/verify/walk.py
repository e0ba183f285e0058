"""The graph of a model as plain facts: who computes what, what is random, what lies before it.

Taken once from an ``onnx_ir.Model`` (which a pipeline may then edit in place) and used to find
the float tensors before an output that both models have under the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from onnxslim.graph.edit import RANDOM_OPS, is_inference_dropout, subgraphs

DISCRETE_OPS = frozenset(
    "ArgMax ArgMin And Cast Ceil Compress DynamicQuantizeLinear Equal Floor Greater GreaterOrEqual"
    " Hardmax IsInf IsNaN Less LessOrEqual Mod NonMaxSuppression NonZero QuantizeLinear Round Sign"
    " TopK TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor Unique ThresholdedRelu".split()
)
"""Operators that jump: two inputs equal within rounding may give quite different outputs."""

Verdict = Literal["stop", "pass"]


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node of the main graph; ``inputs`` includes what its subgraphs capture."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    random: bool
    discrete: bool
    low_precision: bool = False


class GraphFacts:
    """The main graph of a model, without its weights.

    Args:
        nodes: In topological order.
        inputs: Names of the graph inputs that must be fed (no overridable initializers).
        outputs: Names of the graph outputs.
    """

    def __init__(
        self, nodes: Iterable[NodeFacts], inputs: Iterable[str], outputs: Iterable[str]
    ) -> None:
        self.nodes = tuple(nodes)
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self._producer = {name: node for node in self.nodes for name in node.outputs}
        self.order = {name: i for i, name in enumerate(self._producer)}

    @classmethod
    def of(cls, model: ir.Model) -> GraphFacts:
        """Takes the facts of a model, its functions included."""
        scan = _Scan(model)
        nodes = [
            NodeFacts(
                f"{node.domain}:{node.op_type}" if node.domain else node.op_type,
                tuple(_reads(node)),
                tuple(v.name for v in node.outputs if v.name),
                scan.any(node, _is_random),
                scan.any(node, _is_discrete),
                scan.any(node, _is_low_precision),
            )
            for node in model.graph
        ]
        graph = model.graph
        fed = [v for v in graph.inputs if v.name not in graph.initializers]
        return cls(nodes, _names(fed), _names(graph.outputs))

    def names(self) -> tuple[str, ...]:
        """Every computed value, in topological order."""
        return tuple(self.order)

    def upstream(self, name: str) -> Iterator[NodeFacts]:
        """The nodes that a value depends on, nearest first."""
        seen: set[str] = {name}
        queue = [name]
        done: set[int] = set()
        for current in queue:
            node = self._producer.get(current)
            if node is None or id(node) in done:
                continue
            done.add(id(node))
            yield node
            for before in node.inputs:
                if before not in seen:
                    seen.add(before)
                    queue.append(before)

    def tainted(self, test: Callable[[NodeFacts], bool]) -> frozenset[str]:
        """The values that depend on a node for which ``test`` holds."""
        found: set[str] = set()
        for node in self.nodes:
            if test(node) or any(name in found for name in node.inputs):
                found.update(node.outputs)
        return frozenset(found)

    def live(self) -> frozenset[str]:
        """The values that depend on a graph input."""
        found = set(self.inputs)
        for node in self.nodes:
            if any(name in found for name in node.inputs):
                found.update(node.outputs)
        return frozenset(found)

    def frontier(self, name: str, verdict: Callable[[str], Verdict]) -> list[str]:
        """The nearest values before ``name`` for which ``verdict`` says stop, nearest first."""
        found: list[str] = []
        seen: set[str] = {name}
        queue = [name]
        for current in queue:
            node = self._producer.get(current)
            for before in () if node is None else node.inputs:
                if before in seen or before not in self._producer:
                    continue
                seen.add(before)
                if verdict(before) == "stop":
                    found.append(before)
                else:
                    queue.append(before)
        return found


def _names(values: Iterable[ir.Value]) -> list[str]:
    return [v.name for v in values if v.name]


def _reads(node: ir.Node) -> Iterator[str]:
    """Names that a node reads, captured ones included, once each, in order."""
    if not any(True for _ in subgraphs(node)):
        yield from dict.fromkeys(v.name for v in node.inputs if v is not None and v.name)
        return
    found: dict[str, None] = {}
    bound: set[int] = set()
    stack: list[ir.Node] = [node]
    reads: list[ir.Value] = []
    for current in stack:
        reads.extend(v for v in current.inputs if v is not None)
        for graph in subgraphs(current):
            bound.update(id(v) for v in graph.inputs)
            bound.update(id(v) for v in graph.initializers.values())
            reads.extend(graph.outputs)
            for inner in graph:
                bound.update(id(v) for v in inner.outputs)
                stack.append(inner)
    for value in reads:
        if id(value) not in bound and value.name:
            found[value.name] = None
    yield from found


def _is_random(node: ir.Node) -> bool:
    if node.domain:
        return False
    if node.op_type == "Dropout":
        return not is_inference_dropout(node)
    return node.op_type in RANDOM_OPS


def _is_discrete(node: ir.Node) -> bool:
    return node.op_type in DISCRETE_OPS


def _is_low_precision(node: ir.Node) -> bool:
    """Whether a node computes in float16 or less as far as constants, inputs and casts show."""
    if node.op_type == "Cast" and "to" in node.attributes:
        return node.attributes["to"].value in _LOW
    if node.op_type == "Constant" and "value" in node.attributes:
        tensor = node.attributes["value"].value
        return tensor is not None and tensor.dtype in _LOW
    given = (v for v in node.inputs if v is not None and v.producer() is None)
    return any(_dtype(v) in _LOW for v in given)


_LOW = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def _dtype(value: ir.Value) -> ir.DataType | None:
    return value.const_value.dtype if value.const_value is not None else value.dtype


class _Scan:
    """Looks into subgraphs and functions; each function is looked at once per question."""

    def __init__(self, model: ir.Model) -> None:
        self._functions: Mapping[ir.OperatorIdentifier, ir.Function] = model.functions
        self._known: dict[tuple[ir.OperatorIdentifier, str], bool] = {}

    def any(self, node: ir.Node, test: Callable[[ir.Node], bool]) -> bool:
        """Whether ``test`` holds for a node or for any node inside it."""
        if not self._functions and not any(True for _ in subgraphs(node)):
            return test(node)
        key = (node.op_identifier(), test.__name__)
        if node.op_identifier() in self._functions and key in self._known:
            return self._known[key]
        seen: set[ir.OperatorIdentifier] = set()
        stack = [node]
        for current in stack:
            if test(current) and current.op_identifier() not in self._functions:
                return self._store(key, True)
            stack.extend(inner for graph in subgraphs(current) for inner in graph)
            function = self._functions.get(current.op_identifier())
            if function is not None and current.op_identifier() not in seen:
                seen.add(current.op_identifier())
                stack.extend(function)
        return self._store(key, False)

    def _store(self, key: tuple[ir.OperatorIdentifier, str], answer: bool) -> bool:
        if key[0] in self._functions:
            self._known[key] = answer
        return answer
