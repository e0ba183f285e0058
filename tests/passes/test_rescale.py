"""Scaled and shifted layers: the changed weights and biases give what was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph import edit
from onnxslim.graph.load import from_proto
from onnxslim.passes._affine_path import take_add
from onnxslim.passes._layer import Layer, read_layer
from onnxslim.passes._linear import MAX_COPY
from onnxslim.passes._rescale import Change, scale_inputs, scale_outputs
from onnxslim.testing import shared_worker
from tests.nets import net

F = np.float32
CASES: list[tuple[str, dict[str, Any]]] = [
    ("y = Conv(x, w, b)", {"w": (6, 4, 3, 3), "b": (6,)}),
    ("y = Conv(x, w)", {"w": (6, 4, 3, 3)}),
    ("y = Conv<group = 2>(x, w, b)", {"w": (6, 2, 3, 3), "b": (6,)}),
    ("y = Conv(x, w)", {"x": "float[2,4,9]", "w": (5, 4, 1)}),
    ("y = ConvTranspose(x, w, b)", {"w": (4, 6, 1, 1), "b": (6,)}),
    ("y = ConvTranspose<group = 2>(x, w)", {"w": (4, 3, 1, 1)}),
    ("y = Gemm(x, w, b)", {"x": "float[3,5]", "w": (5, 4)}),
    ("y = Gemm<alpha = 1.5, beta = 0.5>(x, w, b)", {"x": "float[3,5]", "w": (5, 4)}),
    ("y = Gemm<transB = 1>(x, w, b)", {"x": "float[3,5]", "w": (4, 5)}),
    ("y = Gemm<transB = 1, alpha = 2.0>(x, w)", {"x": "float[3,5]", "w": (4, 5)}),
    ("y = MatMul(x, w)", {"x": "float[3,5]", "w": (5, 4)}),
    ("h = MatMul(x, w)  y = Add(h, b)", {"x": "float[3,5]", "w": (5, 4)}),
    ("h = MatMul(x, w)  y = Add(b, h)", {"x": "float[2,3,5]", "w": (5, 4)}),
]


def layer_of(body: str, **given: Any) -> Layer:
    model = from_proto(net(body, **given))
    infer_shapes(model)
    found = read_layer(next(n for n in model.graph if edit.is_op(n, *LAYERS)))
    assert found is not None
    return take_add(found)


LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def change(found: Change | str) -> Change:
    assert isinstance(found, Change), found
    return found


def computed(body: str, given: dict[str, Any], x: Any, new: Change | None, layer: Layer) -> Any:
    """What the layer gives for x, after a change if there is one; float64."""
    given = dict(given)
    model = net(body, **given)
    if new is not None:
        arrays = {t.name: np.array(ir.from_proto(t).numpy()) for t in model.graph.initializer}
        if new.weight is not None:
            arrays["w"] = new.weight.astype(F)
        beta = float(edit.attr(layer.node, "beta", 1.0)) * new.beta
        bias = arrays.pop("b", None)
        if bias is not None and layer.op == "Gemm":
            bias = (bias * beta).astype(F)
        if new.bias is not None:
            bias = new.bias.astype(F)
        text = body.split("  ")[0].replace(", b)", ")").replace("h =", "y =")
        shape = "x" if "x" not in given else given["x"]
        kept = {"x": shape} if shape != "x" else {}
        model = net(text, w=arrays["w"], **kept)
    with shared_worker().session(model.SerializeToString()) as session:
        y = np.asarray(session.run({"x": x.astype(F)})["y"], np.float64)
    if new is None:
        return y
    if layer.op == "Gemm":
        y = y * new.alpha
    axis = 1 if layer.op.startswith("Conv") else y.ndim - 1
    if bias is not None:
        y = y + bias.reshape(-1, *[1] * (y.ndim - axis - 1))
    return y


def spread(k: Any, layer: Layer, rank: int) -> Any:
    return k.reshape(-1, *[1] * (rank - 2)) if layer.op.startswith("Conv") else k


@pytest.mark.parametrize(("body", "given"), CASES)
@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize("shifted", [False, True])
def test_outputs(body: str, given: dict[str, Any], uniform: bool, shifted: bool) -> None:
    layer = layer_of(body, **given)
    rng = np.random.default_rng(0)
    k = rng.uniform(0.5, 2, layer.channels)
    d = rng.uniform(0.5, 2, layer.channels)
    k = np.full_like(k, 3.0) if uniform else k
    d = (np.full_like(d, 4.0) if uniform else d) if shifted else 0 * d
    x = rng.standard_normal(edit.static_shape(layer.node.inputs[0]) or ())
    before = computed(body, given, x, None, layer)
    found = change(scale_outputs(layer, k, d))
    wanted = before * spread(k, layer, before.ndim) + spread(d, layer, before.ndim)
    np.testing.assert_allclose(computed(body, given, x, found, layer), wanted, atol=1e-4)
    has_bias = "b)" in body or "(b" in body
    assert (found.bias is None) == (not shifted and not has_bias)
    assert found.beta == (3.0 if uniform else 1.0) and found.alpha == 1.0


@pytest.mark.parametrize(("body", "given"), CASES)
def test_a_factor_of_one_keeps_the_weight(body: str, given: dict[str, Any]) -> None:
    layer = layer_of(body, **given)
    one, d = np.ones(layer.channels), np.arange(1.0, layer.channels + 1)
    found = change(scale_outputs(layer, one, d))
    assert found.weight is None and found.bias is not None
    assert change(scale_outputs(layer, one, 0 * d)).weight is None
    assert (found.alpha, found.beta) == (1.0, 1.0)


@pytest.mark.parametrize(("body", "given"), CASES)
@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize("shifted", [False, True])
def test_inputs(body: str, given: dict[str, Any], uniform: bool, shifted: bool) -> None:
    layer = layer_of(body, **given)
    shifted &= layer.op != "ConvTranspose"  # of which not every position sees every tap
    rng = np.random.default_rng(0)
    shape = edit.static_shape(layer.node.inputs[0]) or ()
    count = shape[1] if layer.op.startswith("Conv") else shape[-1]
    k, d = rng.uniform(0.5, 2, count), rng.uniform(0.5, 2, count)
    k = np.full_like(k, 3.0) if uniform else k
    d = (np.full_like(d, 4.0) if uniform else d) if shifted else 0 * d
    x = rng.standard_normal(shape)
    wanted = computed(
        body, given, x * spread(k, layer, x.ndim) + spread(d, layer, x.ndim), None, layer
    )
    found = change(scale_inputs(layer, k, d))
    np.testing.assert_allclose(computed(body, given, x, found, layer), wanted, atol=1e-4)
    assert found.beta == found.alpha == 1.0
    assert (found.bias is None) == (not shifted)
    plain = change(scale_inputs(layer, np.ones(count), d))
    assert plain.weight is None and (plain.bias is None) == (not shifted)


TWO = np.array([2.0, 3.0])
ROW = {"x": "float[3,5]", "w": (5, 2)}


@pytest.mark.parametrize(
    ("body", "given", "reason"),
    [
        ("y = Conv(x, w, c)", {"c": "float[2]", "w": (2, 4, 3, 3)}, "bias is not constant"),
        ("y = Conv(x, c)", {"c": "float[2,4,3,3]"}, "weight is not constant"),
        ("y = MatMul(x, w)", {"x": "float[4,3,5]", "w": (4, 5, 2)}, "not a matrix"),
        ("y = Gemm(x, w, b)", {**ROW, "b": (3, 1)}, "bias would grow"),
        ("y = Gemm(x, w, c)", {**ROW, "c": "float[2]"}, "bias is not constant"),
        ("y = MatMul(x, w)", {"x": "float[0,2]", "w": np.zeros((0, 2), F)[:0]}, "empty"),
    ],
)
def test_refuses(body: str, given: dict[str, Any], reason: str) -> None:
    if reason == "empty":
        given = {"x": "float[3,0]", "w": np.zeros((0, 2), F)}
    found = scale_outputs(layer_of(body, **given), TWO, np.zeros(2))
    assert isinstance(found, str) and reason in found


def test_refuses_what_would_have_to_shift() -> None:
    for given, reason in (
        ({"w": "float[5,2]"}, "weight is not constant"),
        ({"w": (4, 5, 2), "x": "float[4,3,5]"}, "not a matrix"),
    ):
        layer = layer_of("y = MatMul(x, w)", **{"x": "float[3,5]"} | given)
        found = scale_inputs(layer, np.ones(5), np.ones(5))
        assert isinstance(found, str) and reason in found
    layer = layer_of("y = Gemm(x, w, c)", **ROW, c="float[2]")
    found = scale_inputs(layer, np.ones(5), np.ones(5))
    assert found == "the bias is not constant"
    layer = layer_of("y = Gemm(x, w, b)", **ROW, b=(3, 1))
    assert scale_inputs(layer, np.ones(5), np.ones(5)) == "the bias would grow"
    assert isinstance(scale_inputs(layer, np.full(5, 2.0), np.zeros(5)), Change)


@pytest.mark.parametrize("reader", ["Gemm", "MatMul"])
def test_quantized_layers_keep_their_form(reader: str) -> None:
    layer = layer_of(
        f"w = DequantizeLinear(q, s)  y = {reader}(x, w)",
        x="float[3,5]", q=np.ones((5, 2), np.int8), s=F(1),
    )  # fmt: skip
    for found in (
        scale_outputs(layer, TWO, 0 * TWO),
        scale_inputs(layer, np.full(5, 2.0), np.zeros(5)),
    ):
        assert found == "a quantized layer keeps its form"


@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
def test_one_number_can_go_to_alpha(op: str) -> None:
    """Where the weight is shared or computed, a Gemm (or what can be one) takes the factor."""
    for given in ({"w": "float[5,2]"}, {"w": (5, 2)}):
        extra = "" if given["w"] == "float[5,2]" else "  z = Neg(w)"
        layer = layer_of(f"y = {op}(x, w){extra}", x="float[3,5]", **given)
        found = change(scale_outputs(layer, np.array([3.0, 3.0]), np.zeros(2)))
        assert (found.weight, found.alpha, found.beta, found.bias) == (None, 3.0, 3.0, None)
        found = change(scale_inputs(layer, np.full(5, 3.0), np.zeros(5)))
        assert (found.weight, found.alpha, found.beta, found.bias) == (None, 3.0, 1.0, None)
    layer = layer_of("y = Gemm<beta = 0.5>(x, w, c)", x="float[3,5]", w=(5, 2), c="float[2]")
    found = change(scale_outputs(layer, np.array([3.0, 3.0]), np.zeros(2)))
    assert found.weight is not None and (found.beta, found.bias) == (3.0, None)
    assert scale_outputs(layer, np.array([3.0, 3.0]), np.ones(2)) == "the bias is not constant"


def test_no_alpha_where_there_is_no_gemm() -> None:
    three = layer_of("y = MatMul(x, w)", x="float[2,3,5]", w="float[5,2]")
    assert scale_outputs(three, np.array([3.0, 3.0]), np.zeros(2)) == "the weight is not constant"
    added = layer_of("h = MatMul(x, w)  y = Add(h, b)  z = Neg(w)", **ROW, b=(2,))
    found = change(scale_outputs(added, np.array([3.0, 3.0]), np.zeros(2)))
    assert found.weight is not None and found.alpha == 1.0


@pytest.mark.parametrize("over", [0, 1])
def test_a_shared_weight_is_copied_while_it_is_small(over: int) -> None:
    rows = MAX_COPY // 4 // 2 + over
    layer = layer_of("y = MatMul(x, w)  z = Neg(w)", x=f"float[1,{rows}]", w=(rows, 2))
    found = scale_outputs(layer, TWO, np.zeros(2))
    if over:
        assert found == "the weight is shared and a copy of it would make the file larger"
    else:
        assert isinstance(found, Change) and found.weight is not None


@pytest.mark.parametrize(
    ("body", "weight"),
    [
        ("y = Conv(x, w)", np.ones((2, 4, 1, 1))),
        ("y = ConvTranspose(x, w)", np.ones((4, 2, 1, 1))),
        ("y = ConvTranspose<group = 2>(x, w)", np.ones((4, 1, 1, 1))),
        ("y = MatMul(x, w)", np.ones((8, 2))),
        ("y = Gemm<transB = 1>(x, w)", np.ones((2, 8))),
    ],
)
@pytest.mark.parametrize("channel", [0, 1])
def test_no_channel_is_lost(body: str, weight: Any, channel: int) -> None:
    """A channel whose weights would all be subnormal; one that was so before is left aside."""
    given = {} if "Conv" in body else {"x": "float[3,8]"}
    layer = layer_of(body, w=weight.astype(F), **given)
    k = np.ones(2)
    k[channel] = 2.0**-126
    assert isinstance(scale_outputs(layer, k, np.zeros(2)), Change)
    k[channel] = 2.0**-127
    assert scale_outputs(layer, k, np.zeros(2)) == "the folded weights do not fit float32"
    k[channel] = 0
    assert isinstance(scale_outputs(layer, k, np.zeros(2)), Change)
    small = layer_of(body, w=(weight * 2.0**-130).astype(F), **given)
    k[channel] = 0.5
    assert isinstance(scale_outputs(small, k, np.zeros(2)), Change)
