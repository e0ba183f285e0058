"""Gradients of convolutions and matrix products."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.gradient.rule import Array, Call, Gradients, gradient_rule, unbroadcast
from onnxslim.analysis.gradient.taps import Taps, pads_outwards, taps_of
from onnxslim.analysis.reconstruction.unfold import window_of
from onnxslim.graph import edit


def _flat(x: Array, groups: int) -> Array:
    """(N, C, ...) as (N, G, C/G, P), contiguous."""
    n, c = x.shape[:2]
    return np.ascontiguousarray(x).reshape(n, groups, c // groups, -1)


def _crossed(a: Array, b: Array) -> Array:
    """(G, A, B) sums over samples and positions of (N, G, A, P) times (N, G, B, P)."""
    if a.shape[2] == b.shape[2] == 1:
        return np.asarray(np.einsum("ngap,ngbp->gab", a, b))
    return np.asarray((a @ b.swapaxes(2, 3)).sum(axis=0))


@gradient_rule("Conv", inputs=(0, 1, 2), allows=pads_outwards)
def _conv(c: Call) -> Gradients:
    x, w, dy = c.x(), c.x(1), c.dy
    groups, o = int(c.attr("group", 1)), w.shape[0]
    taps = taps_of(c, w.shape[2:])
    found: Gradients = {}
    if c.wants(2):
        found[2] = dy.sum(axis=(0, *range(2, dy.ndim)))
    if not (c.wants(0) or c.wants(1)):
        return found
    flat = _flat(dy, groups)
    split = w.reshape(groups, o // groups, w.shape[1], -1)  # (G, O/G, C/G, T)
    padded, back, dw = taps.pad(x), None, np.zeros_like(split)
    if c.wants(0):
        back = np.zeros((*x.shape[:2], *taps.padded), dy.dtype)
    for tap, at in enumerate(taps.views()):
        if c.wants(1):
            dw[..., tap] = _crossed(flat, _flat(padded[at], groups))
        if back is not None:
            kernel = split[..., tap].swapaxes(1, 2)
            part = kernel * flat if kernel.shape[1:] == (1, 1) else kernel @ flat
            back[at] += part.reshape(*x.shape[:2], *dy.shape[2:])
    if c.wants(1):
        found[1] = dw.reshape(w.shape)
    if back is not None:
        found[0] = back[taps.inside]
    return found


@gradient_rule("ConvTranspose", inputs=(0, 1, 2), allows=pads_outwards)
def _conv_transpose(c: Call) -> Gradients:
    """The way back of a ConvTranspose is a Conv from the output to the input."""
    x, w, dy = c.x(), c.x(1), c.dy
    groups, channels = int(c.attr("group", 1)), w.shape[0]
    window = window_of(c.node, w.shape[2:], x.shape[2:], dy.shape[2:])
    taps = Taps(window, dy.shape[2:], x.shape[2:])
    found: Gradients = {}
    if c.wants(2):
        found[2] = dy.sum(axis=(0, *range(2, dy.ndim)))
    flat = _flat(x, groups)
    split = w.reshape(groups, channels // groups, w.shape[1], -1)  # (G, C/G, O/G, T)
    padded, dx, dw = taps.pad(dy), np.zeros_like(flat), np.zeros_like(split)
    for tap, at in enumerate(taps.views()):
        seen = _flat(padded[at], groups)
        if c.wants(1):
            dw[..., tap] = _crossed(flat, seen)
        if c.wants(0):
            dx += split[..., tap] @ seen
    if c.wants(0):
        found[0] = dx.reshape(x.shape)
    if c.wants(1):
        found[1] = dw.reshape(w.shape)
    return found


@gradient_rule("Gemm", inputs=(0, 1, 2))
def _gemm(c: Call) -> Gradients:
    a, b, dy = c.x(), c.x(1), c.dy
    alpha, beta = c.attr("alpha", 1.0), c.attr("beta", 1.0)
    turned_a, turned_b = c.attr("transA", 0), c.attr("transB", 0)
    found: Gradients = {}
    if c.wants(0):
        da = dy @ (b if turned_b else b.T)
        found[0] = alpha * (da.T if turned_a else da)
    if c.wants(1):
        db = (a if turned_a else a.T) @ dy
        found[1] = alpha * (db.T if turned_b else db)
    if c.wants(2):
        found[2] = beta * unbroadcast(dy, c.x(2).shape)
    return found


def _at_least_2d(node: ir.Node) -> bool:
    ranks = [edit.rank_of(v) for v in node.inputs]
    return all(r is not None and r >= 2 for r in ranks)


@gradient_rule("MatMul", inputs=(0, 1), allows=_at_least_2d)
def _matmul(c: Call) -> Gradients:
    a, b, dy = c.x(), c.x(1), c.dy
    found: Gradients = {}
    if c.wants(0):
        found[0] = unbroadcast(dy @ b.swapaxes(-1, -2), a.shape)
    if c.wants(1):
        if b.ndim == 2:
            found[1] = a.reshape(-1, a.shape[-1]).T @ dy.reshape(-1, dy.shape[-1])
        else:
            found[1] = unbroadcast(a.swapaxes(-1, -2) @ dy, b.shape)
    return found
