"""Fold arithmetic with constants into the convolution or matrix product next to it.

    after a layer    k (W x + b) + d    weight' = k[m] W    bias' = k b + d
    before a layer   W (k x + d) + b    weight' = W k[c]    bias' = b + W applied to the constant d

Mul, Div, Add, Sub and Neg with a constant on either side, one number for all or one per channel,
also when only Reshape, Transpose and the like stand between them and the layer. A number for all
goes into the alpha of a Gemm when the weight is computed or shared; one before each factor of a
MatMul (as attention is exported) becomes one before the first.

Source: linearity of the operators; ONNX operators Conv-11, ConvTranspose-11, Gemm-13, MatMul-13.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._affine import OPS, Affine, find_constant, follow, per_channel, read_affine
from onnxslim.passes._affine_path import (
    ends_a_pattern,
    is_padded,
    per_input,
    take_add,
    walk_ahead,
    walk_back,
)
from onnxslim.passes._facts import broadcast_keeps
from onnxslim.passes._gemm import graph_of
from onnxslim.passes._layer import Layer
from onnxslim.passes._linear import narrow
from onnxslim.passes._rescale import scale_inputs, scale_outputs
from onnxslim.passes._write_layer import apply_change
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext


@register
@dataclass(frozen=True)
class FoldAffine(Pass):
    """Fold Mul, Div, Add, Sub and Neg with constants into the Conv, Gemm or MatMul next to them.

    Skipped when the tensor between them has another reader, when the constant is not one number
    per channel or enlarges the tensor, when an Add comes before a padded Conv, when the folded
    weights overflow or vanish, and when a large weight is shared. An operator at the end of a
    normalization or activation is left to runtimes, which fuse those.
    """

    name: ClassVar[str] = "fold-affine"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Fold every such operator that has a layer next to it."""
        return sum(_fold(node, ctx) for node in ctx.nodes(*OPS))


def _fold(node: ir.Node, ctx: PassContext) -> bool:
    side = find_constant(node)
    data = None if side is None else node.inputs[0 if side < 0 else 1 - side]
    if data is None or ctx.opset < 7:
        return False
    back, ahead = walk_back(node, data), walk_ahead(node)
    if back is None and ahead is None:
        return False
    affine = read_affine(node)
    if affine is None:
        return False
    if isinstance(affine, str):
        return ctx.skip(node, affine)
    reason: str | None = None
    if back is not None:
        reason = _fold_back(affine, back, ctx)
        if reason is None:
            return True
    if ahead is not None:
        other = _fold_ahead(affine, ahead, ctx)
        if other is None or _merge_factors(affine, *ahead, ctx):
            return True
        reason = reason or other
    return ctx.skip(node, reason) if reason else False


# -------------------------------------------------------------------- into the layer before


def _fold_back(affine: Affine, back: tuple[Layer, list[ir.Node]], ctx: PassContext) -> str | None:
    """Why not, empty when nothing is to be said; None when it is done."""
    layer, path = back
    moves = path[:-1]
    if layer.op == "MatMul" and affine.node.op_type == "Add" and not moves:
        return ""  # a Gemm, or already the bias
    last = layer.add or layer.node
    if not edit.is_sole_consumer(last.outputs[0], path[0]):
        return "the output of the layer has another reader"
    if not broadcast_keeps(affine.data, affine.shape):
        return "the constant may enlarge the output of the layer"
    axes = layer.axes
    for move in moves:
        axes = follow(axes, move)
    rank = edit.rank_of(affine.data)
    k = per_channel(affine.k, rank, axes, layer.channels)
    d = per_channel(affine.d, rank, axes, layer.channels)
    if k is None or d is None:
        return "the constant is not one number per channel"
    change = scale_outputs(layer, k, d)
    if isinstance(change, str):
        return change
    x = layer.node.inputs[layer.data]
    assert x is not None
    new = apply_change(layer, x, change, ctx)
    if isinstance(new, str):
        return new
    old = [layer.node, *([layer.add] if layer.add else []), *moves, affine.node]
    ctx.replace(old, _and_moves(new, moves, last))
    return None


def _and_moves(new: list[ir.Node], moves: Sequence[ir.Node], last: ir.Node) -> list[ir.Node]:
    """The new layer and copies of the moves behind it."""
    nodes = list(new)
    for move in moves:
        _describe(nodes[-1].outputs[0], last.outputs[0])
        values = [nodes[-1].outputs[0], *move.inputs[1:]]
        nodes.append(edit.new_node(move.op_type, values, dict(move.attributes)))
        last = move
    return nodes


def _describe(value: ir.Value, like: ir.Value) -> None:
    value.type, value.shape = like.type, like.shape


# -------------------------------------------------------------------- into the layer after


def _fold_ahead(affine: Affine, ahead: tuple[Layer, list[ir.Node]], ctx: PassContext) -> str | None:
    """Why not; None when it is done."""
    layer, moves = ahead
    if not broadcast_keeps(affine.data, affine.shape):
        return "the constant may enlarge the input of the layer"
    if ends_a_pattern(affine.data):
        return "it ends a normalization or activation that runtimes fuse"
    k, d = per_input(affine, affine.k, layer, moves), per_input(affine, affine.d, layer, moves)
    if k is None or d is None:
        return "the constant is not one number per input channel"
    if d.any() and (layer.op == "ConvTranspose" or is_padded(layer.node)):
        return "the convolution pads with zeros"
    if d.any():
        layer = take_add(layer)
    change = scale_inputs(layer, k, d)
    if isinstance(change, str):
        return change
    x = affine.data
    copies = _copy_moves(x, moves)
    new = apply_change(layer, copies[-1].outputs[0] if copies else x, change, ctx)
    if isinstance(new, str):
        return new
    end = [layer.node, layer.add] if layer.add else [layer.node]
    ctx.replace([affine.node, *moves, *end], [*copies, *new])
    return None


def _merge_factors(
    affine: Affine, layer: Layer, moves: Sequence[ir.Node], ctx: PassContext
) -> bool:
    """One number before each factor of a MatMul (scaled attention) becomes one before the first."""
    node, other = layer.node, layer.weight.producer()
    if layer.op != "MatMul" or moves or other is None or not edit.is_op(other, "Mul", "Div"):
        return False
    second = read_affine(other) if edit.is_sole_consumer(layer.weight, node) else None
    if not isinstance(second, Affine) or affine.d.any() or other.graph is not node.graph:
        return False
    product = affine.k * second.k
    size_one = affine.k.size == second.k.size == 1
    fit = all(broadcast_keeps(a.data, a.shape) for a in (affine, second))
    dtype = affine.data.dtype
    if not size_one or not fit or dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
        return False
    number = narrow(np.asarray(product).reshape(()), dtype.numpy())
    if number is None:
        return False
    pair = [affine.data, second.data] if layer.data == 0 else [second.data, affine.data]
    scaled = edit.new_node("Mul", [pair[0], ctx.constant(graph_of(node), "factor", number)])
    new = edit.new_node("MatMul", [scaled.outputs[0], pair[1]])
    ctx.replace([affine.node, other, node], [scaled, new])
    return True


def _copy_moves(x: ir.Value, moves: Sequence[ir.Node]) -> list[ir.Node]:
    copies: list[ir.Node] = []
    for move in moves:
        node = edit.new_node(move.op_type, [x, *move.inputs[1:]], dict(move.attributes))
        x = node.outputs[0]
        _describe(x, move.outputs[0])
        copies.append(node)
    return copies
