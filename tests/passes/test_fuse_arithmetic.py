"""Chains of additions and multiplications with constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnxslim.graph.load import from_proto
from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("fuse-arithmetic")()
F = np.float32


def constant(model: onnx.ModelProto) -> Any:
    """The constant of the single node left."""
    loaded = from_proto(model)
    PASS(loaded)
    (node,) = list(loaded.graph)
    (value,) = [v for v in node.inputs if v is not None and v.const_value is not None]
    assert value.const_value is not None
    return value.const_value.numpy()


@pytest.mark.parametrize(
    ("body", "line", "result"),
    [
        ("a = Add(x, p)  y = Add(a, q)", "y = Add(x, {})", 7),
        ("a = Add(p, x)  y = Add(q, a)", "y = Add(x, {})", 7),
        ("a = Sub(x, p)  y = Sub(a, q)", "y = Add(x, {})", -7),
        ("a = Add(x, p)  y = Sub(a, q)", "y = Add(x, {})", -3),
        ("a = Sub(x, p)  y = Add(a, q)", "y = Add(x, {})", 3),
        ("a = Sub(p, x)  y = Add(a, q)", "y = Sub({}, x)", 7),
        ("a = Sub(p, x)  y = Sub(a, q)", "y = Sub({}, x)", -3),
        ("a = Add(x, p)  y = Sub(q, a)", "y = Sub({}, x)", 3),
        ("a = Sub(x, p)  y = Sub(q, a)", "y = Sub({}, x)", 7),
        ("a = Sub(p, x)  y = Sub(q, a)", "y = Add(x, {})", 3),
        ("a = Neg(x)  y = Add(a, q)", "y = Sub({}, x)", 5),
        ("a = Neg(x)  y = Sub(q, a)", "y = Add(x, {})", 5),
        ("a = Add(x, p)  y = Neg(a)", "y = Sub({}, x)", -2),
        ("a = Sub(p, x)  y = Neg(a)", "y = Add(x, {})", -2),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int32, np.int64])
def test_sums(body: str, line: str, result: float, dtype: type) -> None:
    kind = {"float32": "float", "float64": "double"}.get(np.dtype(dtype).name, np.dtype(dtype).name)
    given = {n: dtype(v) for n, v in (("p", 2), ("q", 5)) if n + ")" in body or f"({n}," in body}
    model = net(body, x=f"{kind}[N,3]", **given)
    name = "p_s1" if "p" in given else "q_s1"
    assert_pass(PASS, model, [line.format(name)])
    assert constant(model) == result and constant(model).dtype == dtype


@pytest.mark.parametrize(
    ("body", "line", "result"),
    [
        ("a = Mul(x, p)  y = Mul(a, q)", "y = Mul(x, {})", 10),
        ("a = Mul(p, x)  y = Mul(q, a)", "y = Mul(x, {})", 10),
        ("a = Mul(x, p)  y = Div(a, q)", "y = Mul(x, {})", 0.4),
        ("a = Div(x, p)  y = Mul(a, q)", "y = Mul(x, {})", 2.5),
        ("a = Div(x, p)  y = Div(a, q)", "y = Div(x, {})", 10),
        ("a = Div(p, x)  y = Mul(a, q)", "y = Div({}, x)", 10),
        ("a = Div(p, x)  y = Div(a, q)", "y = Div({}, x)", 0.4),
        ("a = Mul(x, p)  y = Div(q, a)", "y = Div({}, x)", 2.5),
        ("a = Div(x, p)  y = Div(q, a)", "y = Div({}, x)", 10),
        ("a = Neg(x)  y = Mul(a, q)", "y = Mul(x, {})", -5),
        ("a = Neg(x)  y = Div(q, a)", "y = Div({}, x)", -5),
        ("a = Mul(x, p)  y = Neg(a)", "y = Mul(x, {})", -2),
        ("a = Div(p, x)  y = Neg(a)", "y = Div({}, x)", -2),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_products(body: str, line: str, result: float, dtype: type) -> None:
    kind = {"float32": "float", "float64": "double"}.get(np.dtype(dtype).name, np.dtype(dtype).name)
    given = {n: dtype(v) for n, v in (("p", 2), ("q", 5)) if n + ")" in body or f"({n}," in body}
    model = net(body, x=f"{kind}[N,3]", **given)
    name = "p_s1" if "p" in given else "q_s1"
    assert_pass(PASS, model, [line.format(name)])
    assert constant(model) == dtype(result) and constant(model).dtype == dtype


def test_a_longer_chain() -> None:
    body = "a = Add(x, p)  b = Add(a, q)  d = Mul(b, r)  y = Mul(d, s)"
    model = net(body, p=(4, 1, 1), q=(4, 1, 1), r=F(2), s=F(0.25))
    assert_pass(PASS, model, ["b = Add(x, p_s1)", "y = Mul(b, r_s1)"])
    body = "a = Mul(x, p)  b = Mul(a, q)  d = Neg(b)  y = Div(d, r)"
    assert_pass(PASS, net(body, p=F(2), q=F(3), r=F(4)), ["y = Mul(x, p_s1)"])


def test_a_long_chain_is_one_rewrite_with_one_new_constant() -> None:
    body = "v0 = Add(x, p)" + "".join(
        f"  v{i} = {'Neg' if i % 3 == 1 else 'Sub'}(v{i - 1}{'' if i % 3 == 1 else ', q'})"
        for i in range(1, 41)
    )
    model = from_proto(net(f"{body}  y = Identity(v40)", p=F(100), q=F(0.25)))
    assert PASS(model).modified
    assert [n.op_type for n in model.graph] == ["Add", "Identity"]
    assert list(model.graph.initializers) == ["p", "q", "p_s1"]
    assert_pass(PASS, net(f"{body}  y = Identity(v40)", p=F(100), q=F(0.25)), [
        "v40 = Add(x, p_s1)", "y = Identity(v40)"
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        ("b = Add(a, q)  d = Add(b, q)  y = Add(d, q)  z = Exp(b)",
         ["b = Add(x, p_s1)", "y = Add(b, q_s1)", "z = Exp(b)"]),
        ("b = Add(a, q)  d = Sub(b, r)  y = Exp(d)",
         ["b = Add(x, p_s1)", "d = Sub(b, r)", "y = Exp(d)"]),
        ("b = Add(a, q)  d = Mul(b, q)  y = Mul(d, q)",
         ["b = Add(x, p_s1)", "y = Mul(b, q_s1)"]),
        ("b = Add(a, q)  d = Add(b, b)  y = Add(d, q)",
         ["b = Add(x, p_s1)", "d = Add(b, b)", "y = Add(d, q)"]),
        ("b = Add(a, q)  d = Neg(b)  y = Div(d, q)",
         ["d = Sub(p_s1, x)", "y = Div(d, q)"]),
    ],
)  # fmt: skip
def test_a_chain_ends_where_it_must(body: str, lines: list[str]) -> None:
    assert_pass(PASS, net(f"a = Add(x, p)  {body}", p=F(5), q=F(2), r=F(6.9)), lines)


def test_a_chain_does_not_enter_a_subgraph() -> None:
    body = (
        "a = Add(x, p)  b = Add(a, q)  y = If(c) <then_branch = t () => (float[2,4,8,8] r) "
        "{ r = Add(b, q) }, else_branch = e () => (float[2,4,8,8] s) { s = Exp(x) }>"
    )
    lines = ["b = Add(x, p_s1)", "y = If(c) else_branch={s = Exp(x)} then_branch={r = Add(b, q)}"]
    assert_pass(PASS, net(body, p=F(2), q=F(3)), lines)


@pytest.mark.parametrize(
    ("p", "q", "shape"),
    [
        ((4, 1, 1), (), (4, 1, 1)),
        ((8,), (1, 1, 8), (1, 1, 8)),
        ((1,), (8,), (8,)),
        ((2, 1, 1, 1), (1,), (2, 1, 1, 1)),
    ],
)
def test_shapes(p: tuple[int, ...], q: tuple[int, ...], shape: tuple[int, ...]) -> None:
    model = net("a = Add(x, p)  y = Add(a, q)", p=p, q=q)
    assert_pass(PASS, model, ["y = Add(x, p_s1)"])
    assert constant(model).shape == shape


def test_a_constant_that_enlarges() -> None:
    model = net("a = Mul(x, p)  y = Mul(a, q)", x="float[N]", p=np.ones((1, 1), F), q=(3, 1))
    assert_pass(PASS, model, ["y = Mul(x, p_s1)"])
    model = net("a = Mul(x, p)  y = Mul(a, q)", p=(4, 1, 1), q=(8,))
    assert "larger" in assert_pass(PASS, model, None).skipped[0][1]
    body = "a = Mul(x, p)  y = Mul(a, q)  z = Exp(p)"
    model = net(body, x="float[2,1024]", p=np.full((2, 1024), 2, F), q=F(3))
    assert "larger" in assert_pass(PASS, model, None).skipped[0][1]


def test_integers_wrap_and_are_not_divided() -> None:
    body = "a = Mul(x, p)  y = Mul(a, q)"
    model = net(body, x="int32[5]", p=np.int32(1 << 20), q=np.int32(1 << 14))
    assert constant(model) == 0
    body = "a = Add(x, p)  y = Add(a, q)"
    model = net(body, x="int32[5]", p=np.int32(2**31 - 1), q=np.int32(5))
    assert_pass(PASS, model, ["y = Add(x, p_s1)"])
    for body in ("a = Mul(x, p)  y = Div(a, q)", "a = Div(x, p)  y = Div(a, q)"):
        assert_pass(PASS, net(body, x="int32[5]", p=np.int32(2), q=np.int32(3)), None)


@pytest.mark.parametrize(
    ("body", "p", "q", "reason"),
    [
        ("a = Add(x, p)  y = Sub(a, q)", F(12582912), F(12582912), "cancel"),
        ("a = Add(x, p)  y = Sub(a, q)", F(12582912), F(12582911), "cancel"),
        ("a = Add(x, p)  y = Add(a, q)", F(3e38), F(3e38), "overflow"),
        ("a = Add(x, p)  y = Add(a, q)", F(np.inf), F(1), "overflow"),
        ("a = Mul(x, p)  y = Mul(a, q)", F(1e30), F(1e-30), "factor"),
        ("a = Mul(x, p)  y = Mul(a, q)", F(1e10), F(1e10), "product"),
        ("a = Mul(x, p)  y = Mul(a, q)", F(0), F(2), "factor"),
        ("a = Mul(x, p)  y = Div(a, q)", F(2), F(0), "factor"),
        ("a = Mul(x, p)  y = Mul(a, q)", F(np.nan), F(2), "factor"),
    ],
)
def test_numbers_that_do_not_commute(body: str, p: Any, q: Any, reason: str) -> None:
    assert reason in assert_pass(PASS, net(body, p=p, q=q), None).skipped[0][1]


def test_float16_overflow() -> None:
    half = np.float16
    body = "a = Mul(x, p)  y = Mul(a, q)"
    assert_pass(PASS, net(body, dtype="float16", p=half(1000), q=half(0.001)), None)
    body = "a = Add(x, p)  y = Add(a, q)"
    model = net(body, dtype="float16", p=half(60000), q=half(60000))
    assert "overflow" in assert_pass(PASS, model, None).skipped[0][1]


@pytest.mark.parametrize(
    "body",
    [
        "a = Add(x, p)  y = Mul(a, q)",
        "a = Div(p, x)  y = Div(q, a)",
        "a = Add(x, x)  y = Add(a, q)",
        "a = Exp(x)  y = Add(a, q)",
        "a = Neg(x)  y = Neg(a)",
        "a = local.Add(x, p)  y = Add(a, q)",
    ],
)
def test_others_stay(body: str) -> None:
    model = net(body, outputs={"y": "float[2,4,8,8]"}, p=F(2), q=F(3))
    assert_pass(PASS, model, None, run="local" not in body)


def test_readers_and_overridable_constants() -> None:
    body = "a = Add(x, p)  y = Add(a, q)  z = Neg(a)"
    model = net("a = Add(x, p)  y = Add(a, q)  z = Exp(a)", p=F(1), q=F(2))
    assert "reads" in assert_pass(PASS, model, None).skipped[0][1]
    model = net("a = Add(x, p)  y = Add(a, q)", outputs=["a", "y"], p=F(1), q=F(2))
    assert_pass(PASS, model, None)
    body = "a = Add(x, p)  y = Add(a, q)"
    assert_pass(PASS, net(body, p=F(1), q=F(2), overridable=["q"]), None)
    assert_pass(PASS, net(body, p=F(1), q="float"), None)


def test_across_a_subgraph_border() -> None:
    body = (
        "a = Add(x, p)  y = If(c) <then_branch = t () => (float[2,4,8,8] r) { r = Add(a, q) },"
        " else_branch = e () => (float[2,4,8,8] s) { f = Mul(x, p)  s = Mul(f, q) }>"
    )
    lines = [
        "a = Add(x, p)",
        "y = If(c) else_branch={s = Mul(x, p_s1)} then_branch={r = Add(a, q)}",
    ]
    assert_pass(PASS, net(body, outputs={"y": "float[2,4,8,8]"}, p=F(2), q=F(3)), lines)
