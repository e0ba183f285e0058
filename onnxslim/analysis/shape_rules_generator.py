"""Shapes of operators that make tensors: constants, ranges, random numbers, windows, spectra."""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx_ir as ir

from onnxslim.analysis.dims import Dim, Dims, add, ceildiv, floordiv, maximum, sub
from onnxslim.analysis.shape_context import NodeContext, Rule
from onnxslim.graph.edit import constant_tensor

FLOAT, INT64, STRING = ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.STRING


def constant(ctx: NodeContext) -> None:
    """Constant: the tensor in its attribute."""
    tensor = constant_tensor(ctx.outputs[0])
    if tensor is not None:
        return ctx.share(0, tensor.dtype, ir.Shape(tensor.shape.numpy(), frozen=True))
    one, many = ctx.attr("value_string"), ctx.attr("value_strings")
    if one is not None or many is not None:
        ctx.set(0, STRING, () if many is None else (len(many),))


def constant_of_shape(ctx: NodeContext) -> None:
    """ConstantOfShape: the content of the input is the shape."""
    value = ctx.attr("value")
    dtype = FLOAT if value is None else value.dtype
    ctx.set(0, dtype, ctx.sizes(0))


def shape_of(ctx: NodeContext) -> None:
    """Shape: one element per axis from ``start`` to ``end``."""
    rank = ctx.rank(0)
    if rank is None:
        return ctx.set(0, INT64, (ctx.fresh(),))
    start, end = shape_limits(ctx, rank)
    ctx.set(0, INT64, (max(0, end - start),))


def shape_limits(ctx: NodeContext, rank: int) -> tuple[int, int]:
    """First and last axis (excluded) that Shape takes."""
    start, end = ctx.attr("start", 0), ctx.attr("end", rank)
    limits = (v + rank if v < 0 else v for v in (start, rank if end is None else end))
    first, last = (min(max(v, 0), rank) for v in limits)
    return first, last


def size_of(ctx: NodeContext) -> None:
    """Size: a scalar."""
    ctx.set(0, INT64, ())


def range_(ctx: NodeContext) -> None:
    """Range: as many elements as steps fit."""
    length = range_length(ctx)
    ctx.set(0, ctx.dtype(0), (ctx.fresh() if length is None else length,))


def range_length(ctx: NodeContext) -> Dim | None:
    """Number of elements of a Range, None when unknown."""
    limits = [ctx.elements(i) for i in range(3)]
    start, end, step = (e[0] if e else None for e in limits)
    if start is not None and end is not None and isinstance(step, int):
        if step == 0:
            ctx.problem("the step is 0")
            return None
        free = sub(end, start) if step > 0 else sub(start, end)
        return maximum(ceildiv(free, abs(step)), 0)
    floats = [ctx.numbers(i) for i in range(3)]
    first, last, delta = (f[0] if f else None for f in floats)
    if first is None or last is None or not delta:
        return None
    count = (last - first) / delta
    return max(0, math.ceil(count)) if math.isfinite(count) else None


def random(ctx: NodeContext) -> None:
    """RandomNormal and RandomUniform: shape and type are attributes."""
    ctx.set(0, ctx.attr("dtype", FLOAT), ctx.attr("shape"))


def eye_like(ctx: NodeContext) -> None:
    """EyeLike: the input's shape, maybe another type."""
    dtype = ctx.attr("dtype")
    ctx.copy(dtype=None if dtype is None else ir.DataType(dtype))


def multinomial(ctx: NodeContext) -> None:
    """Multinomial: (N,sample_size)."""
    dims = ctx.dims(0)
    rows = dims[0] if dims else ctx.fresh()
    ctx.set(0, ctx.attr("dtype", ir.DataType.INT32), (rows, ctx.attr("sample_size", 1)))


def _first(ctx: NodeContext, index: int) -> Dim:
    found = ctx.elements(index)
    return ctx.fresh() if not found or found[0] is None else found[0]


def window(ctx: NodeContext) -> None:
    """HannWindow and its kin: (size)."""
    ctx.set(0, ctx.attr("output_datatype", FLOAT), (_first(ctx, 0),))


def mel_weights(ctx: NodeContext) -> None:
    """MelWeightMatrix: (dft_length/2+1,bins)."""
    rows = add(floordiv(_first(ctx, 1), 2), 1)
    ctx.set(0, ctx.attr("output_datatype", FLOAT), (rows, _first(ctx, 0)))


def dft(ctx: NodeContext) -> None:
    """DFT: complex along the axis, half of it when one-sided."""
    dims = ctx.dims(0)
    if dims is None or len(dims) < 2:
        return ctx.set(0, ctx.dtype(0), None)
    axis: int | None = ctx.attr("axis", 1)
    if ctx.opset >= 20:
        found = ctx.ints(2) if ctx.given(2) else (-2,)
        axis = found[0] if found else None
    index = None if axis is None else ctx.axis(axis, len(dims))
    inverse, half = bool(ctx.attr("inverse", 0)), bool(ctx.attr("onesided", 0))
    if index is None or (inverse and half):
        return ctx.set(0, ctx.dtype(0), ctx.fresh_dims(len(dims)))
    length = _first(ctx, 1) if ctx.given(1) else dims[index]
    result = [*dims[:-1], 2]
    result[index] = add(floordiv(length, 2), 1) if half else length
    ctx.set(0, ctx.dtype(0), result)


def stft(ctx: NodeContext) -> None:
    """STFT: (N,frames,bins,2)."""
    signal = ctx.dims(0)
    length: Dim | None = None
    if ctx.given(3):
        found = ctx.elements(3)
        length = found[0] if found else None
    elif ctx.given(2):
        given = ctx.dims(2)
        length = given[0] if given else None
    step = ctx.ints(1)
    frames: Dim = ctx.fresh()
    if signal is not None and len(signal) > 1 and length is not None and step and step[0] > 0:
        frames = add(floordiv(sub(signal[1], length), step[0]), 1)
    bins: Dim = ctx.fresh()
    if length is not None:
        bins = add(floordiv(length, 2), 1) if ctx.attr("onesided", 1) else length
    ctx.set(0, ctx.dtype(0), (signal[0] if signal else ctx.fresh(), frames, bins, 2))


def non_max_suppression(ctx: NodeContext) -> None:
    """NonMaxSuppression: how many boxes stay is not known."""
    ctx.set(0, INT64, (ctx.fresh(), 3))


def image_decoder(ctx: NodeContext) -> None:
    """ImageDecoder: height and width are in the data."""
    channels = 1 if ctx.attr("pixel_format", "RGB") == "Grayscale" else 3
    ctx.set(0, ir.DataType.UINT8, (ctx.fresh(), ctx.fresh(), channels))


def string_split(ctx: NodeContext) -> None:
    """StringSplit: the parts, and how many there are."""
    dims = ctx.dims(0)
    parts: Dims | None = None if dims is None else (*dims, ctx.fresh())
    ctx.set(0, STRING, parts)
    ctx.set(1, INT64, dims)


def string_normalizer(ctx: NodeContext) -> None:
    """StringNormalizer: words may be dropped."""
    rank = ctx.rank(0)
    ctx.set(0, STRING, None if rank is None else (*((1,) * (rank - 1)), ctx.fresh()))


def tfidf(ctx: NodeContext) -> None:
    """TfIdfVectorizer: one column per n-gram."""
    dims = ctx.dims(0)
    columns = max(ctx.attr("ngram_indexes", ()), default=-1) + 1
    ctx.set(0, FLOAT, None if dims is None else (*dims[:-1], columns))


RULES: Mapping[str, Rule] = {
    "BlackmanWindow": window,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "DFT": dft,
    "EyeLike": eye_like,
    "HammingWindow": window,
    "HannWindow": window,
    "ImageDecoder": image_decoder,
    "MelWeightMatrix": mel_weights,
    "Multinomial": multinomial,
    "NonMaxSuppression": non_max_suppression,
    "RandomNormal": random,
    "RandomUniform": random,
    "Range": range_,
    "STFT": stft,
    "Shape": shape_of,
    "Size": size_of,
    "StringNormalizer": string_normalizer,
    "StringSplit": string_split,
    "TfIdfVectorizer": tfidf,
}
