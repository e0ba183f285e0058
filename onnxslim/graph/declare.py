"""Declared types against known ones: what a ValueInfoProto may say when a model is written."""

from __future__ import annotations

import onnx
import onnx_ir as ir


def agrees(old: onnx.ValueInfoProto, value: ir.Value) -> bool:
    """True when the declaration in the file says nothing but what is known of ``value`` now.

    A symbol or an unknown dimension in it agrees with anything; a number only with itself.
    """
    kind = old.type.WhichOneof("value")
    if kind is None:
        return value.type is None or value.shape is None
    if value.type is None:
        return False
    if kind != "tensor_type":
        return bool(ir.serde.deserialize_type_proto_for_type(old.type) == value.type)
    declared = old.type.tensor_type
    if not isinstance(value.type, ir.TensorType) or declared.elem_type != value.type.dtype.value:
        return False
    if not declared.HasField("shape"):
        return True
    shape = value.shape
    if shape is None or len(shape) != len(declared.shape.dim):
        return False
    return all(
        not dim.HasField("dim_value") or dim.dim_value < 0 or dim.dim_value == known
        for dim, known in zip(declared.shape.dim, shape, strict=True)
    )


def current(value: ir.Value, dims: frozenset[str]) -> onnx.ValueInfoProto:
    """A declaration of what is known of ``value`` now.

    Args:
        value: Read only.
        dims: Symbols that may be written; others (made up by shape inference) become unknown.
    """
    proto = onnx.ValueInfoProto(name=value.name or "")
    if value.type is not None:
        ir.serde.serialize_type_into(proto.type, value.type)
        if value.shape is not None:
            ir.serde.serialize_shape_into(proto.type, _speakable(value.shape, dims))
    if value.doc_string:
        proto.doc_string = value.doc_string
    for key, text in value.metadata_props.items():
        proto.metadata_props.add(key=key, value=text)
    return proto


def _speakable(shape: ir.Shape, dims: frozenset[str]) -> ir.Shape:
    return ir.Shape(
        [d if isinstance(d, int) or d.value in dims else None for d in shape],
        [shape.get_denotation(i) for i in range(len(shape))],
    )
