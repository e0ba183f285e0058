"""Evaluate nodes on constants with numpy, where numpy gives the very bits ONNX Runtime gives.

Arithmetic is limited to operations that IEEE 754 rounds exactly (no exp) and to integers;
everything else is left to ONNX Runtime. What would be undefined in C++ (division by zero, INT_MIN
by -1, a float out of the integer's range) is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._evaluate_moves import MOVES

Arrays = Sequence[np.ndarray | None]
Result = list[np.ndarray] | str | None
"""The outputs; or why the node must not be folded; or None when it is not evaluated here."""

_MAX_RESULT = 64 << 20


def evaluate(node: ir.Node, arrays: Arrays, opset: int) -> Result:
    """Outputs of a standard operator for constant inputs (None: omitted).

    Args:
        node: The node; only its type and attributes are read.
        arrays: One array per input.
        opset: Version of the standard operators.
    """
    move = MOVES.get(node.op_type)
    if move is not None:
        return move(node, arrays, opset)
    rule = _ARITHMETIC.get(node.op_type)
    given = [a for a in arrays if a is not None]
    if rule is None or opset < 7 or any(not _is_plain(a) for a in given):
        return None
    reduces = node.op_type.startswith("Reduce")
    if not reduces and _broadcast_size(given) > _MAX_RESULT:
        return None
    with np.errstate(all="ignore"):
        found = rule(node, given, opset)
    return [found] if isinstance(found, np.ndarray) else found


def _is_plain(array: np.ndarray) -> bool:
    """Types on which numpy computes as C++ does."""
    return array.dtype.kind in "iub" or array.dtype in (np.float32, np.float64)


def _broadcast_size(arrays: Sequence[np.ndarray]) -> int:
    try:
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
    except ValueError:
        return _MAX_RESULT + 1
    return int(np.prod(shape, dtype=object)) * max(a.dtype.itemsize for a in arrays)


_Found = np.ndarray | str | None
_Rule = Callable[[ir.Node, list[np.ndarray], int], _Found]


def _ufunc(function: np.ufunc, kinds: str = "iuf") -> _Rule:
    """A rule that applies a ufunc to inputs of these kinds."""

    def rule(node: ir.Node, given: list[np.ndarray], opset: int) -> _Found:
        if any(a.dtype.kind not in kinds for a in given):
            return None
        return np.asarray(function(*given))

    return rule


def _divides_badly(a: np.ndarray, b: np.ndarray) -> str | None:
    if not b.all():
        return "an integer division by zero"
    if a.dtype.kind == "i" and (b == -1).any() and (a == np.iinfo(a.dtype).min).any():
        return "an integer division that overflows"
    return None


def _div(node: ir.Node, given: list[np.ndarray], opset: int) -> _Found:
    a, b = given
    if a.dtype.kind == "f":
        return np.asarray(np.divide(a, b))
    refusal = _divides_badly(a, b)
    if refusal:
        return refusal
    quotient = np.floor_divide(a, b)
    rounds_up = (quotient * b != a) & ((a < 0) != (b < 0))
    return np.asarray(quotient + rounds_up.astype(a.dtype))


def _mod(node: ir.Node, given: list[np.ndarray], opset: int) -> _Found:
    a, b = given
    if a.dtype.kind == "f":
        return np.asarray(np.fmod(a, b)) if edit.attr(node, "fmod", 0) else None
    refusal = _divides_badly(a, b)
    if refusal:
        return refusal
    return np.asarray(np.fmod(a, b) if edit.attr(node, "fmod", 0) else np.mod(a, b))


def _extreme(function: np.ufunc) -> _Rule:
    """Max and Min of integers; of floats NaN and the sign of zero are the runtime's business."""

    def rule(node: ir.Node, given: list[np.ndarray], opset: int) -> _Found:
        if any(a.dtype.kind not in "iu" for a in given):
            return None
        result = given[0]
        for array in given[1:]:
            result = function(result, array)
        return np.asarray(result)

    return rule


def _pow(node: ir.Node, given: list[np.ndarray], opset: int) -> _Found:
    from onnxslim.passes._evaluate_libm import power  # seldom needed

    return power(given[0], given[1])


def _where(node: ir.Node, given: list[np.ndarray], opset: int) -> _Found:
    return np.where(given[0], given[1], given[2])


def _reduce(function: Callable[..., np.ndarray]) -> _Rule:
    """A reduction of integers."""

    def rule(node: ir.Node, given: list[np.ndarray], opset: int) -> _Found:
        data = given[0]
        if data.dtype.kind not in "iu" or data.size == 0:
            return None
        axes = edit.attr(node, "axes")
        if len(given) > 1:
            axes = [int(a) for a in given[1].reshape(-1)]
        if not axes:
            if edit.attr(node, "noop_with_empty_axes", 0):
                return data
            axes = range(data.ndim)
        if any(not -data.ndim <= a < data.ndim for a in axes):
            return "a reduction over an axis that does not exist"
        chosen = tuple(sorted({a % data.ndim for a in axes}))
        keep = bool(edit.attr(node, "keepdims", 1))
        return np.asarray(function(data, axis=chosen, keepdims=keep)).astype(data.dtype)

    return rule


def _cast(node: ir.Node, given: list[np.ndarray], opset: int) -> _Found:
    target = _numpy_type(edit.attr(node, "to"))
    source = given[0]
    if target is None:
        return None
    if source.dtype.kind == "f" and target.kind in "iu":
        info = np.iinfo(target)
        low, high = float(info.min) - 1, float(info.max) + 1
        inside = np.isfinite(source) & (source > low) & (source < high)
        if not inside.all() or (target.itemsize == 8 and (np.abs(source) >= 2.0**63).any()):
            return "a float outside the range of the integer type"
    if target == np.float16 and source.dtype not in (np.float32, np.bool_):
        return None
    return source.astype(target)


_PLAIN_TYPES = {
    ir.DataType.FLOAT: np.float32,
    ir.DataType.DOUBLE: np.float64,
    ir.DataType.FLOAT16: np.float16,
    ir.DataType.BOOL: np.bool_,
    ir.DataType.INT8: np.int8,
    ir.DataType.INT16: np.int16,
    ir.DataType.INT32: np.int32,
    ir.DataType.INT64: np.int64,
    ir.DataType.UINT8: np.uint8,
    ir.DataType.UINT16: np.uint16,
    ir.DataType.UINT32: np.uint32,
    ir.DataType.UINT64: np.uint64,
}


def _numpy_type(code: int | None) -> np.dtype | None:
    found = None if code is None else _PLAIN_TYPES.get(ir.DataType(code))
    return None if found is None else np.dtype(found)


_ARITHMETIC: dict[str, _Rule] = {
    "Add": _ufunc(np.add),
    "Sub": _ufunc(np.subtract),
    "Mul": _ufunc(np.multiply),
    "Div": _div,
    "Mod": _mod,
    "Neg": _ufunc(np.negative, "if"),
    "Abs": _ufunc(np.abs),
    "Sign": _ufunc(np.sign, "i"),
    "Floor": _ufunc(np.floor, "f"),
    "Ceil": _ufunc(np.ceil, "f"),
    "Sqrt": _ufunc(np.sqrt, "f"),
    "Reciprocal": lambda node, given, opset: (
        np.asarray(np.divide(given[0].dtype.type(1), given[0]))
        if given[0].dtype.kind == "f"
        else None
    ),
    "Pow": _pow,
    "Max": _extreme(np.maximum),
    "Min": _extreme(np.minimum),
    "And": _ufunc(np.logical_and, "b"),
    "Or": _ufunc(np.logical_or, "b"),
    "Xor": _ufunc(np.logical_xor, "b"),
    "Not": _ufunc(np.logical_not, "b"),
    "Equal": _ufunc(np.equal, "iufb"),
    "Less": _ufunc(np.less),
    "LessOrEqual": _ufunc(np.less_equal),
    "Greater": _ufunc(np.greater),
    "GreaterOrEqual": _ufunc(np.greater_equal),
    "Where": _where,
    "ReduceSum": _reduce(np.sum),
    "ReduceProd": _reduce(np.prod),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
    "Cast": _cast,
}
