"""An If goes when only one of its branches can be taken; any other stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("inline-if")()
THEN = "then_branch = t () => (float[] o1) { o1 = Relu(x) }"
ELSE = "else_branch = e () => (float[] o2) { o2 = Sigmoid(x) }"
IF = f"h = If<{THEN}, {ELSE}>(k)  y = Neg(h)"
Y = {"y": "float[2,4,8,8]"}
IN = "float[2,4,8,8]"


@pytest.mark.parametrize("condition", [np.array(True), np.array([True])])
def test_takes_the_then_branch(condition: np.ndarray) -> None:
    model = net(IF, outputs=Y, x=IN, k=condition)
    assert_pass(PASS, model, ["h = Relu(x)", "y = Neg(h)"])


def test_takes_the_else_branch() -> None:
    model = net(IF, outputs=Y, x=IN, k=np.array(False))
    assert_pass(PASS, model, ["h = Sigmoid(x)", "y = Neg(h)"])


@pytest.mark.parametrize("opset", [11, 13, 17, 19, 21])
def test_opsets(opset: int) -> None:
    model = net(IF, outputs=Y, x=IN, k=np.array(True), opset=opset)
    assert_pass(PASS, model, ["h = Relu(x)", "y = Neg(h)"])


def test_result_is_a_graph_output() -> None:
    model = net(f"y = If<{THEN}, {ELSE}>(k)", outputs=Y, x=IN, k=np.array(True))
    assert_pass(PASS, model, ["y = Relu(x)"])


def test_keeps_a_condition_that_the_caller_gives() -> None:
    assert_pass(PASS, net(IF, outputs=Y, x=IN, k="bool"), None)


def test_keeps_a_condition_that_the_caller_may_override() -> None:
    model = net(IF, outputs=Y, x=IN, k=np.array(True), overridable=["k"])
    assert_pass(PASS, model, None)


def test_a_rank_decides() -> None:
    body = f"s = Shape(x)  n = Size(s)  k = Equal(n, four)  h = If<{THEN}, {ELSE}>(k)  y = Neg(h)"
    model = net(body, outputs={"y": "float[A,B,C,D]"}, x="float[A,B,C,D]", four=np.int64(4))
    lines = ["s = Shape(x)", "n = Size(s)", "k = Equal(n, four)", "h = Relu(x)", "y = Neg(h)"]
    assert_pass(PASS, model, lines)


@pytest.mark.parametrize(("size", "op"), [(3, "Relu"), (5, "Sigmoid")])
def test_a_fixed_dimension_decides(size: int, op: str) -> None:
    body = f"s = Shape(x)  d = Gather(s, i)  k = Equal(d, n)  h = If<{THEN}, {ELSE}>(k)  y = Neg(h)"
    model = net(body, outputs={"y": "float[N,3]"}, x="float[N,3]", i=np.int64(1), n=np.int64(size))
    first = ["s = Shape(x)", "d = Gather(s, i)", "k = Equal(d, n)"]
    assert_pass(PASS, model, [*first, f"h = {op}(x)", "y = Neg(h)"])


def test_keeps_a_dynamic_dimension() -> None:
    body = f"s = Shape(x)  d = Gather(s, i)  k = Equal(d, n)  h = If<{THEN}, {ELSE}>(k)  y = Neg(h)"
    model = net(body, outputs={"y": "float[N,3]"}, x="float[N,3]", i=np.int64(0), n=np.int64(3))
    assert_pass(PASS, model, None)


def test_a_branch_returns_outer_values_and_constants() -> None:
    three, four = (f"Constant<value = float {{{n}}}>()" for n in (3, 4))
    then = f"then_branch = t () => (float[] p, float[] q) {{ p = Identity(x)  q = {three} }}"
    other = f"else_branch = e () => (float[] r, float[] s) {{ r = Relu(x)  s = {four} }}"
    model = net(f"a, b = If<{then}, {other}>(k)  y = Add(a, b)", outputs=Y, x=IN, k=np.array(True))
    lines = ["a = Identity(x)", "b = Constant() value=float(3.0)", "y = Add(a, b)"]
    assert_pass(PASS, model, lines)


def test_initializers_of_the_branch_move_out() -> None:
    weight = helper.make_tensor("k", TensorProto.FLOAT, [2], [1.0, 2.0])
    add = helper.make_node("Add", ["x", "k"], ["o"])
    out = helper.make_tensor_value_info("o", TensorProto.FLOAT, [2])
    branches = [helper.make_graph([add], n, [], [out], [weight]) for n in ("t", "e")]
    node = helper.make_node("If", ["c"], ["h"], then_branch=branches[0], else_branch=branches[1])
    last = helper.make_node("Mul", ["h", "k2"], ["y"])
    graph = helper.make_graph(
        [node, last],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        [
            helper.make_tensor("c", TensorProto.BOOL, [], [True]),
            helper.make_tensor("k2", TensorProto.FLOAT, [2], [3.0, 4.0]),
        ],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    assert_pass(PASS, model, ["h = Add(x, k_s1)", "y = Mul(h, k2)"])


def test_same_names_in_both_branches_and_outside() -> None:
    then = "then_branch = t () => (float[] o) { t = Neg(x)  o = Relu(t) }"
    other = "else_branch = e () => (float[] o) { t = Abs(x)  o = Relu(t) }"
    body = f"a = If<{then}, {other}>(k)  b = If<{then}, {other}>(c)  y = Add(a, b)"
    model = net(body, outputs=Y, x=IN, k=np.array(False))
    lines = [
        "t_s1 = Abs(x)",
        "a = Relu(t_s1)",
        "b = If(c) else_branch={t = Abs(x); o = Relu(t)} then_branch={t = Neg(x); o = Relu(t)}",
        "y = Add(a, b)",
    ]
    assert_pass(PASS, model, lines)


def test_both_branches_the_same() -> None:
    then = "then_branch = t () => (float[] o) { p = Neg(x)  o = LeakyRelu<alpha = 0.5>(p) }"
    other = "else_branch = e () => (float[] r) { q = Neg(x)  r = LeakyRelu<alpha = 0.5>(q) }"
    model = net(f"h = If<{then}, {other}>(c)  y = Neg(h)", outputs=Y, x=IN)
    lines = ["p_s1 = Neg(x)", "h = LeakyRelu(p_s1) alpha=0.5", "y = Neg(h)"]
    assert_pass(PASS, model, lines)


@pytest.mark.parametrize(
    "other",
    [
        "q = Neg(x)  r = LeakyRelu<alpha = 0.25>(q)",
        "q = Abs(x)  r = LeakyRelu<alpha = 0.5>(q)",
        "q = Neg(x)  r = LeakyRelu<alpha = 0.5>(x)",
        "q = Neg(x)  p = Neg(q)  r = LeakyRelu<alpha = 0.5>(p)",
    ],
)
def test_keeps_branches_that_differ(other: str) -> None:
    then = "then_branch = t () => (float[] o) { p = Neg(x)  o = LeakyRelu<alpha = 0.5>(p) }"
    body = f"h = If<{then}, else_branch = e () => (float[] r) {{ {other} }}>(c)  y = Neg(h)"
    assert_pass(PASS, net(body, outputs=Y, x=IN), None)


def test_an_inner_if_on_the_same_condition() -> None:
    inner = f"i = If<{THEN}, {ELSE}>(c)  o = Neg(i)"
    then = f"then_branch = a () => (float[] o) {{ {inner} }}"
    other = "else_branch = b () => (float[] p) { p = Abs(x) }"
    model = net(f"h = If<{then}, {other}>(c)  y = Neg(h)", outputs=Y, x=IN, c="bool")
    lines = [
        "h = If(c) else_branch={p = Abs(x)} then_branch={i = Relu(x); o = Neg(i)}",
        "y = Neg(h)",
    ]
    assert_pass(PASS, model, lines)


def test_nested_ifs_go_together() -> None:
    inner = f"i = If<{THEN}, {ELSE}>(k)  o = Neg(i)"
    then = f"then_branch = a () => (float[] o) {{ {inner} }}"
    other = "else_branch = b () => (float[] p) { p = Abs(x) }"
    model = net(f"h = If<{then}, {other}>(k)  y = Neg(h)", outputs=Y, x=IN, k=np.array(True))
    assert_pass(PASS, model, ["i_s1 = Relu(x)", "h = Neg(i_s1)", "y = Neg(h)"])


SQUEEZE = (
    "then_branch = t () => (float[] o1) { o1 = Squeeze(x, last) }, "
    "else_branch = e () => (float[] o2) { o2 = Identity(x) }"
)
COUNT = "s = Shape(x)  d = Gather(s, two)  k = Equal(d, one)"
SIZES: dict[str, Any] = {
    "two": np.int64(2),
    "one": np.int64(1),
    "last": np.array([-1]),
    "first": np.array([0]),
}


def test_a_branch_that_makes_a_later_node_fail_is_not_taken() -> None:
    body = (
        f"{COUNT}  h = If<{SQUEEZE}>(k)  u = Unsqueeze(h, first)  y = GRU<hidden_size = 3>(u, w, r)"
    )
    model = net(
        body, outputs={"y": "float[1,1,B,3]"}, x="float[B,4,T]", w=(1, 9, 4), r=(1, 9, 3), **SIZES
    )
    ctx = assert_pass(
        PASS,
        model,
        [
            "s = Shape(x)",
            "d = Gather(s, two)",
            "k = Equal(d, one)",
            "h = Squeeze(x, last)",
            "u = Unsqueeze(h, first)",
            "y = GRU(u, w, r) hidden_size=3",
        ],
        run=False,
    )
    assert not ctx.skipped


@pytest.mark.parametrize("tail", ["v = Relu(u)", "v = Unsqueeze(u, first)"])
def test_keeps_an_if_when_both_branches_run(tail: str) -> None:
    body = (
        f"{COUNT}  h = If<{SQUEEZE}>(k)  u = Unsqueeze(h, first)  {tail}  t = Shape(v)  y = Size(t)"
    )
    model = net(body, outputs={"y": "int64"}, x="float[B,4,T]", **SIZES)
    assert_pass(PASS, model, None, run=False)


def test_keeps_an_if_when_the_failing_node_is_in_a_branch() -> None:
    gru = "y2 = GRU<hidden_size = 3>(u, w, r)  s2 = Shape(y2)  n = Size(s2)"
    other = "s3 = Shape(u)  m = Size(s3)"
    second = (
        f"z = If<then_branch = a () => (int64[] n) {{ {gru} }}, "
        f"else_branch = b () => (int64[] m) {{ {other} }}>(c)"
    )
    body = f"{COUNT}  h = If<{SQUEEZE}>(k)  u = Unsqueeze(h, first)  {second}"
    model = net(body, outputs={"z": "int64"}, x="float[B,4,T]", w=(1, 9, 4), r=(1, 9, 3), **SIZES)
    assert_pass(PASS, model, None, run=False)


def test_provenance_is_that_of_the_inner_nodes() -> None:
    model = net(IF, outputs=Y, x=IN, k=np.array(True))
    for graph in (model.graph.node[0].attribute[0].g, model.graph.node[0].attribute[1].g):
        graph.node[0].name = f"inner_{graph.node[0].op_type}"
    ctx = assert_pass(PASS, model, ["h = Relu(x)", "y = Neg(h)"])
    assert ctx.model.graph[0].name == "inner_Relu"
    (index,) = ctx.model.graph[0].meta["onnxslim.source"]
    assert ctx.model.meta["onnxslim.sources"][index][1] == "Relu"


def test_checker_accepts_the_models() -> None:
    onnx.checker.check_model(net(IF, outputs=Y, x=IN, k=np.array(True)))
