"""Operators that can work on transposed tensors, and with which permutations.

A tensor ``v`` in its own layout is ``Transpose(v', p)`` of what it is in the other layout: axis
``a`` of ``v`` is axis ``p[a]`` of ``v'``. A finder is given the permutation of one tensor of a node
and finds those of all others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._transposes import Perm
from onnxslim.passes._views import axes_of

Perms = dict[ir.Value, Perm]

_SHARED = 1024
"""A constant that others read too is copied in another layout up to this number of elements."""

UNARY = frozenset(
    "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast Ceil Celu Clip Cos Cosh Elu Erf Exp "
    "Floor Gelu HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal "
    "Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh "
    "ThresholdedRelu".split()
)
BROADCASTING = frozenset(
    "Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less "
    "LessOrEqual Max Mean Min Mod Mul Or PRelu Pow Sub Sum Where Xor".split()
)
REDUCING = frozenset(
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
    "ReduceSum ReduceSumSquare".split()
)


def perms_of(node: ir.Node, value: ir.Value, perm: Perm, opset: int) -> Perms | None:
    """Permutations of every tensor of a node whose layout matters, from that of one of them.

    None when the node cannot work in another layout.
    """
    if node.domain or opset < 7:
        return None
    finder = _FINDERS.get(node.op_type)
    return None if finder is None else finder(node, value, perm, opset)


def _alike(node: ir.Node, value: ir.Value, perm: Perm, opset: int) -> Perms | None:
    """All tensors have the rank of the permutation; constants and scalars follow."""
    found: Perms = {}
    tensors = [*node.inputs, *node.outputs]
    if node.op_type in UNARY:
        tensors = [node.inputs[0], *node.outputs]
    for item in tensors:
        if item is None or _follows(item, len(perm)):
            continue
        if edit.rank_of(item) != len(perm) or edit.is_constant(item):
            return None
        found[item] = perm
    return found


def _follows(value: ir.Value, rank: int) -> bool:
    """True for a scalar, and for a constant that can be rewritten."""
    own = edit.rank_of(value)
    if own == 0:
        return True
    tensor = edit.constant_tensor(value)
    if tensor is None or own is None or own > rank:
        return False
    return tensor.size <= _SHARED or edit.use_count(value) == 1


def _axis(node: ir.Node, value: ir.Value, perm: Perm, opset: int) -> Perms | None:
    """Concat, Split: the axis moves along."""
    if node.op_type != "Split":
        return _alike(node, value, perm, opset)
    tensors = [node.inputs[0], *node.outputs]
    ranks = [edit.rank_of(item) for item in tensors]
    if any(rank != len(perm) for rank in ranks):
        return None
    return {item: perm for item in tensors if item is not None}


def _softmax(node: ir.Node, value: ir.Value, perm: Perm, opset: int) -> Perms | None:
    """Only if the axis does not leave the last place, where runtimes are fast."""
    axis = edit.attr(node, "axis", -1) % len(perm)
    last = len(perm) - 1
    if opset < 13 or (axis == last and perm[axis] != last):
        return None
    return _first(node, value, perm, opset)


def _first(node: ir.Node, value: ir.Value, perm: Perm, opset: int) -> Perms | None:
    """Only the first input and the output are tensors of data."""
    x, out = node.inputs[0], node.outputs[0]
    if x is None or edit.is_constant(x) or len(node.outputs) != 1:
        return None
    if {edit.rank_of(x), edit.rank_of(out)} != {len(perm)} or value not in (x, out):
        return None
    return {x: perm, out: perm}


def _quantize(node: ir.Node, value: ir.Value, perm: Perm, opset: int) -> Perms | None:
    scale = edit.constant_tensor(edit.get_input(node, 1))
    plain = scale is not None and (scale.size == 1 or (len(scale.shape) == 1 and opset >= 13))
    blocked = edit.attr(node, "block_size", 0)
    return _first(node, value, perm, opset) if plain and not blocked else None


def _slice(node: ir.Node, value: ir.Value, perm: Perm, opset: int) -> Perms | None:
    return None if slice_axes(node, opset) is None else _first(node, value, perm, opset)


def slice_axes(node: ir.Node, opset: int) -> list[int] | None:
    """Axes of a Slice from 0 on; None when they are not given or not constant."""
    axes = edit.attr(node, "axes") if opset < 10 else edit.ints(edit.get_input(node, 3))
    rank = edit.rank_of(node.inputs[0])
    if axes is None or rank is None:
        return None
    return [axis % rank for axis in axes]


def _pad(node: ir.Node, value: ir.Value, perm: Perm, opset: int) -> Perms | None:
    known = pads_of(node, opset) is not None and edit.get_input(node, 3) is None
    return _first(node, value, perm, opset) if known else None


def pads_of(node: ir.Node, opset: int) -> list[int] | None:
    """Constant amounts of a Pad of all axes: before each, then after each."""
    pads = edit.attr(node, "pads") if opset < 11 else edit.ints(edit.get_input(node, 1))
    rank = edit.rank_of(node.inputs[0])
    return list(pads) if pads is not None and rank is not None and len(pads) == 2 * rank else None


def reduced_axes(node: ir.Node, opset: int) -> list[int] | None:
    """Axes of a reduction or a Squeeze from 0 on, or None."""
    rank = edit.rank_of(node.inputs[0])
    if rank is None:
        return None
    if node.op_type == "Squeeze":
        return axes_of(node, opset, rank)
    axes = edit.attr(node, "axes")
    if axes is None:
        axes = edit.ints(edit.get_input(node, 1))
    return None if not axes else [axis % rank for axis in axes]


def _reduce(node: ir.Node, value: ir.Value, perm: Perm, opset: int) -> Perms | None:
    axes, x, out = reduced_axes(node, opset), node.inputs[0], node.outputs[0]
    if axes is None or x is None or edit.is_constant(x):
        return None
    if node.op_type in REDUCING and edit.attr(node, "keepdims", 1):
        return _first(node, value, perm, opset)
    if value is x:
        return {x: perm, out: _without(perm, axes)} if len(perm) == edit.rank_of(x) else None
    if value is not out or len(perm) != edit.rank_of(out):
        return None
    return {x: _with(perm, axes), out: perm}


def _unsqueeze(node: ir.Node, value: ir.Value, perm: Perm, opset: int) -> Perms | None:
    x, out = node.inputs[0], node.outputs[0]
    rank = edit.rank_of(x)
    axes = None if rank is None else axes_of(node, opset, rank)
    if axes is None or x is None or edit.is_constant(x):
        return None
    if value is x:
        return {x: perm, out: _with(perm, axes)} if len(perm) == rank else None
    if value is not out or len(perm) != edit.rank_of(out):
        return None
    return {x: _without(perm, axes), out: perm}


def _without(perm: Perm, axes: Sequence[int]) -> Perm:
    """The permutation that is left when these axes (of the own layout) go."""
    rest = [perm[axis] for axis in range(len(perm)) if axis not in axes]
    return tuple(sorted(rest).index(axis) for axis in rest)


def _with(perm: Perm, axes: Sequence[int]) -> Perm:
    """The permutation with new axes that are at the same place in both layouts."""
    rank = len(perm) + len(axes)
    kept = [axis for axis in range(rank) if axis not in axes]
    result = list(range(rank))
    for index, axis in enumerate(kept):
        result[axis] = kept[perm[index]]
    return tuple(result)


Finder = Callable[[ir.Node, ir.Value, Perm, int], "Perms | None"]
_FINDERS: dict[str, Finder] = {
    **dict.fromkeys(sorted(UNARY | BROADCASTING), _alike),
    **dict.fromkeys(sorted(REDUCING), _reduce),
    **dict.fromkeys(("Concat", "Split"), _axis),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _quantize),
    "Slice": _slice,
    "Pad": _pad,
    "Squeeze": _reduce,
    "Unsqueeze": _unsqueeze,
}
