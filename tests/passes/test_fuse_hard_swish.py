"""x * HardSigmoid(x)."""

from __future__ import annotations

import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("fuse-hard-swish")()
GATE = "g = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x)"


@pytest.mark.parametrize("end", ["y = Mul(x, g)", "y = Mul(g, x)"])
def test_hard_swish(end: str) -> None:
    assert_pass(PASS, net(f"{GATE}  {end}", x="float[N,4]", opset=14), ["y = HardSwish(x)"])
    assert_pass(PASS, net(f"{GATE}  {end}", opset=22), ["y = HardSwish(x)"])


@pytest.mark.parametrize(
    "gate",
    ["g = HardSigmoid(x)", "g = HardSigmoid<alpha = 0.16666667, beta = 0.4>(x)",
     "g = HardSigmoid<alpha = 0.1666>(x)", "g = HardSigmoid<alpha = 0.16666667>(z)"],
)  # fmt: skip
def test_another_gate(gate: str) -> None:
    given = {"z": "float[8]"} if "(z)" in gate else {}
    assert_pass(PASS, net(f"{gate}  y = Mul(x, g)", **given), None)


def test_refuses() -> None:
    assert_pass(PASS, net(f"{GATE}  y = Mul(x, g)", opset=13), None)
    assert_pass(PASS, net(f"{GATE}  y = Mul(g, g)"), None)
    ctx = assert_pass(PASS, net(f"{GATE}  y = Mul(x, g)  z = Neg(g)"), None)
    assert "reads" in ctx.skipped[0][1]
    assert_pass(PASS, net(f"{GATE}  y = Mul(x, g)", outputs=["g", "y"]), None)
    assert_pass(PASS, net(f"{GATE}  y = Mul(x, g)", dtype="float16"), None, run=False)
