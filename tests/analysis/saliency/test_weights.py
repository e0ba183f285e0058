"""Constants as rows per unit, a BatchNormalization behind them folded in."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.saliency.weights import Weights, normalization
from onnxslim.graph.load import from_proto
from tests.nets import net

BN = " y = BatchNormalization(h, s, t, m, v)"
SCALE, VAR = np.array([2.0, -3.0], np.float32), np.array([0.75, 8.75], np.float32)
FACTOR = np.array([2.0, 1.0])  # |scale| / sqrt(var + 0.25)


def convolved(body: str, *, epsilon: bool = True, **given: Any) -> ir.Node:
    batch = BN.replace("(h", "<epsilon = 0.25>(h") if epsilon else BN
    model = from_proto(net(body + batch, s=SCALE, t=(2,), m=(2,), v=VAR, **given))
    return model.graph[0]


LAYERS = [
    ("h = Conv(x, w, b)", {"x": "float[1,3,4]", "w": (2, 3, 1), "b": (2,)}, 0, 0),
    ("h = ConvTranspose(x, w, b)", {"x": "float[1,3,4]", "w": (3, 2, 1), "b": (2,)}, 1, 0),
    ("h = ConvTranspose<group = 2>(x, w)", {"x": "float[1,2,4]", "w": (2, 1, 1)}, None, None),
    ("h = Gemm(x, w, b)", {"x": "float[1,3]", "w": (3, 2), "b": (2,)}, 1, 0),
    ("h = Gemm<transB = 1>(x, w, b)", {"x": "float[1,3]", "w": (2, 3), "b": (1, 2)}, 0, None),
    ("h = MatMul(x, w)", {"x": "float[1,3]", "w": (3, 2)}, None, None),
]


@pytest.mark.parametrize(("body", "given", "axis", "bias_axis"), LAYERS)
def test_folded(body: str, given: dict[str, Any], axis: int | None, bias_axis: int | None) -> None:
    node = convolved(body, **given)
    for value, at in zip(node.inputs[1:], (axis, bias_axis), strict=False):
        assert value is not None and value.const_value is not None
        plain = value.const_value.numpy().astype(np.float64)
        shape = [-1 if i == at else 1 for i in range(plain.ndim)]
        expected = plain if at is None else plain * FACTOR.reshape(shape)
        np.testing.assert_allclose(Weights().folded(node, value), expected, rtol=1e-6)


def test_what_a_normalization_multiplies_by() -> None:
    given: dict[str, Any] = {"x": "float[1,3,4]", "w": (2, 3, 1)}
    found = normalization(convolved("h = Conv(x, w)", **given))
    assert found is not None
    np.testing.assert_allclose(found, FACTOR)
    found = normalization(convolved("h = Conv(x, w)", epsilon=False, **given))
    assert found is not None
    np.testing.assert_allclose(found, np.abs(SCALE) / np.sqrt(VAR + 1e-5), rtol=1e-6)
    assert normalization(convolved("h = Conv(x, w) z = Relu(h)", **given)) is None
    alone = from_proto(net("h = Conv(x, w) y = Relu(h)", **given)).graph[0]
    assert normalization(alone) is None
