"""Whether two subgraphs compute the same from the same outer values."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph import edit

_LIMIT = 1 << 20
"""Constants with more elements are taken to differ, without reading them."""


def same_graph(a: ir.Graph, b: ir.Graph, pairs: dict[ir.Value, ir.Value] | None = None) -> bool:
    """True when node by node both do the same; ``pairs`` says which outer values correspond."""
    pairs = {} if pairs is None else pairs
    if len(a) != len(b) or len(a.inputs) != len(b.inputs) or len(a.outputs) != len(b.outputs):
        return False
    pairs.update(zip(a.inputs, b.inputs, strict=True))
    if not all(_same_node(m, n, pairs) for m, n in zip(a, b, strict=True)):
        return False
    return all(_same_value(x, y, pairs) for x, y in zip(a.outputs, b.outputs, strict=True))


def _same_node(a: ir.Node, b: ir.Node, pairs: dict[ir.Value, ir.Value]) -> bool:
    same = a.op_identifier() == b.op_identifier() and len(a.outputs) == len(b.outputs)
    if not same or len(a.inputs) != len(b.inputs) or set(a.attributes) != set(b.attributes):
        return False
    if not all(_same_value(x, y, pairs) for x, y in zip(a.inputs, b.inputs, strict=True)):
        return False
    if not all(_same_attribute(x, b.attributes[k], pairs) for k, x in a.attributes.items()):
        return False
    pairs.update(zip(a.outputs, b.outputs, strict=True))
    return True


def _same_value(a: ir.Value | None, b: ir.Value | None, pairs: dict[ir.Value, ir.Value]) -> bool:
    if a is None or b is None:
        return a is b
    if a is b or pairs.get(a) is b:
        return True
    left, right = edit.constant_tensor(a), edit.constant_tensor(b)
    return left is not None and right is not None and _same_tensor(left, right)


def _same_tensor(a: ir.TensorProtocol, b: ir.TensorProtocol) -> bool:
    if a.dtype != b.dtype or tuple(a.shape) != tuple(b.shape) or a.size > _LIMIT:
        return False
    if a.dtype == ir.DataType.STRING:
        return bool((a.numpy() == b.numpy()).all())
    return a.tobytes() == b.tobytes()


def _same_attribute(a: ir.Attr, b: ir.Attr, pairs: dict[ir.Value, ir.Value]) -> bool:
    if a.type != b.type or a.is_ref() or b.is_ref():
        return False
    if a.type == ir.AttributeType.GRAPH:
        return same_graph(a.value, b.value, pairs)
    if a.type == ir.AttributeType.TENSOR:
        return _same_tensor(a.value, b.value)
    simple = ("INT", "INTS", "FLOAT", "FLOATS", "STRING", "STRINGS")
    return a.type.name in simple and bool(a.value == b.value)
