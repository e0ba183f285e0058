"""Content of small integer tensors, element by element, as numbers or symbolic dimensions.

A rule gives the elements of a node's first output as an object array of the output's shape, or
None. An element that is not known is None. Only tensors with at most 64 elements of type int64,
int32 or bool have content; booleans are 0 and 1. Symbolic elements are sizes: their arithmetic is
taken not to overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
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
    NodeContext,
    element_count,
    known_values,
)
from onnxslim.analysis.shape_rules_generator import shape_limits
from onnxslim.analysis.shape_rules_index import END
from onnxslim.analysis.value_arrays import Array, anything, array_of, element_wise, known, note
from onnxslim.graph.edit import constant_array

__all__ = ["VALUES", "known_values", "set_values"]

ValueRule = Callable[[NodeContext], Array | None]
Unary = Callable[[Dim], Dim | None]
Binary = Callable[[Dim, Dim], Dim | None]


def set_values(ctx: NodeContext) -> None:
    """Note the content of the node's outputs, when they are small integer tensors."""
    rule = RULES.get(ctx.node.op_type)
    out = ctx.outputs[0]
    if rule is None or out.dtype not in INTEGERS:
        return
    count = element_count(out)
    if count is None:
        return
    found = rule(ctx)
    if found is not None:
        note(out, found)


# -------------------------------------------------------------------- shapes


def _shape(ctx: NodeContext) -> Array | None:
    dims = ctx.dims(0)
    if dims is None:
        return None
    start, end = shape_limits(ctx, len(dims))
    return array_of(dims[start:end], (max(0, end - start),))


def _size(ctx: NodeContext) -> Array | None:
    dims = ctx.dims(0)
    return None if dims is None else array_of([product(dims)], ())


# -------------------------------------------------------------------- movement


def _unchanged(ctx: NodeContext) -> Array | None:
    return known(ctx)


def _transpose(ctx: NodeContext) -> Array | None:
    data, perm = known(ctx), ctx.attr("perm")
    if data is None or (perm is not None and sorted(perm) != list(range(data.ndim))):
        return None
    return data.transpose(perm)


def _gather(ctx: NodeContext) -> Array | None:
    data, wanted, axis = known(ctx), known(ctx, 1), ctx.attr("axis", 0)
    if data is None or wanted is None or not -data.ndim <= axis < data.ndim:
        return None
    axis, size = axis % data.ndim, data.shape[axis]
    places = wanted.reshape(-1).tolist()
    if not all(isinstance(i, int) and -size <= i < size for i in places):
        return None
    shape = (*data.shape[:axis], *wanted.shape, *data.shape[axis + 1 :])
    return data.take(np.array(places, dtype=np.int64), axis=axis).reshape(shape)


def _slice(ctx: NodeContext) -> Array | None:
    data = known(ctx)
    steps: tuple[int, ...] | None
    axes: tuple[int, ...] | None
    if ctx.opset < 10:
        starts, ends, axes = ctx.attr("starts"), ctx.attr("ends"), ctx.attr("axes")
        steps = None
    else:
        starts, ends, axes, steps = (ctx.ints(i) for i in range(1, 5))
        if (ctx.given(3) and axes is None) or (ctx.given(4) and steps is None):
            return None
    if data is None or starts is None or ends is None:
        return None
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    cut = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=False):
        if not -data.ndim <= axis < data.ndim or step == 0 or (step < 0 and end >= END):
            return None
        # a start in front of the list: Python would take nothing backwards
        cut[axis] = slice(max(start, -data.shape[axis]), end, step)
    return data[tuple(cut)]


def _concat(ctx: NodeContext) -> Array | None:
    parts = [anything(ctx, i) for i in range(len(ctx.inputs))]
    kept = [p for p in parts if p is not None]
    axis = ctx.attr("axis", 0)
    if not kept or len(kept) != len(parts) or not -kept[0].ndim <= axis < kept[0].ndim:
        return None
    axis %= kept[0].ndim
    if len({(*p.shape[:axis], *p.shape[axis + 1 :]) for p in kept}) != 1:
        return None
    return np.concatenate(kept, axis=axis)


def _expand(ctx: NodeContext) -> Array | None:
    data, shape = known(ctx), ctx.outputs[0].shape
    if data is None or shape is None:
        return None
    return element_wise(lambda a, _: a, data, np.empty(shape.numpy(), dtype=object))


def _tile(ctx: NodeContext) -> Array | None:
    data, repeats = known(ctx), ctx.ints(1)
    if data is None or repeats is None or len(repeats) != data.ndim:
        return None
    return np.tile(data, repeats)


def _split(ctx: NodeContext) -> Array | None:
    data, axis = known(ctx), ctx.attr("axis", 0)
    if data is None or not -data.ndim <= axis < data.ndim:
        return None
    sizes = [out.shape[axis] if out.shape is not None else None for out in ctx.outputs]
    if not all(isinstance(s, int) for s in sizes):
        return None
    ends = np.cumsum(np.array(sizes, dtype=np.int64))[:-1]
    parts = np.split(data, ends, axis=axis)
    for out, part in zip(ctx.outputs, parts, strict=True):
        note(out, part)
    return parts[0]


def _where(ctx: NodeContext) -> Array | None:
    condition, yes, no = (anything(ctx, i) for i in range(3))
    if condition is None or yes is None or no is None:
        return None

    def choose(c: Dim | None, a: Dim | None, b: Dim | None) -> Dim | None:
        if isinstance(c, int):
            return a if c else b
        return a if a is not None and b is not None and known_equal(a, b) else None

    return element_wise(choose, condition, yes, no)


# -------------------------------------------------------------------- arithmetic


def _binary(function: Binary) -> ValueRule:
    def both(a: Dim | None, b: Dim | None) -> Dim | None:
        return None if a is None or b is None else function(a, b)

    def rule(ctx: NodeContext) -> Array | None:
        result = anything(ctx, 0)
        for index in range(1, len(ctx.inputs)):
            right = anything(ctx, index)
            if result is None or right is None:
                return None
            result = element_wise(both, result, right)
        return result

    return rule


def _unary(function: Unary) -> ValueRule:
    def rule(ctx: NodeContext) -> Array | None:
        data = known(ctx)
        return (
            None
            if data is None
            else element_wise(lambda e: None if e is None else function(e), data)
        )

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


def _mod(ctx: NodeContext) -> Array | None:
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

    def both(a: Dim | None, b: Dim | None) -> Dim | None:
        if absorbing in (a, b):
            return absorbing
        return None if a is None or b is None else function(a, b)

    def rule(ctx: NodeContext) -> Array | None:
        left, right = anything(ctx, 0), anything(ctx, 1)
        return None if left is None or right is None else element_wise(both, left, right)

    return rule


def _abs(a: Dim) -> Dim | None:
    return abs(a) if isinstance(a, int) else (a if known_at_least(a, 0) else None)


def _sign(a: Dim) -> Dim | None:
    if isinstance(a, int):
        return (a > 0) - (a < 0)
    return 1 if known_at_least(a, 1) else None


def _not(a: Dim) -> Dim | None:
    return int(not a) if isinstance(a, int) else None


def _truth_of(a: Dim) -> Dim | None:
    return int(bool(a)) if isinstance(a, int) else (1 if known_at_least(a, 1) else None)


def _cast(ctx: NodeContext) -> Array | None:
    target = ctx.outputs[0].dtype
    data = known(ctx)
    if data is None:
        return _cast_constant(ctx, target)
    if target != ir.DataType.BOOL:
        return data
    return element_wise(lambda e: None if e is None else _truth_of(e), data)


def _cast_constant(ctx: NodeContext, target: ir.DataType | None) -> Array | None:
    array = constant_array(ctx.value(0), limit=MAX_VALUES)
    if array is None or array.dtype.kind not in "fiub":
        return None
    numbers = [x if math.isfinite(x) else None for x in array.reshape(-1).tolist()]
    if target == ir.DataType.BOOL:
        numbers = [None if x is None else x != 0 for x in numbers]
    return array_of([None if x is None else int(x) for x in numbers], array.shape)


# -------------------------------------------------------------------- reductions, generators


def _reduce(function: Binary) -> ValueRule:
    """Reductions to a single element."""

    def rule(ctx: NodeContext) -> Array | None:
        data = known(ctx)
        if data is None or data.size == 0 or element_count(ctx.outputs[0]) != 1:
            return None
        elements = data.reshape(-1).tolist()
        result: Dim | None = elements[0]
        for element in elements[1:]:
            if result is None or element is None:
                return None
            result = function(result, element)
        return array_of([result], (1,))

    return rule


def _range(ctx: NodeContext) -> Array | None:
    start, step = ctx.ints(0), ctx.ints(2)
    count = element_count(ctx.outputs[0])
    if not start or not step or count is None:
        return None
    return array_of([start[0] + i * step[0] for i in range(count)], (count,))


def _constant_of_shape(ctx: NodeContext) -> Array | None:
    count, value = element_count(ctx.outputs[0]), ctx.attr("value")
    if count is None or value is None or value.size != 1:
        return None
    return array_of([int(value.numpy().reshape(-1)[0])] * count, (count,))


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
    "Transpose": _transpose,
    "Where": _where,
    "Xor": _binary(lambda a, b: _truth_of(sub(a, b)) if isinstance(a, int) else None),
}
