"""Smaller models out of a model: some of its nodes, some of its outputs, one node less.

Every function gives a new model and leaves its argument alone; weights are shared. None means that
there is no such piece: a tensor of unknown type would have to become an input, or nothing is left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.graph.proto import bodies
from onnxslim.graph.signature import accept_ports


def nodes_of(model: ir.Model) -> list[ir.Node]:
    """Nodes of the main graph and of all bodies in it; positions below count in this list."""
    return [node for graph in edit.all_graphs(model) for node in graph]


def keep_nodes(model: ir.Model, kept: Collection[int]) -> ir.Model | None:
    """Only these nodes: what they read from others becomes inputs, in bodies too.

    Args:
        model: Types of its values must be inferred.
        kept: Positions in :func:`nodes_of`; a body goes with the node that holds it.
    """
    copy = model.clone()
    nodes = nodes_of(copy)
    left_out = [node for i, node in enumerate(nodes) if i not in kept]
    nested = {inner for node in left_out for inner in _inner(node)}
    dead = {*left_out, *nested}
    alive = [node for node in nodes if node not in dead]
    gone = {value for node in dead for value in node.outputs}
    wanted = {v for node in dead for v in _inputs(node)} | set(copy.graph.outputs)
    outputs = [v for n in alive if n.graph is copy.graph for v in n.outputs if v in wanted]
    cut = dict.fromkeys(v for node in alive for v in _inputs(node) if v in gone)
    ends = [v for node in alive for g in edit.subgraphs(node) for v in g.outputs if v in gone]
    cut.update(dict.fromkeys(ends))
    if not outputs or any(v.type is None for v in (*cut, *outputs)):
        return None
    for graph in [g for node in alive for g in edit.subgraphs(node)]:
        _make_outputs(graph, gone)
    copy.graph.outputs[:] = outputs
    fresh = [_as_input(value) for value in cut]
    for node in [n for n in left_out if n not in nested]:
        _remove(node)
    return finish(copy, fresh)


def _remove(node: ir.Node) -> None:
    """Take a node out of its graph, so that nothing counts what it and its bodies read."""
    for gone in (node, *_inner(node)):
        for index in range(len(gone.inputs)):
            gone.replace_input_with(index, None)
    if node.graph is not None:
        node.graph.remove(node, safe=False)


def _inner(node: ir.Node) -> Iterable[ir.Node]:
    for graph in edit.subgraphs(node):
        yield from graph.all_nodes()


def _inputs(node: ir.Node) -> Iterable[ir.Value]:
    return (v for v in node.inputs if v is not None)


def _make_outputs(graph: ir.Graph, gone: Collection[ir.Value]) -> None:
    """Outputs of a body are made in it: put an Identity where their node goes."""
    for index, value in enumerate(graph.outputs):
        if value in gone:
            node = ir.node("Identity", [value])
            node.outputs[0].name = f"{value.name}_kept"
            node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
            graph.append(node)
            graph.outputs[index] = node.outputs[0]


def inline_branch(model: ir.Model, position: int, name: str) -> ir.Model | None:
    """The nodes of one branch of an ``If`` in its place."""
    copy = model.clone()
    node = nodes_of(copy)[position]
    graph = node.graph
    if not edit.is_op(node, "If") or not isinstance(graph, ir.Graph):
        return None
    branch = node.attributes[name].as_graph()
    results = list(branch.outputs)
    inner = list(branch)
    if any(v.producer() not in set(inner) for v in results):
        return None
    for value in list(branch.initializers.values()):
        del branch.initializers[value.name or ""]
        graph.register_initializer(value)
    branch.outputs.clear()
    branch.remove(inner)
    graph.insert_before(node, inner)
    for old, new in zip(node.outputs, results, strict=True):
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    _remove(node)
    return finish(copy)


def trim_outputs(model: ir.Model, position: int) -> ir.Model | None:
    """An ``If`` without the outputs that nobody reads."""
    copy = model.clone()
    node = nodes_of(copy)[position]
    used = [i for i, v in enumerate(node.outputs) if edit.use_count(v)]
    if not edit.is_op(node, "If") or not used or len(used) == len(node.outputs):
        return None
    for graph in edit.subgraphs(node):
        graph.outputs[:] = [graph.outputs[i] for i in used]
    attributes = list(node.attributes.values())
    fewer = ir.Node("", "If", node.inputs, attributes, num_outputs=len(used), name=node.name)
    assert node.graph is not None
    node.graph.insert_before(node, fewer)
    for i, new in zip(used, fewer.outputs, strict=True):
        old = node.outputs[i]
        new.name, new.type, new.shape = old.name, old.type, old.shape
        old.name = f"{old.name}_old"
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    _remove(node)
    return finish(copy)


def keep_outputs(model: ir.Model, kept: Collection[int]) -> ir.Model | None:
    """Only these outputs, and what they need."""
    if not kept:
        return None
    copy = model.clone()
    copy.graph.outputs[:] = [v for i, v in enumerate(copy.graph.outputs) if i in kept]
    return finish(copy)


def count_nodes(model: ir.Model) -> int:
    """Nodes of all graphs, bodies and functions, ``Constant`` left out."""
    return sum(not edit.is_op(node, "Constant") for graph in bodies(model) for node in graph)


def bypass(model: ir.Model, position: int) -> ir.Model | None:
    """One node less: its readers read what it read.

    Args:
        model: Types and shapes of its values must be inferred.
        position: In :func:`nodes_of`.
    """
    index = _replacement(nodes_of(model)[position])
    if index is None:
        return None
    copy = model.clone()
    node = nodes_of(copy)[position]
    used = next(v for v in node.outputs if edit.use_count(v))
    source = node.inputs[index]
    assert source is not None
    used.replace_all_uses_with(source, replace_graph_outputs=True)
    return finish(copy)


def _replacement(node: ir.Node) -> int | None:
    """Index of an input that can stand for the only output that is read."""
    used = [v for v in node.outputs if edit.use_count(v)]
    if len(used) != 1:
        return None
    for index, source in enumerate(node.inputs):
        if source is None or not _alike(source, used[0]):
            continue
        maker = source.producer()
        if not used[0].is_graph_output() or (maker is not None and maker.graph is node.graph):
            return index  # the output of a graph is made by a node in it
    return None


def stub_weight(model: ir.Model, name: str) -> ir.Model | None:
    """An initializer made by ``ConstantOfShape`` instead: as many elements, all the same."""
    copy = model.clone()
    value = copy.graph.initializers.get(name)
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    array = value.const_value.numpy()
    dims = ir.tensor(np.array(array.shape, np.int64))
    shape = ir.Value(
        name=f"{name}_shape", type=ir.TensorType(dims.dtype), shape=ir.Shape([array.ndim])
    )
    shape.const_value = dims
    copy.graph.register_initializer(shape)
    filled = np.full(1, array.reshape(-1)[array.size // 2], array.dtype)
    del copy.graph.initializers[name]
    value.name = f"{name}_weight"
    node = ir.node("ConstantOfShape", [shape], {"value": ir.tensor(filled)})
    node.outputs[0].name, node.outputs[0].type = name, value.type
    node.outputs[0].shape = value.shape
    value.replace_all_uses_with(node.outputs[0], replace_graph_outputs=True)
    copy.graph.insert_before(copy.graph[0], node)
    return finish(copy)


def strip(model: ir.Model) -> ir.Model | None:
    """Without documentation and metadata."""
    copy = model.clone()
    copy.metadata_props.clear()
    copy.doc_string = None
    for graph in bodies(copy):
        graph.doc_string = None
        graph.metadata_props.clear()
        for node in graph:
            node.doc_string = None
            node.metadata_props.clear()
    return finish(copy)


def finish(model: ir.Model, fresh: Sequence[ir.Value] = ()) -> ir.Model:
    """Drop what no output needs and declare inputs and outputs anew, in place."""
    graph = model.graph
    for inner in bodies(model):
        _drop_dead(inner)
    kept = [v for v in graph.inputs if edit.use_count(v)]
    graph.inputs[:] = [*kept, *(v for v in fresh if edit.use_count(v))]
    for name, value in list(graph.initializers.items()):
        if not edit.use_count(value):
            del graph.initializers[name]
    called = {node.op_identifier() for body in bodies(model) for node in body}
    for key in [key for key in model.functions if key not in called]:
        del model.functions[key]
    accept_ports(model, redeclare=[v.name or "" for v in (*graph.inputs, *graph.outputs)])
    return model


def _drop_dead(graph: ir.Graph) -> None:
    for node in reversed(list(graph)):
        if not any(edit.use_count(v) for v in node.outputs):
            graph.remove(node, safe=True)


def _as_input(value: ir.Value) -> ir.Value:
    fresh = ir.Value(name=value.name, type=value.type, shape=value.shape)
    name, value.name = value.name, f"{value.name}_cut"
    value.replace_all_uses_with(fresh, replace_graph_outputs=True)
    fresh.name = name
    return fresh


def _alike(x: ir.Value, y: ir.Value) -> bool:
    if x.type is None or x.type != y.type or x.shape is None or y.shape is None:
        return False
    return len(x.shape) == len(y.shape) and list(x.shape) == list(y.shape)
