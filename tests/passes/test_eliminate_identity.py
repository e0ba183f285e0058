"""Identity nodes go, unless a graph output needs them."""

from __future__ import annotations

import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("eliminate-identity")()


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        ("a = Identity(x)  y = Relu(a)", ["y = Relu(x)"]),
        ("a = Identity(x)  b = Identity(a)  y = Relu(b)", ["y = Relu(x)"]),
        ("a = Relu(x)  y = Identity(a)", ["y = Relu(x)"]),
        ("k = Identity(w)  y = Conv(x, k)", ["y = Conv(x, w)"]),
        ("a = Identity(x)  y = Add(a, a)", ["y = Add(x, x)"]),
        ("a = Relu(x)  y = Identity(a)  z = Neg(a)", ["y = Relu(x)", "z = Neg(y)"]),
    ],
)
def test_removes(body: str, lines: list[str]) -> None:
    assert_pass(PASS, net(body), lines)


@pytest.mark.parametrize("dtype", ["float16", "double"])
def test_removes_whatever_the_type(dtype: str) -> None:
    assert_pass(PASS, net("a = Identity(x)  y = Neg(a)", dtype=dtype), ["y = Neg(x)"])


def test_removes_under_a_dynamic_batch() -> None:
    model = net("a = Identity(x)  y = Relu(a)", x="float[N,3]")
    assert_pass(PASS, model, ["y = Relu(x)"])


def test_removes_behind_an_overridable_initializer() -> None:
    model = net("a = Identity(k)  y = Add(x, a)", overridable=["k"], x="float[4]", k=(4,))
    assert_pass(PASS, model, ["y = Add(x, k)"])


@pytest.mark.parametrize(
    "model",
    [
        net("y = Identity(x)"),
        net("y = Identity(k)", k=(3,)),
        net("a = Relu(x)  y = Identity(a)", outputs=["a", "y"]),
    ],
    ids=["input", "initializer", "two-outputs"],
)
def test_keeps_what_a_graph_output_needs(model: object) -> None:
    ctx = assert_pass(PASS, model, None)  # type: ignore[arg-type]
    assert "graph output" in ctx.skipped[0][1]


def test_removes_inside_a_subgraph_and_keeps_its_outputs() -> None:
    body = """
    y = If (c) <
      then_branch = t () => (float[2,4,8,8] o1) { a = Identity(x)  o1 = Relu(a) },
      else_branch = e () => (float[2,4,8,8] o2) { o2 = Identity(x) }
    >
    """
    ctx = assert_pass(
        PASS,
        net(body),
        ["y = If(c) else_branch={o2 = Identity(x)} then_branch={o1 = Relu(x)}"],
    )
    assert len(ctx.skipped) == 1


def test_other_domains_are_left_alone() -> None:
    model = net("a = my.dom.Identity(x)  y = Relu(a)", outputs={"y": "float[2,4,8,8]"})
    assert_pass(PASS, model, None, run=False)
