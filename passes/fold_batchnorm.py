"""Fold inference-mode BatchNormalization into the layer before or after it.

With per-channel ``k = scale / sqrt(var + epsilon)`` and ``d = shift - mean * k``, both (C,)::

    after a layer    weight' = weight * k[m]      bias' = bias * k + d
    before a layer   weight' = weight * k[c]      bias' = bias + weight applied to the constant d

Source: Jacob et al. 2018, arXiv:1712.05877, section 3.2; ONNX operator BatchNormalization-15.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._linear import OPS, Linear, constant, read_linear, write_linear
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext


@register
@dataclass(frozen=True)
class FoldBatchNorm(Pass):
    """Remove a BatchNormalization by rescaling the weights of the layer before or after it.

    The layer is a Conv, ConvTranspose, Gemm or MatMul before it, or a Conv without padding, a Gemm
    or a MatMul after it. Skipped when the tensor between them has another reader, when a parameter
    is not a constant or not finite, when var + epsilon is not positive, when the channel axis of a
    MatMul is not its last, when the folded weights overflow, when a large weight is shared, or
    when BatchNormalization runs in training mode.
    """

    name: ClassVar[str] = "fold-batchnorm"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Fold every BatchNormalization that has a layer next to it."""
        return sum(_fold(node, ctx) for node in ctx.nodes("BatchNormalization"))


def _fold(bn: ir.Node, ctx: PassContext) -> bool:
    before, after = _layer_before(bn), _layer_after(bn)
    if before is None and after is None:
        return False
    scaling = _scaling(bn, ctx.opset)
    if isinstance(scaling, str):
        return ctx.skip(bn, scaling)
    reasons = []
    if before is not None:
        refusal = _fold_back(before, bn, scaling, ctx)
        if refusal is None:
            return True
        reasons.append(refusal)
    if after is not None:
        refusal = _fold_forward(bn, after, scaling, ctx)
        if refusal is None:
            return True
        reasons.append(refusal)
    return ctx.skip(bn, reasons[0])


def _layer_before(bn: ir.Node) -> ir.Node | None:
    x = bn.inputs[0]
    node = None if x is None else x.producer()
    return node if edit.is_op(node, *OPS) else None


def _layer_after(bn: ir.Node) -> ir.Node | None:
    """A layer that reads the result as its data, not as its weight."""
    for use in bn.outputs[0].uses():
        if use.idx == 0 and edit.is_op(use.node, "Conv", "Gemm", "MatMul"):
            return use.node
    return None


def _scaling(bn: ir.Node, opset: int) -> tuple[np.ndarray, np.ndarray] | str:
    """``(k, d)`` in float64, or why they are not known."""
    if opset < 7:
        return "BatchNormalization is older than opset 7"
    if edit.attr(bn, "training_mode", 0) or any(v.name or v.uses() for v in bn.outputs[1:]):
        return "BatchNormalization is in training mode"
    if not edit.attr(bn, "spatial", 1):
        return "BatchNormalization is not per channel (spatial=0)"
    arrays = [constant(edit.get_input(bn, i)) for i in range(1, 5)]
    found = [a.astype(np.float64) for a in arrays if a is not None]
    if len(found) < 4:
        return "a BatchNormalization parameter is not constant"
    if any(a.shape != found[0].shape or a.ndim != 1 for a in found):
        return "the BatchNormalization parameters do not have one number per channel"
    scale, shift, mean, var = found
    spread = var + float(edit.attr(bn, "epsilon", 1e-5))
    if not all(np.isfinite(a).all() for a in found) or not (spread > 0).all():
        return "a BatchNormalization parameter is not finite or var + epsilon is not positive"
    k = scale / np.sqrt(spread)
    return k, shift - mean * k


def _fold_back(
    node: ir.Node, bn: ir.Node, scaling: tuple[np.ndarray, np.ndarray], ctx: PassContext
) -> str | None:
    """Into the layer before; returns why not."""
    k, d = scaling
    x, layer = node.inputs[0], _beside(node, bn, node)
    if isinstance(layer, str):
        return layer
    assert x is not None, "both operators need their data"
    if layer.op == "MatMul" and edit.rank_of(x) != 2:
        return "the channels of the MatMul are not its last axis"
    if k.shape != (layer.channels,):
        return "the number of channels differs"
    new = write_linear(layer, x, layer.scale_outputs(k), layer.bias * k + d, ctx)
    if isinstance(new, str):
        return new
    ctx.replace([node, bn], new)
    return None


def _fold_forward(
    bn: ir.Node, node: ir.Node, scaling: tuple[np.ndarray, np.ndarray], ctx: PassContext
) -> str | None:
    """Into the layer after; returns why not."""
    k, d = scaling
    x, layer = bn.inputs[0], _beside(bn, node, node)
    if isinstance(layer, str):
        return layer
    assert x is not None, "both operators need their data"
    refusal = _not_forward(layer, x, k, d)
    if refusal is not None:
        return refusal
    new = write_linear(layer, x, layer.scale_inputs(k), layer.bias + layer.respond(d), ctx)
    if isinstance(new, str):
        return new
    ctx.replace([bn, node], new)
    return None


def _beside(first: ir.Node, second: ir.Node, node: ir.Node) -> Linear | str:
    """The layer ``node``, one of two neighbours, or why it takes nothing in."""
    word = "before" if node is first else "after"
    if first.graph is not second.graph:
        return f"the layer {word} is in another scope"
    if not edit.is_sole_consumer(first.outputs[0], second):
        what = "the output of the layer before" if node is first else "the normalized tensor"
        return f"{what} has another reader"
    layer = read_linear(node)
    return f"layer {word}: {layer}" if isinstance(layer, str) else layer


def _not_forward(layer: Linear, x: ir.Value, k: np.ndarray, d: np.ndarray) -> str | None:
    """Why a scaling of the layer's input is not one of its weights."""
    if layer.op != "Conv":
        if edit.attr(layer.node, "transA", 0):
            return "the Gemm after transposes its input"
        if edit.rank_of(x) != 2:
            return "the channels of the input are not the last axis"
    if k.shape != (layer.inputs,):
        return "the number of channels differs"
    if layer.op == "Conv" and d.any() and _is_padded(layer.node):
        return "the Conv after pads with zeros"
    return None


def _is_padded(conv: ir.Node) -> bool:
    if edit.attr(conv, "auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER"):
        return True
    return any(edit.attr(conv, "pads", ()))
