"""Biases of zero are left out, all others stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.graph.serialize import to_proto
from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("eliminate-zero-bias")()
OUT = {"y": "float[2,4,6,6]"}
ZEROS = np.zeros(4, np.float32)


@pytest.mark.parametrize("dtype", ["float", "float16"])
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_convolutions(op: str, dtype: str) -> None:
    kind = np.float32 if dtype == "float" else np.float16
    model = net(f"y = {op}(x, w, b)", b=ZEROS.astype(kind), dtype=dtype)
    assert_pass(PASS, model, [f"y = {op}(x, w)"])


@pytest.mark.parametrize("sign", [0.0, -0.0])
def test_zeros_of_one_sign(sign: float) -> None:
    bias = np.full(4, sign, np.float32)
    assert_pass(PASS, net("y = Conv(x, w, b)", b=bias), ["y = Conv(x, w)"])


@pytest.mark.parametrize("opset", [11, 13, 17])
@pytest.mark.parametrize("shape", [(), (5,), (1, 5), (3, 5)])
def test_gemm(opset: int, shape: tuple[int, ...]) -> None:
    model = net(
        "y = Gemm<alpha = 2.0, beta = 3.0>(x, w, c)",
        opset=opset,
        x="float[3,4]",
        w=(4, 5),
        c=np.zeros(shape, np.float32),
    )
    assert_pass(PASS, model, ["y = Gemm(x, w) alpha=2.0 beta=3.0"])


def test_gemm_of_opset_9_needs_its_bias() -> None:
    model = net("y = Gemm(x, w, b)", opset=9, x="float[3,4]", w=(4, 4), b=ZEROS)
    assert "demands a bias" in assert_pass(PASS, model, None).skipped[0][1]


@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_layers_keep_what_comes_after(op: str, gates: int) -> None:
    model = net(
        f"y = {op}<hidden_size = 5>(x, w, r, b, , h)",
        x="float[3,2,4]",
        h="float[1,2,5]",
        b=np.zeros((1, gates * 10), np.float32),
        w=(1, gates * 5, 4),
        r=(1, gates * 5, 5),
    )
    assert_pass(PASS, model, [f"y = {op}(x, w, r, _, _, h) hidden_size=5"])


def test_layer_normalization() -> None:
    model = net("y = LayerNormalization(x, s, b)", x="float[2,4]", s=(4,), b=ZEROS)
    assert_pass(PASS, model, ["y = LayerNormalization(x, s)"])


def test_zeros_of_a_producer_go_with_it() -> None:
    body = "b = ConstantOfShape(n)  y = Conv(x, w, b)"
    assert_pass(PASS, net(body, n=[4]), ["y = Conv(x, w)"])


def test_a_shared_bias_is_left_out_twice() -> None:
    body = "h = Conv(x, w, b)  g = Conv(x, v, b)  y = Add(h, g)"
    model = net(body, b=ZEROS, v=(4, 4, 3, 3))
    assert_pass(PASS, model, ["h = Conv(x, w)", "g = Conv(x, v)", "y = Add(h, g)"])


def test_in_a_branch() -> None:
    then = "then_branch = t () => (float[2,4,6,6] p) { p = Conv(x, w, b) }"
    other = "else_branch = e () => (float[2,4,6,6] q) { q = Conv(x, v) }"
    model = net(f"y = If<{then}, {other}>(c)", b=ZEROS, v=(4, 4, 3, 3), outputs=OUT)
    line = "y = If(c) else_branch={q = Conv(x, v)} then_branch={p = Conv(x, w)}"
    assert_pass(PASS, model, [line])


def test_no_empty_names_at_the_end_of_the_file() -> None:
    ctx = assert_pass(PASS, net("y = Conv(x, w, b)", b=ZEROS), ["y = Conv(x, w)"])
    assert list(to_proto(ctx.model).graph.node[0].input) == ["x", "w"]


@pytest.mark.parametrize("bias", [np.full(4, 1e-30, np.float32), np.eye(1, 4, dtype=np.float32)[0]])
def test_keeps_other_biases(bias: Any) -> None:
    assert_pass(PASS, net("y = Conv(x, w, b)", b=bias), None)


def test_keeps_what_is_no_constant() -> None:
    assert_pass(PASS, net("y = Conv(x, w, b)", b=ZEROS, overridable=["b"]), None)
    assert_pass(PASS, net("y = Conv(x, w, b)", b="float[4]"), None)
    assert_pass(PASS, net("y = Conv(x, w)"), None)
