"""Bias correction without data: what the removed channels gave on average, from the reference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.reconstruction.expected import Spread
from onnxslim.graph import edit
from onnxslim.passes._elementwise import function_of
from onnxslim.passes._jobs import Job, write
from onnxslim.passes._layers import OPS, Layer, read_layer
from onnxslim.passes._linear import constant, narrow
from onnxslim.passes._targets import batchnorm, find_target
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.reference import Reference

Array = npt.NDArray[Any]

_CHANNELS = 1  # axis of the channels wherever a mean is known


def correct_from_statistics(ctx: PassContext, reference: Reference) -> int:
    """Add to each bias what the removed inputs contributed on average; returns how many."""
    known = spreads(reference.model)
    return sum(correct(cut, known, reference, ctx) for cut in cut_layers(ctx, reference))


@dataclass(frozen=True, eq=False)
class Cut:
    """A layer that lost a part of its weight.

    Attributes:
        layer: What is left of it.
        whole: In the reference.
        given: Positions of the reference's input channels that are left.
        stays: Positions of its outputs that are left; None when all are.
    """

    layer: Layer
    whole: Layer
    given: Array
    stays: Array | None


def cut_layers(ctx: PassContext, reference: Reference) -> Iterator[Cut]:
    """The layers of a compressed model that lost inputs, and not all of them."""
    dense = {str(v.name): n for n in reference.model.graph for v in n.outputs if v.name}
    axes = reference.kept.axes
    for node in list(ctx.model.graph):
        before = dense.get(str(node.outputs[0].name)) if edit.is_op(node, *OPS) else None
        if before is None or before.op_type != node.op_type:
            continue
        layer, whole = read_layer(node), read_layer(before)
        if isinstance(layer, str) or isinstance(whole, str):
            continue
        axis = _CHANNELS if whole.spatial else (edit.rank_of(whole.x) or 2) - 1
        given = axes.get(str(whole.x.name), {}).get(axis)
        if given is None or layer.weight.shape == whole.weight.shape:
            continue
        stays = axes.get(str(layer.y.name), {}).get(1 if layer.spatial else _last(layer))
        yield Cut(layer, whole, given, stays)


def correct(cut: Cut, known: Mapping[str, Spread], reference: Reference, ctx: PassContext) -> bool:
    """Add to the bias of a layer what its removed inputs contributed on average."""
    layer = cut.layer
    spread = known.get(str(cut.whole.x.name))
    if spread is None or (not layer.spatial and edit.rank_of(cut.whole.x) != 2):
        return ctx.skip(layer.node, "nothing is known of its inputs without data")
    removed = np.ones(len(spread.mean), bool)
    removed[cut.given] = False
    lost = response(cut.whole, spread.mean * removed)
    lost = lost if cut.stays is None else lost[cut.stays]
    if lost.shape != layer.bias.shape or not np.isfinite(lost).all():
        return ctx.skip(layer.node, "nothing is known of its inputs without data")
    bias = layer.bias + lost
    if narrow(bias, layer.weight.dtype) is None:
        return ctx.skip(layer.node, "the corrected bias does not fit")
    target = find_target(layer, lambda value: False, None, ctx.opset)
    return write(Job([layer], 0, [target]), None, bias.reshape(layer.groups, -1), ctx) is None


def _last(layer: Layer) -> int:
    return (edit.rank_of(layer.y) or 2) - 1


def response(whole: Layer, mean: Array) -> Array:
    """Output (M,) for an input that is ``mean[c]`` everywhere (borders left aside)."""
    matrix = whole.matrix(whole.weight)  # (G, O, T * C/G)
    groups = whole.groups
    if whole.spatial:
        split = matrix.reshape(groups, matrix.shape[1], -1, len(mean) // groups).sum(axis=2)
        taps = 1.0
        if whole.node.op_type == "ConvTranspose":  # a position sees only some of the taps
            taps = math.prod(edit.attr(whole.node, "strides", (1,)))
        return np.asarray(np.einsum("goc,gc->go", split, mean.reshape(groups, -1)) / taps).ravel()
    return np.asarray((matrix[0] * mean).sum(axis=1))


# --------------------------------------------------------------------- what is known


def spreads(model: ir.Model) -> dict[str, Spread]:
    """Mean and variance per channel (axis 1) by value name, as far as they follow."""
    known: dict[str, Spread] = {}
    opset = model.graph.opset_imports.get("", 1)
    for node in model.graph:
        if node.domain or not node.outputs or not node.outputs[0].name:
            continue
        found = _after(node, known, opset)
        if found is not None and np.isfinite(found.mean).all() and np.isfinite(found.var).all():
            known[node.outputs[0].name] = found
    return known


def _after(node: ir.Node, known: dict[str, Spread], opset: int) -> Spread | None:
    if node.op_type == "BatchNormalization":
        return _normalized(node, opset)
    function = function_of(node)
    inputs = [known.get(str(v.name)) if v is not None else None for v in node.inputs]
    first = inputs[0] if inputs else None
    if function is not None:
        return None if first is None else first.through(function)
    if node.op_type in ("Add", "Mul", "Concat"):
        return _combined(node, inputs)
    if first is None:
        return None
    if node.op_type in ("Identity", "Dropout", "AveragePool", "Resize"):
        return first
    if node.op_type == "GlobalAveragePool":
        return Spread(first.mean, first.var / 4)
    if node.op_type == "MaxPool":
        return first.largest_of(math.prod(edit.attr(node, "kernel_shape", (1,))))
    if node.op_type == "Flatten":
        return _flattened(node, first)
    return None


def _normalized(node: ir.Node, opset: int) -> Spread | None:
    if batchnorm(node, opset) is None:
        return None
    scale, shift = constant(node.inputs[1]), constant(node.inputs[2])
    if scale is None or shift is None:
        return None
    return Spread(shift.astype(np.float64), scale.astype(np.float64) ** 2)


def _combined(node: ir.Node, inputs: list[Spread | None]) -> Spread | None:
    given = [spread for spread in inputs if spread is not None]
    if node.op_type == "Concat":
        if len(given) != len(inputs) or edit.attr(node, "axis") != _CHANNELS:
            return None
        return Spread(
            np.concatenate([s.mean for s in given]), np.concatenate([s.var for s in given])
        )
    if len(inputs) != 2 or not given:
        return None
    if len(given) == 2:
        if node.op_type != "Add" or given[0].mean.shape != given[1].mean.shape:
            return None
        return given[0].plus(given[1])
    number = edit.scalar(node.inputs[1 if inputs[0] is not None else 0])
    if number is None:
        return None
    return given[0].scaled(1.0, number) if node.op_type == "Add" else given[0].scaled(number)


def _flattened(node: ir.Node, first: Spread) -> Spread | None:
    shape = edit.shape_of(node.outputs[0])
    if edit.attr(node, "axis", 1) != 1 or shape is None or len(shape) != 2:
        return None
    size = shape[1]
    if not isinstance(size, int) or size % len(first.mean):
        return None
    each = size // len(first.mean)
    return Spread(np.repeat(first.mean, each), np.repeat(first.var, each))
