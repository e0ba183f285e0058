"""A product of matrices and the sum after it become one Gemm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("fuse-gemm")()
FLAT: dict[str, Any] = {"x": "float[N,5]", "w": (5, 4)}


@pytest.mark.parametrize(
    ("text", "line", "given"),
    [
        ("h = MatMul(x, w)  y = Add(h, b)", "y = Gemm(x, w, b)", {}),
        ("h = MatMul(x, w)  y = Add(b, h)", "y = Gemm(x, w, b)", {}),
        ("h = MatMul(x, w)  y = Add(h, b)", "y = Gemm(x, w, b)", {"b": (1, 4)}),
        ("h = MatMul(x, w)  y = Add(h, b)", "y = Gemm(x, w, b)", {"b": ()}),
        ("h = MatMul(x, w)  y = Add(h, b)", "y = Gemm(x, w, b)", {"b": (1,)}),
        ("h = MatMul(x, w)  y = Add(h, b)", "y = Gemm(x, w, b)", {"b": (3, 1), "x": "float[3,5]"}),
        ("h = MatMul(x, w)  y = Add(h, b)", "y = Gemm(x, w, b)", {"b": (3, 4), "x": "float[3,5]"}),
        ("h = MatMul(x, w)  y = Add(h, b)", "y = Gemm(x, w, b)", {"b": "float[N,4]"}),
        ("h = MatMul(x, w)  y = Add(h, b)", "y = Gemm(x, w, b)", {"b": "float[N,1]"}),
        ("h = MatMul(x, w)  y = Add(h, b)", "y = Gemm(x, w, b)", {"b": "float[4]"}),
        ("h = MatMul(x, w)  y = Add(h, b)", "y = Gemm(x, w, b)", {"w": "float[5,4]"}),
        (
            "h = MatMul(x, w)  y = Add(h, b)",
            "y = Gemm(x, w, b)",
            {"x": "float[N,K]", "w": "float[K,4]"},
        ),
        ("h = MatMul(x, w)  y = Add(h, b)", "y = Gemm(x, w, b)", {"w": (5, 1), "b": (1,)}),
        ("h = MatMul(w, x)  y = Add(h, b)", "y = Gemm(w, x, b)", {"b": (5, 1), "x": "float[4,N]"}),
        ("h = Gemm(x, w)  y = Add(h, b)", "y = Gemm(x, w, b)", {}),
        (
            "h = Gemm<alpha = 0.5, beta = 3.0, transA = 1, transB = 1>(x, w)  y = Add(b, h)",
            "y = Gemm(x, w, b) alpha=0.5 transA=1 transB=1",
            {"x": "float[5,N]", "w": (4, 5)},
        ),
        ("h = Gemm<beta = 3.0>(x, w, )  y = Add(h, b)", "y = Gemm(x, w, b)", {}),
        ("h = MatMul(x, w)  y = Add(h, b)", "y = Gemm(x, w, b)", {"dtype": "double"}),
        ("h = MatMul(x, w)  y = Add(h, b)", "y = Gemm(x, w, b)", {"dtype": "float16"}),
        ("h = MatMul(x, w)  y = Add(h, b)", "y = Gemm(x, w, b)", {"opset": 7}),
        ("h = MatMul(x, w)  y = Add(h, b)", "y = Gemm(x, w, b)", {"opset": 22}),
    ],
)
def test_fuses(text: str, line: str, given: dict[str, Any]) -> None:
    assert_pass(PASS, net(text, **{**FLAT, **given}), [line])


def test_fuses_one_of_two_products() -> None:
    text = "h = MatMul(x, w)  g = MatMul(x, v)  y = Add(h, g)"
    lines = ["g = MatMul(x, v)", "y = Gemm(x, w, g)"]
    assert_pass(PASS, net(text, v=(5, 4), **FLAT), lines)


def test_fuses_a_sum_computed_after_the_product() -> None:
    text = "h = MatMul(x, w)  r = Relu(x)  g = MatMul(r, v)  s = Neg(g)  y = Add(s, h)"
    lines = ["r = Relu(x)", "g = MatMul(r, v)", "s = Neg(g)", "y = Gemm(x, w, s)"]
    assert_pass(PASS, net(text, v=(5, 4), **FLAT), lines)


def test_fuses_inside_a_branch() -> None:
    text = """y = If(c) <then_branch = t () => (float[N,4] a) {h = MatMul(x, w) a = Add(h, b)},
                         else_branch = e () => (float[N,4] a) {a = MatMul(x, w)}>"""
    line = "y = If(c) else_branch={a = MatMul(x, w)} then_branch={a = Gemm(x, w, b)}"
    assert_pass(PASS, net(text, outputs={"y": "float[N,4]"}, **FLAT), [line])


@pytest.mark.parametrize(
    ("text", "reason", "given"),
    [
        ("h = MatMul(x, w)  y = Add(h, b)  z = Relu(h)", "another reader", {}),
        ("h = MatMul(x, w)  y = Add(h, h)", "another reader", {}),
        ("h = MatMul(x, w)  y = Add(h, b)", "enlarge", {"b": (3, 4), "x": "float[1,5]"}),
        ("h = MatMul(x, w)  y = Add(h, b)", "enlarge", {"b": (3, 4)}),
        ("h = MatMul(x, w)  y = Add(h, b)", "enlarge", {"b": (1, 1, 4)}),
        ("h = MatMul(x, w)  y = Add(h, b)", "enlarge", {"b": (4,), "w": (5, 1)}),
        ("h = MatMul(x, w)  y = Add(h, b)", "enlarge", {"b": "float[M,4]"}),
        ("h = MatMul(x, w)  y = Add(h, b)", "enlarge", {"b": "float[K]"}),
        (
            "h = MatMul(x, w)  y = Add(h, b)",
            "no Gemm for",
            {"x": "int32[N,5]", "w": np.ones((5, 4), np.int32), "b": np.ones(4, np.int32)},
        ),
        (
            "v = DequantizeLinear(q, s)  h = MatMul(x, v)  y = Add(h, b)",
            "DequantizeLinear",
            {"q": np.ones((5, 4), np.int8), "s": np.float32(0.1)},
        ),
    ],
)
def test_skips(text: str, reason: str, given: dict[str, Any]) -> None:
    ctx = assert_pass(PASS, net(text, **{**FLAT, **given}), None)
    assert reason in ctx.skipped[0][1]


def test_skips_a_product_in_another_scope_or_that_is_an_output() -> None:
    text = """h = MatMul(x, w)
      y = If(c) <then_branch = t () => (float[N,4] a) {a = Add(h, b)},
                 else_branch = e () => (float[N,4] a) {a = Add(b, b)}>"""
    ctx = assert_pass(PASS, net(text, outputs={"y": "float[N,4]"}, b=(1, 4), **FLAT), None)
    assert "another scope" in ctx.skipped[0][1]
    model = net("h = MatMul(x, w)  y = Add(h, b)", outputs=["h", "y"], **FLAT)
    assert "another reader" in assert_pass(PASS, model, None).skipped[0][1]


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("h = MatMul(x, w)  y = Add(h, b)", {"x": "float[2,3,5]"}),
        ("h = MatMul(x, w)  y = Add(h, b)", {"x": "float[5]"}),
        ("h = MatMul(x, w)  y = Add(h, b)", {"x": "float[2,3,5]", "w": (2, 5, 4)}),
        ("h = Gemm(x, w, b)  y = Add(h, b)", {}),
        ("h = MatMul(x, w)  y = Sub(h, b)", {}),
    ],
)
def test_other_patterns_are_none_of_it(text: str, given: dict[str, Any]) -> None:
    assert not assert_pass(PASS, net(text, **{**FLAT, **given}), None).skipped


def test_a_product_of_another_domain_stays() -> None:
    model = net("h = my.own.MatMul(x, w)  y = Add(h, b)", outputs={"y": "float[N,4]"}, **FLAT)
    assert not assert_pass(PASS, model, None, run=False).skipped
