"""Shapes of operators that change the number format."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxslim.analysis.shape_context import NodeContext, Rule

UINT8 = ir.DataType.UINT8
FLOAT = ir.DataType.FLOAT


def quantize(ctx: NodeContext) -> None:
    """QuantizeLinear: the zero point's type, else ``output_dtype``, else uint8."""
    dtype = ctx.dtype(2) if ctx.given(2) else ir.DataType(ctx.attr("output_dtype", 0) or UINT8)
    ctx.share(0, dtype, _shape(ctx))


def dequantize(ctx: NodeContext) -> None:
    """DequantizeLinear: ``output_dtype``, else the scale's type."""
    wanted = ctx.attr("output_dtype", 0)
    ctx.share(0, ir.DataType(wanted) if wanted else ctx.dtype(1), _shape(ctx))


def _shape(ctx: NodeContext) -> ir.Shape | None:
    value = ctx.value(0)
    return None if value is None else value.shape


def dynamic_quantize(ctx: NodeContext) -> None:
    """DynamicQuantizeLinear: data, scale, zero point."""
    ctx.copy(dtype=UINT8)
    ctx.set(1, FLOAT, ())
    ctx.set(2, UINT8, ())


RULES: Mapping[str, Rule] = {
    "DequantizeLinear": dequantize,
    "DynamicQuantizeLinear": dynamic_quantize,
    "QuantizeLinear": quantize,
}
