"""Rule of com.microsoft MatMulNBits: weights of few bits, packed by blocks of the inner axis."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.analysis.dependency.atoms import Labels
from onnxslim.analysis.dependency.builder import Axes, Builder
from onnxslim.analysis.dependency.groups import Role
from onnxslim.analysis.shape_context import describe
from onnxslim.graph.edit import attr, get_input, shape_of


def matmul_nbits(b: Builder, node: ir.Node) -> None:
    """MatMulNBits: B is (N, blocks, bytes), its scales (N, blocks) or flat; blocks leave whole.

    The scales stand for the weights in scores: the codes are packed.
    """
    x, w, scales, zeros = (get_input(node, i) for i in range(4))
    data, weight, shape = b.axes(x), b.axes(w), shape_of(w)
    if not data or weight is None or shape is None or len(weight) != 3 or get_input(node, 4):
        b.fail(node, "its blocks are in an order of their own")
        return
    made, inner = weight[0], _blocks(b, node, data[-1], int(attr(node, "block_size", 0)))
    if int(attr(node, "bits", 4)) < 8 and zeros is not None and zeros.dtype == ir.DataType.UINT8:
        inner = None  # several blocks share a byte
    for value in (scales, zeros):
        inner = _per_block(b, node, value, made, inner)
    if inner is None:
        b.freeze(data[-1], f"{describe(node)} packs several blocks of it in one number")
    if weight[1] is not None:
        b.unite(inner, weight[1], node)
    b.freeze(weight[2], f"{describe(node)} packs it")
    bias = b.axes(get_input(node, 5))
    if bias and bias[0] is not None:
        b.unite(made, bias[0], node)
        b.site(node, Role.PRODUCE, get_input(node, 5), 0)
    b.site(node, Role.CONSUME, x, -1)
    b.site(node, Role.PRODUCE, scales, 0)
    b.set_axes(node.outputs[0], [*data[:-1], made])


def _blocks(b: Builder, node: ir.Node, labels: Labels | None, size: int) -> Labels | None:
    """One label per block of the inner axis; None where the last block is not full."""
    if labels is None or size < 1 or len(labels) % size:
        return None
    table = labels.reshape(-1, size)
    for column in table.T[1:]:
        b.atoms.unite(table[:, 0], column)
    return table[:, 0].copy()


def _per_block(
    b: Builder,
    node: ir.Node,
    value: ir.Value | None,
    made: Labels | None,
    inner: Labels | None,
) -> Labels | None:
    """Unite the axes of scales or zero points; returns what is left of the inner labels."""
    own: Axes = b.axes(value) or []
    if not own or own[0] is None or made is None:
        return inner
    if len(own) == 2:
        b.unite(made, own[0], node)
        if own[1] is not None and inner is not None and len(own[1]) == len(inner):
            b.unite(inner, own[1], node)
        return inner
    if len(own[0]) % len(made):
        b.unite(made, own[0], node)
        return inner
    b.unite(made.repeat(len(own[0]) // len(made)), own[0], node)
    return None if len(own[0]) > len(made) else inner


MICROSOFT = {"MatMulNBits": matmul_nbits}
