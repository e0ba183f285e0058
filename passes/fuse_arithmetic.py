"""Merge additions, and multiplications, of constants that follow each other.

    b +- (a +- x)  ==  +-x + (b +- a)          one Add, or a Sub from the constant
    (x * a) / b    ==  x * (a / b)             one Mul; two Divs stay one Div

in every order of the operands, constants of any shapes that broadcast. Integers only add,
subtract, negate and multiply (they wrap, so the order does not matter); they are never divided.

Source: ONNX operators Add, Sub, Mul, Div-7/13/14 and Neg; IEEE 754-2019, section 4.3 (rounding).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

ADDITIVE = ("Add", "Sub", "Neg")
SCALING = ("Mul", "Div", "Neg")
_MOST, _SMALL = 1 << 20, 1024
_STEPS = {"float16": 8, "bfloat16": 40, "float32": 40, "float64": 300}
"""Powers of two that a factor may shift a number by without the order mattering."""


@dataclass(frozen=True, eq=False)
class _Step:
    """``sign * x + constant``, or ``constant * x ** sign``; see :func:`_step`.

    ``inverse``: the constant is subtracted, or divided by. ``numbers``: the constant of merged
    steps, float64 or integers as they are; ``kind`` is its type in the model."""

    op: str
    x: ir.Value
    constant: ir.Value | None
    sign: int
    inverse: bool = False
    numbers: np.ndarray | None = None
    kind: np.dtype = np.dtype(np.void)

    def shape(self) -> tuple[int, ...] | None:
        if self.numbers is not None:
            return self.numbers.shape
        tensor = edit.constant_tensor(self.constant)
        return None if tensor is None else tuple(tensor.shape.numpy())

    def is_shared(self) -> bool:
        return self.numbers is None and self.constant is not None and len(self.constant.uses()) > 1


@register
@dataclass(frozen=True)
class FuseArithmetic(Pass):
    """Merge chains of Add, Sub and Neg, or of Mul, Div and Neg, with constants into one operator.

    Skipped when something else reads the value between, when floats would cancel (``x + 1e7 - 1e7``
    rounds on purpose), when a factor or the product of two is so large or small that the order
    matters, and when the merged constant would be larger than the two.
    """

    name: ClassVar[str] = "fuse-arithmetic"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Merge every such operator with the ones around it."""
        if ctx.opset < 7:
            return 0
        return sum(_merge(node, ctx) for node in ctx.nodes("Add", "Sub", "Mul", "Div", "Neg"))


def _merge(node: ir.Node, ctx: PassContext) -> int:
    """Merge a node with the one before it and, as far as that goes, with those after it."""
    for family in (ADDITIVE, SCALING):
        outer = _step(node, family)
        first = None if outer is None else outer.x.producer()
        inner = None if first is None or first.graph is not node.graph else _step(first, family)
        if (
            first is None
            or outer is None
            or inner is None
            or not (inner.constant or outer.constant)
        ):
            continue
        if not edit.is_sole_consumer(outer.x, node):
            return ctx.skip(node, "something else reads the value between two operators")
        merged = _both(inner, outer, family)
        if isinstance(merged, str):
            return ctx.skip(node, merged)
        if merged is not None:
            chain = [first, node]
            _replace(chain, _extend(chain, merged, family), ctx)
            return len(chain) - 1
    return 0


def _extend(chain: list[ir.Node], merged: _Step, family: tuple[str, ...]) -> _Step:
    """Go on with the nodes that follow, each the only reader of the one before."""
    while (node := edit.sole_consumer(chain[-1].outputs[0])) is not None:
        outer = _step(node, family) if node.graph is chain[0].graph else None
        longer = None if outer is None else _both(merged, outer, family)
        if longer is None or isinstance(longer, str):
            break
        chain.append(node)
        merged = longer
    return merged


def _both(inner: _Step, outer: _Step, family: tuple[str, ...]) -> _Step | str | None:
    """Two steps as one, or why not."""
    if _grows(inner, outer):
        return "the merged constant would be larger"
    return (_add if family is ADDITIVE else _scale)(inner, outer)


def _step(node: ir.Node, family: tuple[str, ...]) -> _Step | None:
    """The operator as a step of a chain.

    Add is ``(+1, c)``, ``x - c`` is ``(+1, -c)`` (inverse), ``c - x`` is ``(-1, c)``;
    Mul is ``(+1, c)``, ``x / c`` is ``(+1, 1/c)`` (inverse), ``c / x`` is ``(-1, c)``.
    """
    if node.domain or node.op_type not in family:
        return None
    if node.op_type == "Neg":
        x = node.inputs[0]
        return None if x is None else _Step("Neg", x, None, -1 if family is ADDITIVE else 1)
    a, b = node.inputs
    if a is None or b is None or edit.is_constant(a) == edit.is_constant(b):
        return None
    reversible = node.op_type in ("Sub", "Div")
    if edit.is_constant(b):
        return _Step(node.op_type, a, b, 1, inverse=reversible)
    return _Step(node.op_type, b, a, -1 if reversible else 1)


def _grows(inner: _Step, outer: _Step) -> bool:
    """True when the merged constant costs more than it saves, or is too large to compute here."""
    shapes = [shape for shape in (inner.shape(), outer.shape()) if shape is not None]
    if not any(shapes):
        return False
    try:
        size = math.prod(np.broadcast_shapes(*shapes))
    except ValueError:
        return True
    if size > _MOST or size > sum(map(math.prod, shapes)):
        return True
    return size > _SMALL and (inner.is_shared() or outer.is_shared())


def _values(step: _Step) -> tuple[np.ndarray | None, np.dtype]:
    """The constant as float64 (integers as they are) and its own type."""
    if step.numbers is not None:
        return step.numbers, step.kind
    array = edit.constant_array(step.constant)
    if array is None:
        return None, np.dtype(np.void)
    return (array if array.dtype.kind in "iu" else array.astype(np.float64)), array.dtype


def _merged(
    op: str, inner: _Step, outer: _Step, numbers: np.ndarray, kind: np.dtype, right: bool
) -> _Step:
    """The step that does both; ``right`` says on which side the constant stands."""
    known = inner.constant if inner.constant is not None else outer.constant
    turns = op in ("Sub", "Div")
    return _Step(op, inner.x, known, 1 if right else -1, turns and right, numbers, kind)


def _add(inner: _Step, outer: _Step) -> _Step | str | None:
    """``s2 (s1 x + c1) + c2``."""
    sign = inner.sign * outer.sign
    (a, kind), (b, other) = _values(inner), _values(outer)
    kind = kind if a is not None else other
    with np.errstate(all="ignore"):
        first = np.zeros((), kind if kind.kind in "iu" else np.float64) if a is None else a
        first = np.negative(first) if inner.inverse else first
        carried = first if outer.sign > 0 else np.negative(first)
        second = np.zeros_like(first) if b is None else (np.negative(b) if outer.inverse else b)
        total = np.asarray(carried + second)
    if kind.kind not in "iu":
        if not (np.abs(total) <= _largest(kind)).all():
            return "the sum of the constants overflows"
        if first.size and np.abs(first).max() > 8 * np.abs(total).max():
            return "the constants cancel"
    return _merged("Add" if sign > 0 else "Sub", inner, outer, total, kind, right=sign > 0)


def _scale(inner: _Step, outer: _Step) -> _Step | str | None:
    """``c2 (c1 x ** e1) ** e2``."""
    if inner.sign < 0 and outer.sign < 0:
        return None  # c2 / (c1 / x): the inner one may overflow
    (a, kind), (b, other) = _values(inner), _values(outer)
    kind = kind if a is not None else other
    if kind.kind in "iu":
        return _scale_integers(inner, outer, a, b, kind)
    first, second = (np.full((), -1.0) if v is None else v for v in (a, b))
    if not (_is_moderate(first, kind) and _is_moderate(second, kind)):
        return "a factor is zero, not finite, or very large or small"
    divides = inner.op == outer.op == "Div" and inner.inverse and outer.inverse
    k = 1.0 / first if inner.inverse and not divides else first
    if outer.sign < 0:
        product = second / k
    else:
        product = k / second if outer.inverse and not divides else k * second
    product = np.asarray(product)
    if not _is_moderate(product, kind):
        return "the product of the factors is very large or small"
    turned = inner.sign < 0 or outer.sign < 0
    op = "Div" if divides or turned else "Mul"
    return _merged(op, inner, outer, product, kind, right=not turned)


def _scale_integers(
    inner: _Step, outer: _Step, a: np.ndarray | None, b: np.ndarray | None, kind: np.dtype
) -> _Step | None:
    if "Div" in (inner.op, outer.op):
        return None
    minus = np.full((), -1).astype(kind)
    with np.errstate(all="ignore"):
        product = np.asarray((minus if a is None else a) * (minus if b is None else b))
    return _merged("Mul", inner, outer, product, kind, right=True)


def _is_moderate(factors: np.ndarray, kind: np.dtype) -> bool:
    """True when scaling by these neither over- nor underflows for ordinary numbers."""
    steps = _STEPS.get(kind.name)
    size = np.abs(factors)
    return steps is not None and bool(((size >= 2.0**-steps) & (size <= 2.0**steps)).all())


@lru_cache(maxsize=64)
def _largest(kind: np.dtype) -> float:
    return float(ir.DataType.from_numpy(kind).max)


def _replace(chain: list[ir.Node], merged: _Step, ctx: PassContext) -> None:
    graph, known, numbers = chain[0].graph, merged.constant, merged.numbers
    assert graph is not None and numbers is not None
    value = ctx.constant(graph, known.name if known else None, numbers.astype(merged.kind))
    inputs = [value, merged.x] if merged.sign < 0 else [merged.x, value]
    ctx.replace(chain, ir.node(merged.op, inputs))
