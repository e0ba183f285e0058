"""Equal initializers are stored once."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("deduplicate-initializers")()
F = np.arange(8, dtype=np.float32)


def test_merges() -> None:
    model = net("a = Add(x, k1)  y = Mul(a, k2)", k1=F, k2=F.copy())
    assert_pass(PASS, model, ["a = Add(x, k1)", "y = Mul(a, k1)"])


@pytest.mark.parametrize(
    "array",
    [
        np.array([np.nan] * 8, np.float32),
        np.zeros(8, np.float32),
        np.zeros((1, 1, 1, 8), np.float32),
        np.random.default_rng(0).standard_normal((512, 8, 8)).astype(np.float32)[:8, :1],
    ],
)
def test_merges_any_bits(array: np.ndarray[Any, Any]) -> None:
    model = net("a = Add(x, k1)  y = Add(a, k2)", k1=array, k2=array.copy(), x="float[8,1,8,8]")
    assert_pass(PASS, model, ["a = Add(x, k1)", "y = Add(a, k1)"])


def test_merges_three() -> None:
    model = net("a = Add(x, k1)  b = Add(a, k2)  y = Add(b, k3)", k1=F, k2=F, k3=F)
    assert_pass(PASS, model, ["a = Add(x, k1)", "b = Add(a, k1)", "y = Add(b, k1)"])


def test_large_ones_that_differ_in_one_element_stay() -> None:
    one = np.zeros(2 << 20, np.float32)
    two = one.copy()
    two[1 << 19] = 1
    model = net("a = Add(x, k1)  y = Add(a, k2)", x="float[1]", k1=one, k2=two)
    assert_pass(PASS, model, None, run=False)
    same = net("a = Add(x, k1)  y = Add(a, k2)", x="float[1]", k1=two, k2=two)
    assert_pass(PASS, same, ["a = Add(x, k1)", "y = Add(a, k1)"], run=False)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (np.zeros(8, np.float32), np.full(8, -0.0, np.float32)),
        (np.zeros(8, np.float32), np.zeros((1, 8), np.float32)),
        (F, np.nextafter(F, 9)),
    ],
)
def test_keeps_what_differs(one: Any, two: Any) -> None:
    assert_pass(PASS, net("a = Add(x, k1)  y = Add(a, k2)", k1=one, k2=two), None)


def test_keeps_another_type_of_the_same_bits() -> None:
    model = net(
        "a = Cast<to = 1>(k1)  b = Cast<to = 1>(k2)  d = Add(x, a)  y = Add(d, b)",
        k1=np.zeros(8, np.int32),
        k2=np.zeros(8, np.uint32),
    )
    assert_pass(PASS, model, None)


def test_keeps_overridable_ones() -> None:
    model = net("a = Add(x, k1)  y = Add(a, k2)", k1=F, k2=F, overridable=["k2"])
    assert_pass(PASS, model, None)


def test_keeps_graph_outputs() -> None:
    model = net("y = Add(x, k1)", k1=F, k2=F, outputs={"y": "float[2,4,8,8]", "k2": "float[8]"})
    assert_pass(PASS, model, None)


def test_merges_into_an_outer_scope() -> None:
    branch = "<float[8] k2 = {0, 1, 2, 3, 4, 5, 6, 7}>"
    body = f"""
    a = Add(x, k1)
    y = If (c) <
      then_branch = t () => (float[2,4,8,8] o1) {branch} {{ o1 = Mul(a, k2) }},
      else_branch = e () => (float[2,4,8,8] o2) {{ o2 = Neg(a) }}
    >
    """
    line = "y = If(c) else_branch={o2 = Neg(a)} then_branch={o1 = Mul(a, k1)}"
    assert_pass(PASS, net(body, k1=F), ["a = Add(x, k1)", line])


def test_int8_and_float16() -> None:
    zero = np.zeros(3, np.int8)
    body = "q = QuantizeLinear<axis = 0>(x, s1, z1)  y = DequantizeLinear<axis = 0>(q, s2, z2)"
    scale = np.array([0.5, 0.25, 2], np.float32)
    model = net(body, x="float[3,2]", s1=scale, s2=scale, z1=zero, z2=zero)
    lines = [
        "q = QuantizeLinear(x, s1, z1) axis=0",
        "y = DequantizeLinear(q, s1, z1) axis=0",
    ]
    assert_pass(PASS, model, lines)
    model = net("a = Add(x, k1)  y = Mul(a, k2)", k1=F, k2=F, dtype="float16", x="float[N,8]")
    assert_pass(PASS, model, ["a = Add(x, k1)", "y = Mul(a, k1)"])


def test_int4() -> None:
    items = [onnx.helper.make_tensor("k", onnx.TensorProto.INT4, [3], [1, 2, -3]) for _ in "ab"]
    body = "a = Cast<to = 1>(k1)  b = Cast<to = 1>(k2)  d = Add(x, a)  y = Add(d, b)"
    model = net(body, x="float[3]", opset=21, k1=items[0], k2=items[1])
    lines = ["a = Cast(k1) to=1", "b = Cast(k1) to=1", "d = Add(x, a)", "y = Add(d, b)"]
    assert_pass(PASS, model, lines)
