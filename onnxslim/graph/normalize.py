"""Make a parsed ModelProto safe to import: types, attributes and tensors checked one by one.

Changes it where onnx_ir would lose or misread something: the domain ``ai.onnx`` becomes empty,
sparse tensors become dense, tensors in files become views, attributes without a type get it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import onnx

from onnxslim.graph.external import Payload, Region, Resolver
from onnxslim.graph.messages import describe, refuse, show
from onnxslim.graph.signature import Scope
from onnxslim.graph.tensors import LAYOUTS, check_tensor, densify, is_plain

SPARSE_BUDGET = 64 << 20
"""Bytes that all sparse tensors of a model may take when dense."""

_A = onnx.AttributeProto
_FIELDS = {
    _A.FLOAT: "f",
    _A.INT: "i",
    _A.STRING: "s",
    _A.TENSOR: "t",
    _A.GRAPH: "g",
    _A.SPARSE_TENSOR: "sparse_tensor",
    _A.TYPE_PROTO: "tp",
    _A.FLOATS: "floats",
    _A.INTS: "ints",
    _A.STRINGS: "strings",
    _A.TENSORS: "tensors",
    _A.GRAPHS: "graphs",
    _A.SPARSE_TENSORS: "sparse_tensors",
    _A.TYPE_PROTOS: "type_protos",
}
_TYPES = {name: number for number, name in _FIELDS.items()}


def text(value: object, where: str) -> None:
    """Refuse a string field that is not UTF-8 (protobuf hands it out as bytes)."""
    if not isinstance(value, str):
        raise refuse(where, f"a name that is not UTF-8: {show(value)}", "names in UTF-8")


class Normalizer:
    """Walks a model once.

    Args:
        resolver: Finds external data.
        regions: Payloads that were left out: placeholder in ``raw_data`` to payload.

    Attributes:
        regions: As given, plus one for every external tensor.
        scopes: Declarations of all graphs, then functions, in walk order.
        is_external: Some tensor was external.
        is_plain: There are no functions, annotations for quantization, or devices.
    """

    def __init__(self, resolver: Resolver, regions: dict[bytes, Payload] | None = None) -> None:
        self.regions = {} if regions is None else regions
        self.scopes: list[Scope] = []
        self.is_external = False
        self.is_plain = True
        self._resolver = resolver
        self._budget = SPARSE_BUDGET
        self._token = os.urandom(16)

    def model(self, model: onnx.ModelProto, label: str) -> None:
        """Check and change everything in ``model``.

        Raises:
            UnsupportedModelError: On what cannot be represented or contradicts itself.
        """
        for text_field in (model.producer_name, model.producer_version, model.domain):
            text(text_field, label)
        self._documented(model, label)
        self.is_plain = not model.functions and not model.configuration
        self._graph(model.graph, label, False)
        for function in model.functions:
            self._function(function, f"{label}: function {show(function.name)}")

    def _documented(self, proto: onnx.ModelProto | onnx.GraphProto, where: str) -> None:
        text(proto.doc_string, where)
        for entry in proto.metadata_props:
            text(entry.key, where)
            text(entry.value, where)

    def _graph(self, graph: onnx.GraphProto, where: str, in_function: bool) -> None:
        text(graph.name, where)
        self._documented(graph, where)
        self._declarations(graph, where)
        for tensor in graph.initializer:
            if self.regions or not is_plain(tensor):
                self._tensor(tensor, f"{where}: initializer {show(tensor.name)}")
        for sparse in graph.sparse_initializer:
            name = f"{where}: initializer {show(sparse.values.name)}"
            graph.initializer.append(self._dense(sparse, name))
        graph.ClearField("sparse_initializer")
        for node in graph.node:
            self._node(node, where, in_function)

    def _function(self, function: onnx.FunctionProto, where: str) -> None:
        text(function.doc_string, where)
        for name in (*function.input, *function.output, *function.attribute, function.overload):
            text(name, where)
        info = {vi.name: self._declare(vi, where) for vi in function.value_info}
        self.scopes.append(Scope({}, info))
        for attribute in function.attribute_proto:
            self._attribute(attribute, where, False)
        for node in function.node:
            self._node(node, where, True)

    # -- declared types

    def _declarations(self, graph: onnx.GraphProto, where: str) -> None:
        declared = {info.name: self._declare(info, where) for info in (*graph.output, *graph.input)}
        infos = {info.name: self._declare(info, where) for info in graph.value_info}
        annotations = []
        for annotation in graph.quantization_annotation:
            text(annotation.tensor_name, where)
            annotations.append(annotation.tensor_name)
        self.is_plain = self.is_plain and not annotations
        self.scopes.append(Scope(declared, infos, tuple(dict.fromkeys(annotations))))

    def _declare(self, info: onnx.ValueInfoProto, where: str) -> onnx.ValueInfoProto:
        """The declaration as it was; ``info`` itself is reduced to what onnx_ir can read."""
        text(info.name, where)
        text(info.doc_string, where)
        for entry in info.metadata_props:
            text(entry.key, where)
            text(entry.value, where)
        where = f"{where}: {show(info.name)}"
        readable = _readable(info.type, where)
        if readable and not _has_unknown_dims(info.type):
            return info
        kept = onnx.ValueInfoProto()
        kept.CopyFrom(info)
        if not readable:
            info.ClearField("type")
        else:
            for dim in info.type.tensor_type.shape.dim:
                if dim.HasField("dim_value") and dim.dim_value < 0:
                    dim.ClearField("dim_value")
        return kept

    # -- nodes and attributes

    def _node(self, node: onnx.NodeProto, where: str, in_function: bool) -> None:
        op, domain = node.op_type, node.domain
        for name in (node.name, op, domain, node.doc_string, node.overload):
            if not isinstance(name, str):
                text(name, where)
        if not op:
            raise refuse(where, f"node {show(node.name)} without an operator", "an op_type")
        if domain == "ai.onnx":
            node.ClearField("domain")
        for entry in node.metadata_props:
            text(entry.key, where)
            text(entry.value, where)
        if node.device_configurations:
            self.is_plain = False
        if not node.attribute:
            return
        where = f"{where}: {describe(node)}"
        seen: set[str] = set()
        for attribute in node.attribute:
            if attribute.name in seen:
                raise refuse(where, f"attribute {show(attribute.name)} twice", "it once")
            seen.add(attribute.name)
            self._attribute(attribute, where, in_function)
        self._dense_attributes(node, where)

    def _attribute(self, attribute: onnx.AttributeProto, where: str, in_function: bool) -> None:
        name = attribute.name
        text(name, where)
        text(attribute.doc_string, where)
        where = f"{where}: attribute {show(name)}"
        filled = [d.name for d, _ in attribute.ListFields() if d.name in _TYPES]
        if attribute.ref_attr_name:
            text(attribute.ref_attr_name, where)
            if filled or not in_function:
                raise refuse(where, "a reference", "a reference in a function, without a value")
            return
        if attribute.type == _A.UNDEFINED and len(filled) == 1:
            attribute.type = _TYPES[filled[0]]
        field = _FIELDS.get(attribute.type)
        if field is None or (filled and filled != [field]):
            kind = _A.AttributeType.Name(attribute.type)
            raise refuse(where, f"type {kind} and data in {filled}", "one value of its type")
        if field in ("g", "t", "tp", "sparse_tensor") and not filled:
            raise refuse(where, "no value", f"one in {field}")
        self._content(attribute, field, where, in_function)

    def _content(
        self, attribute: onnx.AttributeProto, field: str, where: str, in_function: bool
    ) -> None:
        graphs: Sequence[onnx.GraphProto] = ()
        if field in ("t", "tensors"):
            for tensor in (attribute.t,) if field == "t" else attribute.tensors:
                self._tensor(tensor, where)
        elif field in ("g", "graphs"):
            graphs = (attribute.g,) if field == "g" else attribute.graphs
        elif field in ("tp", "type_protos"):
            for proto in (attribute.tp,) if field == "tp" else attribute.type_protos:
                if not _readable(proto, where):
                    raise refuse(where, "a map or opaque type", "tensor, sequence or optional")
        elif field == "strings":
            for string in attribute.strings:
                _utf8(string, where)
        for graph in graphs:
            self._graph(graph, where[:400], in_function)

    # -- tensors

    def _tensor(self, tensor: onnx.TensorProto, where: str) -> None:
        text(tensor.name, where)
        text(tensor.doc_string, where)
        region = self._cut_out(tensor, where)
        if region is None and tensor.data_location == onnx.TensorProto.EXTERNAL:
            nbytes = check_tensor(tensor, where)
            entries = [(entry.key, entry.value) for entry in tensor.external_data]
            self._place(tensor, self._resolver.resolve(entries, nbytes, where))
            self.is_external = True
        elif region is None:
            check_tensor(tensor, where)

    def _cut_out(self, tensor: onnx.TensorProto, where: str) -> Payload | None:
        """The payload that was left out of the bytes that were parsed; checked here."""
        if not self.regions or not tensor.HasField("raw_data") or len(tensor.raw_data) > 64:
            return None
        region = self.regions.get(tensor.raw_data)
        if region is None:
            return None
        key = tensor.raw_data
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.data_type not in LAYOUTS:
            check_tensor(tensor, where)  # refuses both
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        nbytes = check_tensor(tensor, where)
        tensor.ClearField("data_location")
        tensor.raw_data = key
        found = region.length if isinstance(region, Region) else region.nbytes
        if nbytes != found:
            raise refuse(where, f"{found} bytes of data", f"{nbytes} for its dimensions")
        return region

    def _place(self, tensor: onnx.TensorProto, region: Region) -> None:
        """Put a placeholder for the region into the tensor."""
        key = self._token + len(self.regions).to_bytes(8, "little")
        self.regions[key] = region
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        tensor.raw_data = key

    def _dense(self, sparse: onnx.SparseTensorProto, where: str) -> onnx.TensorProto:
        for tensor in (sparse.values, sparse.indices):
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                nbytes = check_tensor(tensor, where)
                entries = [(entry.key, entry.value) for entry in tensor.external_data]
                region = self._resolver.resolve(entries, nbytes, where)
                tensor.ClearField("external_data")
                tensor.ClearField("data_location")
                tensor.raw_data = bytes(region.view)
            else:
                cut = self._cut_out(tensor, where)
                if isinstance(cut, Region):
                    tensor.raw_data = bytes(cut.view)
            check_tensor(tensor, where)
        dense = densify(sparse, self._budget, where)
        self._budget -= len(dense.raw_data)
        return dense

    def _dense_attributes(self, node: onnx.NodeProto, where: str) -> None:
        """Turn the sparse value of a Constant into a dense one; refuse other sparse attributes."""
        for attribute in node.attribute:
            if attribute.type in (_A.SPARSE_TENSOR, _A.SPARSE_TENSORS):
                if (node.domain, node.op_type, attribute.name) != ("", "Constant", "sparse_value"):
                    raise refuse(where, f"sparse data in {show(attribute.name)}", "dense tensors")
                attribute.t.CopyFrom(self._dense(attribute.sparse_tensor, where))
                attribute.ClearField("sparse_tensor")
                attribute.name, attribute.type = "value", _A.TENSOR


def normalize_domains(model: onnx.ModelProto) -> None:
    """Write the standard domain as the empty string, everywhere but in nodes."""
    imports: Iterable[onnx.OperatorSetIdProto] = model.opset_import
    for function in model.functions:
        if function.domain == "ai.onnx":
            function.ClearField("domain")
        imports = (*imports, *function.opset_import)
    for opset in imports:
        if opset.domain == "ai.onnx":
            opset.ClearField("domain")


def _utf8(data: bytes, where: str) -> None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise refuse(where, "a string that is not UTF-8", "strings in UTF-8") from None


def _readable(proto: onnx.TypeProto, where: str) -> bool:
    """False for types that onnx_ir has no class for (maps, opaque, unfinished)."""
    kind = proto.WhichOneof("value")
    while kind in ("sequence_type", "optional_type"):
        proto = getattr(proto, kind).elem_type
        kind = proto.WhichOneof("value")
        if kind is None:
            return False
    if kind not in ("tensor_type", "sparse_tensor_type"):
        return kind is None
    leaf = getattr(proto, kind)
    if leaf.elem_type and leaf.elem_type not in LAYOUTS:
        raise refuse(where, f"element type {leaf.elem_type}", "a data type of ONNX")
    for dim in leaf.shape.dim:
        text(dim.dim_param, where)
    return bool(leaf.elem_type)


def _has_unknown_dims(proto: onnx.TypeProto) -> bool:
    if not proto.HasField("tensor_type"):
        return False
    return any(
        dim.HasField("dim_value") and dim.dim_value < 0 for dim in proto.tensor_type.shape.dim
    )
