"""Sizes as text: one form for each, its bounds, and what follows from them."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.analysis import dims as d
from onnxslim.analysis.dims import Dim
from onnxslim.analysis.polynomial import parse, structure, text_of
from onnxslim.analysis.symbols import Symbols, evaluate, substitute, symbols


def dim(text: str) -> Dim:
    """A size from its text."""
    return int(text) if text.lstrip("-").isdigit() else ir.SymbolicDim(text)


READ = [
    ("N", "N"), ("7", "7"), ("0", "0"), ("-N", "-N"), ("-3", "-3"), ("N*M", "M*N"),
    ("1 + N", "N + 1"), ("N - N", "0"), ("2*3*N", "6*N"), ("-N + M", "M - N"),
    ("N + 2*N - 4*N", "-N"), ("N*N - N", "N*N - N"), ("0*N + 5", "5"), ("B*A + A*C", "A*B + A*C"),
    ("floordiv(N,2)", "floordiv(N, 2)"), ("2*max(N - 1, 0)", "2*max(N - 1, 0)"),
    ("broadcast(A, B, C)", "broadcast(A, B, C)"),
    ("max(floordiv(N + M, 3) - 1, 0) + 1", "max(floordiv(M + N, 3) - 1, 0) + 1"),
    # what did not come from us is one opaque name
    ("a b", "a b"), ("N +", "N +"), ("N)", "N)"), ("max(N", "max(N"), ("max(N,", "max(N,"),
    ("(N)", "(N)"), ("+N", "+N"), ("*", "*"), ("max(N 2)", "max(N 2)"), ("N.M", "N.M"),
    ("2N", "2N"), ("N -- M", "N -- M"), ("max(N * )", "max(N * )"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), READ)
def test_text_is_read(text: str, expected: str) -> None:
    assert text_of(parse(text)) == expected


@pytest.mark.parametrize(
    ("name", "function", "arguments"),
    [
        ("N", "", []),
        ("max(N, 0)", "max", ["N", "0"]),
        ("floordiv(N + 1, 2)", "floordiv", ["N + 1", "2"]),
        ("broadcast(A, max(B, 0), C)", "broadcast", ["A", "max(B, 0)", "C"]),
        ("truncdiv(floordiv(N, max(M, 0)), 3)", "truncdiv", ["floordiv(N, max(M, 0))", "3"]),
        ("other(N, 0)", "", []),
        ("max(N, 0", "", []),
        ("max", "", []),
    ],
)
def test_structure(name: str, function: str, arguments: list[str]) -> None:
    found, args = structure(name)
    assert (found, [text_of(a) for a in args]) == (function, arguments)


MADE = [
    ("add", "N", "M", "M + N"), ("add", "3", "4", "7"), ("add", "N", "-N", "0"),
    ("sub", "N", "M", "-M + N"), ("sub", "3", "4", "-1"), ("sub", "3", "N", "-N + 3"),
    ("mul", "N", "M", "M*N"), ("mul", "3", "4", "12"), ("mul", "N", "0", "0"),
    ("mul", "N + 1", "N - 1", "N*N - 1"), ("mul", "N - M", "N + M", "-M*M + N*N"),
    # rounded down
    ("floordiv", "7", "2", "3"), ("floordiv", "-7", "2", "-4"), ("floordiv", "N", "1", "N"),
    ("floordiv", "6*N", "2", "3*N"), ("floordiv", "6*N + 5", "4", "N + floordiv(N, 2) + 1"),
    ("floordiv", "4*N + 6", "4", "N + 1"), ("floordiv", "-N", "2", "-N + floordiv(N, 2)"),
    ("floordiv", "2*N - 1", "2", "N - 1"), ("floordiv", "N - 4", "4", "floordiv(N, 4) - 1"),
    ("floordiv", "N*M", "M", "N"), ("floordiv", "N*M + M", "M", "N + 1"),
    ("floordiv", "N", "M", "floordiv(N, M)"), ("floordiv", "N", "0", "floordiv(N, 0)"),
    ("floordiv", "N", "-2", "floordiv(N, -2)"), ("floordiv", "0", "N", "0"),
    ("floordiv", "floordiv(N, 2)", "3", "floordiv(N, 6)"),
    ("floordiv", "floordiv(N, 2) + 1", "3", "floordiv(N + 2, 6)"),
    ("floordiv", "floordiv(N, 2) + 3", "3", "floordiv(N, 6) + 1"),
    ("floordiv", "2*floordiv(N, 2)", "3", "floordiv(2*floordiv(N, 2), 3)"),
    ("floordiv", "floordiv(N, 2)*M", "3", "floordiv(M*floordiv(N, 2), 3)"),
    ("floordiv", "floordiv(N, 2) + M", "3", "floordiv(M + floordiv(N, 2), 3)"),
    ("floordiv", "floordiv(N, M)", "3", "floordiv(floordiv(N, M), 3)"),
    ("floordiv", "max(N - 1, 0)", "3", "floordiv(max(N - 1, 0), 3)"),
    ("ceildiv", "7", "2", "4"), ("ceildiv", "N", "2", "floordiv(N + 1, 2)"),
    ("ceildiv", "N", "1", "N"), ("ceildiv", "4*N", "4", "N"), ("ceildiv", "4*N + 1", "4", "N + 1"),
    # rounded towards zero
    ("truncdiv", "7", "2", "3"), ("truncdiv", "-7", "2", "-3"), ("truncdiv", "-1", "2", "0"),
    ("truncdiv", "0", "2", "0"), ("truncdiv", "N", "2", "floordiv(N, 2)"),
    ("truncdiv", "N - 1", "1", "N - 1"), ("truncdiv", "N - 1", "2", "truncdiv(N - 1, 2)"),
    ("truncdiv", "-N", "2", "truncdiv(-N, 2)"),
    # without rest
    ("exact_div", "6", "3", "2"), ("exact_div", "6", "4", "None"), ("exact_div", "6", "0", "None"),
    ("exact_div", "6*N", "3", "2*N"), ("exact_div", "6*N", "4", "None"),
    ("exact_div", "N*M + M", "N + 1", "M"), ("exact_div", "N*M + 1", "N", "None"),
    ("exact_div", "N", "M", "None"), ("exact_div", "N*N", "N", "N"),
    ("exact_div", "N", "0", "None"),
    ("exact_div", "N", "N", "1"), ("exact_div", "-6*N", "3", "-2*N"), ("exact_div", "0", "N", "0"),
    ("exact_div", "N*N + 2*N + 1", "N + 1", "N + 1"), ("exact_div", "N*N", "N*N*N", "None"),
    ("modulo", "7", "3", "1"), ("modulo", "-7", "3", "2"), ("modulo", "6*N + 1", "3", "1"),
    ("modulo", "N", "3", "N - 3*floordiv(N, 3)"),
    # the larger and the smaller one
    ("maximum", "3", "4", "4"), ("maximum", "N", "0", "N"), ("maximum", "N", "-1", "N"),
    ("maximum", "0", "N", "N"), ("maximum", "N", "1", "max(N - 1, 0) + 1"),
    ("maximum", "N", "N + 1", "N + 1"), ("maximum", "-N", "0", "0"),
    ("maximum", "N - 2", "0", "max(N - 2, 0)"),
    ("maximum", "2*N - 4", "0", "2*max(N - 2, 0)"),
    ("maximum", "-2*N + 4", "0", "-2*N + 2*max(N - 2, 0) + 4"),
    ("maximum", "max(N - 2, 0) - 3", "0", "max(N - 5, 0)"),
    ("maximum", "max(N - 2, 0) + 3", "0", "max(N - 2, 0) + 3"),
    ("maximum", "2*max(N - 2, 0) - 3", "0", "max(2*max(N - 2, 0) - 3, 0)"),
    ("maximum", "max(N - 2, 0) - M", "0", "-M + max(M - max(N - 2, 0), 0) + max(N - 2, 0)"),
    ("maximum", "M*max(N - 2, 0) - 3", "0", "max(M*max(N - 2, 0) - 3, 0)"),
    ("maximum", "floordiv(N, 2) - 3", "0", "max(floordiv(N, 2) - 3, 0)"),
    ("maximum", "max(N - M, 0) - 3", "0", "-M + N + max(M - N + 3, 0) - 3"),
    ("maximum", "N", "M", "N + max(M - N, 0)"),
    ("minimum", "3", "4", "3"), ("minimum", "N", "0", "0"), ("minimum", "N", "N + 2", "N"),
    ("minimum", "N", "5", "N - max(N - 5, 0)"), ("minimum", "5", "N", "N - max(N - 5, 0)"),
    ("minimum", "N", "M", "M - max(M - N, 0)"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "a", "b", "expected"), MADE)
def test_arithmetic(function: str, a: str, b: str, expected: str) -> None:
    assert str(getattr(d, function)(dim(a), dim(b))) == expected


BOUNDS = [
    ("5", 5, 5), ("-5", -5, -5), ("N", 0, None), ("-N", None, 0), ("N + 3", 3, None),
    ("-N + 3", None, 3), ("N - 3", -3, None), ("N*M", 0, None), ("-2*N*M + 4", None, 4),
    ("N - M", None, None), ("max(N - 3, 0)", 0, None), ("-max(N - 3, 0) + 2", None, 2),
    ("max(-N + 4, 0)", 0, 4), ("max(N - 3, 0) - N", -3, 0), ("N - max(N - 3, 0)", 0, 3),
    ("N - max(N - M, 0)", 0, None), ("max(N - M, 0) - N", None, 0),
    ("2*max(N - 3, 0) - N", -6, None), ("max(N - 3, 0) - max(N - 5, 0)", -3, 2),
    ("max(max(N - 1, 0) - M, 0) - N", None, 0), ("M*max(N - 3, 0)", 0, None),
    ("max(N - 3, 0)*max(-N + 9, 0)", 0, None), ("max(-N + 4, 0)*max(-M + 5, 0)", 0, 20),
    ("floordiv(N, 2)", 0, None), ("floordiv(N - 3, 2)", -2, None),
    ("floordiv(-N + 7, 2)", None, 3), ("floordiv(N, M)", 0, None),
    ("floordiv(N - 1, M)", None, None),
    ("floordiv(-N, -2)", None, None), ("floordiv(max(-N + 9, 0), M)", 0, 9),
    ("truncdiv(N - 3, 2)", -1, None), ("truncdiv(-N + 7, 2)", None, 3),
    ("truncdiv(N, 2)", 0, None), ("truncdiv(N - 7, 2)", -3, None), ("N - floordiv(N, 2)", 0, None),
    ("N - 2*floordiv(N, 2)", 0, None), ("N - 3*floordiv(N, 3)", 0, None),
    ("2*floordiv(N, 2) - N", None, 0), ("floordiv(N, 2) - N", None, 0),
    ("N - 2*floordiv(N + 1, 2)", -1, None), ("4*floordiv(N, 4) - N + 3", None, 3),
    ("floordiv(N, 2) - floordiv(N, 3)", None, None), ("N - floordiv(N, 2) - 1", -1, None),
    ("N - M*floordiv(N, M)", None, None), ("N - floordiv(N, M)", None, None),
    ("N - 2*truncdiv(N - 1, 2)", None, None), ("broadcast(N, M)", 0, None),
    ("broadcast(N + 2, M + 1)", 1, None), ("broadcast(N - 2, M)", 0, None),
    ("broadcast(N - 1, M - 1)", 0, None), ("-broadcast(N, M)", None, 0), ("_hash_x", None, None),
    ("_hash_x*N", None, None), ("max(_hash_x, 0)", 0, None), ("max(_hash_x - 1, 0) + 1", 1, None),
    ("floordiv(_hash_x, 2)", None, None), ("truncdiv(_hash_x, 2)", None, None),
    ("broadcast(_hash_x, N)", 0, None), ("N*max(-M + 3, 0)", 0, None),
    ("floordiv(N + 5, 3)*2 + 1", 3, None), ("max(floordiv(N, 2) - 3, 0) - N", None, 0),
    ("floordiv(N, 2)*floordiv(M, 2)", 0, None), ("-floordiv(N, 2) + 3", None, 3),
    ("floordiv(-N, 2)*floordiv(-M, 2)", None, None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "low", "high"), BOUNDS)
def test_bounds(text: str, low: int | None, high: int | None) -> None:
    assert (d.lower_bound(dim(text)), d.upper_bound(dim(text))) == (low, high)


RELATIONS = [
    # a, b, never the same, a < b, a <= b
    ("N", "N", False, False, True), ("N", "M", False, None, None), ("3", "3", False, False, True),
    ("3", "4", True, True, True), ("4", "3", True, False, False), ("N", "N + 1", True, True, True),
    ("N + 1", "N", True, False, False), ("N + 1", "0", True, False, False),
    ("N", "0", False, False, None), ("0", "N", False, None, True), ("N", "-1", True, False, False),
    ("2*N", "2*M + 1", True, None, None), ("2*N", "4*M + 2", False, None, None),
    ("4*N", "4*M + 2", True, None, None), ("4*N", "2*M + 2", False, None, None),
    ("N", "N + M", False, None, True), ("N + M + 1", "N", True, False, False),
    ("N - floordiv(N, 2)", "0", False, False, None), ("_hash_x", "0", False, None, None),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b", "different", "less", "at_most"), RELATIONS)
def test_relations(
    a: str, b: str, different: bool, less: bool | None, at_most: bool | None
) -> None:
    assert d.known_different(dim(a), dim(b)) is d.known_different(dim(b), dim(a)) is different
    assert d.known_less(dim(a), dim(b)) is less
    assert d.known_less(dim(a), dim(b), or_equal=True) is at_most
    assert d.known_equal(dim(a), dim(b)) is (a == b)


def test_equal_sizes_in_other_words() -> None:
    assert d.known_equal(ir.SymbolicDim("N + M"), ir.SymbolicDim("M + N"))
    assert not d.known_equal(dim("N"), 3) and not d.known_equal(3, dim("N"))
    nameless = ir.SymbolicDim(None)
    assert not d.known_equal(nameless, nameless)
    assert not d.known_equal(nameless, dim("N")) and not d.known_equal(dim("N"), nameless)


@pytest.mark.parametrize(("text", "positive"), [("N", False), ("N + 1", True), ("-N + 9", False)])
def test_positive(text: str, positive: bool) -> None:
    assert d.known_positive(dim(text)) is positive
    assert d.known_at_least(dim(text), 1) is positive


BROADCAST = [
    ("1", "1", "1"), ("3", "1", "3"), ("1", "3", "3"), ("3", "4", "None"), ("0", "1", "0"),
    ("0", "3", "None"), ("N", "0", "0"), ("N + 2", "3", "N + 2"), ("3", "N + 2", "3"),
    ("N + 3", "2", "None"),
    ("N + 1", "M", "broadcast(M, N + 1)"), ("N + 2", "M", "N + 2"), ("M", "N + 2", "N + 2"),
    ("N + 1", "N + 2", "N + 2"), ("N + 2", "N + 3", "None"), ("N", "N + 2", "N + 2"),
    ("N", "N + 1", "broadcast(N, N + 1)"), ("N - max(N - 2, 0)", "N", "N"),
    ("N", "N - max(N - 2, 0)", "N"),
    ("N", "N - max(N - 1, 0)", "broadcast(N, N - max(N - 1, 0))"),
    ("N", "N - 2*max(N - 2, 0)", "broadcast(N, N - 2*max(N - 2, 0))"),
    ("N", "N - floordiv(N, 2)", "broadcast(N, N - floordiv(N, 2))"),
    ("broadcast(A, C)", "B", "broadcast(A, B, C)"), ("B", "broadcast(A, B)", "broadcast(A, B)"),
    ("2*broadcast(A, C)", "B", "broadcast(B, 2*broadcast(A, C))"),
    ("broadcast(A, C)*N", "B", "broadcast(B, N*broadcast(A, C))"),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b", "expected"), BROADCAST)
def test_broadcast(a: str, b: str, expected: str) -> None:
    assert str(d.broadcast(dim(a), dim(b))) == expected


def test_a_text_of_240_characters_is_written_out_and_one_of_241_is_not() -> None:
    long = "a" * 120
    fits = d.mul(dim(long), dim("b" * 119))
    assert str(fits) == f"{long}*{'b' * 119}" and len(str(fits)) == d.MAX_TEXT
    assert str(d.mul(dim(long), dim("b" * 120))).startswith("_hash_")


SUBSTITUTED = [
    ("N + 2*M", "9"), ("N*M*2", "20"), ("7", "7"), ("floordiv(N + 2*M, M)", "4"),
    ("truncdiv(1 - N, M)", "-2"), ("max(N - 9, 0)", "0"),
    ("max(N - 2, M)", "3"), ("broadcast(N, 1, 5)", "5"), ("broadcast(N, M)", "None"),
    ("floordiv(N, M - 2)", "None"), ("N + K", "K + 5"), ("floordiv(K, M)", "floordiv(K, 2)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), SUBSTITUTED)
def test_substituted(text: str, expected: str) -> None:
    try:
        found = str(substitute(dim(text), {"N": 5, "M": 2}))
    except ValueError:
        found = "None"
    assert found == expected


def test_the_symbols_of_a_size() -> None:
    assert symbols(4) == ()
    assert symbols(dim("B + floordiv(A*C, max(B - D, 0))")) == ("A", "B", "C", "D")
    with pytest.raises(KeyError, match="A"):
        evaluate(dim("B + A"), {"B": 1})
    assert evaluate(dim("B"), {"B": 1}) == 1 and evaluate(3, {}) == 3


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("N", "N"), ("a" * 64, "a" * 64), ("a" * 65, "a" * 56), ("1st", "d_1st"), ("a-b", "a_b"),
        ("max", "d_max"), ("_hash_1", "d__hash_1"), ("_d3", "_d3"), ("_d.3", "_d_3"),
        ("floordiv", "d_floordiv"),
    ],
)  # fmt: skip
def test_a_declared_name(declared: str, expected: str) -> None:
    source = Symbols([declared])
    assert str(source.declared(declared)) == expected
    assert source.declared(declared) is source.declared(declared)


def test_names_that_are_taken_are_numbered() -> None:
    source = Symbols(["a_b", "a_b_2", "a b"])
    assert [str(source.declared(n)) for n in ("a b", "a-b", "a_b")] == ["a_b_3", "a_b_4", "a_b"]


def test_fresh_symbols_come_after_the_declared_ones() -> None:
    source = Symbols(["_d3", "_d5", "_d", None])
    assert source.mark == 6 and str(source.fresh()) == "_d6" and source.mark == 7
    assert str(source.declared(None)) == "_d7"
    assert str(Symbols([]).fresh()) == "_d0" and str(Symbols(["_d0"]).fresh()) == "_d1"


@pytest.mark.parametrize(
    ("text", "younger"),
    [
        ("_d6", True), ("_d5", True), ("_d4", False), ("N", False), ("N + _d5", True),
        ("floordiv(_d4, max(_d9 - 1, 0))", True), ("_hash_x", True), ("7", False), ("_d5x", False),
    ],
)  # fmt: skip
def test_younger(text: str, younger: bool) -> None:
    assert Symbols([]).is_younger(dim(text), 5) is younger
