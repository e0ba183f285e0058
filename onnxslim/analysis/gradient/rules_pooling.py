"""Gradients of pooling and reductions."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.gradient.rule import Array, Call, Gradients, gradient_rule
from onnxslim.analysis.gradient.taps import pads_outwards, taps_of
from onnxslim.graph import edit


def _one_output(node: ir.Node) -> bool:
    return not any(v.uses() for v in node.outputs[1:]) and pads_outwards(node)


@gradient_rule("MaxPool", allows=_one_output)
def _max_pool(c: Call) -> Gradients:
    taps, x = taps_of(c, c.attr("kernel_shape")), c.x()
    padded = taps.pad(x, -np.inf)
    back, free = np.zeros(padded.shape, c.dy.dtype), np.ones(c.dy.shape, np.bool_)
    for at in taps.views():
        taken = (padded[at] == c.y) & free
        free &= ~taken
        back[at] += np.where(taken, c.dy, 0)
    return {0: back[taps.inside]}


def _rounds_down(node: ir.Node) -> bool:
    return not edit.attr(node, "ceil_mode", 0) and pads_outwards(node)


@gradient_rule("AveragePool", allows=_rounds_down)
def _average_pool(c: Call) -> Gradients:
    taps, x = taps_of(c, c.attr("kernel_shape")), c.x()
    counts: Array = np.zeros((1, 1, *c.dy.shape[2:]), c.dy.dtype)
    if c.attr("count_include_pad", 0):
        counts += taps.window.taps
    else:
        ones = taps.pad(np.ones((1, 1, *x.shape[2:]), c.dy.dtype))
        for at in taps.views():
            counts += ones[at]
    share = c.dy / np.maximum(counts, 1)
    back = np.zeros((*x.shape[:2], *taps.padded), c.dy.dtype)
    for at in taps.views():
        back[at] += share
    return {0: back[taps.inside]}


@gradient_rule("GlobalAveragePool")
def _global_average(c: Call) -> Gradients:
    x = c.x()
    return {0: np.broadcast_to(c.dy / np.prod(x.shape[2:], dtype=c.dy.dtype), x.shape)}


@gradient_rule("GlobalMaxPool")
def _global_max(c: Call) -> Gradients:
    return {0: _to_largest(c.x(), c.y, c.dy)}


def _to_largest(x: Array, y: Array, dy: Array) -> Array:
    """To the elements that are largest, in equal parts."""
    hit = (x == y).astype(dy.dtype)
    axes = tuple(i for i, (a, b) in enumerate(zip(x.shape, y.shape, strict=True)) if a != b)
    return np.asarray(dy * hit / hit.sum(axis=axes, keepdims=True))


def _kept(c: Call) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Axes that are reduced, and the shape with 1 in their place."""
    x = c.x()
    given = c.given(1)
    axes = c.attr("axes") if given is None else given.reshape(-1).tolist()
    if not axes and not c.attr("noop_with_empty_axes", 0):
        axes = range(x.ndim)
    found = tuple(sorted({int(a) % x.ndim for a in axes or ()}))
    return found, tuple(1 if i in found else n for i, n in enumerate(x.shape))


@gradient_rule("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare")
def _reduce(c: Call) -> Gradients:
    x = c.x()
    axes, shape = _kept(c)
    dy, y = c.dy.reshape(shape), c.y.reshape(shape)
    if c.node.op_type in ("ReduceMax", "ReduceMin"):
        return {0: _to_largest(x, y, dy)}
    if c.node.op_type == "ReduceSumSquare":
        return {0: 2 * x * dy}
    if c.node.op_type == "ReduceL2":
        return {0: x * dy / np.maximum(y, np.float32(1e-12))}
    count = np.prod([x.shape[a] for a in axes], dtype=dy.dtype)
    return {0: np.broadcast_to(dy / count if c.node.op_type == "ReduceMean" else dy, x.shape)}
