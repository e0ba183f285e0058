"""Constant weights of two products in a row are multiplied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.passes import fold_matmul
from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("fold-matmul")()
FLAT: dict[str, Any] = {"x": "float[N,5]", "w": (5, 6), "v": (6, 3), "a": (6,), "b": (3,)}


@pytest.mark.parametrize(
    ("text", "line", "given"),
    [
        ("h = MatMul(x, w)  y = MatMul(h, v)", "y = MatMul(x, w_s1)", {}),
        ("h = MatMul(x, w)  y = MatMul(h, v)", "y = MatMul(x, w_s1)", {"x": "float[B,S,5]"}),
        ("h = MatMul(x, w)  y = MatMul(h, v)", "y = MatMul(x, w_s1)", {"x": "float[5]"}),
        (
            "h = MatMul(w, x)  y = MatMul(v, h)",
            "y = MatMul(w_s1, x)",
            {"v": (3, 5), "x": "float[B,6,S]"},
        ),
        ("h = Gemm(x, w, a)  y = Gemm(h, v, b)", "y = Gemm(x, w_s1, w_bias_s1)", {}),
        ("h = Gemm(x, w, a)  y = MatMul(h, v)", "y = Gemm(x, w_s1, w_bias_s1)", {}),
        ("h = MatMul(x, w)  y = Gemm(h, v, b)", "y = Gemm(x, w_s1, w_bias_s1)", {}),
        ("h = MatMul(x, w)  y = Gemm(h, v)", "y = MatMul(x, w_s1)", {}),
        ("h = Gemm(x, w)  y = Gemm(h, v, b)", "y = Gemm(x, w_s1, w_bias_s1)", {"b": ()}),
        (
            "h = Gemm<alpha = 0.5, beta = 2.0, transA = 1, transB = 1>(x, w, a)"
            "  y = Gemm<alpha = 3.0, beta = 0.5, transB = 1>(h, v, b)",
            "y = Gemm(x, w_s1, w_bias_s1) transA=1",
            {"x": "float[5,N]", "w": (6, 5), "v": (3, 6)},
        ),
        (
            "h = Gemm<transA = 1>(x, w)  y = MatMul(h, v)",
            "y = Gemm(x, w_s1) transA=1",
            {"x": "float[5,N]"},
        ),
        (
            "h = Gemm(x, w, a)  y = Gemm(h, v, b)",
            "y = Gemm(x, w_s1, w_bias_s1)",
            {"a": (4, 6), "x": "float[4,5]"},
        ),
        ("h = MatMul(x, w)  y = MatMul(h, v)", "y = MatMul(x, w_s1)", {"dtype": "float16"}),
        ("h = MatMul(x, w)  y = MatMul(h, v)", "y = MatMul(x, w_s1)", {"dtype": "double"}),
    ],
)
def test_folds(text: str, line: str, given: dict[str, Any]) -> None:
    assert_pass(PASS, net(text, **{**FLAT, **given}), [line])


def test_folds_a_whole_chain() -> None:
    text = "h = MatMul(x, w)  g = MatMul(h, v)  y = MatMul(g, u)"
    model = net(text, u=(3, 2), **FLAT)
    assert_pass(PASS, model, ["y = MatMul(x, w_s2)"])


def test_folds_inside_a_branch() -> None:
    text = """y = If(c) <then_branch = t () => (float[N,3] o) {h = MatMul(x, w) o = MatMul(h, v)},
                         else_branch = e () => (float[N,3] o) {o = MatMul(x, u)}>"""
    model = net(text, outputs={"y": "float[N,3]"}, u=(5, 3), **FLAT)
    line = "y = If(c) else_branch={o = MatMul(x, u)} then_branch={o = MatMul(x, w_s1)}"
    assert_pass(PASS, model, [line])


@pytest.mark.parametrize(
    ("text", "reason", "given"),
    [
        ("h = MatMul(x, w)  y = MatMul(h, v)  z = Relu(h)", "another reader", {}),
        ("h = MatMul(x, w)  y = MatMul(h, w)", "larger", {"w": (5, 5)}),
        ("h = MatMul(x, w)  y = MatMul(h, v)", "larger", {"w": (5, 1), "v": (1, 9)}),
        (
            "h = MatMul(x, w)  y = MatMul(h, v)  z = Relu(w)",
            "larger",
            {"x": "float[N,6]", "w": (6, 5), "v": (5, 4)},
        ),
        (
            "h = MatMul(x, w)  y = MatMul(h, v)",
            "not floating",
            {
                "x": "int32[N,5]",
                "w": np.ones((5, 6), np.int32),
                "v": np.ones((6, 3), np.int32),
            },
        ),
        (
            "h = MatMul(x, w)  y = MatMul(h, v)",
            "does not fit",
            {
                "w": np.full((5, 6), 3e4, np.float32),
                "v": np.full((6, 3), 3e4, np.float32),
                "dtype": "float16",
            },
        ),
        (
            "h = MatMul(x, w)  y = Gemm<transA = 1>(h, v)",
            "transposed",
            {"x": "float[6,5]"},
        ),
        (
            "h = Gemm(x, w, a)  y = Gemm(h, v, b)",
            "bias is not constant",
            {"a": "float[6]"},
        ),
        (
            "h = Gemm(x, w, a)  y = Gemm(h, v, b)",
            "bias of the product",
            {"x": "float[50,2]", "w": (2, 2), "v": (2, 9), "a": (50, 2), "b": (9,)},
        ),
    ],
)
def test_skips(text: str, reason: str, given: dict[str, Any]) -> None:
    ctx = assert_pass(PASS, net(text, **{**FLAT, **given}), None)
    assert reason in ctx.skipped[0][1]


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("h = MatMul(x, w)  y = MatMul(h, v)", {"v": "float[6,3]"}),
        ("h = MatMul(x, w)  y = MatMul(v, h)", {"v": (3, 4), "x": "float[4,5]"}),
        ("h = MatMul(w, x)  y = MatMul(h, v)", {"x": "float[6,6]"}),
        ("h = MatMul(x, w)  r = Relu(h)  y = MatMul(r, v)", {}),
        ("h = MatMul(x, w)  y = MatMul(h, v)", {"x": "float[2,3,5]", "v": (2, 6, 3)}),
    ],
)
def test_other_patterns_are_none_of_it(text: str, given: dict[str, Any]) -> None:
    assert not assert_pass(PASS, net(text, **{**FLAT, **given}), None).skipped


def test_skips_a_graph_output_and_an_overridable_weight() -> None:
    text = "h = MatMul(x, w)  y = MatMul(h, v)"
    ctx = assert_pass(PASS, net(text, outputs=["h", "y"], **FLAT), None)
    assert "another reader" in ctx.skipped[0][1]
    assert not assert_pass(PASS, net(text, overridable=["w"], **FLAT), None).skipped


@pytest.mark.parametrize(("work", "folds"), [(90, True), (89, False)])
def test_work_has_a_limit(monkeypatch: pytest.MonkeyPatch, work: int, folds: bool) -> None:
    """5 x 6 times 6 x 3."""
    monkeypatch.setattr(fold_matmul, "MAX_WORK", work)
    model = net("h = MatMul(x, w)  y = MatMul(h, v)", **FLAT)
    ctx = assert_pass(PASS, model, ["y = MatMul(x, w_s1)"] if folds else None)
    assert folds or ctx.skipped[0][1] == "the product of the weights takes too long"


@pytest.mark.parametrize(("size", "folds"), [(10, True), (11, False)])
def test_the_product_may_be_as_large_as_the_weights(size: int, folds: bool) -> None:
    """100 numbers instead of 100, 121 instead of 110."""
    given = {"x": f"float[N,{size}]", "w": (size, 5), "v": (5, size)}
    model = net("h = MatMul(x, w)  y = MatMul(h, v)", **given)
    assert_pass(PASS, model, ["y = MatMul(x, w_s1)"] if folds else None)


def test_integers_on_the_left() -> None:
    given = {"x": "int32[6,2]", "w": np.ones((5, 6), np.int32), "v": np.ones((3, 5), np.int32)}
    ctx = assert_pass(PASS, net("h = MatMul(w, x)  y = MatMul(v, h)", **given), None)
    assert ctx.skipped[0][1] == "the weight is not floating point"
