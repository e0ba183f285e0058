"""Where the output of a layer is compared with the reference: as far behind it as it stays linear.

From the layer's output on, as long as there is one reader: constant factors and summands per
channel (BatchNormalization, Add, Mul ...), then one Add whose other operand is already final, then
an activation that clips (Relu, Clip). What the layer must give follows from what is wanted there::

    clip(scale * y + shift + other, low, high)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._layers import Layer
from onnxslim.passes._linear import constant

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Target:
    """Where to look, and what lies between.

    Attributes:
        point: The value that is compared.
        scale: (M,) float64.
        shift: (M,) float64.
        other: The operand added to it, or None.
        low: Lower limit of the activation that reads the point.
        high: Upper limit.
        adds: First summand per channel directly behind the layer, if any: a place for its bias.
    """

    point: ir.Value
    scale: Array
    shift: Array
    other: ir.Value | None = None
    low: float = -math.inf
    high: float = math.inf
    adds: ir.Node | None = None


def find_target(
    layer: Layer,
    is_final: Callable[[ir.Value], bool],
    known: Container[str] | None,
    opset: int,
    limit: int | None = None,
) -> Target:
    """The farthest point.

    Args:
        layer: The layer.
        is_final: Whether an operand will not change any more.
        known: Names that the reference has; None for all.
        opset: Of the model.
        limit: At most so many steps behind the layer.
    """
    m = layer.bias.size
    target = Target(layer.y, np.ones(m), np.zeros(m))
    while limit is None or limit > 0:
        after = _step(target, layer, is_final, opset)
        if after is None or (known is not None and str(after.point.name) not in known):
            break
        target, limit = after, None if limit is None else limit - 1
    if limit is not None:
        return target
    low, high = _limits(target.point)
    return replace(target, low=low, high=high)


def _step(
    target: Target, layer: Layer, is_final: Callable[[ir.Value], bool], opset: int
) -> Target | None:
    reader = edit.sole_consumer(target.point)
    if reader is None or reader.domain or reader.graph is not layer.node.graph:
        return None
    if reader.op_type == "BatchNormalization":
        found = batchnorm(reader, opset)
        if found is None or found[0].shape != target.scale.shape:
            return None
        if not layer.spatial and edit.rank_of(target.point) != 2:
            return None  # it counts channels on axis 1
        return _then(target, reader, *found)
    if reader.op_type not in ("Add", "Sub", "Mul", "Div") or len(reader.inputs) != 2:
        return None
    return _arithmetic(target, reader, layer, is_final)


def _arithmetic(
    target: Target, reader: ir.Node, layer: Layer, is_final: Callable[[ir.Value], bool]
) -> Target | None:
    a, b = reader.inputs
    first = a is target.point
    operand = b if first else a
    if operand is None or operand is target.point:
        return None
    number = _per_channel(operand, target, layer)
    if number is not None:
        return _with_constant(target, reader, layer, number, first)
    if reader.op_type != "Add" or target.other is not None or not is_final(operand):
        return None
    dims = _dims(target.point)
    if dims is None or _dims(reader.outputs[0]) != dims:
        return None
    return replace(target, point=reader.outputs[0], other=operand)


def _with_constant(
    target: Target, reader: ir.Node, layer: Layer, number: Array, first: bool
) -> Target | None:
    one = np.ones_like(number)
    if reader.op_type == "Add":
        found = _then(target, reader, one, number)
        direct = target.point is layer.y and reader.outputs[0] is not layer.y
        return found if found is None or not direct else replace(found, adds=reader)
    if reader.op_type == "Sub":
        return _then(target, reader, one if first else -one, -number if first else number)
    if reader.op_type == "Div" and (not first or not number.all()):
        return None
    return _then(target, reader, number if reader.op_type == "Mul" else 1 / number, 0 * number)


def _then(target: Target, reader: ir.Node, k: Array, d: Array) -> Target | None:
    """``k * p + d`` behind the point; not with an operand in between."""
    if target.other is not None:
        return None
    return replace(
        target, point=reader.outputs[0], scale=target.scale * k, shift=target.shift * k + d
    )


def _dims(value: ir.Value) -> Any:
    shape = edit.shape_of(value)
    return None if shape is None else tuple(shape)


def _per_channel(operand: ir.Value, target: Target, layer: Layer) -> Array | None:
    """(M,) float64 of a constant that has one number per channel, or one in all."""
    array = constant(operand)
    if array is None or array.dtype.kind != "f":
        return None
    m = target.scale.size
    if array.size == 1 and array.ndim <= layer.behind + 1:
        return np.full(m, float(array.reshape(-1)[0]))
    at = array.ndim - 1 - layer.behind
    rank = edit.rank_of(target.point) or layer.weight.ndim  # more axes would move the channels
    if at < 0 or array.shape[at] != m or array.size != m or array.ndim > rank:
        return None
    return array.astype(np.float64).reshape(m)


def batchnorm(node: ir.Node, opset: int) -> tuple[Array, Array] | None:
    """``(k, d)`` of an inference BatchNormalization, ``y = k * x + d``; None when not known."""
    if opset < 9 or edit.attr(node, "training_mode", 0) or any(v.uses() for v in node.outputs[1:]):
        return None
    arrays = [constant(edit.get_input(node, i)) for i in range(1, 5)]
    found = [a.astype(np.float64) for a in arrays if a is not None and a.ndim == 1]
    if len(found) < 4 or len({a.size for a in found}) != 1:
        return None
    scale, shift, mean, var = found
    spread = var + float(edit.attr(node, "epsilon", 1e-5))
    if not (spread > 0).all():
        return None
    k = scale / np.sqrt(spread)
    return k, shift - mean * k


def _limits(point: ir.Value) -> tuple[float, float]:
    """What the only reader clips to."""
    reader = edit.sole_consumer(point)
    if edit.is_op(reader, "Relu"):
        return 0.0, math.inf
    if reader is None or not edit.is_op(reader, "Clip"):
        return -math.inf, math.inf
    low, high = edit.attr(reader, "min", -math.inf), edit.attr(reader, "max", math.inf)
    if edit.get_input(reader, 1) is not None:
        low = edit.scalar(reader.inputs[1])
    if edit.get_input(reader, 2) is not None:
        high = edit.scalar(reader.inputs[2])
    if low is None or high is None or low >= high:
        return -math.inf, math.inf
    return float(low), float(high)
