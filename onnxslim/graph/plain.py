"""From checked protobuf to the model in memory, on a shorter way than onnx_ir's own.

After the checks every name is defined before it is read, once among the graphs around it, so that
nothing has to be declared ahead or looked for twice; and tensors are made as they are kept.
Functions, annotations for quantization and devices are seldom: models with them are read by
:func:`onnx_ir.serde.deserialize_model`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx
import onnx_ir as ir

from onnxslim.graph.tensors import FileTensor

Values = dict[str, ir.Value]


def deserialize(proto: onnx.ModelProto) -> ir.Model:
    """The model of a protobuf that :class:`onnxslim.graph.normalize.Normalizer` found plain."""
    graph = _graph(proto.graph, ())
    graph.opset_imports.update({item.domain: item.version for item in proto.opset_import})
    return ir.Model(
        graph,
        ir_version=proto.ir_version,
        producer_name=_given(proto, "producer_name"),
        producer_version=_given(proto, "producer_version"),
        domain=_given(proto, "domain"),
        model_version=proto.model_version if proto.HasField("model_version") else None,
        doc_string=_given(proto, "doc_string"),
        metadata_props=ir.serde.deserialize_metadata_props(proto.metadata_props),
    )


def _given(proto: onnx.ModelProto | onnx.GraphProto | onnx.NodeProto, name: str) -> str | None:
    return getattr(proto, name) if proto.HasField(name) else None


def _graph(proto: onnx.GraphProto, outer: Sequence[Values]) -> ir.Graph:
    """One graph; ``outer`` are the values of those around it, outermost first."""
    declare = ir.serde.deserialize_value_info_proto
    infos = {info.name: info for info in proto.value_info}
    inputs = [declare(info, ir.Value(name=info.name)) for info in proto.input]
    values = dict(zip((info.name for info in proto.input), inputs, strict=True))
    initializers = list(_initializers(proto, values, infos))
    scopes = (*outer, values)
    nodes = [_node(node, scopes, infos) for node in proto.node]
    return ir.Graph(
        inputs,
        [declare(info, values[info.name]) for info in proto.output],
        nodes=nodes,
        initializers=initializers,
        doc_string=_given(proto, "doc_string"),
        name=_given(proto, "name"),
        metadata_props=ir.serde.deserialize_metadata_props(proto.metadata_props),
    )


def _initializers(
    proto: onnx.GraphProto, values: Values, infos: dict[str, onnx.ValueInfoProto]
) -> Iterator[ir.Value]:
    for raw in proto.initializer:
        name, tensor = raw.name, _tensor(raw)
        value = values.get(name)
        if value is not None:  # the default of an input
            value.const_value = tensor
        else:
            value = values[name] = ir.Value(
                name=name,
                type=ir.TensorType(tensor.dtype),
                shape=tensor.shape,  # type: ignore[arg-type]
                const_value=tensor,
            )
            if name in infos:
                ir.serde.deserialize_value_info_proto(infos[name], value)
        yield value


def _tensor(proto: onnx.TensorProto) -> ir.TensorProtocol:
    if proto.data_type == onnx.TensorProto.STRING:
        return ir.serde.deserialize_tensor(proto)
    return FileTensor(proto)


def _node(
    proto: onnx.NodeProto, scopes: Sequence[Values], infos: dict[str, onnx.ValueInfoProto]
) -> ir.Node:
    op, values, outputs = proto.op_type, scopes[-1], []
    inputs = [_read(name, scopes) if name else None for name in proto.input]
    for name in proto.output:
        value = ir.Value(name=name)
        outputs.append(value)
        if name:
            values[name] = value
            if name in infos:
                ir.serde.deserialize_value_info_proto(infos[name], value)
    return ir.Node(
        proto.domain,
        op,
        inputs,
        [_attribute(item, op, scopes) for item in proto.attribute],
        overload=proto.overload,
        outputs=outputs,
        name=proto.name,
        doc_string=_given(proto, "doc_string"),
        metadata_props=ir.serde.deserialize_metadata_props(proto.metadata_props),
    )


def _read(name: str, scopes: Sequence[Values]) -> ir.Value:
    value = scopes[-1].get(name)
    return _read(name, scopes[:-1]) if value is None else value


def _attribute(proto: onnx.AttributeProto, op: str, scopes: Sequence[Values]) -> ir.Attr:
    kind, attribute = proto.type, onnx.AttributeProto
    doc_string = proto.doc_string if proto.HasField("doc_string") else None
    if kind == attribute.GRAPH:
        return ir.AttrGraph(proto.name, _graph(proto.g, scopes), doc_string=doc_string)
    if kind == attribute.GRAPHS:
        graphs = [_graph(graph, scopes) for graph in proto.graphs]
        return ir.AttrGraphs(proto.name, graphs, doc_string=doc_string)
    if kind == attribute.TENSOR and op == "Constant":
        return ir.AttrTensor(proto.name, _tensor(proto.t), doc_string=doc_string)
    return ir.serde.deserialize_attribute(proto)
