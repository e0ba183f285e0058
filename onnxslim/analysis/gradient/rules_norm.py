"""Gradients of normalizations and softmax."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.gradient.rule import Array, Call, Gradients, gradient_rule, unbroadcast
from onnxslim.graph import edit


def _channels(a: Array, rank: int) -> Array:
    """(C,) to be broadcast along axis 1."""
    return a.reshape(-1, *(1,) * (rank - 2))


def _inference(node: ir.Node) -> bool:
    trains = edit.attr(node, "training_mode", 0)
    return not trains and not any(v.uses() for v in node.outputs[1:])


@gradient_rule("BatchNormalization", inputs=(0, 1, 2), allows=_inference)
def _batchnorm(c: Call) -> Gradients:
    x, dy = c.x(), c.dy
    mean, var = c.x(3), c.x(4)
    inverse = 1 / np.sqrt(var + c.attr("epsilon", 1e-5))
    axes = (0, *range(2, x.ndim))
    found: Gradients = {}
    if c.wants(0):
        found[0] = dy * _channels((c.x(1) * inverse).astype(dy.dtype), x.ndim)
    if c.wants(1):
        found[1] = ((dy * x).sum(axis=axes) - mean * dy.sum(axis=axes)) * inverse
    if c.wants(2):
        found[2] = dy.sum(axis=axes)
    return found


def _normalized(x: Array, axes: tuple[int, ...], epsilon: float) -> tuple[Array, Array]:
    """Normalized values and the inverse deviation."""
    centred = x - x.mean(axis=axes, keepdims=True)
    inverse = 1 / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + np.float32(epsilon))
    return centred * inverse, inverse


def _through(scaled: Array, normal: Array, inverse: Array, axes: tuple[int, ...]) -> Array:
    """dL/dx from dL/d(normalized)."""
    mean = scaled.mean(axis=axes, keepdims=True)
    cross = (scaled * normal).mean(axis=axes, keepdims=True)
    return np.asarray(inverse * (scaled - mean - normal * cross))


@gradient_rule(
    "LayerNormalization",
    inputs=(0, 1, 2),
    allows=lambda node: not any(v.uses() for v in node.outputs[1:]),
)
def _layer_norm(c: Call) -> Gradients:
    x, scale, dy = c.x(), c.x(1), c.dy
    axis = int(c.attr("axis", -1)) % x.ndim
    axes = tuple(range(axis, x.ndim))
    normal, inverse = _normalized(x, axes, c.attr("epsilon", 1e-5))
    found: Gradients = {}
    if c.wants(0):
        found[0] = _through(dy * scale, normal, inverse, axes)
    if c.wants(1):
        found[1] = unbroadcast(dy * normal, scale.shape)
    if c.wants(2):
        found[2] = unbroadcast(dy, c.x(2).shape)
    return found


@gradient_rule("InstanceNormalization", inputs=(0, 1, 2))
def _instance_norm(c: Call) -> Gradients:
    x, dy = c.x(), c.dy
    axes = tuple(range(2, x.ndim))
    normal, inverse = _normalized(x, axes, c.attr("epsilon", 1e-5))
    found: Gradients = {}
    if c.wants(0):
        found[0] = _through(dy * _channels(c.x(1), x.ndim), normal, inverse, axes)
    if c.wants(1):
        found[1] = (dy * normal).sum(axis=(0, *axes))
    if c.wants(2):
        found[2] = dy.sum(axis=(0, *axes))
    return found


def _softmax_axes(c: Call) -> tuple[int, ...]:
    rank = c.y.ndim
    axis = int(c.attr("axis", -1 if c.opset >= 13 else 1)) % rank
    return (axis,) if c.opset >= 13 else tuple(range(axis, rank))


@gradient_rule("Softmax")
def _softmax(c: Call) -> Gradients:
    axes = _softmax_axes(c)
    return {0: c.y * (c.dy - (c.dy * c.y).sum(axis=axes, keepdims=True))}


@gradient_rule("LogSoftmax")
def _log_softmax(c: Call) -> Gradients:
    axes = _softmax_axes(c)
    return {0: c.dy - np.exp(c.y) * c.dy.sum(axis=axes, keepdims=True)}
