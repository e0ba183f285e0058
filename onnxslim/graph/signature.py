"""What a model promised when it was loaded: its inputs, outputs, and what to write back.

Passes and shape inference change types and shapes of ``ir.Value`` freely; the serializer takes
inputs and outputs from here. Both records also lie in ``graph.meta``, since ``ir.Model.clone``
copies that and drops ``model.meta``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import onnx
import onnx_ir as ir

from onnxslim.graph.dimension_names import is_nameless

SIGNATURE = "onnxslim.signature"
SCOPE = "onnxslim.scope"

Dim = int | str | None


@dataclass(frozen=True)
class Port:
    """A graph input or output as declared.

    Args:
        name: Its name.
        proto: The declaration, written back as it is.
    """

    name: str
    proto: onnx.ValueInfoProto

    @property
    def dtype(self) -> ir.DataType | None:
        """Element type of a tensor; None for anything else."""
        if not self.proto.type.HasField("tensor_type"):
            return None
        return ir.DataType(self.proto.type.tensor_type.elem_type)

    @property
    def shape(self) -> tuple[Dim, ...] | None:
        """Declared dimensions: number, symbol, or None; None as a whole when not declared."""
        shape = _shape_of(self.proto.type)
        return None if shape is None else tuple(_dim(dim) for dim in shape.dim)

    @property
    def doc_string(self) -> str:
        """Its documentation."""
        return self.proto.doc_string


@dataclass(frozen=True)
class Signature:
    """Of a model as loaded.

    Args:
        inputs: Without the initializers that IR versions below 4 list as inputs.
        outputs: In order; a name may come twice.
        overridable: Initializers that the caller may replace, being inputs too.
        listed: IR below 4: all inputs in order, initializers among them.
        opsets: Domain to version.
        ir_version: Of the file.
        dims: Symbolic dimensions that the file names.
        bytes: Size of the file and of its external data.
        path: The file; None for a model from memory.
        is_external: Its weights were in an external file.
        rewritten: The file needed a repair (nodes sorted, hidden names) or has symlinked data, so
            that a runtime should be given the loaded model instead.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    overridable: tuple[str, ...] = ()
    listed: tuple[Port, ...] = ()
    opsets: Mapping[str, int] = field(default_factory=dict)
    ir_version: int = 0
    dims: frozenset[str] = frozenset()
    bytes: int = 0
    path: str | None = None
    is_external: bool = False
    rewritten: bool = False

    @property
    def sizes(self) -> dict[str, int]:
        """``{"bytes": ...}``: file and external data together."""
        return {"bytes": self.bytes}

    @property
    def input_names(self) -> tuple[str, ...]:
        """In order."""
        return tuple(port.name for port in self.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """In order."""
        return tuple(port.name for port in self.outputs)


@dataclass(frozen=True)
class Scope:
    """Declarations of one graph or function of the file, by name.

    Args:
        declared: Inputs and outputs.
        value_info: The other declared values, in the file's order.
        annotations: Names with a quantization annotation, in the file's order.
    """

    declared: Mapping[str, onnx.ValueInfoProto] = field(default_factory=dict)
    value_info: Mapping[str, onnx.ValueInfoProto] = field(default_factory=dict)
    annotations: tuple[str, ...] = ()


def signature(model: ir.Model) -> Signature:
    """The signature taken when ``model`` was loaded; of a model built in memory, its present one.

    Args:
        model: Never changed.
    """
    found = model.meta.get(SIGNATURE) or model.graph.meta.get(SIGNATURE)
    if isinstance(found, Signature):
        return found
    inputs = tuple(map(port_of, model.graph.inputs))
    outputs = tuple(map(port_of, model.graph.outputs))
    return Signature(
        inputs,
        outputs,
        overridable=tuple(p.name for p in inputs if p.name in model.graph.initializers),
        opsets=dict(model.opset_imports),
        ir_version=model.ir_version,
        dims=frozenset(_names(port.proto for port in (*inputs, *outputs))),
    )


def set_signature(model: ir.Model, new: Signature) -> None:
    """Replace the signature: only for edits that the user asked for."""
    model.meta[SIGNATURE] = new
    model.graph.meta[SIGNATURE] = new


def scope(graph: ir.Graph) -> Scope:
    """The declarations of a graph as loaded; empty for a new graph."""
    found = graph.meta.get(SCOPE)
    return found if isinstance(found, Scope) else Scope()


def port_of(value: ir.Value) -> Port:
    """A port that declares what is known of ``value`` now."""
    proto = ir.serde.serialize_value(value)
    return Port(proto.name, proto)


def accept_ports(model: ir.Model, *, redeclare: Iterable[str] = ()) -> Signature:
    """Make the graph's present inputs and outputs the signature (after cutting some).

    Args:
        model: Its graph was edited; declarations of names that stay are kept.
        redeclare: Names whose declaration is written anew from their value.
    """
    old, anew = signature(model), frozenset(redeclare)
    known = {p.name: p for p in (*old.inputs, *old.outputs) if p.name not in anew}

    def ports(values: Sequence[ir.Value]) -> tuple[Port, ...]:
        return tuple(known.get(value.name or "") or port_of(value) for value in values)

    graph = model.graph
    new = replace(
        old,
        inputs=ports(graph.inputs),
        outputs=ports(graph.outputs),
        overridable=tuple(v.name for v in graph.inputs if v.name and v.is_initializer()),
        listed=(),
    )
    set_signature(model, new)
    return new


def retype_ports(model: ir.Model, names: Iterable[str], dtype: ir.DataType) -> Signature:
    """Declare another element type for inputs and outputs of these names.

    Args:
        model: Its values must already have that type.
        names: Of tensors; others are ignored.
        dtype: The element type.
    """
    old, chosen = signature(model), frozenset(names)

    def retyped(port: Port) -> Port:
        if port.name not in chosen or port.dtype is None:
            return port
        proto = onnx.ValueInfoProto()
        proto.CopyFrom(port.proto)
        proto.type.tensor_type.elem_type = dtype.value
        return Port(port.name, proto)

    new = replace(
        old,
        inputs=tuple(map(retyped, old.inputs)),
        outputs=tuple(map(retyped, old.outputs)),
        listed=tuple(map(retyped, old.listed)),
    )
    set_signature(model, new)
    return new


def rename_dims(model: ir.Model, names: Mapping[str, str | int]) -> Signature:
    """Rename or fix symbolic dimensions in all declared inputs and outputs, and their values.

    Args:
        model: Edited in place; intermediate shapes must be inferred again.
        names: Old symbol to new symbol or number.
    """
    old = signature(model)

    def renamed(port: Port) -> Port:
        proto = onnx.ValueInfoProto()
        proto.CopyFrom(port.proto)
        shape = _shape_of(proto.type)
        for dim in shape.dim if shape is not None else ():
            new = names.get(dim.dim_param) if dim.HasField("dim_param") else None
            _set_dim(dim, new)
        return Port(port.name, proto)

    new = replace(
        old,
        inputs=tuple(map(renamed, old.inputs)),
        outputs=tuple(map(renamed, old.outputs)),
        listed=tuple(map(renamed, old.listed)),
        dims=(old.dims - names.keys()) | {n for n in names.values() if isinstance(n, str)},
    )
    set_signature(model, new)
    _update_values(model, new)
    return new


def fix_shape(model: ir.Model, name: str, dims: Sequence[int]) -> Signature:
    """Write a static shape into a graph input; a symbol of it becomes that number everywhere.

    Raises:
        KeyError: When there is no such input.
        ValueError: When the rank or a number contradicts the declaration.
    """
    old = signature(model)
    port = {p.name: p for p in old.inputs}[name]
    shape = port.shape if port.shape is not None else (None,) * len(dims)
    symbols: dict[str, str | int] = {}
    clash = len(shape) != len(dims)
    for declared, size in zip(shape, dims, strict=False):
        clash |= isinstance(declared, int) and declared not in (size, -1)
        if isinstance(declared, str) and not is_nameless(declared):
            clash |= symbols.setdefault(declared, size) != size
    if clash:
        raise ValueError(f"input {name!r} has the shape {list(shape)}, not {list(dims)}")
    rename_dims(model, symbols)
    proto = onnx.ValueInfoProto()
    proto.CopyFrom({p.name: p for p in signature(model).inputs}[name].proto)
    proto.type.tensor_type.ClearField("shape")
    proto.type.tensor_type.shape.SetInParent()
    for size in dims:
        proto.type.tensor_type.shape.dim.add(dim_value=size)
    fixed = Port(name, proto)
    now = signature(model)
    new = replace(
        now,
        inputs=tuple(fixed if p.name == name else p for p in now.inputs),
        listed=tuple(fixed if p.name == name else p for p in now.listed),
    )
    set_signature(model, new)
    _update_values(model, new)
    return new


def _update_values(model: ir.Model, new: Signature) -> None:
    ports = {port.name: port for port in (*new.outputs, *new.inputs)}
    for value in (*model.graph.outputs, *model.graph.inputs):
        port = ports.get(value.name or "")
        if port is not None and port.shape is not None and isinstance(value.type, ir.TensorType):
            value.shape = ir.Shape([d if d != -1 else None for d in port.shape])


def _set_dim(dim: onnx.TensorShapeProto.Dimension, new: str | int | None) -> None:
    if isinstance(new, int):
        dim.dim_value = new
    elif new is not None:
        dim.dim_param = new


def _shape_of(proto: onnx.TypeProto) -> onnx.TensorShapeProto | None:
    if proto.HasField("tensor_type") and proto.tensor_type.HasField("shape"):
        return proto.tensor_type.shape
    return None


def _dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value"):
        return dim.dim_value
    return (dim.dim_param or None) if dim.HasField("dim_param") else None


def _names(protos: Iterable[onnx.ValueInfoProto]) -> Iterator[str]:
    for proto in protos:
        shape = _shape_of(proto.type)
        for dim in shape.dim if shape is not None else ():
            if dim.HasField("dim_param"):
                yield dim.dim_param


def symbols(scopes: Iterable[Scope]) -> frozenset[str]:
    """All dimension names that these scopes declare."""
    return frozenset(
        name
        for one in scopes
        for name in _names((*one.declared.values(), *one.value_info.values()))
        if isinstance(name, str)
    )


def label_of(path: str | os.PathLike[str] | None) -> str:
    """How errors call a model."""
    return "model" if path is None else os.fspath(path)
