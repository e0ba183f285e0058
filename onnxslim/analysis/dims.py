"""Symbolic dimensions: exact integer arithmetic on ``int | onnx_ir.SymbolicDim``.

The text of a ``SymbolicDim`` is the canonical form of a polynomial over symbols,
``floordiv(a, b)``,
``max(a, 0)`` and ``broadcast(a, b, ...)``; minimum, maximum, modulo and ceiling are written with
these, so that two ways to one size end in one text. Equal text means equal size in every run;
different text means nothing: ask :func:`known_different`.

A symbol is the size of a dimension: any integer from 0 on (0 and 1 included).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from functools import lru_cache

import onnx_ir as ir

from onnxslim.analysis.polynomial import (
    OPAQUE,
    Poly,
    as_int,
    atom,
    bounds,
    call,
    const,
    divide,
    floor,
    parse,
    plus,
    positive_part,
    split_const,
    structure,
    text_of,
    times,
    truncated,
)

Dim = int | ir.SymbolicDim
Dims = tuple[Dim, ...]

MAX_TEXT = 240
"""An expression with a longer text becomes one opaque symbol, named by its hash."""


@lru_cache(maxsize=65536)
def from_poly(p: Poly) -> Dim:
    value = as_int(p)
    if value is not None:
        return value
    text = text_of(p)
    if len(text) > MAX_TEXT:
        text = OPAQUE + hashlib.sha256(text.encode()).hexdigest()[:24]
    return ir.SymbolicDim(text)


def to_poly(dim: Dim) -> Poly:
    if isinstance(dim, int):
        return const(dim)
    return parse(dim.value) if dim.value is not None else atom(f"{OPAQUE}unnamed")


# -------------------------------------------------------------------- arithmetic


def add(a: Dim, b: Dim) -> Dim:
    """``a + b``."""
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    return from_poly(plus(to_poly(a), to_poly(b)))


def sub(a: Dim, b: Dim) -> Dim:
    """``a - b``."""
    if isinstance(a, int) and isinstance(b, int):
        return a - b
    return from_poly(plus(to_poly(a), to_poly(b), -1))


def mul(a: Dim, b: Dim) -> Dim:
    """``a * b``."""
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    return from_poly(times(to_poly(a), to_poly(b)))


def product(dims: Iterable[Dim]) -> Dim:
    """The product of all; 1 of none: the number of elements of a shape."""
    result: Dim = 1
    for dim in dims:
        result = mul(result, dim)
    return result


def floordiv(a: Dim, b: Dim) -> Dim:
    """``a`` divided by a positive ``b``, rounded down."""
    if isinstance(a, int) and isinstance(b, int) and b:
        return a // b
    return from_poly(floor(to_poly(a), to_poly(b)))


def truncdiv(a: Dim, b: int) -> Dim:
    """``a`` divided by a positive ``b``, rounded towards 0."""
    if isinstance(a, int):
        return truncated(a, b)
    p = to_poly(a)
    low = bounds(p)[0]
    if low is not None and low >= 0:
        return from_poly(floor(p, const(b)))
    return from_poly(p if b == 1 else atom(call("truncdiv", (p, const(b)))))


def ceildiv(a: Dim, b: int) -> Dim:
    """``a`` divided by a positive ``b``, rounded up."""
    return floordiv(add(a, b - 1), b)


def exact_div(a: Dim, b: Dim) -> Dim | None:
    """``a / b`` when it is certainly an integer, else None."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b if b and a % b == 0 else None
    found = divide(to_poly(a), to_poly(b))
    return None if found is None else from_poly(found)


def modulo(a: Dim, b: Dim) -> Dim:
    """``a`` modulo a positive ``b``, never negative."""
    return sub(a, mul(b, floordiv(a, b)))


def maximum(a: Dim, b: Dim) -> Dim:
    """The larger one."""
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    p = to_poly(a)
    return from_poly(plus(p, positive_part(plus(to_poly(b), p, -1))))


def minimum(a: Dim, b: Dim) -> Dim:
    """The smaller one."""
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    p = to_poly(a)
    return from_poly(plus(p, positive_part(plus(p, to_poly(b), -1)), -1))


# -------------------------------------------------------------------- questions


def lower_bound(dim: Dim) -> int | None:
    """The least possible value, or None when it is not known."""
    return dim if isinstance(dim, int) else bounds(to_poly(dim))[0]


def upper_bound(dim: Dim) -> int | None:
    """The largest possible value, or None when it is not known."""
    return dim if isinstance(dim, int) else bounds(to_poly(dim))[1]


def known_equal(a: Dim, b: Dim) -> bool:
    """True when both are the same size in every run."""
    if isinstance(a, int) or isinstance(b, int):
        return a is b or (isinstance(a, int) and isinstance(b, int) and a == b)
    return a.value is not None and (a.value == b.value or not plus(to_poly(a), to_poly(b), -1))


def known_different(a: Dim, b: Dim) -> bool:
    """True when they are never the same size."""
    if isinstance(a, int) and isinstance(b, int):
        return a != b
    difference = plus(to_poly(a), to_poly(b), -1)
    low, high = bounds(difference)
    if (low is not None and low > 0) or (high is not None and high < 0):
        return True
    body, constant = split_const(difference)
    common = math.gcd(*(n for _, n in body)) if body else 0
    return constant % common != 0 if common else constant != 0


def known_at_least(dim: Dim, least: int) -> bool:
    """True when ``dim`` is ``least`` or more in every run."""
    low = lower_bound(dim)
    return low is not None and low >= least


def known_positive(dim: Dim) -> bool:
    """True when ``dim`` is never 0 (nor less)."""
    return known_at_least(dim, 1)


def known_less(a: Dim, b: Dim, *, or_equal: bool = False) -> bool | None:
    """Whether ``a < b`` (``a <= b``) holds in every run, in none, or (None) in some."""
    low, high = bounds(plus(to_poly(b), to_poly(a), -1))
    edge = 0 if or_equal else 1
    if low is not None and low >= edge:
        return True
    if high is not None and high < edge:
        return False
    return None


def broadcast(a: Dim, b: Dim) -> Dim | None:
    """The broadcast of two dimensions; None when they certainly do not fit.

    Of two different symbols it is neither one: either may be 1.
    """
    if a is b or a == b or (isinstance(b, int) and b == 1):
        return a
    if isinstance(a, int) and a == 1:
        return b
    if known_different(a, b) and known_different(a, 1) and known_different(b, 1):
        return None
    for one in (a, b):
        if isinstance(one, int) or known_at_least(one, 2):
            return one
    for one, other in ((a, b), (b, a)):
        if _is_capped(one, other):
            return other
    args = sorted({*_broadcast_args(to_poly(a)), *_broadcast_args(to_poly(b))})
    return from_poly(atom(call("broadcast", args)))


def _is_capped(a: Dim, b: Dim) -> bool:
    """True when ``a`` is ``min(b, k)`` with a number k of 2 or more.

    They fit only when equal then: a capped size is neither 1 nor ``b``.
    """
    difference = plus(to_poly(b), to_poly(a), -1)
    if len(difference) != 1 or difference[0][1] != 1 or len(difference[0][0]) != 1:
        return False
    function, args = structure(difference[0][0][0])
    if function != "max":
        return False
    cap = as_int(plus(to_poly(b), args[0], -1))
    return cap is not None and cap >= 2


def _broadcast_args(p: Poly) -> tuple[Poly, ...]:
    if len(p) == 1 and p[0][1] == 1 and len(p[0][0]) == 1:
        function, args = structure(p[0][0][0])
        if function == "broadcast":
            return args
    return (p,)
