"""Equal nodes become one; what only looks equal stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from onnxslim.graph.load import from_proto
from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("eliminate-common-subexpression")()


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (
            "a = Relu(x)  b = Relu(x)  e = Abs(a)  d = Abs(b)  y = Add(e, d)",
            ["a = Relu(x)", "e = Abs(a)", "y = Add(e, e)"],
        ),
        (
            "a = Add(x, w)  b = Add(w, x)  y = Mul(a, b)",
            ["a = Add(x, w)", "y = Mul(a, a)"],
        ),
        (
            "a = LeakyRelu<alpha = 0.01>(x)  b = LeakyRelu(x)  y = Mul(a, b)",
            ["a = LeakyRelu(x) alpha=0.01", "y = Mul(a, a)"],
        ),
        (
            "a, b = Split<axis = 1>(x)  d, e = Split<axis = 1>(x)  y = Add(a, d)  z = Add(b, e)",
            ["a, b = Split(x) axis=1", "y = Add(a, a)", "z = Add(b, b)"],
        ),
        ("a = Relu(x)  y = Relu(x)  z = Abs(a)", ["y = Relu(x)", "z = Abs(y)"]),
        (
            "a = Clip(x, , k)  b = Clip(x, , k)  y = Sub(a, b)",
            ["a = Clip(x, _, k)", "y = Sub(a, a)"],
        ),
        (
            "k1 = Constant<value_int = 3>()  k2 = Constant<value_int = 3>()  "
            "a = Cast<to = 1>(k1)  b = Cast<to = 1>(k2)  d = Add(x, a)  y = Mul(d, b)",
            [
                "k1 = Constant() value_int=3",
                "a = Cast(k1) to=1",
                "d = Add(x, a)",
                "y = Mul(d, a)",
            ],
        ),
    ],
)
def test_merges(body: str, lines: list[str]) -> None:
    model = net(body, x="float[2,4,8,8]", w=(8,), k=np.float32(0.3), opset=13)
    assert_pass(PASS, model, lines)


@pytest.mark.parametrize(
    "body",
    [
        "a = Clip(x, , k)  b = Clip(x, k)  y = Sub(a, b)",
        "a = LeakyRelu<alpha = 0.01>(x)  b = LeakyRelu<alpha = 0.02>(x)  y = Sub(a, b)",
        "a, b = Split<axis = 1>(x)  d, e, f, g = Split<axis = 1>(x)  y = Sub(a, b)  z = Sub(d, e)",
        "a = Sub(x, w)  b = Sub(w, x)  y = Add(a, b)",
        "a = MaxPool<kernel_shape=[2,2]>(x)  b, i = MaxPool<kernel_shape=[2,2]>(x)"
        "  y = Add(a, b)  z = Neg(i)",
    ],
)
def test_keeps_what_differs(body: str) -> None:
    outputs = ["y", "z"] if "z =" in body else ["y"]
    model = net(body, w=(8,), k=np.float32(0.3), opset=13, outputs=outputs)
    assert_pass(PASS, model, None)


@pytest.mark.parametrize(
    "op", ["RandomNormalLike(x)", "RandomUniformLike(x)", "Bernoulli(p)", "Dropout(x, r, on)"]
)
def test_keeps_random_draws(op: str) -> None:
    given: dict[str, Any] = {"p": "float[3]"} if "p" in op.split("(")[1] else {}
    model = net(f"a = {op}  b = {op}  y = Sub(a, b)", r=np.float32(0.5), on=np.array(True), **given)
    assert_pass(PASS, model, None, run=False)


@pytest.mark.parametrize(("one", "two"), [(0.0, -0.0)])
def test_constants_differ_by_the_sign_of_zero(one: float, two: float) -> None:
    body = (
        f"k1 = Constant<value_float = {one}>()  k2 = Constant<value_float = {two}>()  "
        "a = Div(x, k1)  b = Div(x, k2)  y = Sub(a, b)"
    )
    assert_pass(PASS, net(body), None)


def test_keeps_two_graph_outputs() -> None:
    ctx = assert_pass(PASS, net("y = Relu(x)  z = Relu(x)"), None)
    assert "graph output" in ctx.skipped[0][1]


def test_other_domains_are_left_alone() -> None:
    body = "a = my.dom.Op(x)  b = my.dom.Op(x)  y = Add(a, b)"
    assert_pass(PASS, net(body, outputs={"y": "float[2,4,8,8]"}), None, run=False)


def test_scopes() -> None:
    body = """
    a = Relu(x)
    y = If (c) <
      then_branch = t () => (float[2,4,8,8] o1) { b = Relu(x)  d = Neg(x)  o1 = Add(b, d) },
      else_branch = e () => (float[2,4,8,8] o2) { f = Neg(x)  o2 = Abs(f) }
    >
    z = Neg(x)
    q = Add(a, z)
    """
    assert_pass(
        PASS,
        net(body, outputs=["y", "q"]),
        [
            "a = Relu(x)",
            "y = If(c) else_branch={f = Neg(x); o2 = Abs(f)} "
            "then_branch={d = Neg(x); o1 = Add(a, d)}",
            "z = Neg(x)",
            "q = Add(a, z)",
        ],
    )


def test_an_output_of_a_subgraph_stays() -> None:
    body = """
    a = Relu(x)
    y = If (c) <
      then_branch = t () => (float[2,4,8,8] o1) { o1 = Relu(x) },
      else_branch = e () => (float[2,4,8,8] o2) { o2 = Neg(a) }
    >
    """
    ctx = assert_pass(PASS, net(body), None)
    assert "graph output" in ctx.skipped[0][1]


@pytest.mark.parametrize("dtype", ["float16", "double"])
def test_types_and_dynamic_batch(dtype: str) -> None:
    model = net("a = Neg(x)  b = Neg(x)  y = Mul(a, b)", x="float[N,3]", dtype=dtype)
    assert_pass(PASS, model, ["a = Neg(x)", "y = Mul(a, a)"])


def test_inputs_that_are_left_out_at_the_end_make_no_difference() -> None:
    model = net("a = Clip(x, k)  b = Clip(x, k)  y = Sub(a, b)", k=np.float32(0))
    model.graph.node[1].input.append("")
    assert_pass(PASS, model, ["a = Clip(x, k)", "y = Sub(a, a)"])


def test_texts_are_not_compared() -> None:
    text = 'Constant<value = string[1] {"u"}>()'
    model = net(f"a = {text}  b = {text}  y = Concat<axis = 0>(a, b)")
    assert_pass(PASS, model, None)


@pytest.mark.parametrize(("size", "left"), [(1024, 3), (1025, 4)])
def test_large_tensors_are_not_compared(size: int, left: int) -> None:
    ones = np.ones(size, np.float32)
    model = net("a = Add(x, k)  y = Mul(a, m)", x="float[1]", k=ones, m=ones)
    del model.graph.initializer[:]
    for name in "km":
        content = numpy_helper.from_array(ones)
        model.graph.node.insert(0, helper.make_node("Constant", [], [name], value=content))
    loaded = from_proto(model)
    PASS(loaded)
    assert len(list(loaded.graph)) == left
