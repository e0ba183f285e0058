"""A model as the comparison sees it: nodes, constants and bodies; names only for display.

``Constant`` nodes and initializers are the same thing here. A node that computes something from
constants alone and cheaply (``ConstantOfShape``, ``Identity``, a reshape of a constant) stays a
node, and also carries the constant that its readers see.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.graph.payload import chunks
from onnxslim.graph.tensors import FileTensor

_SAMPLE = 64
_SMALL = 64 << 20
"""Bytes of a larger constant are not looked at for being all the same."""
_LARGEST_FILL = 1 << 32
_FILLED = b"filled with"
_OF_FILES = (FileTensor, ir.TensorProtoTensor)
"""Classes that hold a protobuf (asking ``isinstance`` of them is slow)."""
_COMPUTED = frozenset({"ConstantOfShape", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Flatten"})


class Const:
    """A constant by content.

    Args:
        name: For display.
        tensor: Its data; of a filled constant one element.
        shape: Dimensions, where they are not those of ``tensor``.
        is_fill: Every element is the one of ``tensor``.
    """

    __slots__ = ("_digest", "dtype", "is_fill", "name", "shape", "size", "tensor")

    def __init__(
        self,
        name: str,
        tensor: ir.TensorProtocol,
        shape: tuple[int, ...] | None = None,
        is_fill: bool = False,
    ) -> None:
        self.name = name
        self.tensor = tensor
        self.shape = dims_of(tensor) if shape is None else shape
        self.is_fill = is_fill
        self.dtype = type_name(tensor.dtype)
        self.size = math.prod(self.shape)
        self._digest: bytes | None = None

    @property
    def is_weight(self) -> bool:
        """Something that training makes: floats, or more than a few numbers."""
        return self.tensor.dtype.is_floating_point() or self.size > 64

    @property
    def digest(self) -> bytes:
        """Of type, shape and elements; the same however the elements are stored."""
        if self._digest is None:
            self._digest = self._hashed()
        return self._digest

    def _hashed(self) -> bytes:
        head = f"{self.dtype}{self.shape}".encode()
        raw = stored_bytes(self.tensor)
        if raw is not None and not self.is_fill and len(raw) <= _SMALL:
            data = _uniform(raw, self.tensor.dtype.bitwidth // 8, self.size)
            return hashlib.blake2b(head + (data or raw), digest_size=16).digest()
        found = hashlib.blake2b(head, digest_size=16)
        if self.tensor.dtype == ir.DataType.STRING:
            found.update(repr([_raw(x) for x in self.tensor.numpy().reshape(-1)]).encode())
        elif self.is_fill:
            found.update(_FILLED + self.tensor.tobytes())
        else:
            _update(found, self.tensor, self.size)
        return found.digest()

    def array(self) -> np.ndarray:
        """Its elements; nobody may write to them."""
        array = self.tensor.numpy()
        if self.is_fill:
            return np.broadcast_to(array.reshape(-1)[:1].reshape(()), self.shape)
        return array.reshape(self.shape)

    def reshaped(self, name: str, shape: tuple[int, ...]) -> Const:
        """The same elements with other dimensions."""
        return Const(name, self.tensor, shape, self.is_fill)


def _raw(item: Any) -> bytes:
    return item if isinstance(item, bytes) else str(item).encode()


def dims_of(tensor: ir.TensorProtocol) -> tuple[int, ...]:
    """Its dimensions; of what was read from a file, without making objects of them."""
    if type(tensor) in _OF_FILES:
        return tuple(tensor.raw.dims)
    return tuple(int(d) for d in tensor.shape)  # type: ignore[arg-type]


def stored_bytes(tensor: ir.TensorProtocol) -> bytes | None:
    """The elements as they lie in the file; None when they do not."""
    if type(tensor) in _OF_FILES and tensor.raw.HasField("raw_data"):
        data: bytes = tensor.raw.raw_data
        return data
    return None


def _uniform(data: bytes, width: int, size: int) -> bytes | None:
    """What stands for elements that are all the same; None when they are not."""
    if not width or not size or data[: _SAMPLE * width] != data[:width] * min(_SAMPLE, size):
        return None
    return _FILLED + data[:width] if data == data[:width] * size else None


def _update(found: Any, tensor: ir.TensorProtocol, size: int) -> None:
    """Add the elements to a hash; one number for all of them where they are the same."""
    raw = stored_bytes(tensor)
    parts: Iterable[Any] = chunks(tensor) if raw is None else (raw,)
    width = tensor.dtype.bitwidth // 8
    if size * width <= _SMALL:
        data = b"".join(parts)
        parts = (_uniform(data, width, size) or data,)
    for part in parts:
        found.update(part)


@cache
def type_name(dtype: ir.DataType) -> str:
    """``float32`` of FLOAT, ``float64`` of DOUBLE, else the lower-case name."""
    return {"FLOAT": "float32", "DOUBLE": "float64"}.get(dtype.name, dtype.name.lower())


@dataclass(frozen=True, slots=True)
class Output:
    """An output of a node."""

    node: Vertex
    slot: int


@dataclass(frozen=True, slots=True)
class Input:
    """An input of a graph, a body or a function."""

    flow: Flow
    index: int


Source = Output | Input | Const | None
"""Where a value comes from; None is an omitted input."""


@dataclass(eq=False, slots=True)
class Vertex:
    """A node.

    Attributes:
        flow: The graph, body or function that it is in.
        index: Position in ``flow.nodes``.
        op: ``Conv``, or with a domain ``com.microsoft:Gelu``.
        name: For display.
        version: Opset version of its domain.
        attributes: All but the bodies, as given.
        inputs: Trailing omitted ones dropped.
        outputs: Names, for display.
        bodies: Graphs that it holds, by attribute.
        captured: What its bodies read from outside of them.
        value: The constant that it makes, when that is known.
        source: The node of the file.
    """

    flow: Flow
    index: int
    op: str
    name: str
    version: int
    attributes: dict[str, Any]
    inputs: list[Source]
    outputs: tuple[str, ...]
    source: ir.Node
    bodies: dict[str, Flow] = field(default_factory=dict)
    captured: tuple[Output | Input, ...] = ()
    value: Const | None = None

    @property
    def path(self) -> str:
        """Its name with the bodies and functions around it."""
        return f"{self.flow.path}{self.name}"


@dataclass(eq=False, slots=True)
class Flow:
    """A graph, a body or a function.

    Attributes:
        path: Of its nodes: ``If_0.then_branch/``; empty for the main graph.
        inputs: Names.
        outputs: Where they come from.
        output_names: Names.
        nodes: In an order in which every node follows what it reads.
        depth: 0 for the main graph or a function.
    """

    path: str
    inputs: tuple[str, ...]
    depth: int = 0
    nodes: list[Vertex] = field(default_factory=list)
    outputs: list[Source] = field(default_factory=list)
    output_names: tuple[str, ...] = ()


def constant_of(source: Source) -> Const | None:
    """The constant behind a source, if it is one or is made from one."""
    kind = type(source)  # asked of every input of every node, many times
    if kind is Const:
        return source  # type: ignore[return-value]
    return source.node.value if kind is Output and source.slot == 0 else None  # type: ignore


class Builder:
    """Makes the flows of one model.

    Args:
        model: Not changed.
    """

    def __init__(self, model: ir.Model) -> None:
        self._opsets: Mapping[str, int] = model.opset_imports
        self._sources: dict[ir.Value, Source] = {}
        self.main = self._flow(model.graph, "", 0)
        self.functions: dict[str, Flow] = {}
        for key, function in model.functions.items():
            self._opsets = function.opset_imports
            label = ":".join(filter(None, key))
            self.functions[label] = self._flow(function.graph, f"{label}/", 0)

    def _flow(self, graph: ir.Graph, path: str, depth: int) -> Flow:
        flow = Flow(path, tuple(v.name or "" for v in graph.inputs), depth)
        for value in graph.initializers.values():
            if value.const_value is not None and not value.is_graph_input():
                self._sources[value] = Const(value.name or "", value.const_value)
        for index, value in enumerate(graph.inputs):
            self._sources[value] = Input(flow, index)
        counts: dict[str, int] = {}
        for node in graph:
            self._node(node, flow, counts)
        flow.outputs = [self._sources.get(v) for v in graph.outputs]
        flow.output_names = tuple(v.name or "" for v in graph.outputs)
        return flow

    def _node(self, node: ir.Node, flow: Flow, counts: dict[str, int]) -> None:
        domain, outputs = node.domain, node.outputs
        op = node.op_type if domain in ("", "ai.onnx") else f"{domain}:{node.op_type}"
        tensor = edit.constant_tensor(outputs[0]) if op == "Constant" else None
        if tensor is not None:
            self._sources[outputs[0]] = Const(outputs[0].name or "", tensor)
            return
        number = counts[op] = counts.get(op, -1) + 1
        known = self._sources.get
        inputs = [None if v is None else known(v) for v in node.inputs]
        while inputs and inputs[-1] is None:
            inputs.pop()
        vertex = Vertex(
            flow,
            len(flow.nodes),
            op,
            node.name or f"{op.split(':')[-1]}#{number}",
            self._opsets.get(domain, self._opsets.get("", 0)),
            {},
            inputs,
            tuple([v.name or "" for v in outputs]),
            node,
        )
        self._attributes(vertex, node)
        vertex.value = _computed(vertex)
        for slot, value in enumerate(outputs):
            self._sources[value] = Output(vertex, slot)
        flow.nodes.append(vertex)

    def _attributes(self, vertex: Vertex, node: ir.Node) -> None:
        for name, attribute in node.attributes.items():
            bodies: list[tuple[str, ir.Graph]] = []
            if attribute.is_ref():
                vertex.attributes[name] = ("reference", attribute.ref_attr_name)
            elif attribute.type == ir.AttributeType.GRAPH:
                bodies = [(name, attribute.as_graph())]
            elif attribute.type == ir.AttributeType.GRAPHS:
                bodies = [(f"{name}[{i}]", g) for i, g in enumerate(attribute.as_graphs())]
            else:
                vertex.attributes[name] = attribute.value
            for key, graph in bodies:
                path = f"{vertex.path}.{key}/"
                vertex.bodies[key] = self._flow(graph, path, vertex.flow.depth + 1)
        if vertex.bodies:
            vertex.captured = tuple(dict.fromkeys(_captured(vertex)))


def _captured(vertex: Vertex) -> Iterator[Output | Input]:
    """What the bodies of ``vertex`` read from its own flow or one around it."""
    for body in vertex.bodies.values():
        sources: list[Source] = list(body.outputs)
        for node in body.nodes:
            sources += [*node.inputs, *node.captured]
        for source in sources:
            if isinstance(source, Output) and source.node.flow.depth <= vertex.flow.depth:
                yield source
            elif isinstance(source, Input) and source.flow.depth <= vertex.flow.depth:
                yield source


def _computed(vertex: Vertex) -> Const | None:
    """The constant that a node makes from constants, for what costs nothing to compute."""
    if vertex.op not in _COMPUTED or not vertex.inputs or not vertex.outputs:
        return None
    data = constant_of(vertex.inputs[0])
    if data is None:
        return None
    name = vertex.outputs[0]
    if vertex.op == "ConstantOfShape":
        return _filled(vertex, data, name)
    shape = None if vertex.op == "Identity" else _new_shape(vertex, data)
    if vertex.op != "Identity" and (shape is None or math.prod(shape) != data.size):
        return None
    return data.reshaped(name, data.shape if shape is None else shape)


def _filled(vertex: Vertex, dims: Const, name: str) -> Const | None:
    if dims.size > 64 or dims.tensor.dtype != ir.DataType.INT64:
        return None
    shape = tuple(int(d) for d in dims.array().reshape(-1))
    element = vertex.attributes.get("value")
    if element is None:
        element = ir.tensor(np.zeros(1, np.float32))
    if min(shape, default=0) < 0 or math.prod(shape) > _LARGEST_FILL or element.size != 1:
        return None
    return None if element.dtype == ir.DataType.STRING else Const(name, element, shape, True)


def _new_shape(vertex: Vertex, data: Const) -> tuple[int, ...] | None:
    """Dimensions after Unsqueeze, Squeeze, Reshape or Flatten; None when not simply known."""
    numbers = vertex.attributes.get("axes")
    if len(vertex.inputs) > 1:
        given = constant_of(vertex.inputs[1])
        if given is None or given.size > 64:
            return None
        numbers = given.array().reshape(-1).tolist()
    rank = len(data.shape)
    if vertex.op == "Flatten":
        axis = vertex.attributes.get("axis", 1) % max(rank, 1)
        return math.prod(data.shape[:axis]), math.prod(data.shape[axis:])
    if vertex.op == "Reshape":
        return None if numbers is None else _reshaped([int(n) for n in numbers], data)
    if vertex.op == "Squeeze":
        axes = {int(a) % max(rank, 1) for a in numbers} if numbers is not None else None
        kept = enumerate(data.shape)
        return tuple(d for i, d in kept if not (i in axes if axes is not None else d == 1))
    if numbers is None:
        return None
    shape, total = list(data.shape), rank + len(numbers)
    for axis in sorted(int(a) % total for a in numbers):
        shape.insert(axis, 1)
    return tuple(shape)


def _reshaped(dims: list[int], data: Const) -> tuple[int, ...] | None:
    for index, dim in enumerate(dims):
        if dim == 0 and index < len(data.shape):
            dims[index] = data.shape[index]
    if dims.count(-1) == 1:
        rest = math.prod(d for d in dims if d != -1)
        if rest <= 0 or data.size % rest:
            return None
        dims[dims.index(-1)] = data.size // rest
    return tuple(dims) if min(dims, default=0) >= 0 else None
