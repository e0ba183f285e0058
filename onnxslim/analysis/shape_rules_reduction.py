"""Shapes of operators that reduce axes, and of loss functions."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxslim.analysis.dims import Dim, Dims
from onnxslim.analysis.shape_context import NodeContext, Rule
from onnxslim.analysis.shape_rules_movement import input_axes


def reduce(ctx: NodeContext) -> None:
    """Reduce operators: named axes, or all of them, go or become 1."""
    dims, dtype = ctx.dims(0), ctx.dtype(0)
    since = 13 if ctx.node.op_type == "ReduceSum" else 18
    given, axes = input_axes(ctx, since)
    keep = bool(ctx.attr("keepdims", 1))
    if dims is None:
        return ctx.set(0, dtype, () if not given and not keep and not _noop(ctx) else None)
    if given and axes is None:
        return ctx.set(0, dtype, _unknown_axes(ctx, dims, keep))
    if not axes:
        if _noop(ctx):
            return ctx.copy()
        axes = list(range(len(dims)))
    gone = ctx.axes(axes, len(dims))
    if gone is None:
        return ctx.set(0, dtype, None)
    ctx.set(0, dtype, drop_axes(dims, gone, keep))


def _noop(ctx: NodeContext) -> bool:
    return bool(ctx.attr("noop_with_empty_axes", 0))


def _unknown_axes(ctx: NodeContext, dims: Dims, keep: bool) -> Dims | None:
    if keep:
        return tuple(1 if isinstance(d, int) and d == 1 else ctx.fresh() for d in dims)
    count = ctx.dims(1)
    if count and isinstance(count[0], int) and 0 < count[0] <= len(dims):
        return ctx.fresh_dims(len(dims) - count[0])
    return None


def drop_axes(dims: Dims, gone: tuple[int, ...], keep: bool) -> Dims:
    """``dims`` with the axes in ``gone`` removed, or 1 when they are kept."""
    if keep:
        return tuple(1 if i in gone else d for i, d in enumerate(dims))
    return tuple(d for i, d in enumerate(dims) if i not in gone)


def arg_reduce(ctx: NodeContext) -> None:
    """ArgMax and ArgMin: one axis, int64."""
    dims = ctx.dims(0)
    axis = None if dims is None else ctx.axis(ctx.attr("axis", 0), len(dims))
    if dims is None or axis is None:
        return ctx.set(0, ir.DataType.INT64, None)
    ctx.set(0, ir.DataType.INT64, drop_axes(dims, (axis,), bool(ctx.attr("keepdims", 1))))


def loss(ctx: NodeContext) -> None:
    """Losses: a scalar, or the labels' shape without reduction."""
    whole = ctx.attr("reduction", "mean") != "none"
    ctx.set(0, ctx.dtype(0), () if whole else ctx.dims(1))
    ctx.copy(0, 1)


def global_pool(ctx: NodeContext) -> None:
    """Global pooling: every spatial axis becomes 1."""
    dims = ctx.dims(0)
    result: tuple[Dim, ...] | None = None
    if dims is not None and len(dims) >= 2:
        result = (*dims[:2], *(1 for _ in dims[2:]))
    ctx.set(0, ctx.dtype(0), result)


_REDUCE = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare".split()

RULES: Mapping[str, Rule] = {
    **{f"Reduce{kind}": reduce for kind in _REDUCE},
    "ArgMax": arg_reduce,
    "ArgMin": arg_reduce,
    "GlobalAveragePool": global_pool,
    "GlobalLpPool": global_pool,
    "GlobalMaxPool": global_pool,
    "NegativeLogLikelihoodLoss": loss,
    "SoftmaxCrossEntropyLoss": loss,
}
