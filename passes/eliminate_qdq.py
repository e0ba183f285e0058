"""Remove quantizing again what was just dequantized by the same parameters.

``QuantizeLinear(DequantizeLinear(q, s, z), s, z) == q``: ``(q - z) * s / s`` is off by at most two
roundings, less than half a step as long as the integer has fewer bits than the scale's
significand leaves room for, and nothing overflows or becomes subnormal on the way.

Source: ONNX operators QuantizeLinear and DequantizeLinear 10/13/19/21/23.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._facts import drop_unread
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

_T = ir.DataType
_BITS = {_T.INT4: 4, _T.UINT4: 4, _T.INT8: 8, _T.UINT8: 8, _T.INT16: 16, _T.UINT16: 16}
_FRACTION = {_T.FLOAT16: 10, _T.BFLOAT16: 7, _T.FLOAT: 23, _T.DOUBLE: 52}
"""Bits of the fraction of the float types."""
_DEFAULTS = {"axis": 1, "block_size": 0}


@register
@dataclass(frozen=True)
class EliminateQdq(Pass):
    """Remove a QuantizeLinear that gives back what the DequantizeLinear before it read.

    Both must have the same constant scale, zero point, axis and block size, and the same integer
    type. Skipped when any of these differs, for scales that are zero, subnormal or would
    overflow, and when a graph output needs the node. Weights stay integers.
    """

    name: ClassVar[str] = "eliminate-qdq"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Compare every QuantizeLinear with the DequantizeLinear before it."""
        return sum(_eliminate(node, ctx) for node in ctx.nodes("QuantizeLinear"))


def _eliminate(quantize: ir.Node, ctx: PassContext) -> bool:
    middle = quantize.inputs[0]
    dequantize = None if middle is None else middle.producer()
    if dequantize is None or not edit.is_op(dequantize, "DequantizeLinear"):
        return False
    q = dequantize.inputs[0]
    if q is None or q.dtype not in _BITS:
        return False
    if q.dtype != quantize.outputs[0].dtype:
        return ctx.skip(quantize, "quantized to another type than before")
    if not _same_parameters(dequantize, quantize):
        return ctx.skip(quantize, "scale or zero point differ or are not constant")
    scale = edit.constant_array(quantize.inputs[1])
    if scale is None or not _is_exact(scale, _BITS[q.dtype]):
        return ctx.skip(quantize, "the scale is too small, too large or too coarse")
    if not ctx.bypass(quantize, q):
        return ctx.skip(quantize, "a graph output needs the node: its input cannot have the name")
    drop_unread([dequantize], ctx)
    return True


def _same_parameters(dequantize: ir.Node, quantize: ir.Node) -> bool:
    scale = edit.constant_array(quantize.inputs[1])
    if scale is None or not _same(scale, edit.constant_array(dequantize.inputs[1])):
        return False
    zeros = [_zero_point(node) for node in (dequantize, quantize)]
    if any(z is None for z in zeros):
        return False
    first, second = zeros
    if first is not None and second is not None and first.size != second.size:
        return not first.any() and not second.any()
    if not _same(first, second):
        return False
    if scale.size == 1 and scale.ndim < 2:
        return True
    return all(
        edit.attr(dequantize, name, default) == edit.attr(quantize, name, default)
        for name, default in _DEFAULTS.items()
    )


def _zero_point(node: ir.Node) -> np.ndarray | None:
    value = edit.get_input(node, 2)
    return np.zeros((), np.int32) if value is None else _wide(edit.constant_array(value))


def _wide(array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None else array.astype(np.int32)


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is None or b is None or a.dtype != b.dtype:
        return False
    one = a.size == 1 and b.size == 1 and max(a.ndim, b.ndim) < 2
    return bool((a == b).all()) if one or a.shape == b.shape else False


def _is_exact(scale: np.ndarray, bits: int) -> bool:
    """True when dividing a product with the scale by the scale gives the integer back."""
    dtype = ir.DataType.from_numpy(scale.dtype)
    if bits + 2 > _FRACTION.get(dtype, 0):  # two roundings of half an ulp: below half a step
        return False
    size = np.abs(scale.astype(np.float64))
    largest = size * 2.0 ** (bits + 1)
    return bool(((size >= float(dtype.tiny)) & (largest <= float(dtype.max))).all())
