"""Root mean square normalization, in every spelling."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("fuse-rms-norm")()
F = np.float32
MEAN = "p = Pow(x, two)  v = ReduceMean(p, last)  e = Add(v, eps)"
WHOLE = "y = RMSNormalization(x, gamma) axis=-1 epsilon=1e-06"


def norm(body: str, **given: Any) -> onnx.ModelProto:
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    known: dict[str, Any] = {
        "two": F(2), "eps": F(1e-6), "gamma": (8,), "beta": (8,), "one": F(1), "minus": F(-0.5),
        "last": np.array([-1]), "x": "float[N,3,8]",
    }  # fmt: skip
    if "x = Cast" in body:
        words.discard("x")
    return net(body, **{"opset": 23, **{k: v for k, v in known.items() if k in words}, **given})


@pytest.mark.parametrize(
    "body",
    [
        f"{MEAN}  s = Sqrt(e)  n = Div(x, s)",
        f"{MEAN}  s = Sqrt(e)  r = Reciprocal(s)  n = Mul(x, r)",
        f"{MEAN}  s = Sqrt(e)  r = Div(one, s)  n = Mul(r, x)",
        f"{MEAN}  r = Pow(e, minus)  n = Mul(x, r)",
        f"{MEAN.replace('Pow(x, two)', 'Mul(x, x)')}  s = Sqrt(e)  n = Div(x, s)",
    ],
)
def test_every_spelling(body: str) -> None:
    assert_pass(PASS, norm(f"{body}  y = Mul(n, gamma)"), [WHOLE])
    model = norm(f"{body}  k = Mul(gamma, n)  y = Add(k, beta)")
    assert_pass(PASS, model, [WHOLE.replace("y =", "k ="), "y = Add(k, beta)"])
    model = norm(body.replace("n =", "y ="))
    assert_pass(PASS, model, [WHOLE.replace("gamma", "scale_s1")])


def test_float_between_casts() -> None:
    body = f"x = Cast<to = 1>(h)  {MEAN}  s = Sqrt(e)  n = Div(x, s)  c = Cast<to = 10>(n)"
    model = norm(f"{body}  y = Mul(c, gamma)", h="float16[N,3,8]", gamma=np.ones(8, np.float16))
    assert_pass(PASS, model, [WHOLE.replace("(x", "(h")])
    body = f"x = Cast<to = 1>(h)  {MEAN}  s = Sqrt(e)  n = Div(x, s)  y = Mul(n, gamma)"
    assert_pass(PASS, norm(body, h="float16[N,3,8]"), ["x = Cast(h) to=1", WHOLE])


def test_refuses() -> None:
    body = f"{MEAN}  s = Sqrt(e)  n = Div(x, s)  y = Mul(n, gamma)"
    assert_pass(PASS, norm(body, opset=22), None)
    assert_pass(PASS, norm(body.replace("Div(x, s)", "Div(s, x)")), None)
    assert_pass(PASS, norm(body.replace("Pow(x, two)", "Pow(u, two)"), u="float[N,3,8]"), None)
    assert_pass(PASS, norm(body, last=np.array([1])), None)
    assert_pass(PASS, norm(body, dtype="double", x="double[N,3,8]"), None)
    ctx = assert_pass(PASS, norm(body, x="float[N,3,D]"), None)
    assert "not known" in ctx.skipped[0][1]
    ctx = assert_pass(PASS, norm(f"{body}  z = Neg(s)"), None)
    assert "reads" in ctx.skipped[0][1]
