"""Copies of a model that are the same, and copies with exactly one thing changed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

Model = onnx.ModelProto
Graph = onnx.GraphProto


def copy(model: Model) -> Model:
    """A copy to change."""
    found = onnx.ModelProto()
    found.CopyFrom(model)
    return found


def graphs(graph: Graph) -> Iterator[Graph]:
    """A graph and everything in it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
                yield from graphs(inner)


def renamed(model: Model, seed: int = 0) -> Model:
    """Every node and every tensor inside has another name; inputs and outputs keep theirs."""
    found = copy(model)
    top = found.graph
    kept = {value.name for value in [*top.input, *top.output]}
    kept.update(tensor.name for tensor in top.initializer if tensor.name in kept)
    names: dict[str, str] = {}
    draw = random.Random(seed)

    def new(name: str) -> str:
        if not name or name in kept:
            return name
        return names.setdefault(name, f"t{draw.randrange(1 << 40)}_{len(names)}")

    for graph in graphs(top):
        _rename(graph, new, graph is not top)
        for node in graph.node:
            node.name = f"n{draw.randrange(1 << 40)}"
    return found


def _rename(graph: Graph, new: Callable[[str], str], inner: bool) -> None:
    for tensor in [*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer)]:
        tensor.name = new(tensor.name)
    for value in [*graph.value_info, *([*graph.input, *graph.output] if inner else [])]:
        value.name = new(value.name)
    for annotation in graph.quantization_annotation:
        annotation.tensor_name = new(annotation.tensor_name)
        for entry in annotation.quant_parameter_tensor_names:
            entry.value = new(entry.value)
    for node in graph.node:
        node.input[:] = [new(name) for name in node.input]
        node.output[:] = [new(name) for name in node.output]


def reordered(model: Model, seed: int = 0) -> Model:
    """Nodes in another legal order; initializers and attributes in any."""
    found = copy(model)
    draw = random.Random(seed)
    for graph in list(graphs(found.graph)):
        _shuffle(graph.initializer, draw)
        _shuffle(graph.value_info, draw)
        for node in graph.node:
            _shuffle(node.attribute, draw)
    for graph in graphs(found.graph):
        _sort(graph, draw)
    return found


def _shuffle(items: Any, draw: random.Random) -> None:
    kept = [type(x).FromString(x.SerializeToString()) for x in items]
    draw.shuffle(kept)
    del items[:]
    items.extend(kept)


def _reads(node: onnx.NodeProto) -> set[str]:
    found = set(node.input)
    for attribute in node.attribute:
        for inner in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
            for other in inner.node:
                found |= _reads(other)
            found |= {value.name for value in inner.output}
    return found


def _sort(graph: Graph, draw: random.Random) -> None:
    """A random topological order."""
    nodes = list(graph.node)
    maker = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    needs = [{maker[n] for n in _reads(node) if n in maker} - {i} for i, node in enumerate(nodes)]
    feeds: list[list[int]] = [[] for _ in nodes]
    for i, sources in enumerate(needs):
        for source in sources:
            feeds[source].append(i)
    left = [len(sources) for sources in needs]
    ready = [i for i, count in enumerate(left) if not count]
    order = []
    while ready:
        i = ready.pop(draw.randrange(len(ready)))
        order.append(i)
        for reader in feeds[i]:
            left[reader] -= 1
            if not left[reader]:
                ready.append(reader)
    kept = [type(nodes[i]).FromString(nodes[i].SerializeToString()) for i in order]
    del graph.node[:]
    graph.node.extend(kept)


def restored(model: Model) -> Model:
    """Tensors in typed fields, initializers as Constant nodes, the other way round too."""
    found = copy(model)
    for graph in graphs(found.graph):
        listed = {value.name for value in graph.input}
        for number, tensor in enumerate(list(graph.initializer)):
            _typed(tensor)
            if number % 2 and tensor.name not in listed:
                node = onnx.helper.make_node("Constant", [], [tensor.name], value=tensor)
                graph.node.insert(0, node)
                graph.initializer.remove(tensor)
    return found


def _typed(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.INT64):
        array = numpy_helper.to_array(tensor)
        if array.size > 100_000:
            return
        tensor.ClearField("raw_data")
        field = "float_data" if tensor.data_type == onnx.TensorProto.FLOAT else "int64_data"
        tensor.ClearField(field)
        getattr(tensor, field).extend(array.reshape(-1).tolist())


Mutation = Callable[[Model, random.Random], bool]
"""Changes one thing in place; False when the model has nothing of the kind."""


def weight(model: Model, draw: random.Random) -> bool:
    """One element of one weight."""
    read = {name for graph in graphs(model.graph) for node in graph.node for name in node.input}
    listed = {value.name for value in model.graph.input}
    options = [
        tensor
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.name in read
        if tensor.name not in listed and 0 not in tensor.dims
    ]
    if not options:
        return False
    tensor = draw.choice(options)
    array = numpy_helper.to_array(tensor).copy()
    array.reshape(-1)[draw.randrange(array.size)] += np.float32(0.5)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return True


_SWAPS = {"Relu": "Sigmoid", "Sigmoid": "Tanh", "Tanh": "Relu", "Add": "Sub", "Mul": "Div"}


def operator(model: Model, draw: random.Random, *, inside: bool = False) -> bool:
    """Another operator with the same inputs."""
    top = model.graph
    nodes = [
        node
        for graph in graphs(top)
        if (graph is not top) == inside
        for node in graph.node
        if node.op_type in _SWAPS and not node.domain
    ]
    if not nodes:
        return False
    node = draw.choice(nodes)
    node.op_type = _SWAPS[node.op_type]
    return True


def operator_inside(model: Model, draw: random.Random) -> bool:
    """The same in a branch or a loop."""
    return operator(model, draw, inside=True)


_NUMBERS = {"epsilon": 1e-3, "alpha": 0.123, "momentum": 0.5}


def attribute(model: Model, draw: random.Random) -> bool:
    """Another value of an attribute that does not change shapes."""
    options = [
        (node, item)
        for node in model.graph.node
        for item in node.attribute
        if item.name in _NUMBERS and not node.domain
        if abs(item.f - _NUMBERS[item.name]) > 1e-6
    ]
    if not options:
        return False
    _, item = draw.choice(options)
    item.f = _NUMBERS[item.name]
    return True


def edge(model: Model, draw: random.Random) -> bool:
    """A node reads another tensor that comes before it."""
    made: list[str] = []
    options = []
    for node in model.graph.node:
        if node.op_type in ("Relu", "Sigmoid", "Tanh", "Identity", "Clip") and len(made) > 1:
            others = [name for name in made if name != node.input[0]]
            if node.input[0] in made and others:
                options.append((node, others))
        made += [name for name in node.output if name and node.op_type in _SWAPS]
    if not options:
        return False
    node, others = draw.choice(options)
    node.input[0] = draw.choice(others)
    return True


def input_shape(model: Model, draw: random.Random) -> bool:
    """Another size of one input."""
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name not in weights and dims:
            dims[0].dim_value = 7777
            return True
    return False


def opset(model: Model, draw: random.Random) -> bool:
    """A newer opset, where no operator of the model changed."""
    item = next((o for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    if item is None or item.version >= 20:
        return False
    for node in (n for graph in graphs(model.graph) for n in graph.node if not n.domain):
        try:
            now, then = (
                onnx.defs.get_schema(node.op_type, item.version + k).since_version for k in (0, 1)
            )
        except onnx.defs.SchemaError:
            return False
        if now != then:
            return False
    item.version += 1
    return True


MUTATIONS: dict[str, Mutation] = {
    "weight": weight,
    "operator": operator,
    "operator inside": operator_inside,
    "attribute": attribute,
    "edge": edge,
    "input shape": input_shape,
    "opset": opset,
}
