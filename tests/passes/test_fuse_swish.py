"""x * sigmoid(alpha * x)."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("fuse-swish")()
F = np.float32


@pytest.mark.parametrize("end", ["y = Mul(x, s)", "y = Mul(s, x)"])
@pytest.mark.parametrize("dtype", ["float", "float16"])
def test_swish(end: str, dtype: str) -> None:
    model = net(f"s = Sigmoid(x)  {end}", opset=24, x=f"{dtype}[N,4]")
    assert_pass(PASS, model, ["y = Swish(x)"])


@pytest.mark.parametrize(
    ("step", "alpha"), [("Mul(x, a)", 1.5), ("Mul(a, x)", 1.5), ("Div(x, a)", 0.6666667)]
)
def test_alpha(step: str, alpha: float) -> None:
    model = net(f"m = {step}  s = Sigmoid(m)  y = Mul(x, s)", opset=24, a=F(1.5))
    assert_pass(PASS, model, [f"y = Swish(x) alpha={alpha}"])


def test_refuses() -> None:
    assert_pass(PASS, net("s = Sigmoid(x)  y = Mul(x, s)", opset=23), None)
    assert_pass(PASS, net("m = Add(x, a)  s = Sigmoid(m)  y = Mul(x, s)", opset=24, a=F(1)), None)
    assert_pass(PASS, net("s = Sigmoid(z)  y = Mul(x, s)", opset=24, z="float[8]"), None)
    assert_pass(PASS, net("s = Sigmoid(x)  y = Mul(s, s)", opset=24), None)
    ctx = assert_pass(PASS, net("s = Sigmoid(x)  y = Mul(x, s)  z = Neg(s)", opset=24), None)
    assert "reads" in ctx.skipped[0][1]
    assert_pass(PASS, net("s = Sigmoid(x)  y = Mul(x, s)", opset=24, outputs=["s", "y"]), None)
    model = net("s = Sigmoid(x)  y = Mul(x, s)", opset=24, x="double[3]")
    assert_pass(PASS, model, None)
