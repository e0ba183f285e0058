"""A clipped line, alone or as a gate."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("fuse-hard-sigmoid")()
F = np.float32
NUMBERS: dict[str, Any] = {
    "three": F(3), "zero": F(0), "six": F(6), "sixth": F(1 / 6), "one": F(1), "half": F(0.5),
    "fifth": F(0.2), "five": F(5),
}  # fmt: skip
SIXTH = "alpha=0.16666667 beta=0.5"
GATE = f"y_s1 = HardSigmoid(x) {SIXTH}"


def hard(body: str, **given: Any) -> onnx.ModelProto:
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    numbers = {k: v for k, v in NUMBERS.items() if k in words}
    return net(body, **{**numbers, **given})


CLIP = "c = Clip(a, zero, six)"


@pytest.mark.parametrize("add", ["a = Add(x, three)", "a = Add(three, x)"])
@pytest.mark.parametrize("end", ["y = Div(c, six)", "y = Mul(c, sixth)", "y = Mul(sixth, c)"])
def test_alone(add: str, end: str) -> None:
    assert_pass(PASS, hard(f"{add}  {CLIP}  {end}"), [f"y = HardSigmoid(x) {SIXTH}"])


@pytest.mark.parametrize(
    ("line", "attributes"),
    [
        ("m = Mul(x, fifth)  a = Add(m, half)", "alpha=0.2 beta=0.5"),
        ("m = Div(x, five)  a = Add(half, m)", "alpha=0.2 beta=0.5"),
        ("m = Mul(fifth, x)  a = Sub(m, half)", "alpha=0.2 beta=-0.5"),
        ("m = Mul(fifth, x)  a = Sub(half, m)", "alpha=-0.2 beta=0.5"),
        ("m = Add(x, half)  a = Mul(m, five)", "alpha=5.0 beta=2.5"),
        ("a = Add(x, half)", "alpha=1.0 beta=0.5"),
    ],
)
def test_between_zero_and_one(line: str, attributes: str) -> None:
    model = hard(f"{line}  y = Clip(a, zero, one)", x="float[N,3]")
    assert_pass(PASS, model, [f"y = HardSigmoid(x) {attributes}"])


@pytest.mark.parametrize(
    ("end", "product"),
    [
        ("m = Mul(x, c)  y = Div(m, six)", "Mul(x, y_s1)"),
        ("m = Mul(c, x)  y = Mul(m, sixth)", "Mul(x, y_s1)"),
        ("m = Mul(c, x)  y = Mul(sixth, m)", "Mul(x, y_s1)"),
        ("m = Div(c, six)  y = Mul(x, m)", "Mul(x, y_s1)"),
        ("m = Div(x, six)  y = Mul(m, c)", "Mul(x, y_s1)"),
        ("m = Mul(x, sixth)  y = Mul(c, m)", "Mul(x, y_s1)"),
    ],
)
def test_as_a_gate(end: str, product: str) -> None:
    model = hard(f"a = Add(x, three)  {CLIP}  {end}")
    if "m = Div(c, six)" in end:
        lines = [f"m = HardSigmoid(x) {SIXTH}", "y = Mul(x, m)"]
        found = _lines(model)
        assert found in (lines, [GATE, f"y = {product}"])
        assert_pass(PASS, model, found)
        return
    assert_pass(PASS, model, [GATE, f"y = {product}"])


def _lines(model: onnx.ModelProto) -> list[str]:
    from onnxslim.graph.load import from_proto
    from onnxslim.testing import node_lines

    loaded = from_proto(model)
    PASS(loaded)
    return node_lines(loaded.graph)


def test_a_gate_of_something_else() -> None:
    body = f"a = Add(x, three)  {CLIP}  m = Mul(u, c)  y = Div(m, six)"
    model = hard(body, u="float[2,4,8,8]", x="float[2,4,1,1]")
    assert_pass(PASS, model, [GATE, "y = Mul(u, y_s1)"])


@pytest.mark.parametrize("opset", [7, 10])
def test_attributes_before_opset_11(opset: int) -> None:
    body = "a = Add(x, three)  c = Clip<min = 0.0, max = 6.0>(a)  y = Div(c, six)"
    assert_pass(PASS, hard(body, opset=opset), [f"y = HardSigmoid(x) {SIXTH}"])
    assert_pass(PASS, hard(body.replace("min = 0.0, ", ""), opset=opset), None)


@pytest.mark.parametrize(
    ("body", "given"),
    [
        ("a = Add(x, three)  c = Clip(a, zero, six)  y = Div(c, six)", {"six": F(5)}),
        (f"a = Add(x, three)  {CLIP}  y = Div(c, five)", {}),
        (f"a = Add(x, three)  {CLIP}  y = Div(six, c)", {}),
        ("a = Add(x, three)  c = Clip(a, half, six)  y = Div(c, six)", {}),
        ("a = Add(x, three)  c = Clip(a, zero)  y = Div(c, six)", {}),
        ("a = Mul(x, three)  c = Clip(a, zero, six)  y = Div(c, six)", {}),
        ("y = Clip(x, zero, one)", {}),
        (f"a = Add(x, three)  {CLIP}  y = Div(c, six)", {"three": (8,)}),
        (f"a = Add(x, three)  {CLIP}  y = Div(c, six)", {"three": "float"}),
        (f"a = Add(x, three)  {CLIP}  y = Div(c, six)", {"x": "double[3]", "dtype": "double"}),
    ],
)
def test_others_stay(body: str, given: dict[str, Any]) -> None:
    if given == {"six": F(5)}:  # still one: clip(x + 3, 0, 5) / 5
        assert_pass(PASS, hard(body, **given), ["y = HardSigmoid(x) alpha=0.2 beta=0.6"])
        return
    assert_pass(PASS, hard(body, **given), None)


def test_other_readers() -> None:
    body = f"a = Add(x, three)  {CLIP}  y = Div(c, six)"
    assert_pass(PASS, hard(f"{body}  z = Neg(c)"), None)
    assert_pass(PASS, hard(body, outputs=["c", "y"]), None)
    assert_pass(PASS, hard(f"{body}  z = Neg(a)"), None)
    body = f"a = Add(x, three)  {CLIP}  m = Mul(x, c)  y = Div(m, six)"
    assert_pass(PASS, hard(f"{body}  z = Neg(m)"), None)
    ctx = assert_pass(PASS, hard(f"{body}  z = Neg(c)"), None)
    assert "reads" in ctx.skipped[0][1]
