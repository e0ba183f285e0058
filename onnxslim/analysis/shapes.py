"""Shape inference: types, symbolic dimensions and small integer contents of every value.

One forward pass over the graph and its subgraphs. Graph inputs and constants are the only sources:
whatever the file said about other values is dropped. A shape object may be shared by several
values; it is frozen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from onnxslim.analysis import (
    shape_rules_control,
    shape_rules_conv,
    shape_rules_elementwise,
    shape_rules_generator,
    shape_rules_index,
    shape_rules_linear,
    shape_rules_movement,
    shape_rules_quantization,
    shape_rules_recurrent,
    shape_rules_reduction,
    shape_rules_sequence,
)
from onnxslim.analysis.branches import forced_branches
from onnxslim.analysis.dims import Dim, known_equal
from onnxslim.analysis.shape_context import (
    VALUES,
    BodyInput,
    NodeContext,
    Rule,
    describe,
    known_values,
)
from onnxslim.analysis.shape_fallback import Fallback, ShapeWorker
from onnxslim.analysis.shape_rules_contrib import MICROSOFT, ML
from onnxslim.analysis.symbols import Symbols
from onnxslim.analysis.values import set_values
from onnxslim.graph.edit import subgraphs

__all__ = ["RULES", "infer_node", "infer_shapes", "known_values"]

_STATE = "onnxslim.shapes"
MAX_ROUNDS = 4
MAX_DEPTH = 64
"""Subgraphs nested deeper are left without shapes: inference is recursive there."""

RULES: Mapping[str, Mapping[str, Rule]] = {
    "": {
        **shape_rules_elementwise.RULES,
        **shape_rules_movement.RULES,
        **shape_rules_index.RULES,
        **shape_rules_linear.RULES,
        **shape_rules_conv.RULES,
        **shape_rules_reduction.RULES,
        **shape_rules_recurrent.RULES,
        **shape_rules_quantization.RULES,
        **shape_rules_generator.RULES,
        **shape_rules_control.RULES,
        **shape_rules_sequence.RULES,
    },
    "com.microsoft": MICROSOFT,
    "ai.onnx.ml": ML,
}
"""Shape rules by domain and operator."""


def infer_shapes(
    model: ir.Model,
    *,
    worker: ShapeWorker | None = None,
    only: Iterable[ir.Node] | None = None,
    problems: list[str] | None = None,
) -> None:
    """Set type, shape and ``onnxslim.values`` of every value of ``model`` in place.

    Args:
        model: Changed in place: facts only, never nodes. Function bodies are left alone.
        worker: Child process asked (onnx's C++) about standard operators without a rule.
        only: Infer only these nodes, in this order, instead of everything.
        problems: Receives one line per node that certainly cannot run.
    """
    if only is not None:
        for node in only:
            infer_node(node, worker=worker, problems=problems)
        return
    engine = _Inference.of_model(model)
    engine.attach(worker, problems)
    engine.inputs(model.graph)
    engine.graph(model.graph)
    for _ in range(MAX_ROUNDS if engine.open_branches else 0):
        forced = forced_branches(model.graph)
        if not forced:
            break
        engine.forced.update(forced)
        engine.attach(worker, None)  # problems were found in the first round
        engine.graph(model.graph)
    engine.attach(None, None)


def infer_node(
    node: ir.Node, *, worker: ShapeWorker | None = None, problems: list[str] | None = None
) -> None:
    """Infer one node from its inputs' facts, after a rewrite.

    A size that cannot be derived keeps the symbol that the output had before. Outputs of an
    operator that is not known are left as they are.
    """
    graph = node.graph
    engine: _Inference | None = None if graph is None else graph.meta.get(_STATE)
    if engine is None:
        engine = _Inference(graph.opset_imports if graph is not None else {}, Symbols())
        if graph is not None:
            graph.meta[_STATE] = engine
    engine.attach(worker, problems)
    engine.again(node)
    engine.attach(None, None)


class _Inference:
    """State shared by every graph of one model: opset and the source of fresh symbols."""

    def __init__(self, opsets: Mapping[str, int], symbols: Symbols) -> None:
        self.opsets = dict(opsets)
        self.opset = self.opsets.get("", self.opsets.get("ai.onnx", 1))
        self.symbols = symbols
        self.depth = 0
        self.forced: dict[ir.Node, int] = {}
        self.open_branches = False
        self._problems: list[str] | None = None
        self._fallback: Fallback | None = None

    @classmethod
    def of_model(cls, model: ir.Model) -> _Inference:
        names = [
            dim.value
            for value in model.graph.inputs
            if value.shape is not None
            for dim in value.shape
            if isinstance(dim, ir.SymbolicDim)
        ]
        return cls(model.graph.opset_imports, Symbols(names))

    def attach(self, worker: ShapeWorker | None, problems: list[str] | None) -> None:
        """Where to ask and where to complain, for the time of one call."""
        self._problems = problems
        if worker is None:
            self._fallback = None
        elif self._fallback is None or self._fallback.worker is not worker:
            self._fallback = Fallback(worker, self.opsets)

    # ---------------------------------------------------------------- for rules

    def fresh(self) -> ir.SymbolicDim:
        """A symbol that differs from every other one."""
        return self.symbols.fresh()

    @property
    def mark(self) -> int:
        """Position in the stream of fresh symbols."""
        return self.symbols.mark

    def is_younger(self, dim: Dim, mark: int) -> bool:
        """True when ``dim`` rests on a symbol made after ``mark``."""
        return self.symbols.is_younger(dim, mark)

    def problem(self, node: ir.Node, text: str) -> None:
        """Record that a node cannot run; one in a body may never be run, so is no problem."""
        if self._problems is not None and self.depth == 0:
            self._problems.append(f"{describe(node)}: {text}")

    def infer_body(self, graph: ir.Graph, inputs: Sequence[BodyInput]) -> None:
        """Infer a subgraph whose inputs are these."""
        for value, (kind, dims) in zip(graph.inputs, inputs, strict=False):
            value.type = kind
            value.shape = None if dims is None else ir.Shape(dims, frozen=True)
            value.meta.pop(VALUES, None)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            _forget_graph(graph)
        else:
            self.graph(graph)
        self.depth -= 1

    # ---------------------------------------------------------------- the pass

    def inputs(self, graph: ir.Graph) -> None:
        """Give the dimensions of the main graph's inputs safe, unique symbols."""
        for value in graph.inputs:
            if value.shape is not None:
                value.shape = ir.Shape((self._declared(d) for d in value.shape), frozen=True)
            value.meta.pop(VALUES, None)

    def _declared(self, dim: Dim) -> Dim:
        if isinstance(dim, int):
            return dim if dim >= 0 else self.fresh()
        return self.symbols.declared(dim.value)

    def graph(self, graph: ir.Graph) -> None:
        """Infer every node of a graph, in order."""
        graph.meta[_STATE] = self
        for value in graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and not value.is_graph_input():
                value.type = ir.TensorType(tensor.dtype)
                value.shape = ir.Shape(tensor.shape.numpy(), frozen=True)
        for node in graph:
            self.node(node)

    def node(self, node: ir.Node) -> None:
        """Forget what was said about a node's outputs, and infer them."""
        for out in node.outputs:
            out.type = None
            out.shape = None
            out.meta.pop(VALUES, None)
        domain = node.domain
        rule = RULES[domain].get(node.op_type) if domain in RULES else None
        if rule is None:
            return self._without_rule(node)
        ctx = NodeContext(node, self)
        rule(ctx)
        if not domain:
            set_values(ctx)

    def _without_rule(self, node: ir.Node) -> None:
        for graph in subgraphs(node):
            _forget_graph(graph)
        if self._fallback is not None:
            self._fallback.ask(node, self.symbols)

    def again(self, node: ir.Node) -> None:
        """Infer a node whose outputs had facts before."""
        mark = self.mark
        before = [(out.type, out.shape) for out in node.outputs]
        self.node(node)
        known = node.domain in RULES and node.op_type in RULES[node.domain]
        for out, (kind, shape) in zip(node.outputs, before, strict=True):
            if out.type is None and out.shape is None and not known:
                out.type, out.shape = kind, shape
            elif out.shape is not None and shape is not None:
                out.shape = self._refined(out.shape, shape, mark)

    def _refined(self, now: ir.Shape, before: ir.Shape, mark: int) -> ir.Shape:
        if len(now) != len(before):
            return now
        dims = [
            b if isinstance(b, ir.SymbolicDim) and b.value and self.is_younger(n, mark) else n
            for n, b in zip(now.dims, before.dims, strict=True)
        ]
        same = all(map(known_equal, dims, before.dims)) and before.frozen
        return before if same else ir.Shape(dims, frozen=True)


def _forget_graph(graph: ir.Graph) -> None:
    """Drop every fact in a graph that is not inferred, and in those below it."""
    stack = [graph]
    while stack:
        for node in stack.pop():
            for out in node.outputs:
                out.type = None
                out.shape = None
                out.meta.pop(VALUES, None)
            stack.extend(subgraphs(node))
