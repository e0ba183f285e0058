"""What a model costs: multiply-accumulates and parameters.

Counted are the operators that multiply matrices (convolutions, matrix products, Einsum, recurrent
cells, attention, with their integer and fused variants: ``cost_rules``); all others count as 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from onnxslim.analysis.cost_rules import COUNTERS
from onnxslim.analysis.dims import Dim, Dims, add, known_less
from onnxslim.analysis.symbols import substitute
from onnxslim.graph.edit import all_graphs, attr, subgraphs

_NO_PARAMETERS = frozenset((ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.STRING))


def node_macs(node: ir.Node) -> Dim | None:
    """Multiply-accumulates of one node (shapes inferred before); None when shapes are unknown.

    A node with subgraphs counts them once, an ``If`` its larger branch.
    """
    counter = COUNTERS.get((node.domain, node.op_type))
    if counter is not None:
        return counter(node)
    bodies = [_total(graph) for graph in subgraphs(node)]
    if not bodies:
        return 0
    if node.op_type == "If":
        return _larger(bodies)
    return _sum(bodies)


def _total(graph: Iterable[ir.Node]) -> Dim | None:
    return _sum(node_macs(node) for node in graph)


def _sum(parts: Iterable[Dim | None]) -> Dim | None:
    total: Dim = 0
    for part in parts:
        if part is None:
            return None
        total = add(total, part)
    return total


def _larger(parts: list[Dim | None]) -> Dim | None:
    best: Dim = 0
    for part in parts:
        if part is None:
            return None
        smaller = known_less(best, part, or_equal=True)
        if smaller is None:
            return None
        best = part if smaller else best
    return best


def model_macs(model: ir.Model, bindings: Mapping[str, int] | None = None) -> int | None:
    """Multiply-accumulates of one run; None when shapes stay unknown or symbols unbound.

    Args:
        model: With inferred shapes; functions inlined (a call counts as unknown).
        bindings: Sizes of symbols, for example :func:`batch_of_one`.
    """
    calls = {(function.domain, function.name) for function in model.functions.values()}
    if calls and any((n.domain, n.op_type) in calls for g in all_graphs(model) for n in g):
        return None
    sizes: dict[str, Dim] = dict(bindings or {})
    total: Dim = 0
    for node in model.graph:
        part = node_macs(node)
        if part is None:
            return None
        total = add(total, substitute(part, sizes))
    return total if isinstance(total, int) else None


def batch_of_one(model: ir.Model) -> dict[str, int]:
    """Size 1 for every symbol that is the first dimension of a graph input."""
    first: list[Dims] = [v.shape.dims[:1] for v in model.graph.inputs if v.shape is not None]
    return {d.value: 1 for dims in first for d in dims if isinstance(d, ir.SymbolicDim) and d.value}


def parameter_count(model: ir.Model) -> int:
    """Elements of all weights: initializers and ``Constant`` tensors of rank 1 or more.

    Tensors of int64, bool and string are left out: they hold shapes, indices and words. A tensor
    that several nodes read counts once.
    """
    graphs: list[Iterable[ir.Node]] = [*all_graphs(model), *model.functions.values()]
    total = 0
    for graph in graphs:
        if isinstance(graph, ir.Graph):
            total += sum(_elements(value.const_value) for value in graph.initializers.values())
        for node in graph:
            if node.op_type == "Constant" and not node.domain:
                value = attr(node, "value")
                total += len(attr(node, "value_floats", ())) if value is None else _elements(value)
    return total


def _elements(tensor: ir.TensorProtocol | None) -> int:
    if tensor is None or len(tensor.shape) == 0 or tensor.dtype in _NO_PARAMETERS:
        return 0
    return int(tensor.size)
