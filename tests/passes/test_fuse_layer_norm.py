"""Layer normalization, in every spelling."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("fuse-layer-norm")()
F = np.float32
MEAN = "mu = ReduceMean<axes = [-1]>(x)  d = Sub(x, mu)"
VARIANCE = "p = Pow(d, two)  v = ReduceMean<axes = [-1]>(p)  e = Add(v, eps)"
ROOT = "s = Sqrt(e)"
END = "n = Div(d, s)"
AFFINE = "k = Mul(n, gamma)  y = Add(k, beta)"
WHOLE = "y = LayerNormalization(x, gamma, beta) axis=-1 epsilon=1e-05"


def norm(body: str, **given: Any) -> onnx.ModelProto:
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    known: dict[str, Any] = {
        "two": F(2), "eps": F(1e-5), "gamma": (8,), "beta": (8,), "one": F(1), "minus": F(-0.5),
        "last": np.array([-1]), "x": "float[N,3,8]",
    }  # fmt: skip
    if "x = Cast" in body:
        words.discard("x")
    return net(body, **{**{k: v for k, v in known.items() if k in words}, **given})


@pytest.mark.parametrize(
    "body",
    [
        f"{MEAN}  {VARIANCE}  {ROOT}  {END}",
        f"{MEAN}  {VARIANCE.replace('Pow(d, two)', 'Mul(d, d)')}  {ROOT}  {END}",
        f"{MEAN}  {VARIANCE.replace('Add(v, eps)', 'Add(eps, v)')}  {ROOT}  {END}",
        f"{MEAN}  {VARIANCE}  {ROOT}  r = Reciprocal(s)  n = Mul(d, r)",
        f"{MEAN}  {VARIANCE}  {ROOT}  r = Div(one, s)  n = Mul(r, d)",
        f"{MEAN}  {VARIANCE}  r = Pow(e, minus)  n = Mul(d, r)",
        f"{MEAN}  d2 = Sub(x, mu)  {VARIANCE.replace('Pow(d,', 'Pow(d2,')}  {ROOT}  {END}",
        f"{MEAN}  {VARIANCE}  {ROOT}  {END}".replace("[-1]", "[2]"),
    ],
)
def test_every_spelling(body: str) -> None:
    assert_pass(PASS, norm(f"{body}  {AFFINE}"), [WHOLE])
    assert_pass(PASS, norm(f"{body}  k = Mul(gamma, n)  y = Add(beta, k)"), [WHOLE])


def test_axes_as_an_input() -> None:
    body = f"{MEAN}  {VARIANCE}  {ROOT}  {END}  {AFFINE}"
    body = body.replace("<axes = [-1]>(x)", "(x, last)").replace("<axes = [-1]>(p)", "(p, last)")
    assert_pass(PASS, norm(body, opset=18), [WHOLE])


def test_without_scale_or_bias() -> None:
    core = f"{MEAN}  {VARIANCE}  {ROOT}"
    attributes = "axis=-1 epsilon=1e-05"
    model = norm(f"{core}  y = Div(d, s)")
    assert_pass(PASS, model, [f"y = LayerNormalization(x, scale_s1) {attributes}"])
    model = norm(f"{core}  {END}  y = Mul(n, gamma)")
    assert_pass(PASS, model, [f"y = LayerNormalization(x, gamma) {attributes}"])
    model = norm(f"{core}  {END}  y = Add(n, beta)")
    lines = [f"n = LayerNormalization(x, scale_s1) {attributes}", "y = Add(n, beta)"]
    assert_pass(PASS, model, lines)
    model = norm(f"{core}  {END}  y = Mul(n, gamma)", gamma="float[8]")
    lines = [f"n = LayerNormalization(x, scale_s1) {attributes}", "y = Mul(n, gamma)"]
    assert_pass(PASS, model, lines)


def test_two_axes_and_shapes_of_the_scale() -> None:
    body = f"{MEAN}  {VARIANCE}  {ROOT}  {END}  {AFFINE}".replace("[-1]", "[-2, -1]")
    line = "y = LayerNormalization(x, gamma, beta) axis=-2 epsilon=1e-05"
    assert_pass(PASS, norm(body, gamma=(3, 8), beta=(3, 8)), [line])
    line = "y = LayerNormalization(x, gamma_s1, beta_s1) axis=-2 epsilon=1e-05"
    assert_pass(PASS, norm(body, gamma=(1, 3, 8), beta=(1, 3, 8)), [line])
    model = norm(body, gamma=(8,), beta=(8,))  # not the normalized shape
    lines = ["n = LayerNormalization(x, scale_s1) axis=-2 epsilon=1e-05"]
    assert_pass(PASS, model, [*lines, "k = Mul(n, gamma)", "y = Add(k, beta)"])


def test_float16() -> None:
    body = f"{MEAN}  {VARIANCE}  {ROOT}  {END}  {AFFINE}"
    model = norm(body, dtype="float16", x="float16[N,3,8]")
    lines = ["y = LayerNormalization(x, gamma, beta) axis=-1 epsilon=1.001358e-05"]
    assert_pass(PASS, model, lines)


def test_float_between_casts() -> None:
    half = np.ones(8, np.float16)
    body = f"x = Cast<to = 1>(h)  {MEAN}  {VARIANCE}  {ROOT}  {END}  c = Cast<to = 10>(n)"
    body += "  k = Mul(c, gamma)  y = Add(k, beta)"
    model = norm(body, h="float16[N,3,8]", gamma=half * np.float16(1.5), beta=half)
    assert_pass(PASS, model, [WHOLE.replace("(x", "(h")])
    body = f"x = Cast<to = 1>(h)  {MEAN}  {VARIANCE}  {ROOT}  {END}  {AFFINE}"
    model = norm(body, h="float16[N,3,8]")
    assert_pass(PASS, model, ["x = Cast(h) to=1", WHOLE])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<axes = [-1]>(p)", "<axes = [-2]>(p)"),
        ("<axes = [-1]>(x)", "<axes = [-2]>(x)"),
        ("<axes = [-1]>(p)", "<axes = [-1], keepdims = 0>(p)"),
        ("Pow(d, two)", "Pow(d, three)"),
        ("Sub(x, mu)", "Sub(mu, x)"),
        ("Sqrt(e)", "Exp(e)"),
        ("Add(v, eps)", "Sub(v, eps)"),
        ("Pow(d, two)", "Pow(x, two)"),
        ("Div(d, s)", "Div(x, s)"),
        ("Div(d, s)", "Div(s, d)"),
    ],
)
def test_other_arithmetic_stays(old: str, new: str) -> None:
    body = f"{MEAN}  {VARIANCE}  {ROOT}  {END}  {AFFINE}"
    assert old in body
    given: dict[str, Any] = {"three": F(3)} if "three" in new else {}
    assert_pass(PASS, norm(body.replace(old, new), x="float[8,8,8]", **given), None)


def test_other_axes_stay() -> None:
    body = f"{MEAN}  {VARIANCE}  {ROOT}  {END}".replace("[-1]", "[1]")
    assert_pass(PASS, norm(body), None)


def test_refuses() -> None:
    body = f"{MEAN}  {VARIANCE}  {ROOT}  {END}  {AFFINE}"
    assert_pass(PASS, norm(body, opset=16), None)
    ctx = assert_pass(PASS, norm(body, x="float[N,3,D]"), None)
    assert "not known" in ctx.skipped[0][1]
    assert_pass(PASS, norm(body, x="double[N,3,8]", dtype="double"), None)
    assert_pass(PASS, norm(body, eps="float"), None)
    assert_pass(PASS, norm(body, overridable=["eps"]), None)
    for extra in ("z = Neg(d)", "z = Neg(s)", "z = Neg(mu)"):
        ctx = assert_pass(PASS, norm(f"{body}  {extra}"), None)
        assert "reads" in ctx.skipped[0][1]
    model = norm(f"{body}  z = Neg(n)")
    lines = ["n = LayerNormalization(x, scale_s1) axis=-1 epsilon=1e-05"]
    assert_pass(PASS, model, [*lines, "k = Mul(n, gamma)", "y = Add(k, beta)", "z = Neg(n)"])
