"""Arithmetic with a constant, ``y = k x + d``, and which channels of a layer it touches.

A layer's channels are followed through operators that only move elements, so that a constant of
the shape [H, 1, D] after a Reshape to (B, H, S, D) is still one number per channel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.analysis import dims
from onnxslim.graph import edit
from onnxslim.passes._linear import Array, constant

OPS = ("Add", "Sub", "Mul", "Div", "Neg")

MOVES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity")
"""Operators that only move the elements of their first input."""

Axes = tuple[tuple[int, int], ...]
"""``(axis, size)`` of the axes that together count the channels, outer before inner."""


@dataclass(frozen=True)
class Affine:
    """``y = k x + d`` with constants of one shape.

    Attributes:
        node: Its node.
        index: The input that is x.
        k: Factor, float64, not zero-dimensional unless the constant is.
        d: Summand, the same shape.
    """

    node: ir.Node
    index: int
    k: Array
    d: Array

    @property
    def data(self) -> ir.Value:
        """The input that is x."""
        value = self.node.inputs[self.index]
        assert value is not None
        return value

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the constant."""
        return tuple(self.k.shape)


def find_constant(node: ir.Node) -> int | None:
    """Which input of an arithmetic operator is constant, without reading it."""
    if node.op_type == "Neg":
        return -1
    sides = [i for i, value in enumerate(node.inputs) if _is_constant(value)]
    if len(node.inputs) != 2 or len(sides) != 1 or (node.op_type == "Div" and sides == [0]):
        return None
    return sides[0]


def _is_constant(value: ir.Value | None) -> bool:
    while value is not None and edit.is_op(value.producer(), "Identity"):
        producer = value.producer()
        assert producer is not None
        value = producer.inputs[0]
    return edit.is_constant(value)


def read_affine(node: ir.Node) -> Affine | str | None:
    """The operator as ``k x + d``; why it is none; None when it is not of this kind."""
    side = find_constant(node)
    if side is None or node.inputs[0] is None:
        return None
    if side < 0:
        dtype = node.inputs[0].dtype
        if dtype is None or not dtype.is_floating_point():
            return None
        return Affine(node, 0, np.array(-1.0), np.array(0.0))
    given = constant(node.inputs[side])
    if given is None or (given.dtype.kind != "f" and given.dtype.name != "bfloat16"):
        return None
    if given.size == 0 or not np.isfinite(c := given.astype(np.float64)).all():
        return "the constant is empty or not finite"
    if node.op_type == "Div" and not c.all():
        return "the constant divides by zero"
    k, d = _coefficients(node.op_type, side, c)
    return Affine(node, 1 - side, k, d)


def _coefficients(op: str, side: int, c: Array) -> tuple[Array, Array]:
    if op == "Mul":
        return c, np.zeros_like(c)
    if op == "Div":
        return 1.0 / c, np.zeros_like(c)
    if op == "Add":
        return np.ones_like(c), c
    return (np.ones_like(c), -c) if side == 1 else (-np.ones_like(c), c)


def per_channel(array: Array, rank: int | None, axes: Axes | None, channels: int) -> Array | None:
    """The constant as one number per channel (channels,), or None when it is not that.

    Args:
        array: A constant that is broadcast against the tensor.
        rank: Rank of the tensor, None when not known.
        axes: The tensor's channel axes, None when only one number for all will do.
        channels: How many channels they count.
    """
    if array.ndim > (0 if rank is None else rank):
        return None
    if array.size == 1:
        return np.full(channels, array.reshape(())[()])
    if axes is None or rank is None:
        return None
    shape = (1,) * (rank - array.ndim) + array.shape
    sizes = dict(axes)
    if any(size not in (1, sizes.get(axis, 1)) for axis, size in enumerate(shape)):
        return None
    first = [axis for axis, _ in axes]
    order = [*first, *(axis for axis in range(rank) if axis not in sizes)]
    compact = array.reshape(shape).transpose(order).reshape([shape[axis] for axis in first])
    spread = np.broadcast_to(compact, [size for _, size in axes])
    return np.array(spread.reshape(-1))


def follow(axes: Axes | None, node: ir.Node) -> Axes | None:
    """Where the channels of ``node``'s first input are in its output; None when not in axes."""
    before, after = edit.shape_of(node.inputs[0]), edit.shape_of(node.outputs[0])
    if axes is None or before is None or after is None:
        return None
    if node.op_type == "Identity":
        return axes
    if node.op_type == "Transpose":
        perm = list(edit.attr(node, "perm", list(range(len(before)))[::-1]))
        return tuple((perm.index(axis), size) for axis, size in axes)
    return _through_reshape(axes, before, after)


def _through_reshape(
    axes: Axes, before: Sequence[dims.Dim], after: Sequence[dims.Dim]
) -> Axes | None:
    positions = [axis for axis, _ in axes]
    if not axes or positions != list(range(positions[0], positions[0] + len(axes))):
        return None
    channels, first = math.prod(size for _, size in axes), positions[0]
    behind = len(before) - positions[-1] - 1
    if len(after) > first and _equal(before[:first], after[:first]):
        return _count_off(after, range(first, len(after)), channels)
    if len(after) > behind and _equal(before[len(before) - behind :], after[len(after) - behind :]):
        found = _count_off(after, range(len(after) - behind - 1, -1, -1), channels)
        return None if found is None else found[::-1]
    return None


def _equal(left: Sequence[dims.Dim], right: Sequence[dims.Dim]) -> bool:
    return all(dims.known_equal(a, b) for a, b in zip(left, right, strict=True))


def _count_off(after: Sequence[dims.Dim], positions: range, channels: int) -> Axes | None:
    """Axes from the first position on whose sizes multiply to the channels."""
    found: list[tuple[int, int]] = []
    total = 1
    for axis in positions:
        size = after[axis]
        if not isinstance(size, int) or size == 0:
            return None
        found.append((axis, size))
        total *= size
        if total >= channels:
            return tuple(found) if total == channels else None
    return None
