"""Give every channel of a compressed model the mean and deviation that it had, without a fit.

For the outputs y of layers and normalizations, in order, with the reference's moments per channel::

    s = sigma_ref / sigma        y' = s * y + (mean_ref - s * mean)

written into weight and bias, or into scale and bias of a normalization. Needs no
BatchNormalization, so it serves networks where that is folded, or that use LayerNormalization.

Source: design/pruning.md section 4, a and a'; cf. Li et al. 2016, arXiv:1603.04779.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._channels import Channels
from onnxslim.passes._jobs import Job, summand, write
from onnxslim.passes._layers import OPS, Layer, read_layer
from onnxslim.passes._linear import constant, narrow
from onnxslim.passes._samples import needs
from onnxslim.passes._targets import find_target
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.reference import Reference
from onnxslim.pipeline.staged import Stages

Array = npt.NDArray[Any]

_NORMS = ("LayerNormalization", "RMSNormalization", "InstanceNormalization")
_SAME = 1e-4


@register
@dataclass(frozen=True)
class MatchMoments(Pass):
    """Scale and shift each channel so that mean and deviation are those of the reference.

    Conv, ConvTranspose, Gemm, MatMul with constant weights and LayerNormalization,
    RMSNormalization, InstanceNormalization. Skipped when a weight is shared.

    Args:
        limit: A channel is scaled at most by this factor, and at least by its inverse.
    """

    name: ClassVar[str] = "match-moments"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    limit: float = 4.0

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Match every layer once, in order."""
        reference, calibration = needs(ctx, self.name)
        known = {v.name for node in reference.model.graph for v in node.outputs if v.name}
        found = [
            node
            for node in model.graph
            if edit.is_op(node, *OPS, *_NORMS)
            and edit.is_constant(_source(node.inputs[1] if len(node.inputs) > 1 else None))
            and _point(node, ctx).name in known
        ]
        names = [str(_point(node, ctx).name) for node in found]
        done = 0
        with (
            Stages(model, ctx.worker, calibration, names) as own,
            Stages(reference.model, ctx.worker, calibration, names) as dense,
        ):
            for index, (node, name) in enumerate(zip(found, names, strict=True)):
                reference.progress(index, len(found), "layer")
                own.fetch([name])
                dense.fetch([name])
                done += self._match(node, name, own, dense, ctx)
                own.release(name)
                dense.release(name)
        return done

    def _match(
        self, node: ir.Node, name: str, own: Stages, dense: Stages, ctx: PassContext
    ) -> bool:
        assert isinstance(ctx.reference, Reference)
        axis = 1 if node.op_type in ("Conv", "ConvTranspose", "InstanceNormalization") else -1
        ours, wanted = Channels(), Channels()
        for batch in range(own.batches):
            ours.add(own.get(name, batch), axis)
            wanted.add(ctx.reference.kept.take(name, dense.get(name, batch)), axis)
        if ours.mean.shape != wanted.mean.shape:
            return ctx.skip(node, "its output has another number of channels in the reference")
        now, then = np.sqrt(ours.var), np.sqrt(wanted.var)
        lively = (now > 1e-8 * now.max(initial=0.0)) & (then > 0)
        factor = np.where(lively, then / np.where(lively, now, 1.0), 1.0)
        factor = np.clip(factor, 1 / self.limit, self.limit)
        shift = wanted.mean - factor * ours.mean
        off = np.abs(factor - 1) + np.abs(wanted.mean - ours.mean) / np.where(lively, now, 1.0)
        if not np.isfinite(off).all() or float(off.max(initial=0.0)) < _SAME:
            return False
        refusal = _apply(node, factor, shift, ctx)
        if refusal is not None:
            return ctx.skip(node, refusal)
        own.adjust(name, factor, shift, axis)
        return True


def _apply(node: ir.Node, factor: Array, shift: Array, ctx: PassContext) -> str | None:
    """Write ``factor * y + shift`` into the node's constants; returns why not."""
    if node.op_type in _NORMS:
        return _normalization(node, factor, shift, ctx)
    layer = read_layer(node)
    if isinstance(layer, str):
        return layer
    if edit.use_count(layer_weight(layer)) > 1:
        return "its weight is shared"
    scale = factor.reshape(layer.groups, -1)
    matrix = layer.matrix(layer.weight) * scale[:, :, None]
    target = find_target(layer, lambda value: False, None, ctx.opset)
    bias = layer.bias.reshape(layer.groups, -1) * scale + shift.reshape(layer.groups, -1)
    if target.adds is not None:  # its number counts, too: w x + b is what is scaled
        held = summand(target.adds, node.outputs[0])
        bias = bias + (factor - 1).reshape(scale.shape) * held.reshape(scale.shape)
    return write(Job([layer], 0, [target]), matrix, bias, ctx)


def _point(node: ir.Node, ctx: PassContext) -> ir.Value:
    """What is measured: the node's output, or that of the Add that holds a MatMul's bias."""
    layer = read_layer(node) if node.op_type == "MatMul" else None
    if not isinstance(layer, Layer):
        return node.outputs[0]
    target = find_target(layer, lambda value: False, None, ctx.opset)
    return node.outputs[0] if target.adds is None else target.adds.outputs[0]


def layer_weight(layer: Layer) -> ir.Value:
    """The value behind the weight."""
    value = _source(layer.node.inputs[1])
    assert value is not None
    return value


def _source(value: ir.Value | None) -> ir.Value | None:
    while value is not None and edit.is_op(value.producer(), "Identity"):
        producer = value.producer()
        assert producer is not None
        value = producer.inputs[0]
    return value


def _normalization(node: ir.Node, factor: Array, shift: Array, ctx: PassContext) -> str | None:
    scale, bias = constant(node.inputs[1]), constant(edit.get_input(node, 2))
    if scale is None or scale.shape != factor.shape:
        return "it does not have one scale per channel"
    if edit.get_input(node, 2) is not None and bias is None:
        return "its bias is not constant"
    if node.op_type == "RMSNormalization":
        shift = np.zeros_like(shift)  # it has no bias
    old = np.zeros(factor.shape) if bias is None else bias.astype(np.float64)
    new = narrow(scale.astype(np.float64) * factor, scale.dtype)
    moved = narrow(old * factor + shift, scale.dtype)
    graph, first = node.graph, node.inputs[1]
    if new is None or moved is None:
        return f"the new numbers do not fit {scale.dtype}"
    if graph is None or isinstance(graph, ir.Function) or first is None:
        return "it is part of a function"
    ctx.set_input(node, 1, ctx.constant(graph, first.name, new))
    if node.op_type == "RMSNormalization":
        return None
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    ctx.set_input(node, 2, ctx.constant(graph, f"{first.name}_bias", moved))
    return None
