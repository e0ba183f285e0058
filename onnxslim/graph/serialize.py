"""The canonical way from the in-memory model to a ModelProto.

Written by hand instead of ``onnx_ir.serde``: value_info only for names that had it in the input,
metadata once, inputs and outputs as they were declared, tensors that nobody touched byte for
byte, and new integer tensors in the smaller of their two forms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.errors import UnsupportedModelError
from onnxslim.graph.declare import agrees, current
from onnxslim.graph.messages import show
from onnxslim.graph.proto import IR_WITH_CONSTANTS
from onnxslim.graph.signature import Scope, Signature, scope, signature

QUANTIZATION = "quant_parameter_tensor_names"
"""``value.meta`` key under which onnx_ir keeps a quantization annotation."""

_A = onnx.AttributeProto
_INTEGERS = {ir.DataType.INT32: "int32_data", ir.DataType.INT64: "int64_data"}
_LARGEST_VARINT_TENSOR = 1 << 16
_LARGEST_PROTO = (1 << 31) - (1 << 20)

Sink = Callable[[onnx.TensorProto, ir.TensorProtocol], bool]
"""Offered the tensor of an initializer; True when it took care of the data."""

_Entries = Any  # a repeated StringStringEntryProto


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """A ModelProto with all weights in it; the same model gives the same bytes.

    Raises:
        UnsupportedModelError: When it would be above protobuf's 2 GiB.
    """
    total = sum(
        value.const_value.nbytes
        for value in model.graph.initializers.values()
        if value.const_value is not None
    )
    if total > _LARGEST_PROTO:
        raise UnsupportedModelError(
            f"model: {total} bytes of weights do not fit into one ModelProto; save it to a file"
        )
    return skeleton(model, None)


def skeleton(model: ir.Model, sink: Sink | None) -> onnx.ModelProto:
    """A ModelProto whose large initializers are left to ``sink``."""
    return _Writer(signature(model), sink).model(model)


def serialize(proto: onnx.ModelProto) -> bytes:
    """Deterministic bytes."""
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def _as_stored(declared: onnx.ValueInfoProto, value: ir.Value | None) -> onnx.ValueInfoProto:
    """The declaration of an initializer with the type and shape that its tensor has by now."""
    tensor = None if value is None else value.const_value
    if tensor is None:
        return declared
    dims, kind = [int(size) for size in tensor.shape.numpy()], int(tensor.dtype)
    old = declared.type.tensor_type
    said = [dim.dim_value if dim.HasField("dim_value") else None for dim in old.shape.dim]
    fits = not old.HasField("shape") or (
        len(said) == len(dims) and all(a in (None, b) for a, b in zip(said, dims, strict=True))
    )
    if old.elem_type == kind and fits:
        return declared
    found = onnx.helper.make_tensor_value_info(declared.name, kind, dims)
    found.doc_string = declared.doc_string
    return found


class _Writer:
    def __init__(self, signature: Signature, sink: Sink | None) -> None:
        self._signature = signature
        self._sink = sink

    def model(self, model: ir.Model) -> onnx.ModelProto:
        proto = onnx.ModelProto()
        proto.ir_version, listed = self._inputs(model)
        for name in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
            value = getattr(model, name)
            if value:
                setattr(proto, name, value)
        _opsets(proto.opset_import, model.opset_imports)
        _props(proto.metadata_props, model.metadata_props)
        for configuration in model.device_configurations:
            proto.configuration.append(ir.serde.serialize_model_configuration(configuration))
        self._graph(proto.graph, model.graph, True, listed)
        for function in model.functions.values():
            self._function(proto.functions.add(), function)
        return proto

    def _inputs(self, model: ir.Model) -> tuple[int, list[onnx.ValueInfoProto] | None]:
        """IR version and, below 4, all inputs with the initializers among them.

        A model with an initializer that the file did not have is raised to IR 4 instead.
        """
        initializers = model.graph.initializers
        if model.ir_version >= IR_WITH_CONSTANTS or not initializers:
            return model.ir_version, None
        old = {port.name: port.proto for port in self._signature.listed}
        if any(name not in old for name in initializers):
            return IR_WITH_CONSTANTS, None
        present = {value.name for value in model.graph.inputs} | initializers.keys()
        listed = [(proto, initializers.get(name)) for name, proto in old.items() if name in present]
        return model.ir_version, [_as_stored(proto, value) for proto, value in listed]

    # -- graphs

    def _graph(
        self,
        proto: onnx.GraphProto,
        graph: ir.Graph,
        is_main: bool,
        listed: list[onnx.ValueInfoProto] | None = None,
    ) -> None:
        if graph.name:
            proto.name = graph.name
        if graph.doc_string:
            proto.doc_string = graph.doc_string
        known = scope(graph)
        if listed:
            proto.input.extend(listed)
        else:
            self._ports(proto.input, graph.inputs, is_main, known)
        for name, value in graph.initializers.items():
            if value.const_value is None:
                raise UnsupportedModelError(f"model: initializer {show(name)} has no data")
            self._initializer(proto.initializer.add(), value.const_value, name)
        for node in graph:
            self._node(proto.node.add(), node)
        self._ports(proto.output, graph.outputs, is_main, known)
        _props(proto.metadata_props, graph.metadata_props)
        if known.value_info or known.annotations:
            self._declarations(proto, graph, known)

    def _ports(self, target: Any, values: Iterable[ir.Value], is_main: bool, known: Scope) -> None:
        """Declared inputs or outputs: of the main graph as in the signature."""
        declared: Mapping[str, onnx.ValueInfoProto] = known.declared
        if is_main:
            ports = (*self._signature.outputs, *self._signature.inputs)
            declared = {port.name: port.proto for port in ports}
        for value in values:
            old = declared.get(value.name or "")
            if old is not None and (is_main or value.type is None or agrees(old, value)):
                target.append(old)
            else:
                target.append(current(value, self._signature.dims))

    def _declarations(self, proto: onnx.GraphProto, graph: ir.Graph, known: Scope) -> None:
        """value_info and quantization annotations of names that had them and still exist."""
        values: dict[str, ir.Value] = {v.name: v for v in graph.inputs if v.name}
        values.update(graph.initializers)
        for node in graph:
            values.update((value.name, value) for value in node.outputs if value.name)
        self._value_info(proto.value_info, values, known)
        for name in known.annotations:
            parameters = values[name].meta.get(QUANTIZATION) if name in values else None
            if parameters is not None:
                annotation = proto.quantization_annotation.add(tensor_name=name)
                _props(annotation.quant_parameter_tensor_names, parameters)

    def _value_info(
        self,
        target: Any,
        values: Mapping[str, ir.Value],
        known: Scope,
        *,
        keep_unknown: bool = False,
    ) -> None:
        """Declarations of ``values``; of one whose type is unknown only in a function."""
        for name, old in known.value_info.items():
            value = values.get(name)
            if value is None:
                continue
            if agrees(old, value) or (keep_unknown and value.type is None):
                target.append(old)
            elif value.type is not None:
                target.append(current(value, self._signature.dims))

    def _function(self, proto: onnx.FunctionProto, function: ir.Function) -> None:
        proto.name = function.name
        if function.domain:
            proto.domain = function.domain
        if function.overload:
            proto.overload = function.overload
        if function.doc_string:
            proto.doc_string = function.doc_string
        _opsets(proto.opset_import, function.opset_imports)
        _props(proto.metadata_props, function.metadata_props)
        proto.input.extend(value.name or "" for value in function.inputs)
        proto.output.extend(value.name or "" for value in function.outputs)
        for attribute in function.attributes.values():
            if attribute.value is None:
                proto.attribute.append(attribute.name)
            else:
                self._attribute(proto.attribute_proto.add(), attribute)
        for node in function:
            self._node(proto.node.add(), node)
        known = scope(function.graph)
        if known.value_info:
            values = {v.name: v for v in function.inputs if v.name}
            for node in function:
                values.update((value.name, value) for value in node.outputs if value.name)
            self._value_info(proto.value_info, values, known, keep_unknown=True)

    # -- nodes

    def _node(self, proto: onnx.NodeProto, node: ir.Node) -> None:
        proto.op_type = node.op_type
        if node.domain:
            proto.domain = node.domain
        if node.name:
            proto.name = node.name
        if node.overload:
            proto.overload = node.overload
        if node.doc_string:
            proto.doc_string = node.doc_string
        proto.input.extend("" if value is None else value.name or "" for value in node.inputs)
        proto.output.extend(value.name or "" for value in node.outputs)
        _props(proto.metadata_props, node.metadata_props)
        for attribute in node.attributes.values():
            self._attribute(proto.attribute.add(), attribute)
        for configuration in node.device_configurations:
            proto.device_configurations.append(
                ir.serde.serialize_node_device_configuration(configuration)
            )

    def _attribute(self, proto: onnx.AttributeProto, attribute: ir.Attr) -> None:
        kind = attribute.type
        if kind == ir.AttributeType.GRAPH and not attribute.is_ref():
            proto.name, proto.type = attribute.name, _A.GRAPH
            proto.g.SetInParent()
            self._graph(proto.g, attribute.as_graph(), False)
        elif kind == ir.AttributeType.GRAPHS and not attribute.is_ref():
            proto.name, proto.type = attribute.name, _A.GRAPHS
            for graph in attribute.as_graphs():
                self._graph(proto.graphs.add(), graph, False)
        elif kind == ir.AttributeType.TENSOR and not attribute.is_ref():
            proto.name, proto.type = attribute.name, _A.TENSOR
            tensor_into(proto.t, attribute.value)
        elif kind == ir.AttributeType.TENSORS and not attribute.is_ref():
            proto.name, proto.type = attribute.name, _A.TENSORS
            for tensor in attribute.value:
                tensor_into(proto.tensors.add(), tensor)
        else:
            _plain_attribute(proto, attribute)
        if attribute.doc_string:
            proto.doc_string = attribute.doc_string

    def _initializer(self, proto: onnx.TensorProto, tensor: ir.TensorProtocol, name: str) -> None:
        if self._sink is not None:
            _head(proto, tensor, name)
            if self._sink(proto, tensor):
                return
            proto.Clear()
        tensor_into(proto, tensor, name)


def _plain_attribute(proto: onnx.AttributeProto, attribute: ir.Attr) -> None:
    kind, value = attribute.type, attribute.value
    proto.name = attribute.name
    if attribute.is_ref() or kind in (ir.AttributeType.TYPE_PROTO, ir.AttributeType.TYPE_PROTOS):
        if attribute.is_ref():
            ir.serde.serialize_reference_attribute_into(proto, attribute)
        else:
            ir.serde.serialize_attribute_into(proto, attribute)
        return
    proto.type = _A.AttributeType.Value(kind.name)
    if kind == ir.AttributeType.INT:
        proto.i = value
    elif kind == ir.AttributeType.FLOAT:
        proto.f = value
    elif kind == ir.AttributeType.STRING:
        proto.s = value if isinstance(value, bytes) else value.encode()
    elif kind == ir.AttributeType.INTS:
        proto.ints.extend(value)
    elif kind == ir.AttributeType.FLOATS:
        proto.floats.extend(value)
    elif kind == ir.AttributeType.STRINGS:
        proto.strings.extend(s if isinstance(s, bytes) else s.encode() for s in value)
    else:
        raise UnsupportedModelError(f"model: attribute {show(attribute.name)} has type {kind}")


def _opsets(imports: Any, versions: Mapping[str, int]) -> None:
    for domain, version in versions.items():
        imports.add(version=version)
        if domain:
            imports[-1].domain = domain


def _props(entries: _Entries, props: Mapping[str, str]) -> None:
    for key, value in props.items():
        entries.add(key=key, value=value)


# -- tensors


def _head(proto: onnx.TensorProto, tensor: ir.TensorProtocol, name: str | None) -> None:
    if name:
        proto.name = name
    if tensor.doc_string:
        proto.doc_string = tensor.doc_string
    proto.data_type = tensor.dtype.value
    proto.dims.extend(tensor.shape.numpy())
    _props(proto.metadata_props, tensor.metadata_props)


def tensor_into(
    proto: onnx.TensorProto, tensor: ir.TensorProtocol, name: str | None = None
) -> None:
    """Write a tensor with its data; one that came from a file in the form it had there."""
    if isinstance(tensor, ir.TensorProtoTensor):
        proto.CopyFrom(tensor.raw)
        if name is not None and proto.name != name:
            proto.name = name
        if tensor.metadata_props != {e.key: e.value for e in proto.metadata_props}:
            proto.ClearField("metadata_props")
            _props(proto.metadata_props, tensor.metadata_props)
        return
    _head(proto, tensor, tensor.name if name is None else name)
    if isinstance(tensor, ir.StringTensor):
        proto.string_data.extend(
            s if isinstance(s, bytes) else str(s).encode() for s in tensor.string_data()
        )
        return
    field = _INTEGERS.get(tensor.dtype)
    if field is not None and 0 < tensor.size <= _LARGEST_VARINT_TENSOR:
        array = tensor.numpy().reshape(-1)
        if _varint_bytes(array) < tensor.nbytes:
            getattr(proto, field).extend(array.tolist())
            return
    proto.raw_data = tensor.tobytes()


def _varint_bytes(array: np.ndarray) -> int:
    """Bytes that protobuf needs for these integers as varints."""
    bits = array.astype(np.int64).view(np.uint64)
    more = [np.count_nonzero(bits >> np.uint64(7 * k)) for k in range(1, 10)]
    return int(len(bits) + sum(more))
