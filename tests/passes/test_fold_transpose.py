"""The Transpose of a matrix folds into the product that reads it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("fold-transpose")()
T = "Transpose<perm = [1, 0]>"
FLAT: dict[str, Any] = {"x": "float[5,N]", "w": (5, 4)}


@pytest.mark.parametrize(
    ("text", "line", "given"),
    [
        (f"t = {T}(x)  y = Gemm(t, w, b)", "y = Gemm(x, w, b) transA=1", {}),
        ("t = Transpose(x)  y = Gemm(t, w, b)", "y = Gemm(x, w, b) transA=1", {}),
        (f"t = {T}(x)  y = Gemm(t, w)", "y = Gemm(x, w) transA=1", {}),
        (
            f"t = {T}(x)  y = Gemm<transA = 1, alpha = 0.5, beta = 2.0>(t, w, b)",
            "y = Gemm(x, w, b) alpha=0.5 beta=2.0",
            {"x": "float[N,5]"},
        ),
        (
            f"t = {T}(v)  y = Gemm<transB = 1>(x, t, b)",
            "y = Gemm(x, v, b)",
            {"v": "float[5,4]", "x": "float[N,5]"},
        ),
        (
            f"t = {T}(v)  y = Gemm(x, t, b)",
            "y = Gemm(x, v, b) transB=1",
            {"v": "float[4,5]", "x": "float[N,5]"},
        ),
        (f"t = {T}(x)  y = MatMul(t, w)", "y = Gemm(x, w) transA=1", {}),
        (
            f"t = {T}(v)  y = MatMul(x, t)",
            "y = Gemm(x, v) transB=1",
            {"v": "float[4,K]", "x": "float[N,K]"},
        ),
        (
            f"t = {T}(x)  y = MatMul(t, t)",
            "y = Gemm(x, x) transA=1 transB=1",
            {"x": "float[5,5]"},
        ),
        (f"t = {T}(x)  y = MatMul(t, w)", "y = Gemm(x, w) transA=1", {"dtype": "double"}),
        (f"t = {T}(x)  y = MatMul(t, w)", "y = Gemm(x, w) transA=1", {"dtype": "float16"}),
        (f"t = {T}(x)  y = MatMul(t, w)", "y = Gemm(x, w, zero_s1) transA=1", {"opset": 9}),
        (f"t = {T}(x)  y = MatMul(t, w)", "y = Gemm(x, w) transA=1", {"opset": 11}),
    ],
)
def test_folds(text: str, line: str, given: dict[str, Any]) -> None:
    assert_pass(PASS, net(text, **{**FLAT, **given}), [line])


def test_folds_two_factors() -> None:
    text = f"t = {T}(x)  u = {T}(v)  y = Gemm(t, u, b)"
    model = net(text, v="float[4,5]", **FLAT)
    assert_pass(PASS, model, ["y = Gemm(x, v, b) transA=1 transB=1"])


def test_folds_into_several_products() -> None:
    text = f"t = {T}(x)  y = Gemm(t, w, b)  z = MatMul(t, v)"
    lines = ["y = Gemm(x, w, b) transA=1", "z = Gemm(x, v) transA=1"]
    assert_pass(PASS, net(text, v=(5, 3), **FLAT), lines)


def test_tied_weights_stay_one() -> None:
    text = f"h = Gather(w, i)  r = Relu(h)  t = {T}(w)  y = MatMul(r, t)"
    model = net(text, i=np.array([2, 0, 1]), w=(9, 5))
    lines = ["h = Gather(w, i)", "r = Relu(h)", "y = Gemm(r, w) transB=1"]
    assert_pass(PASS, model, lines)


@pytest.mark.parametrize(
    ("text", "reason", "given"),
    [
        (f"t = {T}(x)  y = Gemm(t, w, b)  z = Relu(t)", "another reader", {}),
        (f"t = {T}(x)  y = Gemm(v, w, t)", "adds", {"x": "float[4,3]", "v": "float[3,5]"}),
        (
            f"t = {T}(x)  y = MatMul(t, w)",
            "no Gemm for",
            {"x": "int32[5,N]", "w": np.ones((5, 4), np.int32)},
        ),
        (
            f"v = DequantizeLinear(q, s)  t = {T}(x)  y = MatMul(t, v)",
            "DequantizeLinear",
            {"q": np.ones((5, 4), np.int8), "s": np.float32(0.1)},
        ),
    ],
)
def test_skips(text: str, reason: str, given: dict[str, Any]) -> None:
    ctx = assert_pass(PASS, net(text, **{**FLAT, **given}), None)
    assert reason in ctx.skipped[0][1]


def test_skips_a_graph_output_and_another_scope() -> None:
    model = net(f"t = {T}(x)  y = Gemm(t, w, b)", outputs=["t", "y"], **FLAT)
    assert "another reader" in assert_pass(PASS, model, None).skipped[0][1]
    text = f"""t = {T}(x)
      y = If(c) <then_branch = t () => (float[N,4] a) {{a = MatMul(t, w)}},
                 else_branch = e () => (float[N,4] a) {{a = Gemm(t, w, b)}}>"""
    ctx = assert_pass(PASS, net(text, outputs={"y": "float[N,4]"}, **FLAT), None)
    assert "another scope" in ctx.skipped[0][1]


@pytest.mark.parametrize(
    ("text", "given"),
    [
        (f"t = {T}(w)  y = MatMul(x, t)", {"x": "float[2,3,4]"}),
        ("t = Transpose<perm = [0, 1]>(x)  y = MatMul(t, w)", {"x": "float[N,5]"}),
        ("t = Transpose<perm = [0, 2, 1]>(x)  y = MatMul(t, w)", {"x": "float[2,5,3]"}),
        ("t = Transpose(x)  y = MatMul(t, w)", {"x": "float[5,3,2]"}),
        (f"t = {T}(x)  y = Relu(t)", {}),
    ],
)
def test_other_patterns_are_none_of_it(text: str, given: dict[str, Any]) -> None:
    assert not assert_pass(PASS, net(text, **{**FLAT, **given}), None).skipped
