"""Take the nodes of a subgraph out into the graph around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._facts import refresh
from onnxslim.pipeline.context import PassContext


def splice(
    node: ir.Node,
    body: ir.Graph,
    results: Sequence[ir.Value],
    ctx: PassContext,
    inputs: Mapping[ir.Value, ir.Value] | None = None,
    stack: Sequence[int] = (),
) -> None:
    """Replace ``node`` by the nodes of its subgraph ``body`` that ``results`` need.

    The nodes are moved: they keep names, provenance and facts; their values get fresh names, since
    names of a body may be used again elsewhere.

    Args:
        node: Holds ``body``; its other subgraphs are dropped.
        body: Left empty.
        results: What stands for each output of ``node``: values of the body, its inputs, or of
            outer scopes.
        ctx: For the edits.
        inputs: What stands for each input of the body.
        stack: Outputs of ``node`` that have an axis more, of size 1, in front.
    """
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    body.outputs.clear()
    given = dict(inputs or {})
    results = [given.get(value, value) for value in results]
    for formal, actual in given.items():
        formal.replace_all_uses_with(actual)
    moved = _needed(body, results)
    sources = {n: n.meta.get(edit.SOURCE, ()) for n in moved}
    _move_initializers(body, graph, ctx)
    body.remove(moved)
    for inner in moved:
        for value in inner.outputs:
            if value.name:
                value.name = ctx.names.value(value.name)
    stacked = _stack(node, results, stack, ctx)
    extra, pairs = _pairs(node, results, [*moved, *stacked])
    own = node.meta.get(edit.SOURCE, ())
    readers = list(node.successors())
    ctx.replace(node, [*moved, *stacked, *extra], pairs)
    for inner, before in sources.items():
        inner.meta[edit.SOURCE] = before or own
    refresh([*readers, *moved])


def _stack(
    node: ir.Node, results: list[ir.Value], places: Sequence[int], ctx: PassContext
) -> list[ir.Node]:
    """Nodes that give the results at ``places`` an axis in front; ``results`` is updated."""
    graph, nodes = node.graph, []
    assert isinstance(graph, ir.Graph)
    for place in places:
        if ctx.opset < 13:
            new = edit.new_node("Unsqueeze", [results[place]], {"axes": [0]})
        else:
            axes = ctx.constant(graph, "axes", np.array([0], np.int64))
            new = edit.new_node("Unsqueeze", [results[place], axes])
        results[place] = new.outputs[0]
        nodes.append(new)
    return nodes


def _needed(body: ir.Graph, results: Sequence[ir.Value]) -> list[ir.Node]:
    """The nodes of ``body`` that ``results`` rest on, in order."""
    needed: set[ir.Node] = set()
    wanted = {value.producer() for value in results}
    for node in reversed(list(body)):
        if node not in wanted:
            continue
        needed.add(node)
        wanted.update(node.predecessors())
        for inner in edit.subgraphs(node):
            wanted.update(v.producer() for n in inner.all_nodes() for v in n.inputs if v)
            wanted.update(v.producer() for v in _all_outputs(inner))
    return [node for node in body if node in needed]


def _all_outputs(graph: ir.Graph) -> list[ir.Value]:
    found = list(graph.outputs)
    for node in graph.all_nodes():
        for inner in edit.subgraphs(node):
            found.extend(inner.outputs)
    return found


def _move_initializers(body: ir.Graph, graph: ir.Graph, ctx: PassContext) -> None:
    for name in list(body.initializers):
        value = body.initializers.pop(name)
        tensor = value.const_value
        if tensor is not None and value.uses():
            value.replace_all_uses_with(ctx.constant(graph, name, tensor))


def _pairs(
    node: ir.Node, results: Sequence[ir.Value], moved: Sequence[ir.Node]
) -> tuple[list[ir.Node], list[tuple[ir.Value, ir.Value]]]:
    """Output by output what takes over; an Identity where a value cannot take over a name."""
    inside = set(moved)
    extra: list[ir.Node] = []
    pairs: list[tuple[ir.Value, ir.Value]] = []
    taken: set[ir.Value] = set()
    for out, value in zip(node.outputs, results, strict=True):
        if not out.uses() and not out.is_graph_output():
            continue
        if value.producer() not in inside or value in taken:
            copy = edit.new_node("Identity", [value])
            copy.outputs[0].type, copy.outputs[0].shape = value.type, value.shape
            extra.append(copy)
            _pass_facts(value, out)
            value = copy.outputs[0]
        else:
            _pass_facts(value, out)
        taken.add(value)
        pairs.append((out, value))
    return extra, pairs


def _pass_facts(value: ir.Value, out: ir.Value) -> None:
    """What is known of the body's value is known of the node's output from now on."""
    if value.shape is not None:
        out.type, out.shape = value.type, value.shape
