"""Gradients of operators that move elements."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.gradient.rule import Array, Call, Gradients, gradient_rule, unbroadcast
from onnxslim.graph import edit


@gradient_rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(c: Call) -> Gradients:
    return {0: c.dy.reshape(c.x().shape)}


@gradient_rule("Expand")
def _expand(c: Call) -> Gradients:
    return {0: unbroadcast(c.dy, c.x().shape)}


@gradient_rule("Transpose")
def _transpose(c: Call) -> Gradients:
    perm = c.attr("perm", list(reversed(range(c.dy.ndim))))
    return {0: c.dy.transpose(np.argsort(perm))}


@gradient_rule("Concat", inputs=None)
def _concat(c: Call) -> Gradients:
    axis = int(c.attr("axis")) % c.dy.ndim
    ends = np.cumsum([c.x(i).shape[axis] for i in range(len(c.inputs))])[:-1]
    pieces = np.split(c.dy, ends, axis=axis)
    return {i: piece for i, piece in enumerate(pieces) if c.wants(i)}


@gradient_rule("Split", allows=lambda node: all(v.name for v in node.outputs))
def _split(c: Call) -> Gradients:
    axis = int(c.attr("axis", 0)) % c.x().ndim
    return {0: np.concatenate([g for g in c.grads if g is not None], axis=axis)}


@gradient_rule("Slice")
def _slice(c: Call) -> Gradients:
    x = c.x()

    def numbers(name: str, index: int) -> list[int] | None:
        given = c.given(index)
        return c.attr(name) if given is None else [int(n) for n in given.reshape(-1)]

    starts, ends = numbers("starts", 1) or [], numbers("ends", 2) or []
    axes = numbers("axes", 3) or list(range(len(starts)))
    steps = numbers("steps", 4) or [1] * len(starts)
    at = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = x.shape[axis]
        stop: int | None = end
        if step < 0:  # what lies in front of the data is open for Python, and 0 for ONNX
            start, stop = max(start, -size), None if end < -size else end
        at[axis] = slice(start, stop, step)
    back = np.zeros(x.shape, c.dy.dtype)
    back[tuple(at)] = c.dy
    return {0: back}


def _constant_mode(node: ir.Node) -> bool:
    return edit.attr(node, "mode", "constant") == "constant" and edit.get_input(node, 3) is None


@gradient_rule("Pad", allows=_constant_mode)
def _pad(c: Call) -> Gradients:
    x, given = c.x(), c.given(1)
    pads = c.attr("pads") if given is None else [int(n) for n in given.reshape(-1)]
    back, at = np.zeros(x.shape, c.dy.dtype), []
    own = []
    for before, size, whole in zip(pads, x.shape, c.dy.shape, strict=False):
        at.append(slice(max(before, 0), min(before + size, whole)))
        own.append(slice(max(-before, 0), max(-before, 0) + at[-1].stop - at[-1].start))
    back[tuple(own)] = c.dy[tuple(at)]
    return {0: back}


@gradient_rule("Gather")
def _gather(c: Call) -> Gradients:
    x, indices = c.x(), c.x(1)
    axis = int(c.attr("axis", 0)) % x.ndim
    back = np.zeros((x.shape[axis], *x.shape[:axis], *x.shape[axis + 1 :]), c.dy.dtype)
    taken = indices.reshape(-1) % x.shape[axis]
    spread = c.dy.reshape(*x.shape[:axis], taken.size, *x.shape[axis + 1 :])
    np.add.at(back, taken, np.moveaxis(spread, axis, 0))
    return {0: np.moveaxis(back, 0, axis)}


@gradient_rule("DepthToSpace")
def _depth_to_space(c: Call) -> Gradients:
    n, channels, h, w = c.x().shape
    b = int(c.attr("blocksize"))
    depth = channels // (b * b)
    split = c.dy.reshape(n, depth, h, b, w, b)
    order = (0, 3, 5, 1, 2, 4) if c.attr("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    return {0: split.transpose(order).reshape(n, channels, h, w)}


@gradient_rule("SpaceToDepth")
def _space_to_depth(c: Call) -> Gradients:
    n, channels, h, w = c.x().shape
    b = int(c.attr("blocksize"))
    split = c.dy.reshape(n, b, b, channels, h // b, w // b)
    return {0: split.transpose(0, 3, 4, 1, 5, 2).reshape(n, channels, h, w)}


def _whole_steps(node: ir.Node) -> bool:
    """Nearest neighbours by whole factors, as every exporter writes an upsampling."""
    where = edit.attr(node, "coordinate_transformation_mode", "half_pixel")
    rounding = edit.attr(node, "nearest_mode", "round_prefer_floor")
    known = (where, rounding) in (("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"))
    return known and edit.attr(node, "mode", "nearest") == "nearest" and _factors(node) is not None


def _factors(node: ir.Node) -> tuple[int, ...] | None:
    """How often each element is repeated per axis, where shapes are known."""
    x, y = node.inputs[0], node.outputs[0]
    if x is None or x.shape is None or y.shape is None or x.shape.rank() != y.shape.rank():
        return None
    given = _scales(node)
    scales = edit.constant_array(given)
    if given is not None and scales is None:
        return None
    found = []
    for a, b in zip(x.shape, y.shape, strict=True):
        if a == b:
            found.append(1)
        elif isinstance(a, int) and isinstance(b, int) and a and b % a == 0:
            found.append(b // a)
        else:
            return None
    if scales is not None and scales.size and scales.tolist() != found:
        return None  # 2.1 times 6 is 12, too, but not every element twice
    return tuple(found)


def _scales(node: ir.Node) -> ir.Value | None:
    """The factors, where they are given in place of sizes."""
    return edit.get_input(node, 1 if len(node.inputs) == 2 else 2)


@gradient_rule("Resize", "Upsample", allows=_whole_steps)
def _resize(c: Call) -> Gradients:
    factors = _factors(c.node)
    assert factors is not None
    shape: list[int] = []
    for size, factor in zip(c.x().shape, factors, strict=True):
        shape += [size, factor]
    summed: Array = c.dy.reshape(shape).sum(axis=tuple(range(1, len(shape), 2)))
    return {0: summed}
