"""Let a body return its input or a constant itself, not a copy made by a node.

Loops exported from PyTorch end in ``Identity(true)``; the graph of a body may name an input or an
initializer of its own as output, an outer value it may not.

Source: ONNX IR specification, section Graphs; ONNX operators If, Loop, Scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.shapes import known_values
from onnxslim.graph import edit
from onnxslim.passes._facts import drop_unread
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

_SMALL = 256
"""A constant of an outer graph is copied into the body up to this many bytes."""


@register
@dataclass(frozen=True)
class FoldSubgraph(Pass):
    """Make bodies of If, Loop and Scan return inputs and constants without a node in between.

    Skipped for large constants of outer graphs, and for a value that the body returns already.

    Source: ONNX IR specification, section Graphs.
    """

    name: ClassVar[str] = "fold-subgraph"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """One visit per node that holds graphs."""
        holders = ctx.nodes("If", "Loop", "Scan")
        return sum(_fold(body, ctx) for node in holders for body in edit.subgraphs(node))


def _fold(body: ir.Graph, ctx: PassContext) -> int:
    return sum(_output(body, place, ctx) for place in range(len(body.outputs)))


def _output(body: ir.Graph, place: int, ctx: PassContext) -> bool:
    value = body.outputs[place]
    node = value.producer()
    if node is None or node.graph is not body or edit.is_op(node, "Constant"):
        return False
    source = node.inputs[0] if edit.is_op(node, "Identity") else None
    if source in body.inputs:
        if source in body.outputs:
            return False
        new = source
    else:
        new = _constant(body, value, source, ctx)
    if new is None:
        return False
    others = [use for use in value.uses()]
    body.outputs[place] = new
    for use in others:
        ctx.set_input(use.node, use.idx, new)
    if not edit.use_count(value):
        drop_unread([node], ctx)
    return True


def _constant(
    body: ir.Graph, value: ir.Value, source: ir.Value | None, ctx: PassContext
) -> ir.Value | None:
    tensor = edit.constant_tensor(source)
    if tensor is not None and source is not None:
        own = source.is_initializer() and source.graph is body
        if tensor.dtype == ir.DataType.STRING or (tensor.nbytes > _SMALL and not own):
            return None
        return ctx.constant(body, value.name, tensor)
    content, shape = known_values(value), edit.static_shape(value)
    if not content or shape is None or value.dtype is None:
        return None
    if not all(isinstance(e, int) for e in content):
        return None
    return ctx.constant(body, value.name, np.array(content, value.dtype.numpy()).reshape(shape))
