from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.analysis import dims as d
from onnxslim.analysis.dims import Dim
from onnxslim.analysis.polynomial import parse, text_of
from onnxslim.analysis.symbols import Symbols, evaluate, substitute, symbols

N, M, K = (ir.SymbolicDim(name) for name in "NMK")


def text(dim: Dim | None) -> str:
    return str(dim)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (d.add(N, 0), "N"),
        (d.add(d.mul(N, 2), d.mul(N, -2)), "0"),
        (d.mul(d.add(N, 1), d.sub(N, 1)), "N*N - 1"),
        (d.product((2, N, 3, M)), "6*M*N"),
        (d.product(()), "1"),
        (d.floordiv(d.mul(N, 6), 2), "3*N"),
        (d.floordiv(d.add(d.mul(N, 4), 3), 2), "2*N + 1"),
        (d.add(d.floordiv(d.sub(N, 1), 2), 1), "floordiv(N + 1, 2)"),
        (d.floordiv(d.floordiv(N, 2), 3), "floordiv(N, 6)"),
        (d.floordiv(d.add(d.floordiv(d.add(N, 1), 2), 1), 2), "floordiv(N + 3, 4)"),
        (d.floordiv(d.add(d.mul(N, 2), 1), 4), "floordiv(N, 2)"),
        (d.ceildiv(N, 4), "floordiv(N + 3, 4)"),
        (d.floordiv(d.product((N, M, 6)), d.mul(N, 3)), "2*M"),
        (d.floordiv(N, M), "floordiv(N, M)"),
        (d.truncdiv(d.add(N, 1), 2), "floordiv(N + 1, 2)"),
        (d.truncdiv(d.sub(N, 1), 2), "truncdiv(N - 1, 2)"),
        (d.truncdiv(-5, 2), "-2"),
        (d.modulo(d.mul(N, 6), 3), "0"),
        (d.modulo(7, 3), "1"),
        (d.maximum(d.sub(N, 1), 0), "max(N - 1, 0)"),
        (d.sub(N, d.minimum(1, N)), "max(N - 1, 0)"),
        (d.maximum(N, 0), "N"),
        (d.minimum(N, d.add(N, 2)), "N"),
        (d.maximum(d.sub(d.maximum(d.sub(N, 1), 0), 2), 0), "max(N - 3, 0)"),
        (d.exact_div(d.mul(d.add(N, 1), d.add(N, M)), d.add(N, 1)), "M + N"),
        (d.exact_div(N, 2), "None"),
        (d.exact_div(6, 4), "None"),
        (d.exact_div(6, 0), "None"),
    ],
)
def test_one_size_has_one_text(found: Dim | None, expected: str) -> None:
    assert text(found) == expected


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (N, N, "N"),
        (N, 1, "N"),
        (1, N, "N"),
        (N, 5, "5"),
        (5, N, "5"),
        (N, 0, "0"),
        (N, M, "broadcast(M, N)"),
        (N, d.minimum(N, 128), "N"),
        (d.minimum(N, 2), N, "N"),
        (N, d.minimum(N, M), "broadcast(M - max(M - N, 0), N)"),
        (M, N, "broadcast(M, N)"),
        (d.add(N, 2), M, "N + 2"),
        (M, d.add(N, 2), "N + 2"),
        (2, 3, "None"),
        (d.add(N, 2), d.add(N, 3), "None"),
    ],
)
def test_broadcast(a: Dim, b: Dim, expected: str) -> None:
    assert text(d.broadcast(a, b)) == expected


def test_broadcasts_of_broadcasts_are_one_set() -> None:
    one, other = d.broadcast(N, M), d.broadcast(K, N)
    assert one is not None and other is not None
    assert text(d.broadcast(one, K)) == text(d.broadcast(other, M)) == "broadcast(K, M, N)"


def test_knowledge() -> None:
    assert d.known_equal(d.add(N, 1), d.add(1, N)) and not d.known_equal(N, M)
    assert not d.known_equal(ir.SymbolicDim(None), ir.SymbolicDim(None))
    assert not d.known_different(N, M) and not d.known_different(N, 5)
    assert d.known_different(N, d.add(N, 1))
    assert d.known_different(d.add(d.mul(N, 2), 1), d.mul(M, 2))
    assert d.known_different(d.add(N, 6), 5) and not d.known_different(d.add(N, 5), 5)
    assert d.known_positive(d.add(N, 1)) and not d.known_positive(N)
    assert d.known_less(N, d.add(N, 1)) is True
    assert d.known_less(d.add(N, 1), N) is False
    assert d.known_less(N, M) is None
    assert d.known_less(N, N) is False and d.known_less(N, N, or_equal=True) is True
    assert d.upper_bound(d.minimum(N, 1024)) == 1024 and d.lower_bound(d.minimum(N, 1024)) == 0
    assert d.lower_bound(d.sub(N, d.floordiv(N, 2))) == 0
    assert d.lower_bound(d.sub(N, 1)) == -1 and d.upper_bound(N) is None


def _many(count: int) -> Dim:
    return d.product(ir.SymbolicDim(f"size_{i}") for i in range(count))


def test_long_expressions_become_one_opaque_symbol() -> None:
    long = _many(60)
    assert len(text(long)) < 60 and d.known_equal(long, _many(60))
    assert not d.known_equal(long, _many(59))
    assert d.lower_bound(long) is None
    with pytest.raises(KeyError):
        evaluate(long, {f"size_{i}": 1 for i in range(60)})


def test_evaluation() -> None:
    assert evaluate(d.floordiv(d.add(d.mul(N, 3), 1), M), {"N": 5, "M": 4}) == 4
    both = d.broadcast(N, M)
    assert both is not None and evaluate(both, {"N": 1, "M": 7}) == 7
    with pytest.raises(ValueError, match="broadcast"):
        evaluate(both, {"N": 2, "M": 7})
    with pytest.raises(ValueError, match="zero"):
        evaluate(d.floordiv(N, M), {"N": 2, "M": 0})
    with pytest.raises(KeyError, match="M"):
        evaluate(d.add(N, M), {"N": 2})
    assert text(substitute(d.mul(N, d.add(M, 1)), {"N": K})) == "K*M + K"
    assert symbols(d.add(d.floordiv(N, 2), d.maximum(M, 3))) == ("M", "N")


# -------------------------------------------------------------------- against Python's integers

Pair = tuple[Dim, tuple[int | None, ...]]
BINDINGS = [dict(zip("NMK", v, strict=True)) for v in ((0, 1, 2), (3, 3, 1), (7, 0, 5), (13, 9, 4))]


def _leaf(dim: Dim) -> Pair:
    return dim, tuple(evaluate(dim, b) for b in BINDINGS)


_LEAVES: list[Dim] = [N, M, K, 0, 1, 2, 3, 7]
leaves = st.sampled_from(_LEAVES).map(_leaf)


_EXACT: Mapping[str, Callable[[int, int], int]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "maximum": max,
    "minimum": min,
}
_BY_NUMBER: Mapping[str, Callable[[int, int], int]] = {
    "floordiv": lambda x, y: x // y,
    "ceildiv": lambda x, y: -(-x // y),
    "truncdiv": lambda x, y: int(x / y),
    "modulo": lambda x, y: x % y,
}


def _combine(name: str, a: Pair, b: Pair) -> Pair:
    right: Dim = b[0]
    numbers = b[1]
    rule = _EXACT.get(name) or _BY_NUMBER[name]
    if name in _BY_NUMBER:
        right = right if isinstance(right, int) and right > 0 else 3
        numbers = (right,) * len(BINDINGS)
    pairs = zip(a[1], numbers, strict=True)
    expected = tuple(None if x is None or y is None else rule(x, y) for x, y in pairs)
    return getattr(d, name)(a[0], right), expected


names = st.sampled_from("add sub mul maximum minimum floordiv ceildiv truncdiv modulo".split())
expressions = st.recursive(
    leaves, lambda inner: st.builds(_combine, names, inner, inner), max_leaves=8
)


def _value(dim: Dim, bindings: Mapping[str, int]) -> int | None:
    try:
        return evaluate(dim, bindings)
    except KeyError:
        return None  # too long: opaque


@settings(max_examples=400)
@given(expressions)
def test_arithmetic_is_exact(pair: Pair) -> None:
    dim, expected = pair
    for bindings, number in zip(BINDINGS, expected, strict=True):
        assert _value(dim, bindings) in (number, None)
    low, high = d.lower_bound(dim), d.upper_bound(dim)
    known = [n for n in expected if n is not None]
    assert all(low is None or low <= n for n in known)
    assert all(high is None or n <= high for n in known)


@settings(max_examples=300)
@given(expressions, expressions)
def test_relations_hold_wherever_they_are_claimed(a: Pair, b: Pair) -> None:
    pairs = list(zip(a[1], b[1], strict=True))
    if d.known_equal(a[0], b[0]):
        assert all(x == y for x, y in pairs)
    if d.known_different(a[0], b[0]):
        assert all(x != y for x, y in pairs)
    if (less := d.known_less(a[0], b[0])) is not None:
        assert all((x < y) == less for x, y in pairs if x is not None and y is not None)
    exact = d.exact_div(a[0], b[0])
    for bindings, (x, y) in zip(BINDINGS, pairs, strict=True):
        if exact is not None and x is not None and y:
            assert _value(exact, bindings) in (x // y, None) and x % y == 0


@settings(max_examples=200)
@given(expressions)
def test_text_is_read_back(pair: Pair) -> None:
    if isinstance(pair[0], ir.SymbolicDim) and pair[0].value:
        assert text_of(parse(pair[0].value)) == pair[0].value


# -------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "odd", ["p2o.DynamicDimension.0", "N+1", "1st", "a b", "öüx", "x" * 200, "max", "_hash_1"]
)
def test_odd_names_become_safe_and_stay_apart(odd: str) -> None:
    source = Symbols([odd, "N", "N_1"])
    safe = source.declared(odd)
    assert safe.value is not None and text_of(parse(safe.value)) == safe.value
    assert symbols(d.add(safe, 1)) == (safe.value,)
    assert source.declared(odd) == safe and safe.value not in ("N", "N_1")
    assert source.declared("N") == N


def test_unnamed_sizes_are_all_different() -> None:
    source = Symbols(["_d4", None, "", "-1"])
    unnamed = (None, "", "-1", "?", "?", "None", "None", "unknown", "_")
    found = [source.declared(name) for name in unnamed] + [source.fresh()]
    assert len({f.value for f in found} | {"_d4"}) == len(unnamed) + 2
    assert source.is_younger(d.add(found[-1], 1), source.mark - 1)
    assert not source.is_younger(found[-1], source.mark)


def test_two_odd_names_with_one_safe_form() -> None:
    source = Symbols(["a.b", "a b", "a_b"])
    assert len({source.declared(n).value for n in ("a.b", "a b", "a_b")}) == 3


def test_floor_division_rounds_down_like_python() -> None:
    for a in range(-9, 10):
        for b in range(1, 5):
            assert d.floordiv(a, b) == math.floor(a / b)


@pytest.mark.parametrize(
    ("dim", "low", "high"),
    [
        (d.floordiv(N, M), 0, None),  # no size is negative
        (d.floordiv(d.sub(N, 1), M), None, None),  # -1 // M is: nothing is known
        (d.floordiv(d.sub(N, 1), 2), -1, None),
        (d.truncdiv(d.sub(N, 1), 2), 0, None),
    ],
)
def test_bounds_of_quotients(dim: Dim, low: int | None, high: int | None) -> None:
    assert (d.lower_bound(dim), d.upper_bound(dim)) == (low, high)
