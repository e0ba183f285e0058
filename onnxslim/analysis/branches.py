"""Which branch of an ``If`` is taken in every run that succeeds, known from the ranks it leads to.

Exporters write ``x.squeeze()`` as an ``If`` whose branches have different ranks, although what
follows (an LSTM, say) runs with one of them only. Such a demand is followed backwards through
operators that change the rank by a fixed number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx_ir as ir

from onnxslim.analysis.shape_context import known_values
from onnxslim.graph.edit import attr, get_input, ints, is_op, subgraphs

Ranks = frozenset[int]
Graphs = tuple[ir.Graph, ...]

_DEMANDS: Mapping[str, Mapping[int, int]] = {
    "RNN": {0: 3, 5: 3},
    "GRU": {0: 3, 5: 3},
    "LSTM": {0: 3, 5: 3, 6: 3},
}
"""Rank that an operator wants of its inputs, whatever their sizes."""

_SAME_RANK = frozenset(
    "Abs Cast Clip Dropout Elu Erf Exp Identity LeakyRelu Log Neg Relu Sigmoid Softmax Softplus"
    " Sqrt Tanh Transpose".split()
)
MAX_STEPS = 64


def forced_branches(graph: ir.Graph) -> dict[ir.Node, int]:
    """``If`` nodes of ``graph`` and below whose condition has one value in every good run.

    Args:
        graph: With inferred shapes. A demand counts for its own graph, and for the outer ones when
            its graph is a branch that is certainly taken: nodes of another one may not be run.

    Returns:
        1 for the then branch, 0 for the else branch.
    """
    found: dict[ir.Node, int] = {}
    stack: list[tuple[ir.Graph, Graphs]] = [(graph, (graph,))]
    while stack:
        current, run_too = stack.pop()
        for node in current:
            stack.extend(_bodies(node, run_too))
            for value, rank in _demands(node):
                _require(value, rank, list(run_too), found)
    return found


def _bodies(node: ir.Node, run_too: Graphs) -> Iterator[tuple[ir.Graph, Graphs]]:
    """Graphs below a node, each with the graphs that are run whenever it is."""
    taken = known_values(get_input(node, 0)) if is_op(node, "If") else None
    if taken is None or taken == (None,) or len(taken) != 1:
        yield from ((graph, (graph,)) for graph in subgraphs(node))
        return
    graph = attr(node, "then_branch" if taken[0] else "else_branch")
    if graph is not None:
        yield graph, (*run_too, graph)


def _demands(node: ir.Node) -> Iterator[tuple[ir.Value, int]]:
    wanted = _DEMANDS.get(node.op_type, {}) if not node.domain else {}
    for index, rank in wanted.items():
        value = get_input(node, index)
        if value is not None and value.shape is None:
            yield value, rank


def _require(
    value: ir.Value | None, rank: int, graphs: list[ir.Graph], found: dict[ir.Node, int]
) -> None:
    """Follow the demand that ``value`` has ``rank`` to the ``If`` nodes that decide it.

    ``graphs`` are those whose nodes are all run when the demand is made.
    """
    for _ in range(MAX_STEPS):
        node = None if value is None else value.producer()
        if value is None or node is None or value.shape is not None:
            return
        if not any(node.graph is graph for graph in graphs):
            return
        if is_op(node, "If"):
            chosen = _only_branch(node, value, rank)
            if chosen is None or node in found:
                return
            found[node] = chosen
            branch = attr(node, "then_branch" if chosen else "else_branch")
            graphs.append(branch)
            value = branch.outputs[node.outputs.index(value)]
            continue
        step = _step(node)
        if step is None:
            return
        value, rank = node.inputs[0], rank - step


def _only_branch(node: ir.Node, value: ir.Value, rank: int) -> int | None:
    index = node.outputs.index(value)
    possible = []
    for name in ("else_branch", "then_branch"):
        graph = attr(node, name)
        if graph is None or len(graph.outputs) <= index:
            return None
        ranks = _ranks(graph.outputs[index], 0)
        possible.append(ranks is None or rank in ranks)
    return int(possible[1]) if possible[0] != possible[1] else None


def _ranks(value: ir.Value | None, depth: int) -> Ranks | None:
    """Ranks that a value may have; None when nothing is known."""
    if value is None or depth > MAX_STEPS:
        return None
    if value.shape is not None:
        return frozenset((len(value.shape),))
    node = value.producer()
    if node is None:
        return None
    if is_op(node, "If"):
        index = node.outputs.index(value)
        parts = [_ranks(graph.outputs[index], depth + 1) for graph in subgraphs(node)]
        known = [part for part in parts if part is not None]
        return frozenset().union(*known) if len(known) == len(parts) else None
    step = _step(node)
    inner = None if step is None else _ranks(node.inputs[0], depth + 1)
    return None if inner is None or step is None else frozenset(r + step for r in inner)


def _step(node: ir.Node) -> int | None:
    """By how much an operator raises the rank of its first input; None when that is not fixed."""
    if node.domain or not node.inputs:
        return None
    if node.op_type in _SAME_RANK:
        return 0
    if node.op_type not in ("Squeeze", "Unsqueeze"):
        return None
    axes = attr(node, "axes")
    if axes is None:
        axes = ints(get_input(node, 1))
    if axes is None:
        return None
    return len(axes) if node.op_type == "Unsqueeze" else -len(axes)
