"""Means and variances that follow from BatchNormalization, against what a large sample has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.graph.load import from_proto
from onnxslim.passes import _expected
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
