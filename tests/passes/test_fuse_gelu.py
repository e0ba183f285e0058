"""The Gaussian error linear unit, in every spelling."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import onnx
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("fuse-gelu")()
F = np.float32
NUMBERS: dict[str, Any] = {
    "root": F(math.sqrt(2)), "inv": F(math.sqrt(0.5)), "one": F(1), "half": F(0.5), "two": F(2),
    "three": F(3), "c": F(0.044715), "k": F(math.sqrt(2 / math.pi)),
    "kc": F(0.044715 * math.sqrt(2 / math.pi)),
}  # fmt: skip
EXACT = ["y = Gelu(x)"]
TANH = ["y = Gelu(x) approximate='tanh'"]


def gelu(body: str, **given: Any) -> onnx.ModelProto:
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    numbers = {k: v for k, v in NUMBERS.items() if k in words}
    return net(body, **{"opset": 20, **numbers, **given})


ARGUMENTS = ["e = Div(x, root)", "e = Mul(x, inv)", "e = Mul(inv, x)"]
SUMS = ["s = Add(f, one)", "s = Add(one, f)"]
ENDS = [
    "m = Mul(x, s)  y = Mul(m, half)", "m = Mul(s, x)  y = Mul(half, m)",
    "m = Mul(x, half)  y = Mul(m, s)", "m = Mul(half, x)  y = Mul(s, m)",
    "m = Mul(s, half)  y = Mul(x, m)", "m = Mul(half, s)  y = Mul(m, x)",
    "m = Mul(x, s)  y = Div(m, two)", "m = Div(x, two)  y = Mul(s, m)",
]  # fmt: skip


@pytest.mark.parametrize(("a", "b", "c"), list(itertools.product(ARGUMENTS, SUMS, ENDS)))
def test_erf_in_every_order(a: str, b: str, c: str) -> None:
    assert_pass(PASS, gelu(f"{a}  f = Erf(e)  {b}  {c}"), EXACT, seeds=1)


def test_erf_with_the_half_inside() -> None:
    body = "e = Mul(x, inv)  f = Erf(e)  h = Mul(f, half)  s = Add(h, half)  y = Mul(x, s)"
    assert_pass(PASS, gelu(body), EXACT)


CUBES = [
    "q = Pow(x, three)  r = Mul(q, c)", "p = Mul(x, x)  q = Mul(p, x)  r = Mul(c, q)",
    "p = Pow(x, two)  q = Mul(x, p)  r = Mul(q, c)", "p = Mul(c, x)  q = Mul(p, x)  r = Mul(q, x)",
]  # fmt: skip


@pytest.mark.parametrize("cube", CUBES)
@pytest.mark.parametrize("sum_", ["v = Add(x, r)", "v = Add(r, x)"])
@pytest.mark.parametrize("end", ENDS)
def test_tanh_in_every_order(cube: str, sum_: str, end: str) -> None:
    body = f"{cube}  {sum_}  e = Mul(v, k)  f = Tanh(e)  s = Add(one, f)  {end}"
    assert_pass(PASS, gelu(body), TANH, seeds=1)


def test_tanh_multiplied_out() -> None:
    body = "p = Mul(x, x)  q = Mul(p, kc)  r = Add(k, q)  e = Mul(x, r)  f = Tanh(e)"
    assert_pass(PASS, gelu(f"{body}  s = Add(f, one)  {ENDS[0]}"), TANH)


def test_types_and_shapes() -> None:
    body = f"{ARGUMENTS[0]}  f = Erf(e)  {SUMS[0]}  {ENDS[0]}"
    assert_pass(PASS, gelu(body, dtype="float16", x="float16[N,4]"), EXACT)
    assert_pass(PASS, gelu(body, x="float[N,S,D]"), EXACT)
    assert_pass(PASS, gelu(body, x="float[N,S]", half=np.full((1, 1), 0.5, F)), EXACT)
    assert_pass(PASS, gelu(body, x="float[N]", half=np.full((1, 1), 0.5, F)), None)
    assert_pass(PASS, gelu(body, half=np.full((8,), 0.5, F)), None)
    assert_pass(PASS, gelu(body, dtype="double", x="double[3]"), None)


def test_the_input_may_be_a_product_itself() -> None:
    body = f"x = Mul(u, w)  {ARGUMENTS[0]}  f = Erf(e)  {SUMS[0]}  {ENDS[2]}"
    assert_pass(PASS, gelu(body, u="float[3,4]", w=(4,)), ["x = Mul(u, w)", *EXACT])


@pytest.mark.parametrize(
    "given",
    [
        {"root": F(1.414)}, {"one": F(1.001)}, {"half": F(0.51)}, {"half": "float"},
        {"root": F(2)}, {"one": F(-1)},
    ],
)  # fmt: skip
def test_another_function_stays(given: dict[str, Any]) -> None:
    body = f"{ARGUMENTS[0]}  f = Erf(e)  {SUMS[0]}  {ENDS[0]}"
    assert_pass(PASS, gelu(body, **given), None)


def test_another_tanh_stays() -> None:
    tail = f"e = Mul(v, k)  f = Tanh(e)  s = Add(one, f)  {ENDS[0]}"
    body = f"q = Pow(x, three)  r = Mul(q, c)  v = Add(x, r)  {tail}"
    assert_pass(PASS, gelu(body, c=F(0.0447)), None)
    assert_pass(PASS, gelu(body, k=F(0.79)), None)
    assert_pass(PASS, gelu(body.replace("Pow(x, three)", "Pow(x, two)")), None)
    assert_pass(PASS, gelu(body.replace("Add(x, r)", "Sub(x, r)")), None)


def test_erf_of_another_value_stays() -> None:
    body = f"e = Div(z, root)  f = Erf(e)  {SUMS[0]}  {ENDS[0]}"
    assert_pass(PASS, gelu(body, z="float[2,4,8,8]"), None)


def test_before_opset_20() -> None:
    body = f"{ARGUMENTS[0]}  f = Erf(e)  {SUMS[0]}  {ENDS[0]}"
    assert_pass(PASS, gelu(body, opset=19), None)


def test_other_readers() -> None:
    body = f"{ARGUMENTS[0]}  f = Erf(e)  {SUMS[0]}  {ENDS[0]}"
    for extra in ("z = Neg(e)", "z = Neg(f)", "z = Neg(s)"):
        ctx = assert_pass(PASS, gelu(f"{body}  {extra}"), None)
        assert "reads a value inside" in ctx.skipped[0][1]
    assert_pass(PASS, gelu(f"{body}  z = Neg(m)"), None)
    assert_pass(PASS, gelu(body, outputs=["s", "y"]), None)
    assert_pass(PASS, gelu(f"{body}  z = Neg(x)"), [*EXACT, "z = Neg(x)"])


def test_a_subgraph() -> None:
    inner = f"{ARGUMENTS[0]}  f = Erf(e)  {SUMS[0]}  {ENDS[0]}".replace("y =", "r =")
    body = (
        f"y = If(cond) <then_branch = t () => (float[2,4,8,8] r) {{ {inner} }},"
        " else_branch = o () => (float[2,4,8,8] q) { q = Neg(x) }>"
    )
    model = gelu(body, cond="bool", outputs={"y": "float[2,4,8,8]"})
    lines = ["y = If(cond) else_branch={q = Neg(x)} then_branch={r = Gelu(x)}"]
    assert_pass(PASS, model, lines)
