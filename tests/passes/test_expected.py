"""Means and variances that follow from BatchNormalization, against what a large sample has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.graph.load import from_proto
from onnxslim.passes import _expected
from onnxslim.passes._layers import Layer, read_layer
from onnxslim.testing import shared_worker
from tests.nets import net

LOW, HIGH = np.float32(-0.5), np.float32(1.2)
GIVEN: dict[str, Any] = {
    "x": "float[1,3,200,100]", "z": "float[1,3,200,100]", "scale": (3,), "shift": (3,),
    "zero": np.zeros(3, np.float32), "one": np.ones(3, np.float32), "lo": LOW, "hi": HIGH,
}  # fmt: skip
NORMAL = "n = BatchNormalization<epsilon = 0.0>(x, scale, shift, zero, one)  "
OTHER = "m = BatchNormalization<epsilon = 0.0>(z, shift, scale, zero, one)  "

KNOWN = [
    "Relu(n)", "Clip(n, lo, hi)", "Clip(n, , hi)", "LeakyRelu<alpha = 0.3>(n)",
    "LeakyRelu(n)", "Elu<alpha = 0.5>(n)", "Elu(n)", "Sigmoid(n)", "Tanh(n)", "HardSigmoid(n)",
    "HardSigmoid<alpha = 0.4, beta = 0.3>(n)", "HardSwish(n)", "Softplus(n)", "Gelu(n)", "Mish(n)",
    "Identity(n)", "Add(n, hi)", "Add(hi, n)", "Mul(lo, n)", "Add(n, m)", "Concat<axis = 1>(m, n)",
]  # fmt: skip


def _used(body: str, **more: Any) -> Any:
    text = NORMAL + (OTHER if "m" in body.split("(")[1] else "") + body
    names = {"x", "scale", "shift", "zero", "one", *(n for n in ("z", "lo", "hi") if n in text)}
    return net(text, opset=20, outputs=["y"], **{n: GIVEN[n] for n in names} | more)


def _sampled(proto: Any) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    feed = {
        v.name: rng.standard_normal([d.dim_value for d in v.type.tensor_type.shape.dim])
        for v in proto.graph.input
    }
    session = shared_worker().session(proto.SerializeToString())
    y = np.asarray(session.run({k: a.astype(np.float32) for k, a in feed.items()})["y"], np.float64)
    return y.mean(axis=(0, 2, 3)), y.var(axis=(0, 2, 3))


@pytest.mark.parametrize("body", KNOWN)
def test_what_is_expected_is_what_a_sample_has(body: str) -> None:
    proto = _used(f"y = {body}")
    spread = _expected.spreads(from_proto(proto))["y"]
    mean, variance = _sampled(proto)
    np.testing.assert_allclose(spread.mean, mean, rtol=0.02, atol=0.02)
    np.testing.assert_allclose(spread.var, variance, rtol=0.05, atol=0.01)


def test_flattened_maps_repeat_their_channel() -> None:
    proto = _used("y = Flatten(n)", x="float[2,3,2,2]")
    model = from_proto(proto)
    spreads = _expected.spreads(model)
    np.testing.assert_array_equal(spreads["y"].mean, np.repeat(spreads["n"].mean, 4))
    np.testing.assert_array_equal(spreads["y"].var, np.repeat(spreads["n"].var, 4))


UNKNOWN = [
    "y = Concat<axis = 2>(n, n)", "y = Concat<axis = 1>(n, x)", "y = Mul(n, n)", "y = Add(n, x)",
    "y = Clip(n, q)", "y = Flatten<axis = 2>(n)", "y = ReduceSum(n)", "y = Relu(x)",
    "y = Sum(n, n)",
]  # fmt: skip


@pytest.mark.parametrize("body", UNKNOWN)
def test_nothing_is_expected_where_nothing_is_known(body: str) -> None:
    more = {"q": "float[]"} if "q" in body else {}
    spreads = _expected.spreads(from_proto(_used(body, **more)))
    assert "n" in spreads and "y" not in spreads


def test_a_batchnorm_in_training_says_nothing() -> None:
    body = "y, a, b = BatchNormalization<training_mode = 1>(x, scale, shift, zero, one)"
    given = {n: GIVEN[n] for n in ("x", "scale", "shift", "zero", "one")}
    assert _expected.spreads(from_proto(net(body, outputs=["y"], **given))) == {}


@pytest.mark.parametrize(
    ("call", "given"),
    [
        ("Conv(x, w)", {"w": (6, 4, 3, 3)}),
        ("Conv<group = 2>(x, w)", {"w": (6, 2, 3, 3)}),
        ("Conv<group = 4, strides = [2, 2]>(x, w)", {"w": (4, 1, 3, 3)}),
        ("ConvTranspose<strides = [2, 2]>(x, w)", {"w": (4, 3, 2, 2)}),
        ("ConvTranspose<group = 2, strides = [3, 2]>(x, w)", {"w": (4, 3, 3, 2)}),
        ("ConvTranspose(x, w)", {"w": (4, 3, 1, 1)}),
        ("Gemm<alpha = 2.0>(x, w)", {"x": "float[3,5]", "w": (5, 4)}),
        ("Gemm<transB = 1>(x, w)", {"x": "float[3,5]", "w": (4, 5)}),
        ("MatMul(x, w)", {"x": "float[3,5]", "w": (5, 4)}),
    ],
)
def test_response_to_a_constant_in_each_channel(call: str, given: dict[str, Any]) -> None:
    proto = net(f"y = {call}", **given)
    layer = read_layer(next(iter(from_proto(proto).graph)))
    assert isinstance(layer, Layer)
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    mean = np.random.default_rng(0).standard_normal(shape[1])
    x = np.broadcast_to(mean.reshape(-1, *[1] * (len(shape) - 2)), shape).astype(np.float32)
    with shared_worker().session(proto.SerializeToString()) as session:
        y = np.asarray(session.run({"x": x})["y"], np.float64)
    over = tuple(axis for axis in range(y.ndim) if axis != 1)
    np.testing.assert_allclose(_expected.response(layer, mean), y.mean(axis=over), atol=1e-5)


def test_pools_and_what_stays_as_it_is() -> None:
    body = """a = AveragePool<kernel_shape = [2, 2]>(n)  g = GlobalAveragePool(n)
        p = MaxPool<kernel_shape = [2, 2]>(n)  d = Dropout(n)  y = Sum(a, p)"""
    model = from_proto(_used(body))
    found = _expected.spreads(model)
    n = found["n"]
    for name, variance in (("a", n.var), ("d", n.var), ("g", n.var / 4)):
        np.testing.assert_array_equal(found[name].mean, n.mean)
        np.testing.assert_array_equal(found[name].var, variance)
    largest = n.largest_of(4)
    np.testing.assert_array_equal(found["p"].mean, largest.mean)
    np.testing.assert_array_equal(found["p"].var, largest.var)
    assert (largest.mean > n.mean).all() and "y" not in found
