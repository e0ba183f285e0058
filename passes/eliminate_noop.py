"""Remove nodes whose result is their input: arithmetic with neutral constants, casts, moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes import _noop_moves as moves
from onnxslim.passes._facts import broadcast_keeps, drop_unread, is_filled_with
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "BitShift")
CASTS = ("Cast", "CastLike")


@register
@dataclass(frozen=True)
class EliminateNoop(Pass):
    """Remove nodes that return their input: ``x * 1``, ``x + 0``, casts and moves without effect.

    Arithmetic with neutral constants (scalars or tensors that broadcasting does not enlarge),
    casts to the same type or back from a wider one, Transpose, Reshape, Flatten, Squeeze,
    Unsqueeze, Expand, Tile, Pad, Slice, Split, Resize and reductions that change nothing, and
    Concat, Sum, Max, Min and Mean of one tensor.

    Skipped when the constant could enlarge the result or when the result is a graph output whose
    name the input cannot carry.

    Args:
        keep_zero_sign: Leave ``x + 0.0`` alone, which turns a -0.0 into +0.0.

    Source: ONNX operators of opset 7 to 25; IEEE 754-2019, section 6.3 (sign of zero).
    """

    keep_zero_sign: bool = False

    name: ClassVar[str] = "eliminate-noop"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Bypass every node that certainly returns its input."""
        rewrites = sum(self._arithmetic(node, ctx) for node in ctx.nodes(*ARITHMETIC))
        rewrites += sum(_bypass(node, _cast(node), ctx) for node in ctx.nodes(*CASTS))
        for op, find in moves.RULES.items():
            rewrites += sum(_bypass(node, find(node, ctx.opset), ctx) for node in ctx.nodes(op))
        return rewrites

    def _arithmetic(self, node: ir.Node, ctx: PassContext) -> bool:
        for index in (1, 0):
            constant = edit.constant_array(edit.get_input(node, index), limit=1 << 20)
            x = edit.get_input(node, 1 - index)
            if constant is None or x is None or edit.is_constant(x):
                continue
            if not _is_neutral(node, index, constant, self.keep_zero_sign):
                continue
            if not broadcast_keeps(x, constant.shape):
                return ctx.skip(node, "the neutral constant may enlarge the result")
            return _bypass(node, x, ctx)
        return False


def _bypass(node: ir.Node, x: ir.Value | None, ctx: PassContext) -> bool:
    if x is None:
        return False
    above = list(node.predecessors())
    if not ctx.bypass(node, x):
        return ctx.skip(node, "a graph output needs the node: its input cannot carry the name")
    drop_unread(above, ctx)  # a widening Cast, the shape of a Reshape
    return True


def _is_neutral(node: ir.Node, index: int, constant: np.ndarray, keep_zero_sign: bool) -> bool:
    """True when ``constant`` as input ``index`` makes the operator return its other input."""
    op, right = node.op_type, index == 1
    if op == "Add":
        if not is_filled_with(constant, 0):
            return False
        exact = constant.dtype.kind in "iu" or bool(np.signbit(constant.astype(np.float64)).all())
        return exact or not keep_zero_sign
    if op == "Sub":
        return (
            right and is_filled_with(constant, 0) and _subtracts_exactly(constant, keep_zero_sign)
        )
    if op == "Pow":
        base = node.inputs[0]
        wide = base is None or base.dtype in (None, ir.DataType.INT64, ir.DataType.UINT64)
        return right and not wide and is_filled_with(constant, 1)
    neutral = _NEUTRAL.get(op)
    return neutral is not None and neutral(constant, right)


def _subtracts_exactly(zeros: np.ndarray, keep_zero_sign: bool) -> bool:
    """x - (+0.0) keeps every x; x - (-0.0) turns -0.0 into +0.0."""
    if zeros.dtype.kind in "iu" or not keep_zero_sign:
        return True
    return not np.signbit(zeros.astype(np.float64)).any()


_NEUTRAL: dict[str, Callable[[np.ndarray, bool], bool]] = {
    "Mul": lambda c, right: is_filled_with(c, 1),
    "Div": lambda c, right: right and is_filled_with(c, 1),
    "And": lambda c, right: is_filled_with(c, True),
    "Or": lambda c, right: is_filled_with(c, False),
    "Xor": lambda c, right: is_filled_with(c, False),
    "BitShift": lambda c, right: right and is_filled_with(c, 0),
}


def _cast(node: ir.Node) -> ir.Value | None:
    """The value that a Cast returns unchanged: its input, or the input of a widening Cast."""
    x = node.inputs[0]
    target = _target(node)
    if x is None or target is None or x.dtype is None:
        return None
    if x.dtype == target:
        return x
    before = x.producer()
    if before is None or not edit.is_op(before, *CASTS):
        return None
    origin = before.inputs[0]
    if origin is None or origin.dtype != target or _target(before) != x.dtype:
        return None
    return origin if x.dtype in _HOLDS.get(target, ()) else None


def _target(node: ir.Node) -> ir.DataType | None:
    if node.op_type == "CastLike":
        like = node.inputs[1]
        return None if like is None else like.dtype
    to = edit.attr(node, "to")
    return ir.DataType(to) if isinstance(to, int) else None


_T = ir.DataType
_HOLDS: dict[ir.DataType, tuple[ir.DataType, ...]] = {
    _T.FLOAT16: (_T.FLOAT, _T.DOUBLE),
    _T.BFLOAT16: (_T.FLOAT, _T.DOUBLE),
    _T.FLOAT: (_T.DOUBLE,),
    _T.BOOL: (_T.FLOAT, _T.DOUBLE, _T.FLOAT16, _T.INT8, _T.UINT8, _T.INT32, _T.INT64),
    _T.INT8: (_T.INT16, _T.INT32, _T.INT64, _T.FLOAT16, _T.FLOAT, _T.DOUBLE),
    _T.UINT8: (_T.INT16, _T.UINT16, _T.INT32, _T.INT64, _T.FLOAT16, _T.FLOAT, _T.DOUBLE),
    _T.INT16: (_T.INT32, _T.INT64, _T.FLOAT, _T.DOUBLE),
    _T.UINT16: (_T.INT32, _T.UINT32, _T.INT64, _T.FLOAT, _T.DOUBLE),
    _T.INT32: (_T.INT64, _T.DOUBLE),
    _T.UINT32: (_T.INT64, _T.UINT64, _T.DOUBLE),
}
"""Type to the types that hold each of its values exactly."""
