"""Shapes of operators that pick elements: slice, gather, search, resize."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dims import (
    Dim,
    Dims,
    add,
    ceildiv,
    floordiv,
    known_different,
    lower_bound,
    maximum,
    minimum,
    mul,
    sub,
    upper_bound,
)
from onnxslim.analysis.shape_context import Elements, NodeContext, Rule, text

INT64 = ir.DataType.INT64
END = 2**31 - 1
"""From here on a slice end means "to the end": exporters write INT32_MAX and INT64_MAX."""


def slice_(ctx: NodeContext) -> None:
    """Slice: limits from attributes (before opset 10) or inputs."""
    dims = ctx.dims(0)
    if dims is None:
        return ctx.set(0, ctx.dtype(0), None)
    limits = _slice_limits(ctx, len(dims))
    if limits is None:
        return ctx.set(0, ctx.dtype(0), _slice_unknown(ctx, dims))
    starts, ends, axes, steps = limits
    result = list(dims)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == 0:
            ctx.problem("a step is 0")
        length = slice_length(dims[axis], start, end, step)
        result[axis] = ctx.fresh() if length is None else length
    ctx.set(0, ctx.dtype(0), result)


def _slice_limits(
    ctx: NodeContext, rank: int
) -> tuple[Elements, Elements, tuple[int, ...], Elements] | None:
    starts: Elements | None
    ends: Elements | None
    steps: Elements | None
    if ctx.opset < 10:
        starts, ends = ctx.attr("starts", ()), ctx.attr("ends", ())
        named, steps = ctx.attr("axes"), (1,) * len(starts or ())
    else:
        starts, ends = ctx.elements(1), ctx.elements(2)
        named = ctx.ints(3) if ctx.given(3) else None
        if starts is None or (ctx.given(3) and named is None):
            return None
        steps = ctx.elements(4) if ctx.given(4) else (1,) * len(starts)
    if starts is None or ends is None or steps is None:
        return None
    axes = ctx.axes(range(len(starts)) if named is None else named, rank)
    if axes is None or not len(starts) == len(ends) == len(axes) == len(steps):
        return None
    return tuple(starts), tuple(ends), axes, tuple(steps)


def _slice_unknown(ctx: NodeContext, dims: Dims) -> Dims:
    """Dimensions when limits are unknown: those of axes that are not named stay."""
    axes = ctx.ints(3) if ctx.given(3) else None
    cut = {a % len(dims) for a in axes} if axes is not None and dims else set(range(len(dims)))
    return tuple(ctx.fresh() if i in cut else d for i, d in enumerate(dims))


def slice_length(dim: Dim, start: Dim | None, end: Dim | None, step: Dim | None) -> Dim | None:
    """Elements that a slice of ``dim`` takes; None when it cannot be said."""
    if start is None or end is None or not isinstance(step, int) or step == 0:
        return None
    if step < 0:
        return _slice_backwards(dim, start, end, step)
    first, last = _clamp(start, dim), _clamp(end, dim)
    if first is None or last is None:
        return None
    if last is dim and isinstance(first, int) and first == 0:
        return dim if step == 1 else ceildiv(dim, step)
    length = maximum(sub(last, first), 0)
    return length if step == 1 else ceildiv(length, step)


def _clamp(position: Dim, dim: Dim) -> Dim | None:
    """A slice position of a forward slice, within 0 and ``dim``."""
    if isinstance(position, int) and (position >= END or position == 0):
        return dim if position else 0
    low, high = lower_bound(position), upper_bound(position)
    if low is not None and low >= 0:
        return minimum(position, dim)
    if high is not None and high < 0:
        return maximum(add(position, dim), 0)
    return None


def _slice_backwards(dim: Dim, start: Dim, end: Dim, step: int) -> Dim | None:
    if isinstance(end, int) and end >= END:
        return None  # nothing by the standard, everything in ONNX Runtime
    if isinstance(dim, int) and isinstance(start, int) and isinstance(end, int):
        first = start + dim if start < 0 else start
        last = end + dim if end < 0 else end
        first, last = max(min(first, dim - 1), 0), min(max(last, -1), dim - 1)
        return max(0, math.ceil((last - first) / step)) if dim else 0
    whole = isinstance(start, int) and (start == -1 or start >= END)
    if whole and isinstance(end, int) and end < -END:
        return ceildiv(dim, -step)
    return None


def gather(ctx: NodeContext) -> None:
    """Gather: the indices' shape replaces the axis."""
    dims, index = ctx.dims(0), ctx.dims(1)
    if dims is None or index is None:
        return ctx.set(0, ctx.dtype(0), None)
    axis = ctx.axis(ctx.attr("axis", 0), len(dims))
    if axis is None:
        return ctx.set(0, ctx.dtype(0), None)
    size, wanted = dims[axis], ctx.ints(1)
    if isinstance(size, int) and wanted is not None:
        outside = [i for i in wanted if not -size <= i < size]
        if outside:
            ctx.problem(f"index {outside[0]} is out of range for size {size}")
    ctx.set(0, ctx.dtype(0), (*dims[:axis], *index, *dims[axis + 1 :]))


def gather_elements(ctx: NodeContext) -> None:
    """GatherElements: the indices' shape."""
    ctx.set(0, ctx.dtype(0), ctx.dims(1))


def gather_nd(ctx: NodeContext) -> None:
    """GatherND: the last axis of the indices selects."""
    dims, index = ctx.dims(0), ctx.dims(1)
    batch = ctx.attr("batch_dims", 0)
    if dims is None or not index or not isinstance(index[-1], int):
        return ctx.set(0, ctx.dtype(0), None)
    depth = batch + index[-1]
    if depth > len(dims):
        ctx.problem(f"indices of length {index[-1]} for data {text(dims)}")
        return ctx.set(0, ctx.dtype(0), None)
    ctx.set(0, ctx.dtype(0), (*index[:-1], *dims[depth:]))


def compress(ctx: NodeContext) -> None:
    """Compress: how many elements stay is not known."""
    dims, axis = ctx.dims(0), ctx.attr("axis")
    if axis is None:
        return ctx.set(0, ctx.dtype(0), (ctx.fresh(),))
    index = None if dims is None else ctx.axis(axis, len(dims))
    if dims is None or index is None:
        return ctx.set(0, ctx.dtype(0), None)
    ctx.set(0, ctx.dtype(0), (*dims[:index], ctx.fresh(), *dims[index + 1 :]))


def non_zero(ctx: NodeContext) -> None:
    """NonZero: one row per axis."""
    dims = ctx.dims(0)
    rows: Dim = ctx.fresh() if dims is None else max(len(dims), 1)
    ctx.set(0, INT64, (rows, ctx.fresh()))


def unique(ctx: NodeContext) -> None:
    """Unique: as many elements (or slices) as there are different ones."""
    dims, axis, count = ctx.dims(0), ctx.attr("axis"), ctx.fresh()
    if axis is None:
        ctx.set(0, ctx.dtype(0), (count,))
    else:
        index = None if dims is None else ctx.axis(axis, len(dims))
        known = None if dims is None or index is None else list(dims)
        if known is not None and index is not None:
            known[index] = count
        ctx.set(0, ctx.dtype(0), known)
    ctx.set(1, INT64, (count,))
    ctx.set(2, INT64, (ctx.fresh(),))
    ctx.set(3, INT64, (count,))


def top_k(ctx: NodeContext) -> None:
    """TopK: ``k`` elements along the axis."""
    dims = ctx.dims(0)
    axis = None if dims is None else ctx.axis(ctx.attr("axis", -1), len(dims))
    if ctx.opset < 10:
        k: Dim | None = ctx.attr("k")
    else:
        found = ctx.elements(1)
        k = found[0] if found else None
    result: list[Dim] | None = None
    if dims is not None and axis is not None:
        result = list(dims)
        result[axis] = ctx.fresh() if k is None else k
    ctx.set(0, ctx.dtype(0), result)
    ctx.set(1, INT64, result)


def one_hot(ctx: NodeContext) -> None:
    """OneHot: an axis of size ``depth`` is inserted."""
    dims, depth = ctx.dims(0), ctx.elements(1)
    if dims is None:
        return ctx.set(0, ctx.dtype(2), None)
    axis = ctx.axis(ctx.attr("axis", -1), len(dims) + 1)
    if axis is None:
        return ctx.set(0, ctx.dtype(2), None)
    found = depth[0] if depth and depth[0] is not None else _float_depth(ctx)
    size = ctx.fresh() if found is None else found
    ctx.set(0, ctx.dtype(2), (*dims[:axis], size, *dims[axis:]))


def _float_depth(ctx: NodeContext) -> Dim | None:
    found = ctx.numbers(1)
    return int(found[0]) if found else None


def resize(ctx: NodeContext) -> None:
    """Resize and Upsample: by sizes or by scales."""
    dims = ctx.dims(0)
    if dims is None:
        return ctx.set(0, ctx.dtype(0), None)
    sizes_at, scales_at = (3, 2) if ctx.opset >= 11 else (99, 1)
    axes = ctx.axes(ctx.attr("axes", range(len(dims))), len(dims))
    if axes is None:
        return ctx.set(0, ctx.dtype(0), ctx.fresh_dims(len(dims)))
    result = list(dims)
    scales = ctx.attr("scales") or (ctx.numbers(scales_at) if ctx.given(scales_at) else None)
    sizes = ctx.elements(sizes_at) if ctx.given(sizes_at) else None
    for i, axis in enumerate(axes):
        size: Dim | None = None
        if ctx.attr("coordinate_transformation_mode", "") == "tf_crop_and_resize" and not sizes:
            size = None
        elif scales and len(scales) == len(axes):
            size = scaled(dims[axis], scales[i])
        elif sizes and len(sizes) == len(axes):
            stretch = ctx.attr("keep_aspect_ratio_policy", "stretch") == "stretch"
            size = sizes[i] if stretch else None
        result[axis] = ctx.fresh() if size is None else size
    ctx.set(0, ctx.dtype(0), result)


def scaled(dim: Dim, scale: float) -> Dim | None:
    """``floor(dim * scale)`` in float32, as runtimes compute it; None when it cannot be said."""
    if not math.isfinite(scale) or scale <= 0:
        return None
    if isinstance(dim, int):
        return int(np.floor(np.float32(dim) * np.float32(scale)))
    top, bottom = float(np.float32(scale)).as_integer_ratio()
    return floordiv(mul(dim, top), bottom) if bottom <= 64 and top < 2**16 else None


def reverse_check(ctx: NodeContext) -> None:
    """ReverseSequence: one length per batch entry."""
    ctx.copy()
    dims, lengths = ctx.dims(0), ctx.dims(1)
    if dims is None or lengths is None or len(lengths) != 1 or len(dims) < 2:
        return
    batch = ctx.axis(ctx.attr("batch_axis", 1), len(dims))
    if batch is not None and known_different(dims[batch], lengths[0]):
        ctx.problem(f"{lengths[0]} lengths for a batch of {dims[batch]}")


RULES: Mapping[str, Rule] = {
    "Compress": compress,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "NonZero": non_zero,
    "OneHot": one_hot,
    "Resize": resize,
    "ReverseSequence": reverse_check,
    "Slice": slice_,
    "TopK": top_k,
    "Unique": unique,
    "Upsample": resize,
}
