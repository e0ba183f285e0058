"""Cast once where two Casts follow each other exactly, and read shapes before a Cast.

``Cast<c>(Cast<b>(x))`` with ``x`` of type a is ``Cast<c>(x)`` when b holds every value of a (the
first Cast changes nothing but the type), or when all are integers that only lose high bits.

Refused: rounding twice (double to float to float16), truncation between floats (float to int64 to
float), through bool, floats to integers too small for them (undefined by the standard, different
by runtime), strings, 8-bit and smaller floats (they saturate by an attribute).

Source: ONNX operators Cast-6/9/13/19 and CastLike-15/19.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._facts import drop_unread
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

_T = ir.DataType
_SIGNED = {_T.INT8: 8, _T.INT16: 16, _T.INT32: 32, _T.INT64: 64}
_UNSIGNED = {_T.UINT8: 8, _T.UINT16: 16, _T.UINT32: 32, _T.UINT64: 64}
_BITS = {**_SIGNED, **_UNSIGNED}
_FLOATS = {_T.FLOAT16: 11, _T.FLOAT: 24, _T.DOUBLE: 53, _T.BFLOAT16: 8}
"""Float types with the bits of their significand."""
_WIDER = {
    _T.FLOAT16: (_T.FLOAT16, _T.FLOAT, _T.DOUBLE),
    _T.BFLOAT16: (_T.BFLOAT16, _T.FLOAT, _T.DOUBLE),
    _T.FLOAT: (_T.FLOAT, _T.DOUBLE),
    _T.DOUBLE: (_T.DOUBLE,),
}


@register
@dataclass(frozen=True)
class FuseCast(Pass):
    """Merge two Casts into one when the first loses nothing; Shape and Size read past Casts.

    Skipped when the first Cast rounds, truncates or saturates, and when something that is no Cast
    reads its result too.
    """

    name: ClassVar[str] = "fuse-cast"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Merge every Cast into the Cast before it."""
        rewrites = sum(_merge(node, ctx) for node in ctx.nodes("Cast", "CastLike"))
        return rewrites + sum(_read_past(node, ctx) for node in ctx.nodes("Shape", "Size"))


def _merge(second: ir.Node, ctx: PassContext) -> bool:
    middle = second.inputs[0]
    first = None if middle is None else middle.producer()
    if middle is None or first is None or not edit.is_op(first, "Cast", "CastLike"):
        return False
    x, target = first.inputs[0], second.outputs[0].dtype
    if x is None or x.dtype is None or middle.dtype is None or target is None:
        return False
    if first.graph is not second.graph:
        return False
    if not is_exact(x.dtype, middle.dtype, target):
        return ctx.skip(second, "the Cast before changes values")
    if x.dtype == target and ctx.bypass(second, x):
        drop_unread([first], ctx)
        return True
    if middle.is_graph_output() or any(u.node.op_type != second.op_type for u in middle.uses()):
        return ctx.skip(second, "something else reads the value between two Casts")
    above = [first, *(v.producer() for v in second.inputs[1:] if v is not None)]
    ctx.replace([first, second], edit.new_node("Cast", [x], {"to": int(target)}))
    drop_unread([node for node in above if node is not None], ctx)
    return True


def is_exact(start: ir.DataType, middle: ir.DataType, end: ir.DataType) -> bool:
    """True when casting ``start`` to ``middle`` to ``end`` equals casting it to ``end`` at once."""
    known = {_T.BOOL, *_BITS, *_FLOATS}
    if not {start, middle, end} <= known:
        return False
    if not holds(start, middle):
        return start in _BITS and end in _BITS and _BITS.get(middle, 0) >= _BITS[end]
    if start == _T.BOOL or end == _T.BOOL or end in _FLOATS:
        return True
    if start in _BITS:
        return middle in _BITS or holds(start, end)
    return end in (_T.INT32, _T.INT64)


def holds(narrow: ir.DataType, wide: ir.DataType) -> bool:
    """True when every value of the type ``narrow`` is a value of ``wide``."""
    if narrow in (wide, _T.BOOL):
        return True
    if narrow in _FLOATS:
        return wide in _WIDER[narrow]
    signed = narrow in _SIGNED
    if wide in _FLOATS:
        return _FLOATS[wide] >= _BITS[narrow] - signed
    if wide in _UNSIGNED:
        return not signed and _BITS[wide] >= _BITS[narrow]
    return wide in _SIGNED and _BITS[wide] >= _BITS[narrow] + (not signed)


def _read_past(node: ir.Node, ctx: PassContext) -> bool:
    value = node.inputs[0]
    cast = None if value is None else value.producer()
    if cast is None or not edit.is_op(cast, "Cast", "CastLike") or cast.graph is not node.graph:
        return False
    ctx.set_input(node, 0, cast.inputs[0])
    drop_unread([cast], ctx)
    return True
