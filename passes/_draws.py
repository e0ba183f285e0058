"""Joint samples of what the channels of a network give, from its weights and BatchNormalization.

A row of a (rows, C) matrix stands for one position of one unseen picture. Rows are pushed through
the network: a layer's rows follow from its weights and from its input's rows, the taps of a
convolution seeing positions that are alike but not the same; behind a BatchNormalization every
channel is brought to the mean and deviation that it has there. What is left of the invented input
after a few layers is how channels depend on each other because of the weights.

Source: the moments of BatchNormalization as knowledge of the data are of Nagel et al. 2019,
arXiv:1906.04721; channels merged by what the weights say: Kim et al. 2020 (Neuron Merging),
arXiv:2010.13160.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._elementwise import function_of
from onnxslim.passes._layers import OPS, Layer, read_layer
from onnxslim.passes._linear import constant
from onnxslim.passes._targets import batchnorm

Array = npt.NDArray[Any]

ROWS = 2048
_ALIKE = 0.7
"""Correlation of neighbouring positions, a usual one of feature maps."""

_WORK = 2e10
_CHANNELS = 1


def draws(model: ir.Model, seed: int = 0) -> Iterator[tuple[str, Array]]:
    """Names and rows (ROWS, C) of the values of the main graph, as far as they follow, in order.

    Channels are axis 1 of feature maps and the last axis of what matrix products give. The input of
    a layer of which nothing is known is drawn from the normal distribution. Rows that no further
    node reads are not kept.
    """
    found: dict[str, Array] = {}
    opset = model.graph.opset_imports.get("", 1)
    rng = np.random.default_rng(seed)
    last = {value: node for node in model.graph for value in node.inputs}
    for node in model.graph:
        name = node.outputs[0].name if node.outputs and not node.domain else None
        if name:
            with np.errstate(all="ignore"):
                rows = _after(node, found, rng, opset)
            if rows is not None and np.isfinite(rows).all():
                found[name] = rows
                yield name, rows
        for value in (*node.inputs, *node.outputs):
            if value is not None and last.get(value, node) is node:
                found.pop(str(value.name), None)


def _after(
    node: ir.Node, found: Mapping[str, Array], rng: np.random.Generator, opset: int
) -> Array | None:
    inputs = [found.get(str(v.name)) if v is not None else None for v in node.inputs]
    first = inputs[0] if inputs else None
    if node.op_type == "BatchNormalization":
        return _normalized(node, first, rng, opset)
    if node.op_type in OPS:
        layer = read_layer(node)
        return None if isinstance(layer, str) else _through(layer, first, rng)
    if node.op_type in _ARITHMETIC:
        return _combined(node, inputs)
    if node.op_type == "Concat":
        return _joined(node, inputs)
    if first is None:
        return None
    function = function_of(node)
    if function is not None:
        return np.asarray(function(first), np.float32)
    reshaped = _RESHAPED.get(node.op_type)
    return None if reshaped is None else reshaped(node, first, rng)


def _joined(node: ir.Node, inputs: list[Array | None]) -> Array | None:
    given = [i for i in inputs if i is not None]
    if len(given) != len(inputs) or edit.attr(node, "axis") != _CHANNELS:
        return None
    return np.concatenate(given, axis=1)


def _same(node: ir.Node, first: Array, rng: np.random.Generator) -> Array:
    return first


def _average(node: ir.Node, first: Array, rng: np.random.Generator) -> Array:
    """Of a few far positions: what is left of the spread when many alike ones are averaged."""
    return np.asarray(np.mean([first, *(_moved(first, rng) for _ in range(3))], axis=0))


def _largest(node: ir.Node, first: Array, rng: np.random.Generator) -> Array:
    draws = max(math.prod(edit.attr(node, "kernel_shape", (1,))) // 2, 1)
    others = (_neighbour(first, rng) for _ in range(draws - 1))
    return np.asarray(np.maximum.reduce([first, *others]))


def _moved(rows: Array, rng: np.random.Generator) -> Array:
    return np.asarray(rows[rng.permutation(len(rows))])


def _neighbour(rows: Array, rng: np.random.Generator) -> Array:
    """Rows of a position next to that of ``rows``: of the same distribution, and alike."""
    take = rng.random(len(rows)) < _ALIKE
    return np.where(take[:, None], rows, _moved(rows, rng))


def _through(layer: Layer, x: Array | None, rng: np.random.Generator) -> Array | None:
    matrix = layer.matrix(layer.weight).astype(np.float32)  # (G, O, T * C/G)
    groups, outputs, width = matrix.shape
    taps = math.prod(layer.weight.shape[2:]) if layer.spatial else 1
    channels = width // taps * groups
    if x is None:
        x = rng.standard_normal((ROWS, channels), np.float32)
    if x.shape[1] != channels or float(matrix.size) * ROWS > _WORK:
        return None
    split = matrix.reshape(groups, outputs, taps, -1)
    y = np.zeros((groups, len(x), outputs), np.float32)
    for tap in range(taps):
        seen = x if tap == taps // 2 else _neighbour(x, rng)
        grouped = seen.reshape(len(x), groups, -1).transpose(1, 0, 2)
        y += grouped @ split[:, :, tap].transpose(0, 2, 1)
    found = y.transpose(1, 0, 2).reshape(len(x), -1) + layer.bias.astype(np.float32)
    return np.asarray(found)


def _normalized(
    node: ir.Node, x: Array | None, rng: np.random.Generator, opset: int
) -> Array | None:
    if batchnorm(node, opset) is None:
        return None
    scale, shift = constant(node.inputs[1]), constant(node.inputs[2])
    if scale is None or shift is None:
        return None
    if x is None or x.shape[1] != len(scale):
        x = rng.standard_normal((ROWS, len(scale)), np.float32)
    spread = np.maximum(x.std(axis=0), 1e-12)
    return np.asarray((x - x.mean(axis=0)) / spread * scale + shift, np.float32)


def _combined(node: ir.Node, inputs: list[Array | None]) -> Array | None:
    given = [i for i in inputs if i is not None]
    if len(inputs) != 2 or not given:
        return None
    operation, width = _ARITHMETIC[node.op_type], given[0].shape[1]
    if len(given) == 2:
        return operation(*given) if given[1].shape == given[0].shape else None
    numbers = [
        _constant_row(value, width) if rows is None else rows
        for value, rows in zip(node.inputs, inputs, strict=True)
    ]
    return None if any(n is None for n in numbers) else np.asarray(operation(*numbers), np.float32)


def _constant_row(value: ir.Value | None, width: int) -> Array | None:
    """A number, or one number per channel; None for everything else."""
    array = constant(value)
    if array is None or array.size not in (1, width) or max(array.shape, default=1) != array.size:
        return None
    return array.astype(np.float32).reshape(-1)


def _flattened(node: ir.Node, first: Array, rng: np.random.Generator) -> Array | None:
    shape = edit.shape_of(node.outputs[0])
    if edit.attr(node, "axis", 1) != 1 or shape is None:
        return None
    size = shape[1]
    if not isinstance(size, int) or size % first.shape[1] or size * ROWS > _WORK / 100:
        return None
    return np.repeat(first, size // first.shape[1], axis=1)


_ARITHMETIC: dict[str, Callable[..., Array]] = {
    "Add": np.add,
    "Div": np.divide,
    "Mul": np.multiply,
    "Sub": np.subtract,
}
_RESHAPED: dict[str, Callable[[ir.Node, Array, np.random.Generator], Array | None]] = {
    "AveragePool": _same,
    "Dropout": _same,
    "Flatten": _flattened,
    "GlobalAveragePool": _average,
    "Identity": _same,
    "MaxPool": _largest,
    "Resize": _same,
}
