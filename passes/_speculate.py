"""What would follow if a certain branch of an If were taken."""

from __future__ import annotations

import heapq
from typing import Any

import onnx_ir as ir

from onnxslim.analysis.shapes import infer_node
from onnxslim.graph import edit

_Fact = tuple[ir.TypeProtocol | None, ir.Shape | None, dict[str, Any]]

_STRICT = {"LSTM": 3, "GRU": 3, "RNN": 3, "Gemm": 2}
"""Operators that ONNX Runtime refuses to run on data of any other rank."""


def certainly_fails(node: ir.Node, body: ir.Graph, reach: int) -> bool:
    """True when a node that always runs after ``node`` cannot run on what ``body`` gives.

    Facts are inferred as if the branch were taken, and put back. Only nodes of the same graph
    count (one in a subgraph may never run), and only a wrong rank of an operator that checks it.

    Args:
        node: An If.
        body: One of its branches, inferred.
        reach: How many nodes to follow.
    """
    kept: dict[ir.Value, _Fact] = {}
    try:
        for out, value in zip(node.outputs, body.outputs, strict=True):
            _keep(out, kept)
            out.type, out.shape = value.type, value.shape
        return _follow(node, reach, kept)
    finally:
        for value, (kind, shape, meta) in kept.items():
            value.type, value.shape = kind, shape
            value.meta.clear()
            value.meta.update(meta)


def _keep(value: ir.Value, kept: dict[ir.Value, _Fact]) -> None:
    if value not in kept:
        kept[value] = (value.type, value.shape, dict(value.meta))


def _follow(start: ir.Node, reach: int, kept: dict[ir.Value, _Fact]) -> bool:
    graph = start.graph
    order = _positions(start)
    waiting = [(order[n], n) for n in _readers(start, graph) if n in order]
    heapq.heapify(waiting)
    done: set[ir.Node] = set()
    while waiting and len(done) < reach:
        _, node = heapq.heappop(waiting)
        if node in done:
            continue
        done.add(node)
        if _cannot_run(node):
            return True
        if any(True for _ in edit.subgraphs(node)) and not edit.is_op(node, "If"):
            continue
        if not _infer(node, kept):
            continue
        for reader in _readers(node, graph):
            if reader in order and reader not in done:
                heapq.heappush(waiting, (order[reader], reader))
    return False


def _infer(node: ir.Node, kept: dict[ir.Value, _Fact]) -> bool:
    """Infer with the assumption; False when nothing changed. Inner facts are put back too."""
    for value in node.outputs:
        _keep(value, kept)
    for inner in edit.subgraphs(node):
        for inside in inner.all_nodes():
            for value in inside.outputs:
                _keep(value, kept)
    before = [(v.type, edit.shape_of(v), dict(v.meta)) for v in node.outputs]
    for value in node.outputs:
        value.shape = None
    infer_node(node)
    return before != [(v.type, edit.shape_of(v), dict(v.meta)) for v in node.outputs]


def _cannot_run(node: ir.Node) -> bool:
    wanted = None if node.domain else _STRICT.get(node.op_type)
    rank = edit.rank_of(node.inputs[0]) if node.inputs else None
    return wanted is not None and rank is not None and rank != wanted


def _readers(node: ir.Node, graph: ir.Graph | ir.Function | None) -> list[ir.Node]:
    """Nodes of the same graph that read the node's outputs, directly or in their subgraphs."""
    direct = [n for n in node.successors() if n.graph is graph]
    return list(dict.fromkeys(direct))


def _positions(start: ir.Node) -> dict[ir.Node, int]:
    """The nodes after ``start`` in its graph, numbered."""
    found: dict[ir.Node, int] = {}
    seen = False
    for node in start.graph or ():
        if seen:
            found[node] = len(found)
        seen = seen or node is start
    return found
