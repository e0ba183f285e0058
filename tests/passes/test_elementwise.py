"""Functions of one variable: what ONNX Runtime computes, between and beyond their corners."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.graph.load import from_proto
from onnxslim.passes._elementwise import function_of
from onnxslim.testing import shared_worker
from tests.nets import net

LOW, HIGH = np.float32(-0.5), np.float32(1.2)

CALLS = [
    "Erf(x)", "Relu(x)", "Clip(x)", "Clip(x, lo)", "Clip(x, , hi)", "Clip(x, lo, hi)",
    "LeakyRelu(x)", "LeakyRelu<alpha = 0.3>(x)", "Elu(x)", "Elu<alpha = 0.4>(x)", "Sigmoid(x)",
    "Tanh(x)", "HardSigmoid(x)", "HardSigmoid<alpha = 0.4, beta = 0.3>(x)", "HardSwish(x)",
    "Softplus(x)", "Gelu(x)", "Mish(x)",
]  # fmt: skip


def node_of(call: str, **given: Any) -> tuple[Any, bytes]:
    bounds = {n: v for n, v in (("lo", LOW), ("hi", HIGH)) if n in call}
    proto = net(f"y = {call}", **{"opset": 20, "x": "float[101]"} | bounds | given)
    return next(iter(from_proto(proto).graph)), proto.SerializeToString()


@pytest.mark.parametrize("call", CALLS)
def test_as_the_runtime(call: str) -> None:
    node, proto = node_of(call)
    function = function_of(node)
    assert function is not None
    x = np.append(np.linspace(-8, 8, 97), [-99, 99, -0.5, 1.2]).astype(np.float32)
    with shared_worker().session(proto) as session:
        wanted = session.run({"x": x})["y"]
    np.testing.assert_allclose(function(x.astype(np.float64)), wanted, rtol=1e-5, atol=1e-6)


def test_swish() -> None:
    node, _ = node_of("HardSwish(x)")
    node.op_type = "Swish"
    function = function_of(node)
    assert function is not None
    x = np.linspace(-9, 9, 19)
    np.testing.assert_allclose(function(x), x / (1 + np.exp(-x)), rtol=1e-12)


def test_attributes_of_an_old_clip() -> None:
    node, _ = node_of("Clip<min = -1.0, max = 2.0>(x)", opset=6)
    function = function_of(node)
    assert function is not None
    assert function(np.array([-3.0, 0.0, 3.0])).tolist() == [-1, 0, 2]


@pytest.mark.parametrize("bound", ["lo", "hi"])
def test_bounds_that_are_not_known_give_nothing_known(bound: str) -> None:
    call = "Clip(x, lo)" if bound == "lo" else "Clip(x, , hi)"
    node, _ = node_of(call, **{bound: "float[]"})
    function = function_of(node)
    assert function is not None and np.isnan(function(np.zeros(3))).all()


def test_other_operators_and_domains_have_none() -> None:
    assert function_of(node_of("Exp(x)")[0]) is None
    assert function_of(node_of("com.microsoft.Gelu(x)", outputs={"y": "float[101]"})[0]) is None
