"""Content of small integer tensors, element by element, as numbers or symbolic dimensions.

A rule gives the elements of a node's first output, in order, or None. An element that is not known
is None. Only tensors of rank 0 or 1 with at most 64 elements of type int64, int32 or bool have
content; booleans are 0 and 1. Symbolic elements are sizes: their arithmetic is taken not to
overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import onnx_ir as ir

from onnxslim.analysis.dims import (
    Dim,
    add,
    exact_div,
    floordiv,
    known_at_least,
    known_different,
    known_equal,
    known_less,
    maximum,
    minimum,
    modulo,
    mul,
    product,
    sub,
)
from onnxslim.analysis.shape_context import (
    INTEGERS,
    MAX_VALUES,
    VALUES,
    Elements,
    NodeContext,
    known_values,
)
from onnxslim.analysis.shape_rules_generator import shape_limits
from onnxslim.graph.edit import constant_array

__all__ = ["VALUES", "known_values", "set_values"]

ValueRule = Callable[[NodeContext], Elements | None]
Binary = Callable[[Dim, Dim], Dim | None]

_LIMITS = {
    ir.DataType.INT64: (-(2**63), 2**63 - 1),
    ir.DataType.INT32: (-(2**31), 2**31 - 1),
    ir.DataType.BOOL: (0, 1),
}


def set_values(ctx: NodeContext) -> None:
    """Note the content of the node's outputs, when they are small integer tensors."""
    rule = RULES.get(ctx.node.op_type)
    if rule is None:
        return
    out = ctx.outputs[0]
    count = _room(out)
    if count is None:
        return
    found = rule(ctx)
    if found is None or len(found) != count:
        return
    assert out.dtype is not None
    low, high = _LIMITS[out.dtype]
    kept = tuple(e if not isinstance(e, int) or low <= e <= high else None for e in found)
    if not kept or any(e is not None for e in kept):
        out.meta[VALUES] = kept


def _room(out: ir.Value) -> int | None:
    """How many elements a value has, when it may have content."""
    if out.shape is None or len(out.shape) > 1 or out.dtype not in INTEGERS:
        return None
    count = out.shape[0] if len(out.shape) else 1
    return count if isinstance(count, int) and count <= MAX_VALUES else None


# -------------------------------------------------------------------- shapes


def _shape(ctx: NodeContext) -> Elements | None:
    dims = ctx.dims(0)
    if dims is None:
        return None
    start, end = shape_limits(ctx, len(dims))
    return dims[start:end]


def _size(ctx: NodeContext) -> Elements | None:
    dims = ctx.dims(0)
    return None if dims is None else (product(dims),)


# -------------------------------------------------------------------- movement


def _unchanged(ctx: NodeContext) -> Elements | None:
    return known_values(ctx.value(0))


def _gather(ctx: NodeContext) -> Elements | None:
    data, wanted = known_values(ctx.value(0)), ctx.ints(1)
    if data is None or wanted is None or ctx.rank(0) != 1:
        return None
    if any(not -len(data) <= i < len(data) for i in wanted):
        return None
    return tuple(data[i] for i in wanted)


def _slice(ctx: NodeContext) -> Elements | None:
    data = known_values(ctx.value(0))
    if data is None or ctx.rank(0) != 1:
        return None
    steps: tuple[int, ...] | None
    if ctx.opset < 10:
        starts, ends, steps = ctx.attr("starts"), ctx.attr("ends"), (1,)
    else:
        starts, ends = ctx.ints(1), ctx.ints(2)
        steps = ctx.ints(4) if ctx.given(4) else (1,)
    if not (starts and ends and steps) or len(starts) != 1 or steps[0] == 0:
        return None
    step = steps[0]
    if step < 0 and ends[0] < -len(data):
        return data[starts[0] :: step]
    return data[starts[0] : ends[0] : step]


def _concat(ctx: NodeContext) -> Elements | None:
    result: list[Dim | None] = []
    for index in range(len(ctx.inputs)):
        part = ctx.elements(index)
        if part is None:
            return None
        result += part
    return tuple(result)


def _expand(ctx: NodeContext) -> Elements | None:
    data, count = known_values(ctx.value(0)), _room(ctx.outputs[0])
    if data is None or count is None:
        return None
    return data * count if len(data) == 1 else data


def _tile(ctx: NodeContext) -> Elements | None:
    data, repeats = known_values(ctx.value(0)), ctx.ints(1)
    return data * repeats[0] if data is not None and repeats and len(repeats) == 1 else None


def _split(ctx: NodeContext) -> Elements | None:
    data = known_values(ctx.value(0))
    if data is None:
        return None
    position = 0
    for out in ctx.outputs:
        count = _room(out)
        if count is None:
            return None
        out.meta[VALUES] = data[position : position + count]
        position += count
    found: Elements | None = ctx.outputs[0].meta[VALUES]
    return found


def _where(ctx: NodeContext) -> Elements | None:
    parts = [ctx.elements(i) for i in range(3)]
    count = _room(ctx.outputs[0])
    if count is None or any(p is None for p in parts):
        return None
    conditions, yes, no = (_spread(p, count) for p in parts if p is not None)
    result: list[Dim | None] = []
    for c, a, b in zip(conditions, yes, no, strict=True):
        if isinstance(c, int):
            result.append(a if c else b)
        else:
            same = a is not None and b is not None and known_equal(a, b)
            result.append(a if same else None)
    return tuple(result)


def _spread(elements: Elements, count: int) -> Elements:
    return elements * count if len(elements) == 1 else elements


# -------------------------------------------------------------------- arithmetic


def _binary(function: Binary) -> ValueRule:
    def rule(ctx: NodeContext) -> Elements | None:
        if len(ctx.inputs) == 1:
            return known_values(ctx.value(0))
        count = _room(ctx.outputs[0])
        result = ctx.elements(0)
        for index in range(1, len(ctx.inputs)):
            right = ctx.elements(index)
            if count is None or result is None or right is None:
                return None
            left, right = _spread(result, count), _spread(right, count)
            if len(left) != len(right):
                return None
            pairs = zip(left, right, strict=True)
            result = tuple(None if a is None or b is None else function(a, b) for a, b in pairs)
        return result

    return rule


def _unary(function: Callable[[Dim], Dim | None]) -> ValueRule:
    def rule(ctx: NodeContext) -> Elements | None:
        data = known_values(ctx.value(0))
        return None if data is None else tuple(None if e is None else function(e) for e in data)

    return rule


def _div(a: Dim, b: Dim) -> Dim | None:
    """ONNX integer division: towards zero."""
    if isinstance(b, int) and b == 0:
        return None
    if isinstance(a, int) and isinstance(b, int):
        quotient = abs(a) // abs(b)
        return quotient if (a < 0) == (b < 0) else -quotient
    exact = exact_div(a, b)
    if exact is not None:
        return exact
    return floordiv(a, b) if known_at_least(a, 0) and known_at_least(b, 0) else None


def _mod(ctx: NodeContext) -> Elements | None:
    truncated = bool(ctx.attr("fmod", 0))

    def one(a: Dim, b: Dim) -> Dim | None:
        if isinstance(b, int) and b == 0:
            return None
        if isinstance(a, int) and isinstance(b, int):
            return int(math.copysign(abs(a) % abs(b), a)) if truncated else a % b
        return modulo(a, b) if known_at_least(a, 0) and known_at_least(b, 1) else None

    return _binary(one)(ctx)


def _equal(a: Dim, b: Dim) -> Dim | None:
    return 1 if known_equal(a, b) else (0 if known_different(a, b) else None)


def _truth(found: bool | None) -> Dim | None:
    return None if found is None else int(found)


def _and(a: Dim, b: Dim) -> Dim | None:
    return int(bool(a) and bool(b)) if isinstance(a, int) and isinstance(b, int) else None


def _or(a: Dim, b: Dim) -> Dim | None:
    return int(bool(a) or bool(b)) if isinstance(a, int) and isinstance(b, int) else None


def _logical(absorbing: int, function: Binary) -> ValueRule:
    """And / Or: one absorbing operand decides, whatever the other one is."""
    plain = _binary(function)

    def rule(ctx: NodeContext) -> Elements | None:
        left, right = ctx.elements(0), ctx.elements(1)
        count = _room(ctx.outputs[0])
        if left is None or right is None or count is None:
            return None
        known = plain(ctx) or (None,) * count
        pairs = zip(_spread(left, count), _spread(right, count), known, strict=False)
        return tuple(absorbing if absorbing in (a, b) else k for a, b, k in pairs)

    return rule


def _abs(a: Dim) -> Dim | None:
    return abs(a) if isinstance(a, int) else (a if known_at_least(a, 0) else None)


def _sign(a: Dim) -> Dim | None:
    if isinstance(a, int):
        return (a > 0) - (a < 0)
    return 1 if known_at_least(a, 1) else None


def _not(a: Dim) -> Dim | None:
    return int(not a) if isinstance(a, int) else None


def _cast(ctx: NodeContext) -> Elements | None:
    target = ctx.outputs[0].dtype
    data = known_values(ctx.value(0))
    if data is None:
        return _cast_floats(ctx, target)
    if target != ir.DataType.BOOL:
        return data
    return tuple(None if e is None else _truth_of(e) for e in data)


def _truth_of(a: Dim) -> Dim | None:
    return int(bool(a)) if isinstance(a, int) else (1 if known_at_least(a, 1) else None)


def _cast_floats(ctx: NodeContext, target: ir.DataType | None) -> Elements | None:
    array = constant_array(ctx.value(0), limit=MAX_VALUES)
    if array is None or array.dtype.kind not in "fiub":
        return None
    numbers = [float(x) if array.dtype.kind == "f" else int(x) for x in array.reshape(-1)]
    if target == ir.DataType.BOOL:
        return tuple(int(x != 0) for x in numbers)
    return tuple(int(x) if math.isfinite(x) else None for x in numbers)


# -------------------------------------------------------------------- reductions, generators


def _reduce(function: Binary) -> ValueRule:
    def rule(ctx: NodeContext) -> Elements | None:
        data = known_values(ctx.value(0))
        if not data or _room(ctx.outputs[0]) != 1:
            return None
        result = data[0]
        for element in data[1:]:
            if result is None or element is None:
                return None
            result = function(result, element)
        return (result,)

    return rule


def _range(ctx: NodeContext) -> Elements | None:
    start, step = ctx.ints(0), ctx.ints(2)
    count = _room(ctx.outputs[0])
    if not start or not step or count is None:
        return None
    return tuple(start[0] + i * step[0] for i in range(count))


def _constant_of_shape(ctx: NodeContext) -> Elements | None:
    count, value = _room(ctx.outputs[0]), ctx.attr("value")
    if count is None or value is None or value.size != 1:
        return None
    return (int(value.numpy().reshape(-1)[0]),) * count


RULES: Mapping[str, ValueRule] = {
    "Abs": _unary(_abs),
    "Add": _binary(add),
    "And": _logical(0, _and),
    "Cast": _cast,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Div": _binary(_div),
    "Equal": _binary(_equal),
    "Expand": _expand,
    "Flatten": _unchanged,
    "Gather": _gather,
    "Greater": _binary(lambda a, b: _truth(known_less(b, a))),
    "GreaterOrEqual": _binary(lambda a, b: _truth(known_less(b, a, or_equal=True))),
    "Identity": _unchanged,
    "Less": _binary(lambda a, b: _truth(known_less(a, b))),
    "LessOrEqual": _binary(lambda a, b: _truth(known_less(a, b, or_equal=True))),
    "Max": _binary(maximum),
    "Min": _binary(minimum),
    "Mod": _mod,
    "Mul": _binary(mul),
    "Neg": _unary(lambda a: mul(a, -1)),
    "Not": _unary(_not),
    "Or": _logical(1, _or),
    "Range": _range,
    "ReduceMax": _reduce(maximum),
    "ReduceMin": _reduce(minimum),
    "ReduceProd": _reduce(mul),
    "ReduceSum": _reduce(add),
    "Reshape": _unchanged,
    "Shape": _shape,
    "Sign": _unary(_sign),
    "Size": _size,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _unchanged,
    "Sub": _binary(sub),
    "Sum": _binary(add),
    "Tile": _tile,
    "Unsqueeze": _unchanged,
    "Where": _where,
    "Xor": _binary(lambda a, b: _truth_of(sub(a, b)) if isinstance(a, int) else None),
}
