"""Remove what nothing reads: nodes, outputs, initializers and functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

_OPTIONAL: dict[str, int] = {
    "Dropout": 1,
    "MaxPool": 1,
    "LayerNormalization": 1,
    "Unique": 1,
    "LSTM": 0,
    "GRU": 0,
    "RNN": 0,
}
"""Operators whose outputs from this index on may be left out without changing the others.

BatchNormalization is not among them: before opset 14 its outputs switch on training mode."""


@register
@dataclass(frozen=True)
class EliminateDead(Pass):
    """Remove nodes, optional outputs, initializers and functions that nothing reads.

    Graph inputs and outputs, overridable initializers and operator-set imports stay. Subgraphs
    are cleaned too.

    Source: ONNX IR specification, sections Graphs and Functions.
    """

    name: ClassVar[str] = "eliminate-dead"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """One walk from the outputs backwards, then initializers and functions."""
        removed = _nodes(model.graph, ctx)
        removed += sum(map(_initializers, edit.all_graphs(model)))
        return removed + _functions(model)


def _nodes(graph: ir.Graph, ctx: PassContext) -> int:
    """Remove unread nodes last first, so that what only they read falls too."""
    removed = 0
    for node in reversed(graph):
        if not any(edit.use_count(value) for value in node.outputs):
            ctx.remove(node)
            removed += 1
            continue
        removed += _outputs(node, ctx)
        for inner in edit.subgraphs(node):
            removed += _nodes(inner, ctx)
    return removed


def _outputs(node: ir.Node, ctx: PassContext) -> int:
    """Leave out optional outputs that nothing reads; returns 1 when some were."""
    first = _OPTIONAL.get(node.op_type) if not node.domain else None
    if first is None or len(node.outputs) <= first:
        return 0
    count = len(node.outputs)
    while count > first and not edit.use_count(node.outputs[count - 1]):
        count -= 1
    unread = [v for v in node.outputs[first:count] if v.name and not edit.use_count(v)]
    if count == len(node.outputs) and not unread:
        return 0
    for value in unread:
        value.name = ""
    node.resize_outputs(count)
    ctx.touch(node)
    return 1


def _initializers(graph: ir.Graph) -> int:
    unread = [
        name
        for name, value in graph.initializers.items()
        if not edit.use_count(value) and not value.is_graph_input()
    ]
    for name in unread:
        del graph.initializers[name]
    return len(unread)


def _functions(model: ir.Model) -> int:
    """Remove functions that no node of the model, and no function that stays, calls."""
    if not model.functions:
        return 0
    called: dict[ir.OperatorIdentifier, None] = {}
    waiting: list[ir.Graph | ir.Function] = [model.graph]
    while waiting:
        for node in waiting.pop().all_nodes():
            key = node.op_identifier()
            if key in model.functions and key not in called:
                called[key] = None
                waiting.append(model.functions[key])
    unread = [key for key in model.functions if key not in called]
    for key in unread:
        del model.functions[key]
    return len(unread)
