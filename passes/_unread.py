"""Constants that nobody reads any more after their readers took a copy of another type."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from onnxslim.pipeline.context import PassContext


def drop_unread(values: Iterable[ir.Value], ctx: PassContext) -> None:
    """Remove those initializers and Constant nodes that have no reader."""
    for value in values:
        if value.uses() or value.is_graph_output() or value.is_graph_input():
            continue
        producer, owner = value.producer(), value.graph
        if producer is not None:
            ctx.remove(producer)
        elif isinstance(owner, ir.Graph) and value.name and value.is_initializer():
            owner.initializers.pop(value.name)
