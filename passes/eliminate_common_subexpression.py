"""Compute equal things once."""

from __future__ import annotations

import struct
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.graph.schema import get_schema
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

_COMMUTATIVE = frozenset({"Add", "Mul", "And", "Or", "Xor", "Equal"})
_MAX_ELEMENTS = 1024

Key = tuple[Hashable, ...]


@register
@dataclass(frozen=True)
class EliminateCommonSubexpression(Pass):
    """Merge nodes of the same operator, inputs and attributes into the first of them.

    Attributes left out count as their defaults, omitted inputs count by position, constants are
    compared bit by bit. A node of a subgraph is merged into an equal one outside that comes
    before, never the other way round. Left alone: random operators, operators of other domains,
    nodes with subgraphs, nodes with a different number of outputs. Skipped when both results are
    graph outputs, or the one that would go is an output of a subgraph.

    Source: Cocke 1970, Global common subexpression elimination.
    """

    name: ClassVar[str] = "eliminate-common-subexpression"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """One walk in graph order; what was merged is seen by the nodes after it."""
        return _merge(model.graph, [], ctx)


def _merge(graph: ir.Graph, outer: Sequence[dict[Key, ir.Node]], ctx: PassContext) -> int:
    own: dict[Key, ir.Node] = {}
    scopes = [own, *outer]
    rewrites = 0
    for node in graph:
        key = _key(node, ctx.opset)
        if key is None:
            for inner in edit.subgraphs(node):
                rewrites += _merge(inner, scopes, ctx)
            continue
        first = next((scope[key] for scope in scopes if key in scope), None)
        if first is None:
            own[key] = node
        elif _replace(node, first, ctx):
            rewrites += 1
    return rewrites


def _replace(node: ir.Node, first: ir.Node, ctx: PassContext) -> bool:
    for old, new in zip(node.outputs, first.outputs, strict=True):
        if not old.is_graph_output():
            continue
        if new.is_graph_output() or node.graph is not first.graph:
            return ctx.skip(node, "equal to another node, but its name is a graph output")
    for index, new in enumerate(first.outputs):
        if edit.use_count(node.outputs[index]):
            ctx.bypass(node, new, index)
    if node.graph is not None:
        ctx.remove(node)
    return True


def _key(node: ir.Node, opset: int) -> Key | None:
    """Equal keys mean equal results; None for nodes that are left alone."""
    if not edit.is_deterministic(node) or edit.subgraphs(node):
        return None
    attributes = dict(_defaults(node.domain, node.op_type, opset))
    for name, attribute in node.attributes.data.items():
        frozen = None if attribute.is_ref() else _frozen(attribute.value)
        if frozen is None:
            return None
        attributes[name] = frozen
    inputs = [None if v is None else id(v) for v in node.inputs]
    while inputs and inputs[-1] is None:
        inputs.pop()
    if node.op_type in _COMMUTATIVE and None not in inputs:
        inputs.sort(key=lambda i: i or 0)
    outputs = tuple(bool(v.name) for v in node.outputs)
    return (node.op_type, tuple(inputs), tuple(sorted(attributes.items(), key=_first)), outputs)


@lru_cache(maxsize=4096)
def _defaults(domain: str, op_type: str, opset: int) -> Mapping[str, Hashable | None]:
    """Default attributes of an operator, to compare."""
    schema = get_schema(domain, op_type, opset)
    return {} if schema is None else {name: _frozen(value) for name, value in schema.defaults}


def _first(item: tuple[str, Hashable]) -> str:
    return item[0]


def _frozen(value: Any) -> Hashable | None:
    """An attribute value as something to compare bit by bit; None when that is not possible."""
    if isinstance(value, float):
        return ("float", struct.pack("<d", value))
    if isinstance(value, (bool, int, str, bytes)):
        return (type(value).__name__, value)
    if isinstance(value, (list, tuple)):
        items = tuple(_frozen(item) for item in value)
        return None if None in items else ("list", items)
    if isinstance(value, (ir.Tensor, ir.TensorProtoTensor, ir.TensorProtocol)):  # the last is slow
        if value.size > _MAX_ELEMENTS or value.dtype == ir.DataType.STRING:
            return ("tensor", id(value))
        return ("tensor", value.dtype, tuple(value.shape.numpy()), value.tobytes())
    return None
