"""Bias correction without data: what the removed channels gave on average, from the reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.reconstruction.expected import Spread
from onnxslim.graph import edit
from onnxslim.passes._jobs import Job, write
from onnxslim.passes._layers import OPS, Layer, read_layer
from onnxslim.passes._linear import constant, narrow
from onnxslim.passes._targets import batchnorm, find_target
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.reference import Reference

Array = npt.NDArray[Any]
Function = Callable[[Array], Array]

_CHANNELS = 1  # axis of the channels wherever a mean is known


def correct_from_statistics(ctx: PassContext, reference: Reference) -> int:
    """Add to each bias what the removed inputs contributed on average; returns how many."""
    known = _spreads(reference.model)
    dense = {str(v.name): n for n in reference.model.graph for v in n.outputs if v.name}
    done = 0
    for node in list(ctx.model.graph):
        if not edit.is_op(node, *OPS):
            continue
        before = dense.get(str(node.outputs[0].name))
        if before is None or before.op_type != node.op_type:
            continue
        layer, whole = read_layer(node), read_layer(before)
        if isinstance(layer, str) or isinstance(whole, str):
            continue
        if layer.weight.shape == whole.weight.shape:
            continue
        done += _correct(layer, whole, known, reference, ctx)
    return done


def _correct(
    layer: Layer, whole: Layer, known: dict[str, Spread], reference: Reference, ctx: PassContext
) -> bool:
    name = str(whole.x.name)
    spread = known.get(name)
    axes = reference.kept.axes
    given = axes.get(name, {}).get(_CHANNELS)
    if given is None:
        return False  # nothing of its input left
    if spread is None:
        return ctx.skip(layer.node, "nothing is known of its inputs without data")
    removed = np.ones(len(spread.mean), bool)
    removed[given] = False
    lost = _response(whole, spread.mean * removed)
    stays = axes.get(str(layer.y.name), {}).get(1 if layer.spatial else _last(layer))
    if stays is not None:
        lost = lost[stays]
    if lost.shape != layer.bias.shape or not np.isfinite(lost).all():
        return ctx.skip(layer.node, "nothing is known of its inputs without data")
    bias = layer.bias + lost
    if narrow(bias, layer.weight.dtype) is None:
        return ctx.skip(layer.node, "the corrected bias does not fit")
    target = find_target(layer, lambda value: False, None, ctx.opset)
    job = Job([layer], 0, [target])
    return write(job, None, bias.reshape(layer.groups, -1), ctx) is None


def _last(layer: Layer) -> int:
    return (edit.rank_of(layer.y) or 2) - 1


def _response(whole: Layer, mean: Array) -> Array:
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


def _spreads(model: ir.Model) -> dict[str, Spread]:
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
    function = _FUNCTIONS.get(node.op_type)
    inputs = [known.get(str(v.name)) if v is not None else None for v in node.inputs]
    first = inputs[0] if inputs else None
    if function is not None:
        return None if first is None else first.through(function(node))
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


def _clip(node: ir.Node) -> Function:
    low, high = edit.attr(node, "min", -math.inf), edit.attr(node, "max", math.inf)
    if edit.get_input(node, 1) is not None:
        low = edit.scalar(node.inputs[1])
    if edit.get_input(node, 2) is not None:
        high = edit.scalar(node.inputs[2])
    return lambda x: np.clip(
        x, math.nan if low is None else low, math.nan if high is None else high
    )


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -60, 60))))


def _erf(x: Array) -> Array:
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x))


def _hard_sigmoid(node: ir.Node) -> Function:
    alpha, beta = edit.attr(node, "alpha", 0.2), edit.attr(node, "beta", 0.5)
    return lambda x: np.clip(alpha * x + beta, 0, 1)


def _leaky(node: ir.Node) -> Function:
    alpha = edit.attr(node, "alpha", 0.01 if node.op_type == "LeakyRelu" else 1.0)
    if node.op_type == "LeakyRelu":
        return lambda x: np.where(x < 0, alpha * x, x)
    return lambda x: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


_FUNCTIONS: dict[str, Callable[[ir.Node], Function]] = {
    "Relu": lambda node: lambda x: np.maximum(x, 0),
    "Clip": _clip,
    "LeakyRelu": _leaky,
    "Elu": _leaky,
    "Sigmoid": lambda node: _sigmoid,
    "Tanh": lambda node: np.tanh,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda node: lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Softplus": lambda node: lambda x: np.logaddexp(0, x),
    "Gelu": lambda node: lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2,
    "Swish": lambda node: lambda x: x * _sigmoid(x),
    "Mish": lambda node: lambda x: x * np.tanh(np.logaddexp(0, x)),
}
