"""Remove an Expand (or a filled tensor) whose only readers broadcast anyway."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.analysis import dims
from onnxslim.graph import edit
from onnxslim.passes._facts import drop_unread, same_dims
from onnxslim.passes._uniform import uniform
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

Dim = int | ir.SymbolicDim

_BROADCAST = frozenset(
    "Add Sub Mul Div Pow Mod And Or Xor Equal Less LessOrEqual Greater GreaterOrEqual BitShift "
    "BitwiseAnd BitwiseOr BitwiseXor Where Max Min Sum Mean".split()
)


@register
@dataclass(frozen=True)
class EliminateExpand(Pass):
    """Let elementwise operators broadcast by themselves what Expand or ConstantOfShape enlarged.

    ``Add(x, Expand(k, shape))`` becomes ``Add(x, k)`` when the sum has the same shape without the
    Expand. Skipped when some reader needs the enlarged tensor.

    Source: ONNX operators Expand-8/13, ConstantOfShape-9; Broadcasting in ONNX.
    """

    name: ClassVar[str] = "eliminate-expand"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """One visit per tensor that was enlarged."""
        if ctx.opset < 8:
            return 0
        return sum(_eliminate(node, ctx) for node in ctx.nodes("Expand", "ConstantOfShape"))


def _eliminate(node: ir.Node, ctx: PassContext) -> bool:
    out = node.outputs[0]
    uses = list(out.uses())
    if not uses or out.is_graph_output():
        return False
    small = edit.shape_of(node.inputs[0]) if node.op_type == "Expand" else ()
    if small is None or (node.op_type != "Expand" and uniform(out) is None):
        return False
    readers = list(dict.fromkeys(use.node for use in uses))
    if not all(_keeps_shape(reader, out, small) for reader in readers):
        return any(edit.is_op(r, *_BROADCAST) for r in readers) and ctx.skip(
            node, "a reader needs the enlarged tensor"
        )
    source, graph = node.inputs[0], node.graph
    assert isinstance(graph, ir.Graph)
    if node.op_type != "Expand":
        source = ctx.constant(graph, out.name, np.asarray(uniform(out)))
    for use in uses:
        ctx.set_input(use.node, use.idx, source)
    drop_unread([node], ctx)
    return True


def _keeps_shape(reader: ir.Node, large: ir.Value, small: Sequence[Dim]) -> bool:
    """True when ``reader`` gives the same shape with ``small`` in place of ``large``."""
    wanted = edit.shape_of(reader.outputs[0]) if reader.outputs else None
    if reader.domain or reader.op_type not in _BROADCAST or wanted is None:
        return False
    found: Sequence[Dim] | None = ()
    for value in reader.inputs:
        shape = small if value is large else edit.shape_of(value)
        found = None if shape is None or found is None else _broadcast(found, shape)
    return found is not None and same_dims(found, wanted)


def _broadcast(a: Sequence[Dim], b: Sequence[Dim]) -> list[Dim] | None:
    rank = max(len(a), len(b))
    left, right = ((*[1] * (rank - len(s)), *s) for s in (a, b))
    result: list[Dim] = []
    for x, y in zip(left, right, strict=True):
        size = dims.broadcast(x, y)
        if size is None:
            return None
        result.append(size)
    return result
