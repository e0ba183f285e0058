"""Elementwise operators broadcast by themselves."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("eliminate-expand")()
EXPAND = "s = Shape(x)  e = Expand(k, s)"


@pytest.mark.parametrize(
    "call",
    ["Add(x, {})", "Sub({}, x)", "Mul({}, x)", "Pow(x, {})", "Max(x, {}, x)", "Where(c, {}, x)"],
)
@pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 1)])
def test_drops_the_expand(call: str, shape: tuple[int, ...]) -> None:
    k = np.abs(np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
    model = net(f"{EXPAND}  y = {call.format('e')}", x="float[N,3,4]", k=k)
    assert_pass(PASS, model, [f"y = {call.format('k')}"])


def test_all_readers_broadcast() -> None:
    model = net(f"{EXPAND}  y = Add(x, e)  z = Less(e, x)", x="float[N,4]", k=np.float32(1))
    assert_pass(PASS, model, ["y = Add(x, k)", "z = Less(k, x)"])


def test_filled_tensor_becomes_a_scalar() -> None:
    fill = "ConstantOfShape<value = float[1] {2}>"
    model = net(f"s = Shape(x)  e = {fill}(s)  y = Mul(x, e)", x="float[N,4]")
    ctx = assert_pass(PASS, model, ["y = Mul(x, e_s1)"])
    value = ctx.model.graph.initializers["e_s1"].const_value
    assert value is not None
    assert value.numpy().shape == ()


def test_default_filling_is_a_float_zero() -> None:
    model = net("s = Shape(x)  e = ConstantOfShape(s)  y = Add(x, e)", x="float[N,4]")
    assert_pass(PASS, model, ["y = Add(x, e_s1)"])


def test_a_filling_of_nan_stays() -> None:
    model = net("s = Shape(x)  e = ConstantOfShape(s)  y = Add(x, e)", x="float[N,4]")
    nan = numpy_helper.from_array(np.array([np.nan], np.float32))
    model.graph.node[1].attribute.append(helper.make_attribute("value", nan))
    assert_pass(PASS, model, None)


def test_an_expand_of_unknown_rank_stays() -> None:
    model = net(
        "k = my.Op(x)  e = Expand(k, t)  y = Add(x, e)",
        t=[2, 4],
        x="float[2,4]",
        outputs={"y": "float[2,4]"},
    )
    assert_pass(PASS, model, None, run=False)


@pytest.mark.parametrize(
    "tail",
    [
        "y = Neg(e)",
        "y = Concat<axis = 0>(x, e)",
        "y = MatMul(e, w)",
        "y = Add(k, e)",
        "y = Add(e, e)",
    ],
)
def test_keeps_an_expand_that_is_needed(tail: str) -> None:
    model = net(f"{EXPAND}  {tail}", x="float[N,4]", k=np.float32(1), w=(4, 2))
    assert_pass(PASS, model, None)


def test_keeps_an_expand_that_one_reader_needs() -> None:
    model = net(f"{EXPAND}  y = Add(x, e)  z = Neg(e)", x="float[N,4]", k=np.float32(1))
    assert "needs" in assert_pass(PASS, model, None).skipped[0][1]


def test_keeps_an_expand_to_another_size() -> None:
    model = net(
        "s = Shape(z)  e = Expand(k, s)  y = Add(x, e)",
        x="float[N,4]",
        z="float[M,4]",
        k=np.float32(1),
    )
    assert_pass(PASS, model, None, run=False)


def test_keeps_one_of_two() -> None:
    body = f"{EXPAND}  f = Expand(k2, s)  y = Add(e, f)"
    model = net(body, x="float[N,4]", k=np.float32(1), k2=np.float32(2))
    lines = ["s = Shape(x)", "f = Expand(k2, s)", "y = Add(k, f)"]
    assert_pass(PASS, model, lines)


def test_keeps_a_graph_output() -> None:
    model = net(f"{EXPAND}  y = Add(x, e)", outputs=["y", "e"], x="float[N,4]", k=np.float32(1))
    assert_pass(PASS, model, None)


def test_reader_in_a_subgraph() -> None:
    then = "then_branch = t () => (float[] o1) { o1 = Add(x, e) }"
    other = "else_branch = e () => (float[] o2) { o2 = Abs(x) }"
    model = net(
        f"{EXPAND}  y = If<{then}, {other}>(c)",
        outputs={"y": "float[N,4]"},
        x="float[N,4]",
        k=np.float32(1),
    )
    lines = [
        "y = If(c) else_branch={o2 = Abs(x)} then_branch={o1 = Add(x, k)}",
    ]
    assert_pass(PASS, model, lines)
