"""Operators that undo or repeat the one before them."""

from __future__ import annotations

import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("eliminate-involution")()


@pytest.mark.parametrize(
    ("body", "given", "lines"),
    [
        ("a = Neg(x)  b = Neg(a)  y = Exp(b)", {}, ["y = Exp(x)"]),
        ("a = Neg(x)  b = Neg(a)  y = Neg(b)", {}, ["y = Neg(x)"]),
        ("a = Neg(x)  b = Neg(a)  d = Abs(b)  y = Abs(d)", {}, ["y = Abs(x)"]),
        ("a = Not(x)  b = Not(a)  y = Cast<to = 1>(b)", {"x": "bool[N]"}, ["y = Cast(x) to=1"]),
        ("a = Neg(x)  b = Neg(a)  y = Exp(b)", {"x": "float16[N]"}, ["y = Exp(x)"]),
        ("a = Neg(x)  b = Neg(a)  y = Sign(b)", {"x": "int32[N]"}, ["y = Sign(x)"]),
        ("a = Abs(x)  y = Abs(a)", {}, ["y = Abs(x)"]),
        ("a = Neg(x)  y = Abs(a)", {}, ["y = Abs(x)"]),
        ("a = Ceil(x)  y = Ceil(a)", {}, ["y = Ceil(x)"]),
        ("a = Ceil(x)  y = Floor(a)", {}, ["y = Ceil(x)"]),
        ("a = Floor(x)  y = Round(a)", {}, ["y = Floor(x)"]),
        ("a = Round(x)  y = Ceil(a)", {}, ["y = Round(x)"]),
        ("a = Sign(x)  y = Sign(a)", {}, ["y = Sign(x)"]),
        ("a = Sign(x)  y = Floor(a)", {}, ["y = Sign(x)"]),
    ],
)  # fmt: skip
def test_one_is_left(body: str, given: dict[str, str], lines: list[str]) -> None:
    assert_pass(PASS, net(body, **given), lines)


@pytest.mark.parametrize(
    "body",
    [
        "a = Reciprocal(x)  y = Reciprocal(a)",
        "a = Ceil(x)  y = Sign(a)",
        "a = Sign(x)  y = Neg(a)",
        "a = Softmax(x)  y = Softmax(a)",
        "a = Abs(x)  y = Neg(a)",
        "a = Neg(x)  y = Abs(a)  z = Exp(a)",
    ],
)
def test_others_stay(body: str) -> None:
    assert_pass(PASS, net(body), None)


def test_bitwise() -> None:
    body = "a = BitwiseNot(x)  b = BitwiseNot(a)  y = Sign(b)"
    assert_pass(PASS, net(body, opset=18, x="int32[N]"), ["y = Sign(x)"])


def test_another_domain() -> None:
    body = "a = local.Neg(x)  y = Neg(a)"
    assert_pass(PASS, net(body, outputs={"y": "float[2,4,8,8]"}), None, run=False)


def test_a_second_reader_and_graph_outputs() -> None:
    model = net("a = Neg(x)  b = Neg(a)  y = Exp(b)  z = Exp(a)")
    assert_pass(PASS, model, ["a = Neg(x)", "y = Exp(x)", "z = Exp(a)"])
    model = net("h = Exp(x)  a = Neg(h)  y = Neg(a)")
    assert_pass(PASS, model, ["y = Exp(x)"])
    ctx = assert_pass(PASS, net("a = Neg(x)  y = Neg(a)"), None)
    assert "graph output" in ctx.skipped[0][1]
    ctx = assert_pass(PASS, net("a = Abs(x)  y = Abs(a)", outputs=["a", "y"]), None)
    assert "graph output" in ctx.skipped[0][1]


def test_a_subgraph() -> None:
    body = (
        "a = Neg(x)  y = If(c) <then_branch = t () => (float[2,4,8,8] r)"
        " { s = Neg(a)  r = Exp(s) },"
        " else_branch = e () => (float[2,4,8,8] q) { q = Abs(a) }>"
    )
    model = net(body, outputs={"y": "float[2,4,8,8]"})
    lines = ["a = Neg(x)", "y = If(c) else_branch={q = Abs(a)} then_branch={r = Exp(x)}"]
    assert_pass(PASS, model, lines)
