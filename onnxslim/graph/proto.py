"""From a ModelProto to the in-memory model, with every check that needs the protobuf."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import onnx
import onnx.defs
import onnx_ir as ir

from onnxslim.errors import UnsupportedModelError
from onnxslim.graph import plain
from onnxslim.graph.edit import SOURCE, SOURCES
from onnxslim.graph.external import Payload, Region, Resolver
from onnxslim.graph.functions import check_functions
from onnxslim.graph.messages import refuse, root_cause, show
from onnxslim.graph.normalize import Normalizer, normalize_domains
from onnxslim.graph.scopes import check_names
from onnxslim.graph.signature import SCOPE, Port, Scope, Signature, set_signature, symbols
from onnxslim.graph.tensors import FileTensor, mapped_tensor

OLDEST_IR, IR_WITH_CONSTANTS = 1, 4
"""Below IR version 4 every initializer is listed as an input; none of them can be replaced."""


@dataclass(frozen=True)
class Origin:
    """Where a ModelProto comes from.

    Args:
        label: How errors call it.
        resolver: Finds its external data.
        size: Bytes of its file, or serialized.
        path: Its file, if it has one.
        regions: Payloads that were left out: placeholder to payload.
    """

    label: str
    resolver: Resolver
    size: int
    path: str | None = None
    regions: dict[bytes, Payload] | None = None


def from_proto(
    proto: onnx.ModelProto, *, base_dir: str | os.PathLike[str] | None = None
) -> ir.Model:
    """The in-memory model of a ModelProto.

    Args:
        proto: Copied, never changed.
        base_dir: Folder of its external data, if it has any.

    Raises:
        UnsupportedModelError: When the model is invalid or uses what is not supported.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    return build(copy, Origin("model", Resolver(base_dir), copy.ByteSize()))


def build(proto: onnx.ModelProto, origin: Origin) -> ir.Model:
    """Check, normalize and import ``proto``, which is used up.

    Raises:
        UnsupportedModelError: When the model is invalid or uses what is not supported.
    """
    label = origin.label
    _check_header(proto, label)
    normalize_domains(proto)
    _check_opsets(proto, label)
    is_repaired = check_names(proto, label)
    normalizer = Normalizer(origin.resolver, origin.regions)
    normalizer.model(proto, label)
    check_functions(proto, label)
    signature = _signature(proto, origin, normalizer, is_repaired)
    try:
        is_plain = normalizer.is_plain
        model = plain.deserialize(proto) if is_plain else ir.serde.deserialize_model(proto)
    except (ir.serde.SerdeError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise refuse(label, root_cause(error), "a model that onnx_ir can read") from error
    if normalizer.regions:
        _place_mapped(model, normalizer.regions)
    graphs = [model.graph] if len(normalizer.scopes) == 1 else list(bodies(model))
    if not is_plain:
        _keep_facts(graphs)
    _attach(model, graphs, normalizer.scopes)
    set_signature(model, signature)
    return model


def _check_header(proto: onnx.ModelProto, label: str) -> None:
    if not proto.HasField("graph"):
        raise refuse(label, "no graph in it", "an ONNX model")
    if not proto.graph.output:
        raise refuse(label, "an empty graph without outputs", "a graph that computes something")
    if not OLDEST_IR <= proto.ir_version <= onnx.IR_VERSION:
        raise refuse(label, f"IR version {proto.ir_version}", f"{OLDEST_IR} to {onnx.IR_VERSION}")
    if proto.training_info:
        raise refuse(label, "training information", "an inference model; export it without")


def _check_opsets(proto: onnx.ModelProto, label: str) -> None:
    """Every domain imported once, in a version that this program knows."""
    newest = {"": onnx.defs.onnx_opset_version()}
    if not proto.opset_import:
        raise refuse(label, "no opset_import", "the version of the operators it uses")
    for imports, where in _imports(proto, label):
        seen: set[str] = set()
        for opset in imports:
            domain, name = opset.domain, show(opset.domain or "ai.onnx")
            if domain in seen:
                raise refuse(where, f"operator domain {name} imported twice", "one version")
            seen.add(domain)
            if domain == "ai.onnx.ml":
                newest[domain] = _newest_ml()
            if not 1 <= opset.version <= newest.get(domain, 1 << 31):
                raise refuse(
                    where,
                    f"opset {opset.version} of {name}",
                    f"1 to {newest.get(domain, 'a 32-bit number')} (a newer onnx may know it)",
                )


def _imports(
    proto: onnx.ModelProto, label: str
) -> Iterator[tuple[list[onnx.OperatorSetIdProto], str]]:
    yield list(proto.opset_import), label
    for function in proto.functions:
        yield list(function.opset_import), f"{label}: function {show(function.name)}"


def _newest_ml() -> int:
    import onnx.helper

    return max(
        version for (domain, version) in onnx.helper.OP_SET_ID_VERSION_MAP if domain == "ai.onnx.ml"
    )


def _signature(
    proto: onnx.ModelProto, origin: Origin, normalizer: Normalizer, is_repaired: bool
) -> Signature:
    """Take the signature; below IR 4 the initializers leave the list of inputs."""
    graph, declared = proto.graph, normalizer.scopes[0].declared
    ports = tuple(Port(info.name, declared[info.name]) for info in graph.input)
    outputs = tuple(Port(info.name, declared[info.name]) for info in graph.output)
    initialized = {tensor.name for tensor in graph.initializer}
    real = tuple(port for port in ports if port.name not in initialized)
    has_constants = proto.ir_version >= IR_WITH_CONSTANTS
    if not has_constants and len(real) < len(ports):
        infos = [info for info in graph.input if info.name not in initialized]
        del graph.input[:]
        graph.input.extend(infos)
    return Signature(
        ports if has_constants else real,
        outputs,
        overridable=tuple(p.name for p in ports if p.name in initialized) if has_constants else (),
        listed=() if has_constants else ports,
        opsets={opset.domain: opset.version for opset in proto.opset_import},
        ir_version=proto.ir_version,
        dims=symbols(normalizer.scopes),
        bytes=origin.size + origin.resolver.bytes,
        path=origin.path,
        is_external=normalizer.is_external,
        rewritten=is_repaired or origin.resolver.follows_symlinks,
    )


def bodies(model: ir.Model) -> Iterator[ir.Graph]:
    """All graphs of a model in walk order: the main graph, its subgraphs, then the functions."""
    yield from _nested(model.graph)
    for function in model.functions.values():
        yield from _nested(function.graph)


def _nested(graph: ir.Graph) -> Iterator[ir.Graph]:
    yield graph
    for node in graph:
        for attribute in node.attributes.values():
            if attribute.is_ref():
                continue
            if attribute.type == ir.AttributeType.GRAPH:
                yield from _nested(attribute.as_graph())
            elif attribute.type == ir.AttributeType.GRAPHS:
                for inner in attribute.as_graphs():
                    yield from _nested(inner)


def _attach(model: ir.Model, graphs: list[ir.Graph], scopes: list[Scope]) -> None:
    """Put scopes and provenance where they are kept."""
    if len(graphs) != len(scopes):
        raise UnsupportedModelError("model: its graphs were not all read; please report this")
    for graph, scope in zip(graphs, scopes, strict=True):
        graph.meta[SCOPE] = scope
    sources: list[tuple[str, str, tuple[str, ...]]] = []
    for node in chain.from_iterable(graphs):
        node.meta[SOURCE] = (len(sources),)
        outputs = tuple(value.name or "" for value in node.outputs)
        sources.append((node.name or "", node.op_type, outputs))
    model.meta[SOURCES] = tuple(sources)
    model.graph.meta[SOURCES] = tuple(sources)


def _place_mapped(model: ir.Model, regions: dict[bytes, Payload]) -> None:
    """Replace the tensors whose bytes are a placeholder by views of the mapped file."""
    for graph in bodies(model):
        for value in graph.initializers.values():
            mapped = _mapped(value.const_value, regions)
            if mapped is not None:
                value.const_value = mapped
        for node in graph:
            for name, attribute in list(node.attributes.items()):
                if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                    mapped = _mapped(attribute.as_tensor(), regions)
                    if mapped is not None:
                        node.attributes[name] = ir.AttrTensor(name, mapped)
                elif attribute.type == ir.AttributeType.TENSORS and not attribute.is_ref():
                    tensors = [_mapped(t, regions) or t for t in attribute.as_tensors()]
                    node.attributes[name] = ir.AttrTensors(name, tensors)


def _keep_facts(graphs: list[ir.Graph]) -> None:
    """Replace the tensors of onnx_ir, which ask the protobuf at every access."""
    for graph in graphs:
        for value in graph.initializers.values():
            tensor, shape = value.const_value, value.shape
            if type(tensor) is ir.TensorProtoTensor:
                known = shape is not None and shape.frozen  # the tensor's own, not a declared one
                value.const_value = FileTensor(tensor.raw, shape if known else None)
        for node in graph:
            if node.op_type != "Constant":
                continue
            attribute = node.attributes.get("value")
            if attribute is not None and type(attribute.value) is ir.TensorProtoTensor:
                kept = FileTensor(attribute.value.raw)
                node.attributes["value"] = ir.AttrTensor(
                    "value", kept, doc_string=attribute.doc_string
                )


def _mapped(
    tensor: ir.TensorProtocol | None, regions: dict[bytes, Payload]
) -> ir.TensorProtocol | None:
    if not isinstance(tensor, ir.TensorProtoTensor) or not tensor.raw.HasField("raw_data"):
        return None
    payload = regions.get(tensor.raw.raw_data)
    return mapped_tensor(tensor.raw, payload) if isinstance(payload, Region) else payload
