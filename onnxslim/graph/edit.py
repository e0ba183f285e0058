"""Read-only helpers on ``onnx_ir`` objects: attributes, constants, uses, operator identity.

Editing goes through :class:`onnxslim.pipeline.context.PassContext`, which keeps the worklist,
the provenance and the names; these functions change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

SOURCE = "onnxslim.source"
"""``node.meta`` key: indices into ``model.meta[SOURCES]`` of the nodes this one stands for."""

SOURCES = "onnxslim.sources"
"""``model.meta`` key: per node of the loaded model ``(name, op, output names)``."""

PASSES = "onnxslim.history"
"""``model.meta`` key: by index into ``SOURCES`` the passes that edited what the node became."""

_GRAPH, _GRAPHS = ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS

RANDOM_OPS = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
"""Operators whose result differs from run to run: never folded, never merged."""


def op_id(node: ir.Node) -> str:
    """``Conv`` for a standard operator, ``com.microsoft:Gelu`` for one of another domain."""
    return f"{node.domain}:{node.op_type}" if node.domain else node.op_type


def is_op(node: ir.Node | None, *op_types: str) -> bool:
    """True when ``node`` is one of these standard (``ai.onnx``) operators."""
    return node is not None and not node.domain and node.op_type in op_types


def attr(node: ir.Node, name: str, default: Any = None) -> Any:
    """The Python value of an attribute, or ``default`` when the node does not have it.

    A reference to a function's attribute counts as absent: its value is not known.
    """
    found = node.attributes.get(name)
    if found is None or found.is_ref():
        return default
    return found.value


def get_input(node: ir.Node, index: int) -> ir.Value | None:
    """Input ``index`` of ``node``; None when it is omitted or the list is shorter."""
    return node.inputs[index] if index < len(node.inputs) else None


def constant_tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of an initializer or of a ``Constant`` node; None for anything else.

    An initializer that is also a graph input can be overridden by the caller: no constant.
    """
    if value is None:
        return None
    producer = value.producer()
    if producer is None:
        if value.const_value is None or value.is_graph_input() or not value.is_initializer():
            return None
        return value.const_value
    if is_op(producer, "Constant"):
        return _constant_node_tensor(producer)
    return None


def _constant_node_tensor(node: ir.Node) -> ir.TensorProtocol | None:
    if len(node.attributes) != 1:
        return None
    attribute = next(iter(node.attributes.values()))
    if attribute.is_ref():
        return None
    if attribute.name == "value":
        tensor: ir.TensorProtocol = attribute.value
        return tensor
    kinds = {
        "value_int": np.int64,
        "value_ints": np.int64,
        "value_float": np.float32,
        "value_floats": np.float32,
    }
    kind = kinds.get(attribute.name)
    return None if kind is None else ir.tensor(np.asarray(attribute.value, dtype=kind))


def is_constant(value: ir.Value | None) -> bool:
    """True for an initializer that nobody can override, or the output of a ``Constant``."""
    return constant_tensor(value) is not None


def constant_array(value: ir.Value | None, *, limit: int | None = None) -> np.ndarray | None:
    """The constant's array (a view where possible; never write to it), or None.

    Args:
        value: Any value.
        limit: None is also returned when it has more elements than this, without reading them.
    """
    tensor = constant_tensor(value)
    if tensor is None or (limit is not None and tensor.size > limit):
        return None
    return tensor.numpy()


def scalar(value: ir.Value | None) -> Any:
    """The Python scalar of a constant with exactly one element, whatever its rank; else None."""
    array = constant_array(value, limit=1)
    if array is None or array.size != 1 or array.dtype == np.object_:
        return None
    return array.reshape(()).item()


def ints(value: ir.Value | None) -> list[int] | None:
    """The elements of a small constant integer tensor (rank 0 or 1), or None."""
    array = constant_array(value, limit=4096)
    if array is None or array.ndim > 1 or array.dtype.kind not in "iu":
        return None
    return [int(x) for x in array.reshape(-1)]


def shape_of(value: ir.Value | None) -> tuple[int | ir.SymbolicDim, ...] | None:
    """Inferred dimensions of a value, or None when its rank is unknown."""
    return None if value is None or value.shape is None else value.shape.dims


def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """Dimensions of a value when all of them are known numbers, else None."""
    dims = shape_of(value)
    if dims is None or not all(isinstance(d, int) for d in dims):
        return None
    return tuple(d for d in dims if isinstance(d, int))


def rank_of(value: ir.Value | None) -> int | None:
    """Rank of a value, or None when unknown."""
    return None if value is None or value.shape is None else len(value.shape)


def use_count(value: ir.Value) -> int:
    """How often a value is read: inputs of nodes (of subgraphs too) and graph outputs."""
    return len(value.uses()) + int(value.is_graph_output())


def is_sole_consumer(value: ir.Value, node: ir.Node) -> bool:
    """True when ``node`` reads ``value`` exactly once and nothing else does."""
    uses = value.uses()
    return len(uses) == 1 and not value.is_graph_output() and next(iter(uses)).node is node


def sole_consumer(value: ir.Value) -> ir.Node | None:
    """The only reader of ``value`` (once, not a graph output), or None."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    return next(iter(uses)).node


def new_node(
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Any] | None = None,
    **options: Any,
) -> ir.Node:
    """``ir.node``, which takes 0.4 ms to find that a list holds numbers; see there."""
    given = {name: attribute(name, value) for name, value in (attributes or {}).items()}
    return ir.node(op_type, inputs, given, **options)


def attribute(name: str, value: Any) -> ir.Attr:
    """The attribute of that name: a plain value, a tensor, a graph, or an attribute as it is."""
    if isinstance(value, (list, tuple)) and value:
        if all(type(item) is int for item in value):
            return ir.AttrInt64s(name, value)
        if all(type(item) is float for item in value):
            return ir.AttrFloat32s(name, value)
    return ir.convenience.convert_attribute(name, value)


def subgraphs(node: ir.Node) -> Sequence[ir.Graph]:
    """The graphs held by the attributes of a node (If, Loop, Scan, SequenceMap)."""
    found: list[ir.Graph] | None = None
    for attribute in node.attributes.data.values():  # the plain dictionary: asked of every node
        kind = attribute.type
        if kind is not _GRAPH and kind is not _GRAPHS or attribute.is_ref():
            continue
        found = found if found is not None else []
        found += (attribute.value,) if kind is _GRAPH else attribute.value
    return found or ()


def all_graphs(model: ir.Model) -> Iterator[ir.Graph]:
    """The main graph and every subgraph below it, outer before inner; functions left out."""
    stack = [model.graph]
    while stack:
        graph = stack.pop()
        yield graph
        inner = [g for node in graph for g in subgraphs(node)] if len(graph) else []
        stack.extend(reversed(inner))


def is_deterministic(node: ir.Node) -> bool:
    """False for random operators, training-mode Dropout and nodes that hold such nodes."""
    if node.domain:
        return False
    if node.op_type in RANDOM_OPS:
        return False
    if node.op_type == "Dropout" and not is_inference_dropout(node):
        return False
    return all(is_deterministic(inner) for graph in subgraphs(node) for inner in graph)


def is_inference_dropout(node: ir.Node) -> bool:
    """True when a Dropout certainly passes its input through (Dropout-7/10/12/13/22)."""
    mode = get_input(node, 2)
    if mode is not None:
        return scalar(mode) is False
    return bool(attr(node, "is_test", 1) != 0)
