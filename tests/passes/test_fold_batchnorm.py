"""BatchNormalization folds into the layer before or after it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("fold-batchnorm")()
BN = "y = BatchNormalization(h, scale, shift, mean, var)"
PARAMETERS = ("scale", "shift", "mean", "var")


def sized(channels: int) -> dict[str, Any]:
    """BatchNormalization parameters for this many channels."""
    return dict.fromkeys(PARAMETERS, (channels,))


@pytest.mark.parametrize(
    ("conv", "line", "given"),
    [
        ("Conv(x, w)", "y = Conv(x, w_s1, w_bias_s1)", {}),
        ("Conv(x, w, b)", "y = Conv(x, w_s1, b_s1)", {}),
        ("Conv<strides = [2, 2]>(x, w)", "y = Conv(x, w_s1, w_bias_s1) strides=(2, 2)", {}),
        (
            "Conv<pads = [1, 1, 1, 1]>(x, w)",
            "y = Conv(x, w_s1, w_bias_s1) pads=(1, 1, 1, 1)",
            {},
        ),
        (
            "Conv<group = 2>(x, w, b)",
            "y = Conv(x, w_s1, b_s1) group=2",
            {"w": (6, 2, 3, 3), "b": (6,), **sized(6)},
        ),
        ("Conv<group = 4>(x, w)", "y = Conv(x, w_s1, w_bias_s1) group=4", {"w": (4, 1, 3, 3)}),
        ("Conv(x, w)", "y = Conv(x, w_s1, w_bias_s1)", {"w": (1, 4, 3, 3), **sized(1)}),
        ("Conv(x, w)", "y = Conv(x, w_s1, w_bias_s1)", {"x": "float[N,4,H,W]"}),
        ("Conv(x, w)", "y = Conv(x, w_s1, w_bias_s1)", {"x": "float[2,4,9]", "w": (4, 4, 3)}),
        ("ConvTranspose(x, w)", "y = ConvTranspose(x, w_s1, w_bias_s1)", {}),
        (
            "ConvTranspose<group = 2, strides = [2, 2]>(x, w, b)",
            "y = ConvTranspose(x, w_s1, b_s1) group=2 strides=(2, 2)",
            {"w": (4, 3, 3, 3), "b": (6,), **sized(6)},
        ),
    ],
)
def test_folds_into_the_convolution_before(conv: str, line: str, given: dict[str, Any]) -> None:
    assert_pass(PASS, net(f"h = {conv}  {BN}", **given), [line])


FLAT: dict[str, Any] = {"x": "float[N,5]", "w": (5, 4)}


@pytest.mark.parametrize(
    ("layer", "line", "given"),
    [
        ("Gemm(x, w)", "y = Gemm(x, w_s1, w_bias_s1)", {}),
        ("Gemm(x, w, b)", "y = Gemm(x, w_s1, b_s1)", {}),
        ("Gemm<transB = 1>(x, w, b)", "y = Gemm(x, w_s1, b_s1) transB=1", {"w": (4, 5)}),
        (
            "Gemm<alpha = 0.5, beta = 2.0>(x, w, b)",
            "y = Gemm(x, w_s1, b_s1) alpha=0.5",
            {},
        ),
        ("Gemm<transA = 1>(x, w, b)", "y = Gemm(x, w_s1, b_s1) transA=1", {"x": "float[5,N]"}),
        ("Gemm(x, w, b)", "y = Gemm(x, w_s1, b_s1)", {"b": ()}),
        ("Gemm(x, w, b)", "y = Gemm(x, w_s1, b_s1)", {"b": (1, 4)}),
        ("Gemm(x, w, b)", "y = Gemm(x, w_s1, b_s1)", {"b": (3, 4), "x": "float[3,5]"}),
        ("MatMul(x, w)", "y = Gemm(x, w_s1, w_bias_s1)", {}),
    ],
)
def test_folds_into_the_matrix_product_before(layer: str, line: str, given: dict[str, Any]) -> None:
    assert_pass(PASS, net(f"h = {layer}  {BN}", **{**FLAT, **given}), [line])


@pytest.mark.parametrize(
    ("attributes", "opset"),
    [("", 7), ("", 9), ("", 14), ("", 15), ("<epsilon = 0.5>", 15), ("<momentum = 0.1>", 9)],
)
def test_folds_in_every_version(attributes: str, opset: int) -> None:
    bn = BN.replace("(", f"{attributes}(")
    model = net(f"h = Conv(x, w)  {bn}", opset=opset)
    assert_pass(PASS, model, ["y = Conv(x, w_s1, w_bias_s1)"])


NORM = "h = BatchNormalization(x, scale, shift, mean, var)"


@pytest.mark.parametrize(
    ("layer", "line", "given"),
    [
        ("Conv(h, w)", "y = Conv(x, w_s1, w_bias_s1)", {}),
        ("Conv(h, w, b)", "y = Conv(x, w_s1, b_s1)", {"w": (6, 4, 2, 3), "b": (6,)}),
        ("Conv<group = 2>(h, w)", "y = Conv(x, w_s1, w_bias_s1) group=2", {"w": (6, 2, 3, 3)}),
        (
            'Conv<auto_pad = "VALID">(h, w)',
            "y = Conv(x, w_s1, w_bias_s1) auto_pad='VALID'",
            {},
        ),
        (
            "Conv<pads = [1, 1, 1, 1]>(h, w)",
            "y = Conv(x, w_s1, w_bias_s1) pads=(1, 1, 1, 1)",
            {"shift": np.zeros(4, np.float32), "mean": np.zeros(4, np.float32)},
        ),
        ("Gemm(h, w, b)", "y = Gemm(x, w_s1, b_s1)", {"x": "float[N,4]", "w": (4, 6), "b": (6,)}),
        (
            "Gemm<transB = 1, alpha = 0.5, beta = 0.25>(h, w, b)",
            "y = Gemm(x, w_s1, b_s1) alpha=0.5 transB=1",
            {"x": "float[N,4]", "w": (6, 4), "b": (6,)},
        ),
        ("MatMul(h, w)", "y = Gemm(x, w_s1, w_bias_s1)", {"x": "float[N,4]", "w": (4, 6)}),
        (
            "MatMul(h, w)",
            "y = MatMul(x, w_s1)",
            {
                "x": "float[N,4]",
                "w": (4, 6),
                "shift": np.zeros(4, np.float32),
                "mean": np.zeros(4, np.float32),
            },
        ),
    ],
)
def test_folds_into_the_layer_after(layer: str, line: str, given: dict[str, Any]) -> None:
    assert_pass(PASS, net(f"{NORM}  y = {layer}", **given), [line])


def test_weights_through_constant_and_identity() -> None:
    body = f"k = Identity(w)  s = Identity(scale)  h = Conv(x, k)  {BN.replace('scale', 's')}"
    lines = ["k = Identity(w)", "s = Identity(scale)", "y = Conv(x, k_s1, k_bias_s1)"]
    assert_pass(PASS, net(body), lines)
    given = sized(2)
    body = f"w2 = Constant<value = float[2,1,1,1] {{1.5, -2.0}}>()  h = Conv(x, w2)  {BN}"
    ctx = assert_pass(
        PASS,
        net(body, x="float[2,1,3,3]", **given),
        ["w2 = Constant() value=float[2,1,1,1](1.5, -2.0)", "y = Conv(x, w2_s1, w2_bias_s1)"],
    )
    assert not ctx.skipped


def test_float16() -> None:
    model = net(f"h = Conv(x, w, b)  {BN}", dtype="float16")
    assert_pass(PASS, model, ["y = Conv(x, w_s1, b_s1)"])


def test_double() -> None:
    model = net(f"h = Gemm(x, w, b)  {BN}", dtype="double", **FLAT)
    assert_pass(PASS, model, ["y = Gemm(x, w_s1, b_s1)"])


def test_float16_variance_that_would_underflow_in_float16() -> None:
    tiny = np.full(4, 1e-6, np.float16)
    bn = BN.replace("(", "<epsilon = 0.0000001>(")
    model = net(f"h = Conv(x, w)  {bn}", dtype="float16", var=tiny, mean=np.zeros(4, np.float16))
    assert_pass(PASS, model, ["y = Conv(x, w_s1, w_bias_s1)"])


def test_keeps_float16_that_would_overflow() -> None:
    model = net(
        f"h = Conv(x, w)  {BN}",
        dtype="float16",
        scale=np.full(4, 6e4, np.float16),
        var=np.full(4, 1e-4, np.float16),
    )
    assert "do not fit" in assert_pass(PASS, model, None, run=False).skipped[0][1]


def test_a_small_shared_weight_is_copied_and_said() -> None:
    body = f"h = Conv(x, w)  {BN}  g = Conv(x, w)  z = BatchNormalization(g, s2, shift, mean, var)"
    lines = ["y = Conv(x, w_s1, w_bias_s1)", "z = Conv(x, w_s2, w_bias_s2)"]
    ctx = assert_pass(PASS, net(body, s2=(4,)), lines)
    assert len(ctx.warnings) == 1
    assert "576 bytes" in ctx.warnings[0]


def test_a_large_shared_weight_stays() -> None:
    body = f"h = Conv(x, w)  {BN}  z = Conv(x, w)"
    model = net(body, x="float[1,200,3,3]", w=(400, 200, 1, 1), **sized(400))
    assert "larger" in assert_pass(PASS, model, None, run=False).skipped[0][1]


@pytest.mark.parametrize(
    ("body", "reason", "given"),
    [
        (f"h = Conv(x, w)  {BN}  z = Relu(h)", "another reader", {}),
        (f"h = Conv(x, w)  {BN}", "weight is not constant", {"w": "float[4,4,3,3]"}),
        (f"h = Conv(x, w, b)  {BN}", "bias is not constant", {"b": "float[4]"}),
        (f"h = Conv(x, w)  {BN}", "parameter is not constant", {"mean": "float[4]"}),
        (f"v = Abs(var)  h = Conv(x, w)  {BN.replace('var', 'v')}", "not constant", {}),
        (f"v = Abs(w)  h = Conv(x, v)  {BN}", "weight is not constant", {}),
        (f"h = Conv(x, w)  {BN}", "not positive", {"var": np.array([1, -2, 1, 1], np.float32)}),
        (f"h = Conv(x, w)  {BN}", "not finite", {"mean": np.array([1, np.nan, 1, 1], np.float32)}),
        (f"h = MatMul(x, w)  {BN}", "last axis", {"x": "float[2,4,5]", "w": (5, 3)}),
        (f"h = MatMul(w, x)  {BN}", "weight is not constant", {"x": "float[5,4]", "w": (3, 5)}),
        (
            f"h = Gemm(x, w, b)  {BN}",
            "one number per channel",
            {"x": "float[3,5]", "w": (5, 4), "b": (3, 1)},
        ),
        (f"{NORM}  y = Conv<pads = [0, 1, 0, 0]>(h, w)", "pads with zeros", {}),
        (f'{NORM}  y = Conv<auto_pad = "SAME_UPPER">(h, w)', "pads with zeros", {}),
        (f"{NORM}  y = Conv(h, w)  z = Relu(h)", "another reader", {}),
        (f"{NORM}  y = Gemm<transA = 1>(h, w)", "transposes", {"x": "float[3,4]", "w": (3, 2)}),
        (f"{NORM}  y = MatMul(h, w)", "last axis", {"x": "float[2,4,5]", "w": (5, 3)}),
    ],
)
def test_skips(body: str, reason: str, given: dict[str, Any]) -> None:
    ctx = assert_pass(PASS, net(body, **given), None)
    assert reason in ctx.skipped[0][1]


def test_skips_a_layer_whose_result_is_a_graph_output() -> None:
    ctx = assert_pass(PASS, net(f"h = Conv(x, w)  {BN}", outputs=["h", "y"]), None)
    assert "another reader" in ctx.skipped[0][1]


def test_skips_training_mode() -> None:
    bn = "y, m, v = BatchNormalization<training_mode = 1>(h, scale, shift, mean, var)"
    ctx = assert_pass(PASS, net(f"h = Conv(x, w)  {bn}", outputs=["y"]), None)
    assert "training" in ctx.skipped[0][1]


def test_skips_the_old_training_mode_that_outputs_switch_on() -> None:
    bn = "y, m, v, sm, sv = BatchNormalization(h, scale, shift, mean, var)"
    ctx = assert_pass(PASS, net(f"h = Conv(x, w)  {bn}", outputs=["y"], opset=9), None, run=False)
    assert "training" in ctx.skipped[0][1]


def test_skips_statistics_per_element() -> None:
    bn = BN.replace("(", "<spatial = 0>(")
    model = net(
        f"h = Conv(x, w)  {bn}", opset=7, **dict[str, Any](dict.fromkeys(PARAMETERS, (4, 6, 6)))
    )
    ctx = assert_pass(PASS, model, None, run=False)
    assert "spatial" in ctx.skipped[0][1]


def test_skips_overridable_parameters() -> None:
    ctx = assert_pass(PASS, net(f"h = Conv(x, w)  {BN}", overridable=["mean"]), None)
    assert "not constant" in ctx.skipped[0][1]


@pytest.mark.parametrize(
    "body",
    [
        f"h = Relu(x)  {BN}",
        f"{NORM}  y = ConvTranspose(h, w)",
        f"{NORM}  y = Conv(w2, h)",
        f"h = my.dom.Conv(x, w)  {BN}",
    ],
)
def test_not_the_pattern(body: str) -> None:
    model = net(body, w2=(1, 4, 9, 9), outputs={"y": "float[N,M,H,W]"})
    ctx = assert_pass(PASS, model, None, run="my.dom" not in body)
    assert not ctx.skipped


def test_folds_in_a_subgraph_but_not_across_scopes() -> None:
    branch = "h = Conv(x, w)  o1 = BatchNormalization(h, scale, shift, mean, var)"
    outside = "o2 = BatchNormalization(g, scale, shift, mean, var)"
    body = f"""
    y = If (c) <
      then_branch = t () => (float[2,4,6,6] o1) {{ {branch} }},
      else_branch = e () => (float[2,4,6,6] o2) {{ {outside} }}
    >
    """
    line = (
        "y = If(c) else_branch={o2 = BatchNormalization(g, scale, shift, mean, var)} "
        "then_branch={o1 = Conv(x, w_s1, w_bias_s1)}"
    )
    ctx = assert_pass(PASS, net("g = Conv(x, w)" + body), ["g = Conv(x, w)", line])
    assert "scope" in ctx.skipped[-1][1]


def test_keeps_provenance() -> None:
    ctx = assert_pass(PASS, net(f"h = Conv(x, w)  {BN}"), ["y = Conv(x, w_s1, w_bias_s1)"])
    (node,) = ctx.model.graph
    assert node.meta["onnxslim.source"] == (0, 1)
