"""x * tanh(softplus(x))."""

from __future__ import annotations

import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("fuse-mish")()
BODY = "s = Softplus(x)  t = Tanh(s)  y = Mul(x, t)"


@pytest.mark.parametrize("body", [BODY, BODY.replace("Mul(x, t)", "Mul(t, x)")])
def test_mish(body: str) -> None:
    assert_pass(PASS, net(body, opset=18, x="float[N,4]"), ["y = Mish(x)"])


def test_refuses() -> None:
    assert_pass(PASS, net(BODY), None)
    assert_pass(PASS, net(BODY.replace("Mul(x, t)", "Mul(s, t)"), opset=18), None)
    assert_pass(PASS, net(BODY.replace("Softplus", "Exp"), opset=18), None)
    for extra in ("z = Neg(s)", "z = Neg(t)"):
        ctx = assert_pass(PASS, net(f"{BODY}  {extra}", opset=18), None)
        assert "reads" in ctx.skipped[0][1]
    assert_pass(PASS, net(BODY, opset=18, x="double[3]"), None, run=False)
