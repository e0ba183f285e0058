"""Nodes that return their input go; those that only look like it stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("eliminate-noop")()
KEEP = get_pass("eliminate-noop")(keep_zero_sign=True)  # type: ignore[call-arg]
ONE, ZERO, MINUS = np.float32(1), np.float32(0), np.float32(-0.0)
HUGE = np.iinfo(np.int64).max


def ints(*items: int) -> np.ndarray:
    return np.array(items, np.int64)


@pytest.mark.parametrize(
    ("call", "constant"),
    [
        ("Mul(x, k)", ONE),
        ("Mul(k, x)", ONE),
        ("Div(x, k)", ONE),
        ("Add(x, k)", ZERO),
        ("Add(k, x)", ZERO),
        ("Sub(x, k)", ZERO),
        ("Pow(x, k)", ONE),
        ("Mul(x, k)", np.ones((1, 4, 1, 1), np.float32)),
        ("Mul(x, k)", np.ones((4, 8, 8), np.float32)),
        ("Add(x, k)", np.zeros((2, 4, 8, 8), np.float32)),
        ("Mul(x, k)", np.ones((1,), np.float32)),
    ],
)
def test_removes_neutral_arithmetic(call: str, constant: np.ndarray) -> None:
    model = net(f"a = {call}  y = Abs(a)", k=constant)
    assert_pass(PASS, model, ["y = Abs(x)"])


@pytest.mark.parametrize(
    ("call", "constant"),
    [
        ("Mul(x, k)", np.float32(1.0000001)),
        ("Div(k, x)", ONE),
        ("Sub(k, x)", ZERO),
        ("Pow(k, x)", ONE),
        ("Pow(x, k)", np.float32(2)),
        ("Mul(x, k)", np.array([[[[1, 1, 1, np.nan, 1, 1, 1, 1]]]], np.float32)),
        ("Add(x, k)", ONE),
    ],
)
def test_keeps_other_arithmetic(call: str, constant: np.ndarray) -> None:
    assert_pass(PASS, net(f"a = {call}  y = Abs(a)", k=constant), None)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 4), (2, 4)])
def test_keeps_a_constant_that_enlarges(shape: tuple[int, ...]) -> None:
    model = net("a = Add(x, k)  y = Relu(a)", x="float[1,4]", k=np.zeros(shape, np.float32))
    assert "enlarge" in assert_pass(PASS, model, None).skipped[0][1]


def test_keeps_a_constant_that_may_enlarge_a_dynamic_dimension() -> None:
    model = net("a = Mul(x, k)  y = Relu(a)", x="float[N,4]", k=np.ones((3, 4), np.float32))
    ctx = assert_pass(PASS, model, None, run=False)
    assert "enlarge" in ctx.skipped[0][1]


def test_removes_under_a_dynamic_batch() -> None:
    model = net("a = Mul(x, k)  y = Relu(a)", x="float[N,4]", k=np.ones((1, 4), np.float32))
    assert_pass(PASS, model, ["y = Relu(x)"])


@pytest.mark.parametrize(
    ("call", "constant"),
    [("Add(x, k)", MINUS), ("Sub(x, k)", ZERO), ("Mul(x, k)", ONE), ("Div(x, k)", ONE)],
)
def test_exact_ones_go_even_when_the_sign_of_zero_counts(call: str, constant: np.float32) -> None:
    assert_pass(KEEP, net(f"a = {call}  y = Relu(a)", k=constant), ["y = Relu(x)"])


@pytest.mark.parametrize(("call", "constant"), [("Add(x, k)", ZERO), ("Sub(x, k)", MINUS)])
def test_keep_zero_sign(call: str, constant: np.float32) -> None:
    model = net(f"a = {call}  y = Reciprocal(a)", k=constant)
    assert_pass(KEEP, model, None)
    assert_pass(PASS, model, ["y = Reciprocal(x)"])


@pytest.mark.parametrize("call", ["Add(x, zero)", "Sub(x, zero)", "Mul(x, one)", "Div(x, one)"])
def test_integers(call: str) -> None:
    model = net(f"a = {call}  y = Neg(a)", x="int64[3,N]", one=np.int64(1), zero=np.int64(0))
    assert_pass(KEEP, model, ["y = Neg(x)"])


def test_keeps_int64_powers_which_the_runtime_rounds() -> None:
    assert_pass(PASS, net("a = Pow(x, k)  y = Neg(a)", x="int64[3]", k=np.int64(1)), None)


@pytest.mark.parametrize(
    ("call", "k", "line"),
    [
        ("And(x, k)", True, "y = Not(x)"),
        ("Or(k, x)", False, "y = Not(x)"),
        ("Xor(x, k)", False, "y = Not(x)"),
        ("And(x, k)", False, None),
    ],
)
def test_booleans(call: str, k: bool, line: str | None) -> None:
    model = net(f"a = {call}  y = Not(a)", x="bool[3]", k=np.array(k))
    assert_pass(PASS, model, None if line is None else [line])


def test_float16() -> None:
    assert_pass(
        PASS, net("a = Mul(x, k)  y = Neg(a)", dtype="float16", k=np.float16(1)), ["y = Neg(x)"]
    )


def test_keeps_an_overridable_constant() -> None:
    assert_pass(PASS, net("y = Add(x, k)", k=np.zeros(8, np.float32), overridable=["k"]), None)


@pytest.mark.parametrize(
    ("casts", "kind", "line"),
    [
        ("a = Cast<to = 1>(x)", "float", "y = Abs(x)"),
        ("t = Cast<to = 11>(x)  a = Cast<to = 1>(t)", "float", "y = Abs(x)"),
        ("t = Cast<to = 1>(x)  a = Cast<to = 10>(t)", "float16", "y = Abs(x)"),
        ("t = Cast<to = 7>(x)  a = Cast<to = 6>(t)", "int32", "y = Abs(x)"),
        ("t = Cast<to = 11>(x)  a = Cast<to = 6>(t)", "int32", "y = Abs(x)"),
        ("a = CastLike(x, x)", "float", "y = Abs(x)"),
        ("t = Cast<to = 7>(x)  a = Cast<to = 1>(t)", "float", None),
        ("t = Cast<to = 10>(x)  a = Cast<to = 1>(t)", "float", None),
        ("t = Cast<to = 1>(x)  a = Cast<to = 6>(t)", "int32", None),
        ("t = Cast<to = 1>(x)  a = Cast<to = 7>(t)", "int64", None),
    ],
)
def test_casts(casts: str, kind: str, line: str | None) -> None:
    model = net(f"{casts}  y = Abs(a)", x=f"{kind}[N,3]", opset=19)
    assert_pass(PASS, model, None if line is None else [line])


def test_a_widening_cast_that_is_read_stays() -> None:
    model = net("t = Cast<to = 11>(x)  a = Cast<to = 1>(t)  y = Abs(a)  z = Abs(t)", x="float[3]")
    assert_pass(PASS, model, ["t = Cast(x) to=11", "y = Abs(x)", "z = Abs(t)"])


@pytest.mark.parametrize(
    ("call", "given"),
    [
        ("Transpose<perm = [0, 1, 2, 3]>(x)", {}),
        ("Reshape(x, k)", {"k": ints(2, 4, 8, 8)}),
        ("Reshape(x, k)", {"k": ints(0, 0, -1, 8)}),
        ("Flatten(f)", {"f": "float[3,5]"}),
        ("Expand(x, k)", {"k": ints(1, 1, 8, 8)}),
        ("Expand(x, k)", {"k": ints(1)}),
        ("Tile(x, k)", {"k": ints(1, 1, 1, 1)}),
        ("Pad(x, k)", {"k": ints(*[0] * 8)}),
        ("Slice(x, s, e)", {"s": ints(0, 0), "e": ints(2, 4)}),
        ("Slice(x, s, e, ax, st)", {"s": ints(0), "e": ints(HUGE), "ax": ints(3), "st": ints(1)}),
        ("Squeeze(x)", {}),
        ("Concat<axis = 1>(x)", {}),
        ("Sum(x)", {}),
        ("Max(x)", {}),
        ("Min(x)", {}),
        ("Mean(x)", {}),
        ("Resize(x, , k)", {"k": np.ones(4, np.float32)}),
        ('Resize<mode = "linear">(x, , , k)', {"k": ints(2, 4, 8, 8)}),
        ("ReduceSum<noop_with_empty_axes = 1>(x)", {}),
    ],
)
def test_removes_moves_that_change_nothing(call: str, given: dict[str, Any]) -> None:
    source = "f" if "f" in given else "x"
    assert_pass(PASS, net(f"a = {call}  y = Neg(a)", **given), [f"y = Neg({source})"])


@pytest.mark.parametrize(
    ("call", "kind", "given"),
    [
        ("Reshape(x, k)", "float[N,8,6]", {"k": ints(-1, 8, 6)}),
        ("Slice(x, s, e, ax)", "float[N,8]", {"s": ints(0), "e": ints(HUGE), "ax": ints(0)}),
        ("Transpose<perm = [1, 0, 2]>(x)", "float[1,1,N]", {}),
        ("Flatten(x)", "float[N,M]", {}),
    ],
)
def test_removes_moves_of_dynamic_shapes(call: str, kind: str, given: dict[str, Any]) -> None:
    assert_pass(PASS, net(f"a = {call}  y = Neg(a)", x=kind, **given), ["y = Neg(x)"])


def test_a_split_into_one_part() -> None:
    assert_pass(
        PASS, net("a = Split<axis = 1, num_outputs = 1>(x)  y = Neg(a)", opset=18), ["y = Neg(x)"]
    )


@pytest.mark.parametrize(
    ("call", "kind", "given"),
    [
        ("Transpose(x)", "float[3,3]", {}),
        ("Transpose<perm = [1, 0]>(x)", "float[N,1]", {}),
        ("Reshape(x, k)", "float[N,8,6]", {"k": ints(-1, 6, 8)}),
        ("Expand(x, k)", "float[N,3]", {"k": ints(1, 1, 1)}),
        ("Expand(x, k)", "float[1,3]", {"k": ints(2, 3)}),
        ("Tile(x, k)", "float[2,3]", {"k": ints(1, 2)}),
        ("Pad(x, k)", "float[2,3]", {"k": ints(0, 1, 0, -1)}),
        (
            "Slice(x, s, e, ax, st)",
            "float[4]",
            {"s": ints(-1), "e": ints(-HUGE), "ax": ints(0), "st": ints(-1)},
        ),
        ("Slice(x, s, e)", "float[N,3]", {"s": ints(0), "e": ints(1000)}),
        ("Slice(x, s, e)", "float[N,3]", {"s": ints(1), "e": ints(HUGE)}),
        ("Squeeze(x)", "float[1,3]", {}),
        ("ReduceSum<noop_with_empty_axes = 0>(x)", "float[1,1]", {}),
        ("Concat<axis = 0>(x, x)", "float[2,3]", {}),
    ],
)
def test_keeps_moves_that_change_something(call: str, kind: str, given: dict[str, Any]) -> None:
    model = net(f"a = {call}  y = Neg(a)", x=kind, **given)
    assert_pass(PASS, model, None, run=False)


def test_keeps_what_a_graph_output_needs() -> None:
    ctx = assert_pass(PASS, net("y = Mul(x, k)", k=ONE), None)
    assert "graph output" in ctx.skipped[0][1]


def test_removes_in_a_subgraph() -> None:
    body = """
    y = If (c) <
      then_branch = t () => (float[2,4,8,8] o1) { a = Mul(x, k)  o1 = Relu(a) },
      else_branch = e () => (float[2,4,8,8] o2) { o2 = Neg(x) }
    >
    """
    line = "y = If(c) else_branch={o2 = Neg(x)} then_branch={o1 = Relu(x)}"
    assert_pass(PASS, net(body, k=ONE), [line])


def test_other_domains_are_left_alone() -> None:
    model = net("a = my.dom.Mul(x, k)  y = Relu(a)", k=ONE, outputs={"y": "float[2,4,8,8]"})
    assert_pass(PASS, model, None, run=False)
