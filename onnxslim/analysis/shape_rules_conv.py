"""Shapes of convolutions, poolings and other operators with a window over spatial axes.

Source: ONNX operators Conv-22, ConvTranspose-22, MaxPool-22, AveragePool-22 (output size formulas).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.analysis.dims import (
    Dim,
    Dims,
    add,
    ceildiv,
    floordiv,
    known_at_least,
    known_different,
    known_equal,
    mul,
    product,
    sub,
    truncdiv,
)
from onnxslim.analysis.shape_context import NodeContext, Rule, text

MAX_PAD = 2**31


@dataclass(frozen=True, slots=True)
class Window:
    """A kernel's size and movement, one entry per spatial axis."""

    kernel: Dims
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    auto_pad: str
    ceil: bool
    truncates: bool = False

    def extent(self, axis: int) -> Dim:
        """How far the dilated kernel reaches."""
        return add(mul(sub(self.kernel[axis], 1), self.dilations[axis]), 1)


def read_window(
    ctx: NodeContext, kernel: Sequence[Dim], *, truncates: bool = False
) -> Window | None:
    """Attributes of a window; None, and a problem, when they make no sense."""
    count = len(kernel)
    strides = ctx.attr("strides") or (1,) * count
    dilations = ctx.attr("dilations") or (1,) * count
    pads = ctx.attr("pads") or (0,) * (2 * count)
    for name, values, length in (
        ("strides", strides, count),
        ("dilations", dilations, count),
        ("pads", pads, 2 * count),
    ):
        if len(values) != length:
            ctx.problem(f"{name} has {len(values)} entries for {count} spatial axes")
            return None
        if name != "pads" and min(values, default=1) < 1:
            ctx.problem(f"{name} is {list(values)}")
            return None
    if any(abs(p) >= MAX_PAD for p in pads):
        ctx.problem(f"pads {list(pads)} are too large")
        return None
    if any(isinstance(k, int) and k < 1 for k in kernel):
        ctx.problem(f"the kernel has shape {text(kernel)}")
        return None
    auto = ctx.attr("auto_pad", "NOTSET") or "NOTSET"
    if auto != "NOTSET":
        pads = (0,) * (2 * count)
    return Window(
        kernel=tuple(kernel),
        strides=tuple(strides),
        dilations=tuple(dilations),
        before=tuple(pads[:count]),
        after=tuple(pads[count:]),
        auto_pad=auto,
        ceil=bool(ctx.attr("ceil_mode", 0)),
        truncates=truncates,
    )


def window_output(ctx: NodeContext, size: Dim, window: Window, axis: int) -> Dim:
    """Positions of the window along one axis of length ``size``."""
    stride = window.strides[axis]
    if window.auto_pad.startswith("SAME"):
        return ceildiv(size, stride)
    before, after, extent = window.before[axis], window.after[axis], window.extent(axis)
    free = sub(add(size, before + after), extent)
    if isinstance(free, int) and free < 0:
        return ctx.fresh()
    plain = add(_steps(size, free, stride, window), 1)
    if not window.ceil:
        return plain
    rounded = add(ceildiv(free, stride), 1)
    if known_equal(plain, rounded):
        return plain
    # A last window that starts in the padding behind the data is dropped, but not everywhere.
    never_behind = isinstance(extent, int) and after + stride - 1 < extent
    if isinstance(size, int) and isinstance(rounded, int):
        never_behind = (rounded - 1) * stride < size + before
    return rounded if never_behind else ctx.fresh()


def _steps(size: Dim, free: Dim, stride: int, window: Window) -> Dim:
    """``free / stride``, rounded down; by a pooling rounded towards 0.

    A convolution refuses data smaller than its kernel; ONNX Runtime's poolings run on it. None runs
    on an empty axis.
    """
    if not window.truncates or known_at_least(sub(free, size), -1):
        return floordiv(free, stride)
    return truncdiv(free, stride)


def conv_dims(ctx: NodeContext, x: Dims | None, w: Dims | None) -> Dims | None:
    """Dimensions of a convolution of ``x`` (N,C,*) with ``w`` (M,C/group,*kernel)."""
    group = ctx.attr("group", 1)
    if group < 1:
        ctx.problem(f"group is {group}")
        return None
    rank = len(x) if x is not None else (len(w) if w is not None else 0)
    if rank == 0:
        return None
    if rank < 3 or (w is not None and len(w) != rank):
        ctx.problem(f"weight {text(w or ())} does not fit data of rank {rank}")
        return None
    kernel = _kernel(ctx, w, rank - 2)
    window = None if kernel is None else read_window(ctx, kernel)
    if window is None:
        return None
    if x is not None and w is not None:
        _check_channels(ctx, x[1], w, group)
    head: Dims = (ctx.fresh() if x is None else x[0], ctx.fresh() if w is None else w[0])
    if x is None:
        return (*head, *ctx.fresh_dims(rank - 2))
    return (*head, *(window_output(ctx, x[2 + i], window, i) for i in range(rank - 2)))


def _kernel(ctx: NodeContext, w: Dims | None, count: int) -> Dims | None:
    named = ctx.attr("kernel_shape")
    if named is not None and len(named) != count:
        ctx.problem(f"kernel_shape {list(named)} for {count} spatial axes")
        return None
    if w is None:
        return ctx.fresh_dims(count) if named is None else tuple(named)
    if named is not None and any(map(known_different, named, w[2:])):
        ctx.problem(f"kernel_shape {list(named)} but the weight has shape {text(w)}")
        return None
    return w[2:] if named is None else tuple(named)


def _check_channels(ctx: NodeContext, channels: Dim, w: Dims, group: int) -> None:
    if known_different(channels, mul(w[1], group)):
        ctx.problem(f"{channels} channels for weight {text(w)} in {group} group(s)")
    elif isinstance(w[0], int) and w[0] % group:
        ctx.problem(f"{w[0]} output channels in {group} groups")


def conv(ctx: NodeContext) -> None:
    """Conv: data, weight, bias of one type."""
    ctx.same_types((0, 1, 2))
    w, bias = ctx.dims(1), ctx.dims(2)
    if w and bias is not None and (len(bias) != 1 or known_different(bias[0], w[0])):
        ctx.problem(f"bias {text(bias)} for {w[0]} output channels")
    ctx.set(0, ctx.dtype(0), conv_dims(ctx, ctx.dims(0), w))


def conv_integer(ctx: NodeContext) -> None:
    """ConvInteger: int32."""
    ctx.set(0, ir.DataType.INT32, conv_dims(ctx, ctx.dims(0), ctx.dims(1)))


def qlinear_conv(ctx: NodeContext) -> None:
    """QLinearConv: the type of the output's zero point."""
    ctx.set(0, ctx.dtype(7), conv_dims(ctx, ctx.dims(0), ctx.dims(3)))


def deform_conv(ctx: NodeContext) -> None:
    """DeformConv: as Conv; offsets do not change the shape."""
    ctx.set(0, ctx.dtype(0), conv_dims(ctx, ctx.dims(0), ctx.dims(1)))


def conv_transpose(ctx: NodeContext) -> None:
    """ConvTranspose: weight (C,M/group,*kernel)."""
    ctx.same_types((0, 1, 2))
    x, w, group = ctx.dims(0), ctx.dims(1), ctx.attr("group", 1)
    if group < 1:
        ctx.problem(f"group is {group}")
    if x is None or w is None or group < 1:
        return ctx.set(0, ctx.dtype(0), None if x is None else ctx.fresh_dims(len(x)))
    if len(x) != len(w) or len(x) < 3:
        ctx.problem(f"weight {text(w)} does not fit data {text(x)}")
        return ctx.set(0, ctx.dtype(0), None)
    if known_different(x[1], w[0]):
        ctx.problem(f"{x[1]} channels for weight {text(w)}")
    kernel = _kernel(ctx, w, len(x) - 2)
    window = None if kernel is None else read_window(ctx, kernel)
    if window is None:
        return ctx.set(0, ctx.dtype(0), None)
    ctx.set(0, ctx.dtype(0), (x[0], mul(w[1], group), *_transposed(ctx, x[2:], window)))


def _transposed(ctx: NodeContext, sizes: Dims, window: Window) -> Dims:
    count = len(sizes)
    wanted = ctx.attr("output_shape")
    if wanted:
        return tuple(wanted)[-count:]
    extra = ctx.attr("output_padding") or (0,) * count
    if len(extra) != count:
        ctx.problem(f"output_padding has {len(extra)} entries for {count} spatial axes")
        return ctx.fresh_dims(count)
    result = []
    for i, size in enumerate(sizes):
        if window.auto_pad.startswith("SAME"):
            result.append(mul(size, window.strides[i]))
            continue
        reach = add(mul(sub(size, 1), window.strides[i]), window.extent(i))
        result.append(add(reach, extra[i] - window.before[i] - window.after[i]))
    return tuple(result)


def pool(ctx: NodeContext) -> None:
    """MaxPool, AveragePool, LpPool: a window over every spatial axis."""
    dims = pool_dims(ctx, ctx.dims(0))
    ctx.set(0, ctx.dtype(0), dims)
    ctx.set(1, ir.DataType.INT64, dims)


def pool_dims(ctx: NodeContext, x: Dims | None) -> Dims | None:
    """Dimensions of a pooling of ``x`` (N,C,*)."""
    kernel = ctx.attr("kernel_shape")
    if x is None or kernel is None:
        return None if x is None else ctx.fresh_dims(len(x))
    if len(x) < 3 or len(kernel) != len(x) - 2:
        ctx.problem(f"kernel_shape {list(kernel)} for data {text(x)}")
        return None
    window = read_window(ctx, kernel, truncates=True)
    if window is None:
        return None
    return (*x[:2], *(window_output(ctx, size, window, i) for i, size in enumerate(x[2:])))


def max_unpool(ctx: NodeContext) -> None:
    """MaxUnpool: the inverse of MaxPool, or the given output shape."""
    x = ctx.dims(0)
    if x is None or len(x) < 3:
        return ctx.set(0, ctx.dtype(0), None)
    if ctx.given(2):
        sizes = ctx.sizes(2)
        wanted = None if sizes is None or len(sizes) != len(x) else sizes
        return ctx.set(0, ctx.dtype(0), ctx.fresh_dims(len(x)) if wanted is None else wanted)
    window = read_window(ctx, ctx.attr("kernel_shape", ()))
    if window is None or len(window.kernel) != len(x) - 2:
        return ctx.set(0, ctx.dtype(0), None)
    ctx.set(0, ctx.dtype(0), (*x[:2], *_transposed(ctx, x[2:], window)))


def max_roi_pool(ctx: NodeContext) -> None:
    """MaxRoiPool: one pooled map per region."""
    x, rois, shape = ctx.dims(0), ctx.dims(1), ctx.attr("pooled_shape", ())
    if x is None or not rois or len(x) < 2 or len(shape) != 2:
        return ctx.set(0, ctx.dtype(0), None)
    ctx.set(0, ctx.dtype(0), (rois[0], x[1], *shape))


def roi_align(ctx: NodeContext) -> None:
    """RoiAlign: one map per region."""
    x, rois, batch = ctx.dims(0), ctx.dims(1), ctx.dims(2)
    count = rois[0] if rois else (batch[0] if batch else ctx.fresh())
    channels = x[1] if x is not None and len(x) > 1 else ctx.fresh()
    height, width = ctx.attr("output_height", 1), ctx.attr("output_width", 1)
    ctx.set(0, ctx.dtype(0), (count, channels, height, width))


def grid_sample(ctx: NodeContext) -> None:
    """GridSample: the grid's spatial axes."""
    x, grid = ctx.dims(0), ctx.dims(1)
    if x is None or grid is None or len(x) < 3 or len(grid) != len(x):
        return ctx.set(0, ctx.dtype(0), None if x is None else ctx.fresh_dims(len(x)))
    ctx.set(0, ctx.dtype(0), (x[0], x[1], *grid[1:-1]))


def affine_grid(ctx: NodeContext) -> None:
    """AffineGrid: (N,*spatial,number of spatial axes)."""
    size = ctx.sizes(1)
    if size is None or len(size) < 3:
        return ctx.set(0, ctx.dtype(0), None)
    ctx.set(0, ctx.dtype(0), (size[0], *size[2:], len(size) - 2))


def col2im(ctx: NodeContext) -> None:
    """Col2Im: (N,C,*image)."""
    x, image, block = ctx.dims(0), ctx.sizes(1), ctx.ints(2)
    if x is None or len(x) != 3 or image is None:
        return ctx.set(0, ctx.dtype(0), None)
    channels = ctx.fresh() if block is None else floordiv(x[1], product(block))
    ctx.set(0, ctx.dtype(0), (x[0], channels, *image))


RULES: Mapping[str, Rule] = {
    "AffineGrid": affine_grid,
    "AveragePool": pool,
    "Col2Im": col2im,
    "Conv": conv,
    "ConvInteger": conv_integer,
    "ConvTranspose": conv_transpose,
    "DeformConv": deform_conv,
    "GridSample": grid_sample,
    "LpPool": pool,
    "MaxPool": pool,
    "MaxRoiPool": max_roi_pool,
    "MaxUnpool": max_unpool,
    "QLinearConv": qlinear_conv,
    "RoiAlign": roi_align,
}
