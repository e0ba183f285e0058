"""Arithmetic with constants folds into the layer before or after it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("fold-affine")()
TWO = np.float32(2)
CHANNEL: dict[str, Any] = {"k": (4, 1, 1)}
CONV = "y = Conv(x, w_s1, b_s1)"
BARE = "y = Conv(x, w_s1)"


@pytest.mark.parametrize(
    ("text", "line", "given"),
    [
        ("h = Conv(x, w, b)  y = Mul(h, k)", CONV, CHANNEL),
        ("h = Conv(x, w, b)  y = Mul(k, h)", CONV, {"k": (1, 4, 1, 1)}),
        ("h = Conv(x, w, b)  y = Mul(h, k)", CONV, {"k": TWO}),
        ("h = Conv(x, w, b)  y = Mul(k, h)", CONV, {"k": (1,)}),
        ("h = Conv(x, w, b)  y = Mul(h, k)", CONV, {"k": (1, 1, 1, 1)}),
        ("h = Conv(x, w)  y = Mul(h, k)", BARE, CHANNEL),
        ("h = Conv(x, w, b)  y = Div(h, k)", CONV, CHANNEL),
        ("h = Conv(x, w, b)  y = Div(h, k)", CONV, {"k": TWO}),
        ("h = Conv(x, w, b)  y = Neg(h)", CONV, {}),
        ("h = Conv(x, w, b)  y = Add(h, k)", "y = Conv(x, w, b_s1)", CHANNEL),
        ("h = Conv(x, w, b)  y = Add(k, h)", "y = Conv(x, w, b_s1)", CHANNEL),
        ("h = Conv(x, w, b)  y = Add(h, k)", "y = Conv(x, w, b_s1)", {"k": TWO}),
        ("h = Conv(x, w)  y = Add(h, k)", "y = Conv(x, w, w_bias_s1)", CHANNEL),
        ("h = Conv(x, w)  y = Add(h, k)", "y = Conv(x, w, w_bias_s1)", {"k": TWO}),
        ("h = Conv(x, w, b)  y = Sub(h, k)", "y = Conv(x, w, b_s1)", CHANNEL),
        ("h = Conv(x, w, b)  y = Sub(k, h)", CONV, CHANNEL),
        ("h = Conv(x, w)  y = Sub(k, h)", "y = Conv(x, w_s1, w_bias_s1)", {"k": TWO}),
        (
            "h = Conv(x, w)  y = Add(h, k)",
            "y = Conv(x, w, w_bias_s1)",
            {"w": "float[4,4,3,3]", "k": TWO},
        ),
        (
            "h = Conv<group = 2, strides = [2, 1], pads = [1, 0, 1, 0]>(x, w, b)  y = Mul(h, k)",
            "y = Conv(x, w_s1, b_s1) group=2 pads=(1, 0, 1, 0) strides=(2, 1)",
            {"w": (6, 2, 3, 3), "b": (6,), "k": (6, 1, 1)},
        ),
        (
            "h = Conv<group = 4>(x, w)  y = Mul(h, k)",
            "y = Conv(x, w_s1) group=4",
            {"w": (4, 1, 3, 3), **CHANNEL},
        ),
        ("h = Conv(x, w, b)  y = Mul(h, k)", CONV, {"w": (1, 4, 3, 3), "b": (1,), "k": TWO}),
        ("h = Conv(x, w, b)  y = Mul(h, k)", CONV, {"x": "float[N,4,H,W]", **CHANNEL}),
        (
            "h = Conv(x, w, b)  y = Mul(h, k)",
            CONV,
            {"x": "float[2,4,9]", "w": (4, 4, 3), "k": (4, 1)},
        ),
        ("h = Conv(x, w, b)  y = Mul(h, k)", CONV, {"dtype": "float16", **CHANNEL}),
        ("h = Conv(x, w, b)  y = Mul(h, k)", CONV, {"opset": 7, **CHANNEL}),
        (
            "h = ConvTranspose(x, w, b)  y = Mul(h, k)",
            "y = ConvTranspose(x, w_s1, b_s1)",
            {"w": (4, 6, 3, 3), "b": (6,), "k": (6, 1, 1)},
        ),
        (
            "h = ConvTranspose<group = 2>(x, w, b)  y = Sub(k, h)",
            "y = ConvTranspose(x, w_s1, b_s1) group=2",
            {"w": (4, 3, 3, 3), "b": (6,), "k": (1, 6, 1, 1)},
        ),
    ],
)
def test_folds_into_the_convolution_before(text: str, line: str, given: dict[str, Any]) -> None:
    assert_pass(PASS, net(text, **given), [line])


def test_folds_through_an_identity() -> None:
    text = "h = Conv(x, w, b)  i = Identity(h)  y = Mul(i, k)"
    lines = ["y_s1 = Conv(x, w_s1, b_s1)", "y = Identity(y_s1)"]
    assert_pass(PASS, net(text, **CHANNEL), lines)


FLAT: dict[str, Any] = {"x": "float[N,5]", "w": (5, 4), "k": (4,)}
GEMM = "y = Gemm(x, w_s1, b_s1)"


@pytest.mark.parametrize(
    ("text", "line", "given"),
    [
        ("h = Gemm(x, w, b)  y = Mul(h, k)", GEMM, {}),
        ("h = Gemm(x, w, b)  y = Mul(h, k)", GEMM, {"k": TWO}),
        ("h = Gemm(x, w, b)  y = Mul(h, k)", GEMM, {"b": ()}),
        ("h = Gemm(x, w, b)  y = Mul(h, k)", GEMM, {"b": (1, 4), "k": (1, 4)}),
        ("h = Gemm(x, w, b)  y = Mul(h, k)", GEMM, {"b": (3, 4), "x": "float[3,5]"}),
        ("h = Gemm(x, w, b)  y = Mul(h, k)", GEMM, {"b": (3, 1), "x": "float[3,5]", "k": TWO}),
        ("h = Gemm(x, w)  y = Mul(h, k)", "y = Gemm(x, w_s1)", {}),
        ("h = Gemm(x, w)  y = Add(h, k)", "y = Gemm(x, w, w_bias_s1)", {}),
        ("h = Gemm(x, w, b)  y = Sub(k, h)", GEMM, {}),
        ("h = Gemm(x, w, b)  y = Sub(h, k)", "y = Gemm(x, w, b_s1)", {}),
        (
            "h = Gemm<alpha = 0.5, beta = 3.0, transB = 1>(x, w, b)  y = Div(h, k)",
            "y = Gemm(x, w_s1, b_s1) alpha=0.5 transB=1",
            {"w": (4, 5)},
        ),
        (
            "h = Gemm<beta = 3.0>(x, w, b)  y = Mul(h, k)",
            "y = Gemm(x, w_s1, b) beta=6.0",
            {"b": "float[4]", "k": TWO},
        ),
        (
            "h = Gemm(x, w, b)  y = Mul(h, k)",
            "y = Gemm(x, w, b_s1) alpha=2.0",
            {"w": "float[5,4]", "k": TWO},
        ),
        (
            "h = Gemm(x, w, b)  y = Sub(k, h)",
            "y = Gemm(x, w, b_s1) alpha=-1.0",
            {"w": "float[5,4]", "k": TWO},
        ),
        (
            "h = Gemm<alpha = 0.5>(x, w, b)  y = Mul(h, k)",
            "y = Gemm(x, w, b) beta=2.0",
            {"w": "float[5,4]", "b": "float[4]", "k": TWO},
        ),
        ("h = MatMul(x, w)  y = Mul(h, k)", "y = MatMul(x, w_s1)", {}),
        ("h = MatMul(x, w)  y = Mul(h, k)", "y = MatMul(x, w_s1)", {"x": "float[B,S,5]"}),
        ("h = MatMul(x, w)  y = Mul(k, h)", "y = MatMul(x, w_s1)", {"x": "float[B,S,5]", "k": TWO}),
        ("h = MatMul(x, w)  y = Mul(h, k)", "y = MatMul(x, w_s1)", {"x": "float[5]"}),
        (
            "h = MatMul(w, x)  y = Mul(h, k)",
            "y = MatMul(w_s1, x)",
            {"x": "float[B,4,S]", "k": (5, 1)},
        ),
        ("h = MatMul(w, x)  y = Mul(h, k)", "y = MatMul(w_s1, x)", {"x": "float[4]", "k": TWO}),
        (
            "h = MatMul(x, w)  y = Mul(h, k)",
            "y = MatMul(x, w_s1)",
            {"x": "float[2,3,5]", "w": (2, 5, 4), "k": TWO},
        ),
        ("h = MatMul(x, w)  y = Sub(k, h)", "y = Gemm(x, w_s1, w_bias_s1)", {}),
        (
            "h = MatMul(w, x)  y = Sub(k, h)",
            "y = Gemm(w_s1, x, w_bias_s1)",
            {"x": "float[4,N]", "k": (5, 1)},
        ),
        (
            "h = MatMul(x, w)  y = Mul(h, k)",
            "y = Gemm(x, w) alpha=2.0",
            {"w": "float[5,4]", "k": TWO},
        ),
        (
            "h = Gemm(w, x, b)  y = Sub(k, h)",
            "y = Gemm(w_s1, x, b_s1)",
            {"x": "float[4,4]", "w": (4, 4), "k": TWO},
        ),
        (
            "h = MatMul(x, w)  y = Sub(k, h)",
            "y = Gemm(x, w, w_bias_s1) alpha=-1.0",
            {"w": "float[5,4]"},
        ),
    ],
)
def test_folds_into_the_matrix_product_before(text: str, line: str, given: dict[str, Any]) -> None:
    assert_pass(PASS, net(text, **{**FLAT, **given}), [line])


def test_folds_a_chain() -> None:
    text = "h = Conv(x, w)  g = Sub(h, k)  i = Div(g, l)  j = Neg(i)  y = Add(k, j)"
    model = net(text, k=(4, 1, 1), l=(1, 4, 1, 1))
    assert_pass(PASS, model, ["y = Conv(x, w_s2, w_bias_s4)"])


def test_folds_into_a_product_and_its_added_constant() -> None:
    text = "h = MatMul(x, w)  g = Add(h, b)  y = Mul(g, k)"
    lines = ["y_s1 = MatMul(x, w_s1)", "y = Add(y_s1, b_s1)"]
    assert_pass(PASS, net(text, **{**FLAT, "x": "float[B,S,5]"}), lines)


QUERY = """h = MatMul(x, w)  g = Add(b, h)  r = Reshape(g, s)
           t = Transpose<perm = [0, 2, 1, 3]>(r)  y = {}"""


@pytest.mark.parametrize(
    ("arithmetic", "given"),
    [
        ("Mul(t, k)", {"k": TWO}),
        ("Div(t, k)", {"k": (2, 1, 2)}),
        ("Add(k, t)", {"k": (1, 2, 1, 1)}),
        ("Sub(k, t)", {"k": (2,)}),
    ],
)
def test_folds_through_moves(arithmetic: str, given: dict[str, Any]) -> None:
    shape = np.array([0, 0, 2, 2])
    model = net(QUERY.format(arithmetic), x="float[B,S,5]", w=(5, 4), s=shape, **given)
    w = "w" if "Add" in arithmetic else "w_s1"
    lines = [
        f"y_s1 = MatMul(x, {w})",
        "y_s2 = Add(y_s1, b_s1)",
        "y_s3 = Reshape(y_s2, s)",
        "y = Transpose(y_s3) perm=(0, 2, 1, 3)",
    ]
    assert_pass(PASS, model, lines)


@pytest.mark.parametrize(
    ("move", "line", "given"),
    [
        ("Reshape(h, s)", "Reshape(y_s1, s)", {"s": np.array([0, 4, -1]), "k": (4, 1)}),
        ("Reshape(h, s)", "Reshape(y_s1, s)", {"s": np.array([0, 2, 2, 36]), "k": (2, 2, 1)}),
        ("Reshape(h, s)", "Reshape(y_s1, s)", {"s": np.array([-1]), "k": TWO}),
        ("Flatten(h)", "Flatten(y_s1)", {"k": TWO}),
        ("Unsqueeze(h, s)", "Unsqueeze(y_s1, s)", {"s": np.array([0]), "k": TWO}),
        ("Unsqueeze(h, s)", "Unsqueeze(y_s1, s)", {"s": np.array([4]), "k": (4, 1, 1, 1)}),
        (
            "Transpose<perm = [0, 2, 3, 1]>(h)",
            "Transpose(y_s1) perm=(0, 2, 3, 1)",
            {"k": (4,)},
        ),
    ],
)
def test_folds_through_a_move_into_a_convolution(
    move: str, line: str, given: dict[str, Any]
) -> None:
    model = net(f"h = Conv(x, w)  g = {move}  y = Mul(g, k)", **given)
    assert_pass(PASS, model, ["y_s1 = Conv(x, w_s1)", f"y = {line}"])


def test_folds_through_a_reshape_of_a_gemm() -> None:
    text = "g = Gemm<transB = 1>(x, w, b)  r = Reshape(g, s)  y = Mul(r, k)"
    given: dict[str, Any] = {
        "x": "float[4,8]",
        "w": (6, 8),
        "b": (6,),
        "s": np.array([2, 2, 6]),
        "k": (6,),
    }
    lines = ["y_s1 = Gemm(x, w_s1, b_s1) transB=1", "y = Reshape(y_s1, s)"]
    assert_pass(PASS, net(text, **given), lines)


def test_skips_a_reshape_that_moves_channels() -> None:
    text = "g = Gemm(x, w, b)  r = Reshape(g, s)  y = Mul(r, k)"
    given: dict[str, Any] = {
        "x": "float[2,3]",
        "w": (3, 6),
        "b": (6,),
        "s": np.array([6, 2]),
        "k": (6, 1),
    }
    ctx = assert_pass(PASS, net(text, **given), None)
    assert "one number per channel" in ctx.skipped[0][1]


@pytest.mark.parametrize(
    ("text", "line", "given"),
    [
        ("h = Mul(x, k)  y = Conv(h, w, b)", "y = Conv(x, w_s1, b)", CHANNEL),
        (
            "h = Div(x, k)  y = Conv<pads = [1, 1, 1, 1]>(h, w)",
            "y = Conv(x, w_s1) pads=(1, 1, 1, 1)",
            CHANNEL,
        ),
        ("h = Neg(x)  y = Conv(h, w)", BARE, {}),
        ("h = Mul(x, k)  y = Conv(h, w)", BARE, {"k": TWO}),
        ("h = Add(x, k)  y = Conv(h, w)", "y = Conv(x, w, w_bias_s1)", CHANNEL),
        (
            "h = Sub(x, k)  y = Conv<strides = [2, 2]>(h, w, b)",
            "y = Conv(x, w, b_s1) strides=(2, 2)",
            {"k": TWO},
        ),
        ("h = Sub(k, x)  y = Conv(h, w, b)", CONV, CHANNEL),
        (
            "h = Sub(k, x)  y = Conv<group = 2>(h, w, b)",
            "y = Conv(x, w_s1, b_s1) group=2",
            {"w": (6, 2, 3, 3), "b": (6,), **CHANNEL},
        ),
        (
            "h = Mul(x, k)  y = ConvTranspose<group = 2>(h, w, b)",
            "y = ConvTranspose(x, w_s1, b) group=2",
            {"w": (4, 3, 3, 3), "b": (6,), **CHANNEL},
        ),
        ("h = Mul(x, k)  y = Gemm(h, w, b)", "y = Gemm(x, w_s1, b)", {**FLAT, "k": (5,)}),
        ("h = Sub(k, x)  y = Gemm(h, w, b)", GEMM, {**FLAT, "k": (5,)}),
        (
            "h = Add(x, k)  y = Gemm<alpha = 0.5, beta = 2.0, transB = 1>(h, w, b)",
            "y = Gemm(x, w, b_s1) alpha=0.5 transB=1",
            {**FLAT, "w": (4, 5), "k": (5,)},
        ),
        (
            "h = Mul(x, k)  y = Gemm<transA = 1, beta = 2.0>(h, w, b)",
            "y = Gemm(x, w_s1, b) beta=2.0 transA=1",
            {**FLAT, "x": "float[5,N]", "k": (5, 1)},
        ),
        (
            "h = Mul(x, k)  y = Gemm(h, w, b)",
            "y = Gemm(x, w, b) alpha=2.0",
            {**FLAT, "w": "float[5,4]", "k": TWO},
        ),
        (
            "h = Mul(v, k)  y = Gemm(x, h, b)",
            "y = Gemm(x, v, b) alpha=2.0",
            {**FLAT, "v": "float[5,4]", "k": TWO},
        ),
        ("h = Mul(x, k)  y = MatMul(h, w)", "y = MatMul(x, w_s1)", {**FLAT, "k": (5,)}),
        (
            "h = Mul(x, k)  y = MatMul(h, w)",
            "y = MatMul(x, w_s1)",
            {**FLAT, "x": "float[B,S,5]", "k": (5,)},
        ),
        ("h = Add(x, k)  y = MatMul(h, w)", "y = Gemm(x, w, w_bias_s1)", {**FLAT, "k": (5,)}),
        (
            "h = Mul(x, k)  y = MatMul(w, h)",
            "y = MatMul(w_s1, x)",
            {**FLAT, "x": "float[B,4,S]", "k": (4, 1)},
        ),
        (
            "h = Mul(x, k)  y = MatMul(h, w)",
            "y = Gemm(x, w) alpha=2.0",
            {**FLAT, "w": "float[5,4]", "k": TWO},
        ),
    ],
)
def test_folds_into_the_layer_after(text: str, line: str, given: dict[str, Any]) -> None:
    assert_pass(PASS, net(text, **given), [line])


def test_folds_ahead_through_moves() -> None:
    text = "h = Mul(x, k)  f = Flatten(h)  y = Gemm(f, w, b)"
    model = net(text, x="float[N,3,2]", w=(6, 4), k=(3, 1))
    assert_pass(PASS, model, ["y_s1 = Flatten(x)", "y = Gemm(y_s1, w_s1, b)"])
    model = net(
        "h = Add(x, k)  f = Flatten(h)  y = Gemm(f, w, b)", x="float[N,3,2]", w=(6, 4), k=(1, 3, 2)
    )
    assert_pass(PASS, model, ["y_s1 = Flatten(x)", "y = Gemm(y_s1, w, b_s1)"])
    text = "h = Neg(x)  t = Transpose<perm = [0, 3, 1, 2]>(h)  y = Conv(t, w)"
    model = net(text, x="float[N,8,8,4]")
    lines = ["y_s1 = Transpose(x) perm=(0, 3, 1, 2)", "y = Conv(y_s1, w_s1)"]
    assert_pass(PASS, model, lines)


def test_folds_a_sum_ahead_into_the_constant_added_after() -> None:
    text = "h = Add(x, k)  g = MatMul(h, w)  y = Add(g, b)"
    model = net(text, **{**FLAT, "x": "float[B,S,5]", "k": (5,)})
    assert_pass(PASS, model, ["y_s1 = MatMul(x, w)", "y = Add(y_s1, b_s1)"])


LARGE = np.full((4, 4, 130, 130), 0.5, np.float32)
HALF: dict[str, Any] = {"dtype": "float16"}


@pytest.mark.parametrize(
    ("text", "reason", "given"),
    [
        ("h = Conv(x, w)  y = Mul(h, k)  z = Relu(h)", "another reader", CHANNEL),
        ("h = Conv(x, w)  y = Mul(h, k)", "one number per channel", {"k": (6,)}),
        ("h = Conv(x, w)  y = Mul(h, k)", "one number per channel", {"k": (4,), "w": (4, 4, 5, 5)}),
        ("h = Conv(x, w)  y = Mul(h, k)", "enlarge", {"k": (6,), "x": "float[1,4,H,W]"}),
        ("h = Conv(x, w)  y = Mul(h, k)", "enlarge", {"k": (3, 1, 1), "w": (1, 4, 3, 3)}),
        ("h = Conv(x, w)  y = Mul(h, k)", "enlarge", {"k": (1, 1, 4, 1, 1)}),
        ("h = Conv(x, w)  y = Mul(h, k)", "enlarge", {"k": (2, 1, 1, 1), "x": "float[N,4,8,8]"}),
        ("h = Conv(x, w)  y = Mul(h, k)", "not constant", {"w": "float[4,4,3,3]", **CHANNEL}),
        ("h = Conv(x, w, b)  y = Mul(h, k)", "bias is not constant", {"b": "float[4]", **CHANNEL}),
        ("h = Conv(x, w, b)  y = Add(h, k)", "bias is not constant", {"b": "float[4]", **CHANNEL}),
        ("h = Conv(x, w)  y = Div(h, k)", "divides by zero", {"k": np.float32(0)}),
        ("h = Conv(x, w)  y = Mul(h, k)", "not finite", {"k": np.float32(np.inf)}),
        ("h = Conv(x, w)  y = Add(h, k)", "not finite", {"k": np.float32(np.nan)}),
        (
            "h = Conv(x, w)  y = Mul(h, k)",
            "do not fit",
            {"k": np.float32(5e4), "w": np.full((4, 4, 3, 3), 2.0, np.float32), **HALF},
        ),
        ("h = Conv(x, w)  y = Mul(h, k)", "do not fit", {"k": np.float32(1e-5), **HALF}),
        (
            "v = DequantizeLinear(q, s)  h = Conv(x, v)  y = Add(h, k)",
            "quantized",
            {"q": np.ones((4, 4, 3, 3), np.int8), "s": np.float32(0.1), **CHANNEL},
        ),
        (
            "h = Conv<pads = [64, 64, 64, 64]>(x, w)  y = Mul(h, k)"
            "  z = Conv<pads = [64, 64, 64, 64]>(x, w)",
            "shared",
            {"w": LARGE, **CHANNEL},
        ),
        (
            "h = Gemm(x, w, b)  y = Mul(h, k)",
            "bias would grow",
            {**FLAT, "x": "float[3,5]", "b": (3, 1)},
        ),
        ("h = Gemm(x, w)  y = Mul(h, k)", "not constant", {**FLAT, "w": "float[5,4]"}),
        ("h = MatMul(x, w)  y = Sub(k, h)", "more than two", {**FLAT, "x": "float[B,S,5]"}),
        ("h = Add(x, k)  y = Conv<pads = [0, 1, 0, 0]>(h, w)", "pads with zeros", CHANNEL),
        ('h = Add(x, k)  y = Conv<auto_pad = "SAME_UPPER">(h, w)', "pads with zeros", CHANNEL),
        ("h = Add(x, k)  y = ConvTranspose(h, w)", "pads with zeros", CHANNEL),
        ("h = Mul(x, k)  y = Conv(h, w)", "per input channel", {"k": (8,)}),
        ("h = Mul(x, k)  y = Conv(h, w)", "enlarge", {"k": (4, 1, 1), "x": "float[N,C,8,8]"}),
        (
            "h = Mul(x, k)  f = Flatten(h)  y = Gemm(f, w, b)",
            "per input channel",
            {"x": "float[2,3,2]", "w": (6, 4), "k": (2, 1, 1)},
        ),
        (
            "h = Mul(x, k)  f = Reshape(h, s)  y = Gemm(f, w, b)",
            "per input channel",
            {"x": "float[N,M,3]", "w": (6, 4), "k": (3,), "s": np.array([-1, 6])},
        ),
        (
            "h = Add(x, k)  y = MatMul(h, w)",
            "more than two",
            {**FLAT, "x": "float[B,S,5]", "k": (5,)},
        ),
        (
            "h = Mul(x, k)  y = Gemm(h, w, b)",
            "not constant",
            {**FLAT, "w": "float[5,4]", "k": (5,)},
        ),
    ],
)
def test_skips(text: str, reason: str, given: dict[str, Any]) -> None:
    ctx = assert_pass(PASS, net(text, **given), None)
    assert reason in ctx.skipped[0][1]


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("h = MatMul(x, w)  y = Add(h, k)", FLAT),
        ("h = Conv(x, w)  y = Mul(h, k)", {"k": "float[4,1,1]"}),
        ("h = Conv(x, w)  y = Div(k, h)", CHANNEL),
        ("h = Relu(x)  y = Mul(h, k)", CHANNEL),
        ("h = Mul(w, k)  y = Conv(x, h)", {"w": "float[4,4,3,3]", "k": TWO}),
        ("h = Mul(b, k)  y = Conv(x, w, h)", {"b": "float[4]", "k": TWO}),
        ("h = Mul(x, k)  y = Conv(h, w)  z = Relu(h)", CHANNEL),
        ("h = Conv(x, w)  r = Relu(h)  y = Mul(r, k)", CHANNEL),
    ],
)
def test_other_patterns_are_none_of_it(text: str, given: dict[str, Any]) -> None:
    assert not assert_pass(PASS, net(text, **given), None).skipped


def test_integers_are_none_of_it() -> None:
    weight = np.arange(20, dtype=np.int32).reshape(5, 4)
    text = "h = MatMul(x, w)  y = Mul(h, k)"
    model = net(text, x="int32[N,5]", w=weight, k=np.int32(2))
    assert not assert_pass(PASS, model, None).skipped
    assert not assert_pass(
        PASS, net("h = MatMul(x, w)  y = Neg(h)", x="int32[N,5]", w=weight), None
    ).skipped


def test_a_weight_that_subgraphs_share_is_copied_only_when_small() -> None:
    text = "h = Conv(x, w)  y = Mul(h, k)  z = Conv(x, w)"
    ctx = assert_pass(PASS, net(text, **CHANNEL), ["y = Conv(x, w_s1)", "z = Conv(x, w)"])
    assert "was copied" in ctx.warnings[0]


def test_a_shared_weight_of_a_gemm_is_scaled_by_alpha() -> None:
    text = "h = Gemm(x, w, b)  y = Mul(h, k)  z = Gemm(x, w, b)"
    model = net(text, **{**FLAT, "k": TWO})
    assert_pass(PASS, model, ["y = Gemm(x, w, b_s1) alpha=2.0", "z = Gemm(x, w, b)"])


def test_skips_graph_outputs_and_overridable_constants() -> None:
    text = "h = Conv(x, w)  y = Mul(h, k)"
    ctx = assert_pass(PASS, net(text, outputs=["h", "y"], **CHANNEL), None)
    assert "another reader" in ctx.skipped[0][1]
    assert not assert_pass(PASS, net(text, overridable=["k"], **CHANNEL), None).skipped
    ctx = assert_pass(PASS, net(text, overridable=["w"], **CHANNEL), None)
    assert "not constant" in ctx.skipped[0][1]


def test_stays_in_its_scope() -> None:
    text = """h = Conv(x, w)
      y = If(c) <then_branch = t () => (float[N,4,H,W] o) {o = Mul(h, k)},
                 else_branch = e () => (float[N,4,H,W] o) {g = Conv(x, w) o = Mul(g, k)}>"""
    model = net(text, outputs={"y": "float[N,4,H,W]"}, **CHANNEL)
    lines = [
        "h = Conv(x, w)",
        "y = If(c) else_branch={o = Conv(x, w_s1)} then_branch={o = Mul(h, k)}",
    ]
    assert_pass(PASS, model, lines)


NORMALIZED = """mu = ReduceMean<axes = [-1]>(x)  d = Sub(x, mu)  p = Mul(d, d)
  v = ReduceMean<axes = [-1]>(p)  e = Add(v, eps)  s = Sqrt(e)  n = Div(d, s)"""
GELU = "i = Div(x, root)  f = Erf(i)  e = Add(f, one)  m = Mul(x, e)"


def test_leaves_normalizations_and_activations_to_runtimes() -> None:
    text = NORMALIZED + "  g = Mul(n, k)  y = MatMul(g, w)"
    given: dict[str, Any] = {"x": "float[2,3,5]", "w": (5, 4), "k": (5,), "eps": np.float32(1e-5)}
    ctx = assert_pass(PASS, net(text, **given), None)
    assert "runtimes fuse" in ctx.skipped[0][1]
    text = NORMALIZED + "  g = Mul(n, k)  h = Add(g, l)  o = MatMul(h, w)  y = Add(o, b)"
    ctx = assert_pass(PASS, net(text, l=(5,), **given), None)
    assert "runtimes fuse" in ctx.skipped[0][1]
    text = GELU + "  h = Mul(m, half)  y = MatMul(h, w)"
    numbers: dict[str, Any] = {
        "root": np.float32(1.414),
        "one": np.float32(1),
        "half": np.float32(0.5),
    }
    ctx = assert_pass(PASS, net(text, x="float[2,3,5]", w=(5, 4), **numbers), None)
    assert "runtimes fuse" in ctx.skipped[-1][1]
    text = "a = Add(x, three)  g = Clip(a, zero, six)  h = Div(g, six)  y = Conv(h, w)"
    numbers = {"three": np.float32(3), "zero": np.float32(0), "six": np.float32(6)}
    assert "runtimes fuse" in assert_pass(PASS, net(text, **numbers), None).skipped[-1][1]


ATTENTION: dict[str, Any] = {"x": "float[B,2,S,5]", "v": "float[B,2,5,T]", "k": TWO}


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("q = Mul(x, k)  p = Mul(v, k)  y = MatMul(q, p)", {}),
        ("p = Div(v, l)  q = Mul(k, x)  y = MatMul(q, p)", {"l": np.float32(3)}),
        ("q = Mul(x, k)  p = Mul(v, k)  y = MatMul(q, p)", {"k": (1,)}),
        ("q = Mul(x, k)  p = Mul(v, k)  y = MatMul(q, p)", {"dtype": "double"}),
    ],
)
def test_merges_numbers_before_both_factors(text: str, given: dict[str, Any]) -> None:
    lines = ["y_s1 = Mul(x, factor_s1)", "y = MatMul(y_s1, v)"]
    assert_pass(PASS, net(text, **{**ATTENTION, **given}), lines)


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("q = Mul(x, k)  p = Mul(v, k)  y = MatMul(q, p)  z = Relu(p)", {}),
        ("q = Mul(x, k)  p = Mul(v, k)  y = MatMul(q, p)", {"dtype": "float16"}),
        ("q = Mul(x, k)  p = Mul(v, l)  y = MatMul(q, p)", {"l": (5, 1)}),
        ("q = Mul(x, k)  p = Add(v, k)  y = MatMul(q, p)", {}),
        ("q = Mul(x, k)  p = Mul(v, k)  y = MatMul(q, p)", {"k": (1, 1, 1, 1, 1)}),
        ("q = Mul(x, k)  p = Mul(v, k)  y = MatMul(q, p)", {"k": np.float32(1e30)}),
        ("q = Mul(x, k)  p = Mul(q, k)  y = MatMul(p, v)", {}),
    ],
)
def test_does_not_merge_other_factors(text: str, given: dict[str, Any]) -> None:
    assert_pass(PASS, net(text, **{**ATTENTION, **given}), None)
