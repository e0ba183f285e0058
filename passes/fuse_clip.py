"""Merge clamps that follow each other: Relu, Clip, and Max or Min with a scalar constant.

A clamp to ``[low, high]`` after a clamp to ``[l, h]`` is one clamp::

    min(max(min(max(x, l), h), low), high)  ==  min(max(x, L), H)
    L = min(max(l, low), high),  H = min(max(h, low), high)

which holds also when the ranges do not meet (a constant). As ONNX Runtime does: a minimum above
the maximum gives the maximum, NaN passes through every clamp, and a bound that Clip leaves out is
the type's largest finite number (an infinity becomes that; Relu, Max and Min keep infinities).

Source: ONNX operators Clip-1/6/11/12/13, Relu-6/13/14, Max-8/12/13, Min-8/12/13.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._facts import broadcast_keeps
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

CLAMPS = ("Clip", "Relu", "Max", "Min")
_T = ir.DataType
_FLOATS = (_T.FLOAT, _T.DOUBLE, _T.FLOAT16, _T.BFLOAT16)
_INTEGERS = (_T.INT8, _T.INT16, _T.INT32, _T.INT64, _T.UINT8, _T.UINT16, _T.UINT32, _T.UINT64)
_RANGES: dict[str, tuple[float, float]] = {
    "Sigmoid": (0.0, 1.0),
    "HardSigmoid": (0.0, 1.0),
    "Softmax": (0.0, 1.0),
    "Abs": (0.0, math.inf),
    "Exp": (0.0, math.inf),
    "Softplus": (0.0, math.inf),
}
"""Results of other operators that a clamp leaves as they are when its range holds them."""

Bound = float | int


@dataclass(frozen=True)
class _Clamp:
    x: ir.Value
    low: Bound
    high: Bound


@register
@dataclass(frozen=True)
class FuseClip(Pass):
    """Merge Relu, Clip, Max and Min with constant bounds that follow each other into one.

    A clamp that its input's range makes useless (Relu after Sigmoid, Clip(0, 6) after
    Clip(1, 4)) goes. Skipped when something else reads the value between two clamps of which
    both work, when a bound is not constant, and when the type cannot be clipped in this opset.
    """

    name: ClassVar[str] = "fuse-clip"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Merge every clamp into the clamp before it."""
        return sum(_merge(node, ctx) for node in ctx.nodes(*CLAMPS))


def _merge(second: ir.Node, ctx: PassContext) -> bool:
    outer = _clamp(second, ctx.opset)
    first = None if outer is None else outer.x.producer()
    if outer is None or first is None:
        return False
    inner = _clamp(first, ctx.opset) or _range(first)
    if inner is None:
        return False
    low = min(max(inner.low, outer.low), outer.high)
    high = min(max(inner.high, outer.low), outer.high)
    if (low, high) == (inner.low, inner.high):
        if ctx.bypass(second, outer.x):
            return True
        if not edit.is_op(first, *CLAMPS):
            return ctx.skip(second, "a graph output needs the clamp: its name cannot move")
    if not edit.is_op(first, *CLAMPS) or first.graph is not second.graph:
        return False
    if not edit.is_sole_consumer(outer.x, second):
        return ctx.skip(second, "something else reads the value between two clamps")
    new = _write(first, second, inner.x, (low, high), ctx)
    if new is None:
        return ctx.skip(second, "Clip of this opset or type cannot express the range")
    ctx.replace([first, second], new)
    return True


def _clamp(node: ir.Node, opset: int) -> _Clamp | None:
    """The operator as a clamp of one value to constant bounds, or None."""
    x = edit.get_input(node, 0)
    if edit.is_op(node, "Max", "Min"):
        return _min_max(node) if opset >= 8 else None
    if x is None or x.dtype is None or x.dtype not in (*_FLOATS, *_INTEGERS):
        return None
    least, most = _limits(x.dtype)
    if edit.is_op(node, "Relu"):
        return _Clamp(x, 0, math.inf if x.dtype in _FLOATS else most)
    if not edit.is_op(node, "Clip"):
        return None
    if opset < 11:
        low, high = edit.attr(node, "min", least), edit.attr(node, "max", most)
    else:
        low, high = (_bound(node, i, d) for i, d in ((1, least), (2, most)))
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return None
    return _Clamp(x, min(low, high), high)


def _bound(node: ir.Node, index: int, default: Bound) -> Bound | None:
    value = edit.get_input(node, index)
    if value is None:
        return default
    bound: Bound | None = edit.scalar(value)
    return bound


def _min_max(node: ir.Node) -> _Clamp | None:
    """Max or Min of one value and one scalar that does not enlarge it."""
    if len(node.inputs) != 2:
        return None
    for x, value in (node.inputs, node.inputs[::-1]):
        bound, array = edit.scalar(value), edit.constant_array(value, limit=1)
        if x is None or array is None or bound is None or edit.is_constant(x):
            continue
        if math.isnan(bound) or x.dtype not in _FLOATS or not broadcast_keeps(x, array.shape):
            return None
        return _Clamp(x, *((bound, math.inf) if node.op_type == "Max" else (-math.inf, bound)))
    return None


def _range(node: ir.Node) -> _Clamp | None:
    """The range of another operator's float result."""
    if node.domain or node.op_type not in _RANGES or node.outputs[0].dtype not in _FLOATS:
        return None
    return _Clamp(node.outputs[0], *_RANGES[node.op_type])


def _limits(dtype: ir.DataType) -> tuple[Bound, Bound]:
    """Smallest and largest finite number of a type."""
    if dtype in _INTEGERS:
        info = np.iinfo(dtype.numpy())
        return int(info.min), int(info.max)
    return float(dtype.min), float(dtype.max)


def _write(
    first: ir.Node, second: ir.Node, x: ir.Value, bounds: tuple[Bound, Bound], ctx: PassContext
) -> ir.Node | None:
    """One of the two operators when it does the whole work, else a Clip; None when impossible."""
    for node in (second, first):
        own = _clamp(node, ctx.opset)
        if own is not None and (own.low, own.high) == bounds:
            inputs = [x if v is own.x else v for v in node.inputs]
            return ir.node(node.op_type, inputs, node.attributes)
    dtype = x.dtype
    if dtype is None or math.isinf(bounds[0]) or math.isinf(bounds[1]):
        return None
    clipped = edit.is_op(first, "Clip") or edit.is_op(second, "Clip")
    if not clipped and ctx.opset < 13 and dtype != _T.FLOAT:
        return None  # runtimes may not have it: ONNX Runtime's Clip-6 knows float only
    given = [None if b == limit else b for b, limit in zip(bounds, _limits(dtype), strict=True)]
    if ctx.opset < 11:
        if any(b is not None and float(np.float32(b)) != b for b in given):
            return None
        names = {"min": given[0], "max": given[1]}
        return ir.node("Clip", [x], {k: float(b) for k, b in names.items() if b is not None})
    if (dtype in _INTEGERS and ctx.opset < 12) or (dtype == _T.BFLOAT16 and ctx.opset < 13):
        return None
    graph = second.graph
    assert graph is not None
    values = [
        None if b is None else ctx.constant(graph, stem, np.array(b, dtype.numpy()))
        for stem, b in zip(("min", "max"), given, strict=True)
    ]
    return ir.node("Clip", [x, *values[: 2 if values[1] is not None else 1]])
