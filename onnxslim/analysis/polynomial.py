"""Polynomials with integer coefficients over *atoms*, in one canonical form.

An atom is a symbol (``batch``, ``_d3``: an integer from 0 on) or the text of one of the functions
that no polynomial expresses: ``floordiv(a, b)``, ``truncdiv(a, b)``, ``max(a, 0)`` and
``broadcast(a, b, ...)``.
:mod:`onnxslim.analysis.dims` is the face of this module.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

Poly = tuple[tuple[tuple[str, ...], int], ...]
"""Sorted ``(atoms of the monomial, coefficient)``; no zero coefficient; the empty one is 0."""

Bounds = tuple[int | None, int | None]

FUNCTIONS = ("floordiv", "truncdiv", "max", "broadcast")
EFFORT = 2
"""How many times a bound is sought by cases; each one multiplies the work by four."""

OPAQUE = "_hash_"
"""Start of the names that stand for an expression too long to write: of unknown sign."""

_TOKEN = re.compile(r"\s*(?:(\d+)|([A-Za-z_]\w*)|([-+*(),]))", re.ASCII)
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def canonical(terms: Mapping[tuple[str, ...], int]) -> Poly:
    kept = ((atoms, n) for atoms, n in terms.items() if n)
    return tuple(sorted(kept, key=lambda t: (-len(t[0]), t[0])))


def const(value: int) -> Poly:
    return (((), value),) if value else ()


def atom(text: str) -> Poly:
    return (((text,), 1),)


def as_int(p: Poly) -> int | None:
    if not p:
        return 0
    return p[0][1] if len(p) == 1 and not p[0][0] else None


def plus(p: Poly, q: Poly, scale: int = 1) -> Poly:
    terms = dict(p)
    for atoms, n in q:
        terms[atoms] = terms.get(atoms, 0) + n * scale
    return canonical(terms)


def times(p: Poly, q: Poly) -> Poly:
    terms: dict[tuple[str, ...], int] = {}
    for atoms_p, n in p:
        for atoms_q, m in q:
            atoms = tuple(sorted(atoms_p + atoms_q))
            terms[atoms] = terms.get(atoms, 0) + n * m
    return canonical(terms)


def split_const(p: Poly) -> tuple[Poly, int]:
    return (p[:-1], p[-1][1]) if p and not p[-1][0] else (p, 0)


@lru_cache(maxsize=65536)
def text_of(p: Poly) -> str:
    text = ""
    for atoms, n in p:
        body = "*".join(atoms)
        size = abs(n)
        part = (body if size == 1 else f"{size}*{body}") if atoms else str(size)
        sign = "-" if n < 0 else "+"
        text += f" {sign} {part}" if text else (f"-{part}" if n < 0 else part)
    return text or "0"


@lru_cache(maxsize=65536)
def parse(text: str) -> Poly:
    tokens: list[str] = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            return atom(text)  # a name that did not come from us: opaque
        tokens.append(found.group().strip())
        position = found.end()
    tokens.reverse()
    try:
        poly = _parse_sum(tokens)
    except (IndexError, ValueError):
        return atom(text)
    return atom(text) if tokens else poly


def _parse_sum(tokens: list[str]) -> Poly:
    total: Poly = ()
    sign = 1
    if tokens[-1] == "-":
        tokens.pop()
        sign = -1
    while True:
        total = plus(total, _parse_term(tokens), sign)
        if not tokens or tokens[-1] not in "+-":
            return total
        sign = 1 if tokens.pop() == "+" else -1


def _parse_term(tokens: list[str]) -> Poly:
    product = const(1)
    while True:
        product = times(product, _parse_factor(tokens))
        if not tokens or tokens[-1] != "*":
            return product
        tokens.pop()


def _parse_factor(tokens: list[str]) -> Poly:
    token = tokens.pop()
    if token.isdigit():
        return const(int(token))
    if not _NAME.match(token):
        raise ValueError(token)
    if not tokens or tokens[-1] != "(":
        return atom(token)
    args: list[Poly] = []
    while tokens.pop() in ("(", ","):
        args.append(_parse_sum(tokens))
        if tokens[-1] not in (",", ")"):
            raise ValueError(tokens[-1])
    return atom(call(token, args))


def call(function: str, args: Iterable[Poly]) -> str:
    return f"{function}({', '.join(text_of(a) for a in args)})"


@lru_cache(maxsize=65536)
def structure(name: str) -> tuple[str, tuple[Poly, ...]]:
    """Function name and arguments of an atom; ``("", ())`` for a symbol."""
    function, _, rest = name.partition("(")
    if not rest or function not in FUNCTIONS or not rest.endswith(")"):
        return "", ()
    args, depth, start = [], 0, 0
    for i, c in enumerate(rest):
        if c == "(":
            depth += 1
        elif c == ")":
            depth -= 1
        if (c == "," and depth == 0) or depth < 0:
            args.append(parse(rest[start:i].strip()))
            start = i + 1
    return function, tuple(args)


# -------------------------------------------------------------------- bounds


def bounds(p: Poly) -> Bounds:
    """Least and largest value over all symbols from 0 on, None where not known."""
    return _bounds(p, EFFORT)


@lru_cache(maxsize=65536)
def _bounds(p: Poly, effort: int) -> Bounds:
    low, high = _interval(p, effort)
    if effort == 0 or (low is not None and high is not None):
        return low, high
    pivot = next((a for atoms, _ in p for a in atoms if structure(a)[0] == "max"), None)
    if pivot is not None:
        inner = structure(pivot)[1][0]
        zero = _bounds_where(replace(p, pivot, ()), times(inner, const(-1)), effort - 1)
        taken = _bounds_where(replace(p, pivot, inner), inner, effort - 1)
        cases = _of_both(min, zero[0], taken[0]), _of_both(max, zero[1], taken[1])
        return _tighter(max, low, cases[0]), _tighter(min, high, cases[1])
    if low is None:
        low = _relaxed(p, True, effort - 1)
    if high is None:
        high = _relaxed(p, False, effort - 1)
    return low, high


def _bounds_where(p: Poly, positive: Poly, effort: int) -> Bounds:
    """Bounds of ``p`` where ``positive`` is 0 or more."""
    low, high = _bounds(p, effort)
    if low is None:
        low = _bounds(plus(p, positive, -1), effort)[0]
    if high is None:
        high = _bounds(plus(p, positive), effort)[1]
    return low, high


def _of_both(pick: Callable[[int, int], int], a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else pick(a, b)


def _tighter(pick: Callable[[int, int], int], a: int | None, b: int | None) -> int | None:
    return pick(a, b) if a is not None and b is not None else b if a is None else a


def _interval(p: Poly, effort: int) -> Bounds:
    low: int | None = 0
    high: int | None = 0
    for atoms, n in p:
        a, b = _monomial_bounds(atoms, effort)
        if n < 0:
            a, b = b, a
        low = None if low is None or a is None else low + n * a
        high = None if high is None or b is None else high + n * b
    return low, high


def _relaxed(p: Poly, low_side: bool, effort: int) -> int | None:
    """Bound through ``a/k - 1 < floordiv(a, k) <= a/k`` for the atom that hinders."""
    for atoms, n in p:
        if len(atoms) != 1 or (n < 0) != low_side:
            continue
        function, args = structure(atoms[0])
        divisor = as_int(args[1]) if function == "floordiv" else None
        if divisor is None or divisor < 1:
            continue
        rest = plus(p, atom(atoms[0]), -n)
        scaled = plus(times(rest, const(divisor)), args[0], n)
        bound = _bounds(scaled, effort)[0 if low_side else 1]
        if bound is not None:
            return -(-bound // divisor) if low_side else bound // divisor
    return None


def _monomial_bounds(atoms: tuple[str, ...], effort: int) -> Bounds:
    low, high = 1, 1
    bounded = True
    for name in atoms:
        a, b = _atom_bounds(name, effort)
        if a is None or a < 0:
            return (a, b) if len(atoms) == 1 else (None, None)
        low *= a
        if b is None:
            bounded = False
        else:
            high *= b
    return low, high if bounded else None


def _atom_bounds(name: str, effort: int) -> Bounds:
    function, args = structure(name)
    if not function:
        return (None, None) if name.startswith(OPAQUE) else (0, None)
    low, high = _bounds(args[0], effort)
    if function == "max":
        return max(low or 0, 0), None if high is None else max(high, 0)
    if function == "broadcast":
        lows = [_bounds(a, effort)[0] for a in args]
        return max(min((x or 0) for x in lows), 0), None
    divisor = as_int(args[1])
    if divisor is None or divisor <= 0:
        return (0, high) if low is not None and low >= 0 else (None, None)
    divide_by = truncated if function == "truncdiv" else int.__floordiv__
    return (
        None if low is None else divide_by(low, divisor),
        None if high is None else divide_by(high, divisor),
    )


def truncated(a: int, b: int) -> int:
    """``a / b`` rounded towards 0; ``b`` is positive."""
    return a // b if a >= 0 else -(-a // b)


def replace(p: Poly, name: str, by: Poly) -> Poly:
    total: Poly = ()
    for atoms, n in p:
        part: Poly = (((), n),)
        for a in atoms:
            part = times(part, by if a == name else atom(a))
        total = plus(total, part)
    return total


# -------------------------------------------------------------------- functions on polynomials


def floor(a: Poly, b: Poly) -> Poly:
    quotient = divide(a, b)
    if quotient is not None:
        return quotient
    divisor = as_int(b)
    if divisor is None or divisor <= 0:
        return atom(call("floordiv", (a, b)))
    whole = canonical({atoms: n // divisor for atoms, n in a})
    rest = plus(a, whole, -divisor)
    body, constant = split_const(rest)
    common = math.gcd(divisor, *(n for _, n in body))
    if common > 1:
        body = tuple((atoms, n // common) for atoms, n in body)
        constant, divisor = constant // common, divisor // common
    if divisor == 1 or not body:
        return plus(whole, plus(body, const(constant // divisor)))
    if len(body) == 1 and body[0][1] == 1 and len(body[0][0]) == 1:
        function, args = structure(body[0][0][0])
        inner = as_int(args[1]) if function == "floordiv" else None
        if inner is not None and inner > 0:
            joined = plus(args[0], const(constant * inner))
            return plus(whole, floor(joined, const(divisor * inner)))
    rest = plus(body, const(constant))
    return plus(whole, atom(call("floordiv", (rest, const(divisor)))))


def divide(a: Poly, b: Poly) -> Poly | None:
    """``a / b`` when ``b`` divides every term of ``a`` in turn without rest, else None."""
    if not b:
        return None
    lead, n = b[0]
    quotient: dict[tuple[str, ...], int] = {}
    for _ in range(32):
        if not a:
            return canonical(quotient)
        atoms, m = a[0]
        rest = list(atoms)
        for factor in lead:
            if factor not in rest:
                return None
            rest.remove(factor)
        if m % n:
            return None
        key = tuple(rest)
        quotient[key] = quotient.get(key, 0) + m // n
        a = plus(a, times(((key, m // n),), b), -1)
    return None


def positive_part(x: Poly) -> Poly:
    """``max(x, 0)``."""
    low, high = bounds(x)
    if low is not None and low >= 0:
        return x
    if high is not None and high <= 0:
        return ()
    if x[0][1] < 0:  # one orientation only: max(x, 0) = x + max(-x, 0)
        return plus(x, positive_part(times(x, const(-1))))
    common = math.gcd(*(n for _, n in x))
    if common > 1:
        inner = positive_part(tuple((atoms, n // common) for atoms, n in x))
        return times(inner, const(common))
    body, constant = split_const(x)
    if constant <= 0 and len(body) == 1 and body[0][1] == 1 and len(body[0][0]) == 1:
        function, args = structure(body[0][0][0])
        if function == "max":
            return positive_part(plus(args[0], const(constant)))
    return atom(call("max", (x, ())))
