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


def keep_nodes(model: ir.Model, kept: Collection[int]) -> ir.Model | None:
    """Only these nodes of the main graph: what they read from others becomes inputs.

    Args:
        model: Types of its values must be inferred.
        kept: Positions in the main graph.
    """
    copy = model.clone()
    nodes = list(copy.graph)
    removed = [node for i, node in enumerate(nodes) if i not in kept]
    rest = [node for i, node in enumerate(nodes) if i in kept]
    gone = {value for node in removed for value in node.outputs}
    wanted = {value for node in removed for value in _reads(node)} | set(copy.graph.outputs)
    outputs = [v for node in rest for v in node.outputs if v in wanted]
    cut = list(dict.fromkeys(v for node in rest for v in _reads(node) if v in gone))
    if not outputs or any(v.type is None for v in (*cut, *outputs)):
        return None
    fresh = [_as_input(value) for value in cut]
    copy.graph.outputs[:] = outputs
    copy.graph.remove(removed, safe=False)
    return finish(copy, fresh)


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
        position: Of the node among all nodes of all graphs.
    """
    copy = model.clone()
    nodes = [node for graph in bodies(copy) for node in graph]
    node = nodes[position]
    used = [v for v in node.outputs if edit.use_count(v)]
    if len(used) != 1:
        return None
    for source in node.inputs:
        if source is not None and _alike(source, used[0]) and source is not used[0]:
            if source.producer() is None and used[0].is_graph_output():
                continue  # a graph output must be made by a node
            used[0].replace_all_uses_with(source, replace_graph_outputs=True)
            return finish(copy)
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


def _reads(node: ir.Node) -> Iterable[ir.Value]:
    """What a node and its bodies read, from wherever."""
    yield from (v for v in node.inputs if v is not None)
    for graph in edit.subgraphs(node):
        for inner in graph.all_nodes():
            yield from (v for v in inner.inputs if v is not None)
        yield from graph.outputs


def _alike(x: ir.Value, y: ir.Value) -> bool:
    if x.type is None or x.type != y.type or x.shape is None or y.shape is None:
        return False
    return len(x.shape) == len(y.shape) and list(x.shape) == list(y.shape)
