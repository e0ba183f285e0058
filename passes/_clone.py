"""Copies of nodes with other values in them, subgraphs included."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.pipeline.names import Names


class Cloner:
    """Copies nodes; ``values`` says what stands for a value of the original.

    Args:
        attributes: What attribute references mean; those that are not here are left out.
        names: Source of fresh names for what is inside subgraphs. Values of the copied nodes
            themselves stay unnamed: whoever attaches them names them.
        sources: Provenance of nodes inside subgraphs.
    """

    def __init__(
        self, attributes: Mapping[str, ir.Attr], names: Names, sources: tuple[int, ...]
    ) -> None:
        self.values: dict[ir.Value, ir.Value | None] = {}
        self._attributes = attributes
        self._names = names
        self._sources = sources

    def node(self, node: ir.Node) -> ir.Node:
        """A copy that is in no graph yet; its outputs are entered in ``values``."""
        attributes = [self._attribute(attribute) for attribute in node.attributes.values()]
        copy = ir.Node(
            node.domain,
            node.op_type,
            [None if v is None else self.values.get(v, v) for v in node.inputs],
            [attribute for attribute in attributes if attribute is not None],
            overload=node.overload,
            num_outputs=len(node.outputs),
            doc_string=node.doc_string,
            metadata_props=dict(node.metadata_props),
        )
        for old, new in zip(node.outputs, copy.outputs, strict=True):
            self.values[old] = new
            if not old.name:
                new.name = ""
        return copy

    def _attribute(self, attribute: ir.Attr) -> ir.Attr | None:
        if attribute.is_ref():
            found = self._attributes.get(attribute.ref_attr_name or "")
            if found is None:
                return None
            attribute = ir.Attr(attribute.name, found.type, found.value)
        if attribute.type == ir.AttributeType.GRAPH:
            return ir.Attr(attribute.name, attribute.type, self.graph(attribute.value))
        if attribute.type == ir.AttributeType.GRAPHS:
            graphs = [self.graph(graph) for graph in attribute.value]
            return ir.Attr(attribute.name, attribute.type, graphs)
        return attribute

    def graph(self, graph: ir.Graph) -> ir.Graph:
        """A copy of a subgraph under fresh names; values of outer scopes are looked up."""
        inputs = [self._value(value) for value in graph.inputs]
        initializers = [self._value(value) for value in graph.initializers.values()]
        nodes = []
        for node in graph:
            copy = self.node(node)
            copy.meta[edit.SOURCE] = self._sources
            for old, new in zip(node.outputs, copy.outputs, strict=True):
                if old.name:
                    new.name = self._names.value(old.name)
            nodes.append(copy)
        outputs = [self.values.get(value, value) for value in graph.outputs]
        return ir.Graph(
            inputs,
            [value for value in outputs if value is not None],
            nodes=nodes,
            initializers=initializers,
            name=graph.name,
            doc_string=graph.doc_string,
            opset_imports=dict(graph.opset_imports),
        )

    def _value(self, value: ir.Value) -> ir.Value:
        if value in self.values:
            known = self.values[value]
            assert known is not None
            return known
        name = self._names.value(value.name or "value")
        tensor = None if value.const_value is None else _renamed(value.const_value, name)
        copy = ir.Value(name=name, type=value.type, shape=value.shape, const_value=tensor)
        self.values[value] = copy
        return copy


def _renamed(tensor: ir.TensorProtocol, name: str) -> ir.TensorProtocol:
    """The same elements under another name."""
    shape = ir.Shape(tensor.shape.numpy())
    return ir.LazyTensor(lambda: tensor, dtype=tensor.dtype, shape=shape, name=name)
