"""Layers with int8 weights: what is read of them and written, and why others are left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph import edit
from onnxslim.graph.load import from_proto
from onnxslim.passes._integers import IntegerLayer, read_integer_layer
from onnxslim.pipeline.context import PassContext
from onnxslim.testing import shared_worker
from tests.nets import net

F = np.float32
HEAD = "q = QuantizeLinear(x, t, z)  d = DequantizeLinear(q, t, z)  "
RNG = np.random.default_rng(0)


def model_of(body: str, shape: tuple[int, ...], **given: Any) -> ir.Model:
    """A layer that reads d and the integers i with the scales s."""
    rank = len(shape)
    x = {4: "float[2,4,8,8]", 3: "float[2,4,9]", 2: f"float[2,{shape[0]}]"}[rank]
    defaults = {
        "x": x, "t": F(0.1), "z": np.uint8(3), "s": F(0.5),
        "i": RNG.integers(-9, 9, shape).astype(np.int8),
    }  # fmt: skip
    return from_proto(net(HEAD + body, **defaults | given))


def read(model: ir.Model) -> IntegerLayer | str:
    node = next(n for n in model.graph if n.op_type in ("Conv", "Gemm", "MatMul", "ConvTranspose"))
    return read_integer_layer(node)


def scales(count: int) -> Any:
    return np.linspace(0.1, 0.4, count).astype(F)


def weight(axis: int | None = None, zero: str = "") -> str:
    attribute = "" if axis is None else f"<axis = {axis}>"
    return f"w = DequantizeLinear{attribute}(i, s{zero})  "


CASES: list[tuple[str, tuple[int, ...], dict[str, Any], tuple[int, int, int]]] = [
    (weight() + "y = Conv(d, w)", (6, 4, 3, 3), {}, (1, 6, 36)),
    (weight(0) + "y = Conv(d, w)", (6, 4, 3, 3), {"s": scales(6)}, (1, 6, 36)),
    (weight(-4) + "y = Conv(d, w, b)", (6, 4, 3, 3), {"s": scales(6), "b": (6,)}, (1, 6, 36)),
    (weight(0) + "y = Conv<group = 2>(d, w)", (6, 2, 3, 3), {"s": scales(6)}, (2, 3, 18)),
    (weight(0) + "y = Conv(d, w)", (6, 4, 3), {"s": scales(6)}, (1, 6, 12)),
    (weight() + "y = Gemm(d, w, b)", (5, 4), {"b": (4,), "s": scales(4)}, (1, 4, 5)),
    (weight(1) + "y = Gemm(d, w)", (5, 4), {"s": scales(4)}, (1, 4, 5)),
    (weight(0) + "y = Gemm<transB = 1>(d, w)", (4, 4), {"s": scales(4)}, (1, 4, 4)),
    (weight(1) + "y = MatMul(d, w)", (5, 4), {"s": scales(4)}, (1, 4, 5)),
    (weight(-1, ", o") + "y = MatMul(d, w)", (5, 4),
     {"s": scales(4), "o": np.zeros(4, np.int8)}, (1, 4, 5)),
    (weight() + "h = MatMul(d, w)  y = Add(h, b)", (5, 4), {"b": (4,)}, (1, 4, 5)),
    (weight() + "h = MatMul(d, w)  y = Add(b, h)", (5, 4), {"b": (1, 4)}, (1, 4, 5)),
    (weight() + "c = DequantizeLinear<axis = 0>(j, u)  y = Conv(d, w, c)", (6, 4, 3, 3),
     {"j": np.arange(6, dtype=np.int32), "u": scales(6)}, (1, 6, 36)),
    (weight() + "c = DequantizeLinear(j, u)  h = MatMul(d, w)  y = Add(h, c)", (5, 4),
     {"j": np.arange(4, dtype=np.int32), "u": F(0.5)}, (1, 4, 5)),
    (weight() + "c = DequantizeLinear(j, u)  y = Gemm(d, w, c)", (5, 1),
     {"j": np.int32(3), "u": F(0.25)}, (1, 1, 5)),
]  # fmt: skip


@pytest.mark.parametrize(("body", "shape", "given", "form"), CASES)
def test_reads_and_writes(
    body: str, shape: tuple[int, ...], given: dict[str, Any], form: tuple[int, int, int]
) -> None:
    model = model_of(body, shape, **given)
    found = read(model)
    assert isinstance(found, IntegerLayer), found
    codes = edit.constant_array(next(v for v in model.graph.initializers.values() if v.name == "i"))
    assert codes is not None
    assert found.codes.shape == form and sorted(found.codes.ravel()) == sorted(codes.ravel())
    assert found.scales.shape == form[:2] and found.scales.dtype == np.float64
    wanted = np.broadcast_to(given.get("s", F(0.5)), (form[1] * form[0],)).reshape(form[:2])
    assert np.array_equal(found.scales, wanted)
    real = found.layer.matrix(found.layer.weight)
    np.testing.assert_allclose(real, found.codes * found.scales[..., None])
    assert found.layer.groups == form[0] and found.point.name == "y"
    bias = np.zeros(form[0] * form[1])
    if "b" in given:
        array = edit.constant_array(model.graph.initializers["b"])
        assert array is not None
        bias = array.reshape(-1).astype(np.float64)
    elif "j" in given:
        bias = (given["j"] * np.asarray(given["u"], np.float64)).reshape(-1)
    assert np.array_equal(found.layer.bias, bias)
    assert (found.bias is None) == ("b" not in given and "j" not in given)
    ctx = PassContext(model, worker=shared_worker())
    new = (bias + np.arange(1, bias.size + 1)).reshape(form[:2])
    found.write(found.codes + 1, new, ctx)
    again = read(model)
    assert isinstance(again, IntegerLayer)
    assert np.array_equal(again.codes, found.codes + 1)
    assert again.weight.data.dtype == np.int8 and again.weight.data.shape == shape
    if found.bias is not None:
        assert again.bias is not None and again.bias.data.dtype == found.bias.data.dtype
        assert again.bias.data.shape == found.bias.data.shape
        step = 0.0 if found.bias.scale is None else found.bias.scale.max() / 2
        assert np.abs(again.layer.bias - new.reshape(-1)).max() <= step + 1e-6


def test_integers_of_a_bias_stay_in_their_range() -> None:
    body = weight() + "c = DequantizeLinear<axis = 0>(j, u)  y = Conv(d, w, c)"
    given = {"j": np.zeros(6, np.int32), "u": scales(6)}
    model = model_of(body, (6, 4, 3, 3), **given)
    found = read(model)
    assert isinstance(found, IntegerLayer)
    ctx = PassContext(model, worker=shared_worker())
    far = np.array([[1e12, -1e12, 0.04, 0.2, 0, 0]])
    found.write(found.codes, far, ctx)
    again = read(model)
    assert isinstance(again, IntegerLayer) and again.bias is not None
    top = 2**31 - 1
    assert again.bias.data.tolist() == [top, -top, *np.rint(far[0, 2:] / scales(6)[2:])]
    found.write(found.codes, None, ctx)
    kept = read(model)
    assert isinstance(kept, IntegerLayer) and kept.bias is not None
    assert kept.bias.data.tolist() == again.bias.data.tolist()


BIAS = {"b": (6,)}
REFUSED: list[tuple[str, tuple[int, ...], dict[str, Any], str]] = [
    (weight() + "y = ConvTranspose(d, w)", (4, 6, 3, 3), {}, ""),
    (weight() + "y = Conv(x, w)", (6, 4, 3, 3), {}, ""),
    ("i = Identity(x)  y = Conv(d, k)", (4, 4, 1, 1), {"k": (6, 4, 3, 3), "i": None}, ""),
    (weight() + "y = Conv(d, w)", (6, 4, 3, 3), {"i": np.ones((6, 4, 3, 3), np.uint8)}, ""),
    (weight() + "y = Conv(d, w)", (6, 4, 3, 3), {"i": "int8[6,4,3,3]"}, ""),
    (weight() + "y = Conv(d, w)", (6, 4, 3, 3), {"s": "float"}, ""),
    (weight(zero=", o") + "y = Conv(d, w)", (6, 4, 3, 3), {"o": np.int8(1)}, "zero point"),
    (weight(zero=", o") + "y = Conv(d, w)", (6, 4, 3, 3), {"o": "int8"}, "zero point"),
    (weight() + "y = Conv(d, w)  v = Neg(w)", (6, 4, 3, 3), {}, "shared"),
    (weight() + "y = Gemm<alpha = 2.0>(d, w)", (5, 4), {}, "alpha, beta or transA"),
    (weight() + "y = Gemm<beta = 2.0>(d, w)", (5, 4), {}, "alpha, beta or transA"),
    (weight() + "y = Gemm<transA = 1>(d, w)", (2, 4), {"x": "float[2,5]"}, "alpha, beta or transA"),
    (weight() + "y = MatMul(d, w)", (2, 5, 4), {"x": "float[2,3,5]"}, "no matrix"),
    (weight(1) + "y = Conv(d, w)", (4, 4, 3, 3), {"s": scales(4)}, "not per output"),
    (weight(0) + "y = Gemm(d, w)", (4, 4), {"s": scales(4)}, "not per output"),
    (weight(1) + "y = Gemm<transB = 1>(d, w)", (4, 4), {"s": scales(4)}, "not per output"),
    (weight(0) + "y = MatMul(d, w)", (4, 4), {"s": scales(4)}, "not per output"),
    (weight() + "y = Conv(d, w, c)", (6, 4, 3, 3), {"c": "float[6]"}, "bias is computed"),
    (weight() + "c = Neg(b)  y = Conv(d, w, c)", (6, 4, 3, 3), BIAS, "bias is computed"),
    (weight() + "y = Gemm(d, w, b)", (5, 4), {"b": (1,)}, "one number per output"),
    (weight() + "y = Gemm(d, w, b)", (5, 4), {"b": (2, 4)}, "one number per output"),
]


@pytest.mark.parametrize(("body", "shape", "given", "reason"), REFUSED)
def test_left_alone(body: str, shape: tuple[int, ...], given: dict[str, Any], reason: str) -> None:
    if "i" in given and given["i"] is None:
        body = body.removeprefix("i = Identity(x)  ") + "  v = DequantizeLinear(i, s)"
        given = {"k": given["k"]}
    found = read(model_of(body, shape, **given))
    assert isinstance(found, str)
    assert found == "" if not reason else reason in found


@pytest.mark.parametrize(
    ("tail", "given"),
    [
        ("h = MatMul(d, w)  y = Add(h, b)  v = Neg(h)", {"b": (4,)}),
        ("h = MatMul(d, w)  y = Mul(h, b)", {"b": (4,)}),
        ("h = MatMul(d, w)  y = Add(h, b)", {"b": (1,)}),
        ("h = MatMul(d, w)  y = Add(h, b)", {"b": (2, 4)}),
        ("h = MatMul(d, w)  y = Add(h, b)", {"b": (4, 1), "x": "float[4,5]"}),
        ("h = MatMul(d, w)  y = Add(h, c)", {"c": "float[4]"}),
    ],
)
def test_what_is_behind_a_matmul_is_no_bias(tail: str, given: dict[str, Any]) -> None:
    found = read(model_of(weight() + tail, (5, 4), **given))
    assert isinstance(found, IntegerLayer)
    assert found.bias is None and found.point.name == "h" and not found.layer.bias.any()


def test_blocks_of_scales_are_not_read() -> None:
    model = model_of(weight(1) + "y = MatMul(d, w)", (5, 4), s=scales(4))
    node = next(n for n in model.graph if n.outputs[0].name == "w")
    node.attributes["block_size"] = ir.AttrInt64("block_size", 2)
    assert read(model) == ""
