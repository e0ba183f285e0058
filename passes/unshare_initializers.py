"""Give every reader of a shared vector a copy of its own.

Exporters merge initializers that happen to be equal: zero biases, normalization parameters of
ones, and, in every trained ResNet, the shifts of the last BatchNormalization of a block and of its
shortcut, which get identical gradients. Pruning must not slice one for all. Filters and matrices
that are shared stay shared: those are tied on purpose (an embedding and its head).

``deduplicate-initializers`` merges again what is still equal afterwards.

Source: ONNX IR specification, initializers: a name stands for one tensor wherever it is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.graph.edit import constant_tensor
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext


@register
@dataclass(frozen=True)
class UnshareInitializers(Pass):
    """Copy vectors that several nodes read, so that each can be pruned on its own.

    Skipped for filters and matrices, for scalars and for integer tensors.
    """

    name: ClassVar[str] = "unshare-initializers"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Walk the initializers of the main graph."""
        found = [v for v in model.graph.initializers.values() if _is_shared_vector(v)]
        return sum(_unshare(value, model.graph, ctx) for value in found)


def _is_shared_vector(value: ir.Value) -> bool:
    tensor = constant_tensor(value)
    if tensor is None or len(value.uses()) < 2 or not tensor.dtype.is_floating_point():
        return False
    sizes = [n for n in tensor.shape.numpy() if n != 1]
    return len(sizes) == 1


def _unshare(value: ir.Value, graph: ir.Graph, ctx: PassContext) -> int:
    tensor = constant_tensor(value)
    uses = [use for use in value.uses() if use.node.graph is graph]
    assert tensor is not None
    for use in uses[1:]:
        own = ctx.constant(graph, value.name, tensor)
        ctx.set_input(use.node, use.idx, own)
    return max(len(uses) - 1, 0)
