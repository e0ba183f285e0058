"""What a node depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import onnx_ir as ir

from onnxslim.graph import edit


def reads(node: ir.Node) -> list[ir.Value]:
    """Values of the node's graph that it reads, those its subgraphs capture included."""
    found = {id(v): v for v in node.inputs if v is not None}
    inner = _inside(node)
    own = {id(g) for g in inner}
    for graph in inner:
        local = {id(v) for v in (*graph.inputs, *graph.initializers.values())}
        for deep in graph:
            for value in deep.inputs:
                if value is None or id(value) in local:
                    continue
                maker = value.producer()
                if maker is None or id(maker.graph) not in own:
                    found.setdefault(id(value), value)
    return [v for v in found.values() if v.name]


def _inside(node: ir.Node) -> list[ir.Graph]:
    graphs = list(edit.subgraphs(node))
    for graph in graphs:
        for inner in graph:
            graphs += edit.subgraphs(inner)
    return graphs


def ancestors(
    values: Iterable[ir.Value], known: Callable[[ir.Value], bool] = lambda value: False
) -> set[ir.Node]:
    """Every node that values depend on, their makers included.

    Args:
        values: Where to start.
        known: Values behind which nothing is looked for.
    """
    found: set[ir.Node] = set()
    stack = list(values)
    while stack:
        value = stack.pop()
        node = None if known(value) else value.producer()
        if node is not None and node not in found:
            found.add(node)
            stack += reads(node)
    return found
