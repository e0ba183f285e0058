"""Calls of model-local functions become their nodes."""

from __future__ import annotations

import time
from typing import Any

import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import UnsupportedModelError
from onnxslim.graph.load import from_proto
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass, node_lines
from tests.nets import net

PASS = get_pass("inline-functions")()
OUT = {"y": "float[2,4,8,8]"}


def function(text: str, opset: int = 17) -> str:
    """Text of a function of domain ``local``."""
    return f'<domain: "local", opset_import: ["" : {opset}, "local" : 1]> {text}\n'


def model(body: str, *functions: str, **given: Any) -> onnx.ModelProto:
    given.setdefault("outputs", OUT)
    return net(body, functions="".join(function(f) for f in functions), **given)


def test_inlines_with_fresh_names() -> None:
    proto = model("t = local.F(x)  y = local.F(t)", "F (a) => (o) { t = Relu(a)  o = Neg(t) }")
    lines = ["t_s1 = Relu(x)", "t = Neg(t_s1)", "y_s1 = Relu(t)", "y = Neg(y_s1)"]
    assert_pass(PASS, proto, lines)


def test_inlines_nested_calls_and_several_outputs() -> None:
    proto = model(
        "y, z = local.G(x)",
        "F (a) => (o) { o = Neg(a) }",
        "G (a) => (p, q) { p = local.F(a)  b = Abs(a)  q = local.F(b) }",
        outputs={"y": "float[2,4,8,8]", "z": "float[2,4,8,8]"},
    )
    assert_pass(PASS, proto, ["y = Neg(x)", "y_s1 = Abs(x)", "z = Neg(y_s1)"])


@pytest.mark.parametrize(
    ("call", "line"),
    [
        ("local.F<slope = 0.5>(x)", "y = LeakyRelu(x) alpha=0.5"),
        ("local.F(x)", "y = LeakyRelu(x) alpha=0.25"),
    ],
)
def test_attribute_references_and_defaults(call: str, line: str) -> None:
    proto = model(
        f"y = {call}",
        "F <slope: float = 0.25> (a) => (o) { o = LeakyRelu<alpha: float = @slope>(a) }",
    )
    assert_pass(PASS, proto, [line])


def test_an_attribute_without_value_means_the_operators_default() -> None:
    text = "F <slope> (a) => (o) { o = LeakyRelu<alpha: float = @slope>(a) }"
    assert_pass(PASS, model("y = local.F(x)", text), ["y = LeakyRelu(x)"])


def test_attribute_references_go_through_nested_calls() -> None:
    proto = model(
        "y = local.G<s = 0.75>(x)",
        "F <slope> (a) => (o) { o = LeakyRelu<alpha: float = @slope>(a) }",
        "G <s> (a) => (o) { o = local.F<slope: float = @s>(a) }",
    )
    assert_pass(PASS, proto, ["y = LeakyRelu(x) alpha=0.75"])


def test_omitted_inputs_and_unused_outputs() -> None:
    proto = model(
        "y, z = local.F(x, , k)",
        "F (a, low, high) => (o, p) { o = Clip(a, low, high)  p = Neg(a) }",
        k=0.5,
    )
    assert_pass(PASS, proto, ["y = Clip(x, _, k)", "z = Neg(x)"])


def test_an_output_that_is_an_input_gets_an_identity() -> None:
    proto = model(
        "y, z = local.F(x)",
        "F (a) => (o, p) { o = Neg(a)  p = Identity(a) }",
        outputs={"y": "float[2,4,8,8]", "z": "float[2,4,8,8]"},
    )
    proto.functions[0].output[1] = "a"
    del proto.functions[0].node[1]
    # ONNX Runtime does not load such a function
    assert_pass(PASS, proto, ["y = Neg(x)", "z = Identity(x)"], run=False)


def test_overloads() -> None:
    proto = model("t = local.F(x)  y = local.F(t)", "F (a) => (o) { o = Neg(a) }")
    other = proto.functions.add()
    other.CopyFrom(proto.functions[0])
    other.overload = "abs"
    other.node[0].op_type = "Abs"
    proto.graph.node[1].overload = "abs"
    proto.ir_version = 10
    assert_pass(PASS, proto, ["t = Neg(x)", "y = Abs(t)"])


def test_subgraphs_in_functions_and_calls_in_subgraphs() -> None:
    branches = """
      then_branch = t () => (float[2,4,8,8] o1) { o1 = local.F(b) },
      else_branch = e () => (float[2,4,8,8] o2) { o2 = Abs(b) }
    """
    proto = model(
        "t = local.G(c, x)  y = local.G(c, t)",
        "F (a) => (o) { h = Exp(a)  o = Neg(h) }",
        f"G (k, a) => (o) {{ b = Relu(a)  o = If (k) <{branches}> }}",
    )
    ctx = assert_pass(PASS, proto, _lines_of(proto))
    names = [v.name for n in ctx.model.graph.all_nodes() for v in n.outputs]
    assert len(set(names)) == len(names) == 10


def test_loops_in_functions() -> None:
    """The body's inputs and initializers get names of their own at every call."""
    body = """
      b (int64 i, bool k, float[2,4,8,8] s) => (bool k1, float[2,4,8,8] s1)
      <float one = {1.5}> { k1 = Identity(k)  s1 = Add(s, one) }
    """
    proto = model(
        "t = local.F(n, x)  y = local.F(n, t)",
        f"F (m, a) => (o) {{ h = Neg(a)  o = Loop (m, , h) <body = {body}> }}",
        n="int64",
    )
    ctx = assert_pass(PASS, proto, _lines_of(proto))
    graphs = [node.attributes["body"].value for node in ctx.model.graph if node.op_type == "Loop"]
    names = [v.name for g in graphs for v in (*g.inputs, *g.initializers.values())]
    assert len(graphs) == 2 and len(set(names)) == len(names) == 8


def _lines_of(proto: onnx.ModelProto) -> list[str]:
    loaded = from_proto(proto)
    infer_shapes(loaded)
    PASS.run(loaded, PassContext(loaded))
    lines = node_lines(loaded.graph)
    assert not any("local" in line for line in lines)
    return lines


def test_provenance_names_the_call() -> None:
    proto = model("t = Abs(x)  y = local.F(t)", "F (a) => (o) { b = Neg(a)  o = Relu(b) }")
    ctx = assert_pass(PASS, proto, ["t = Abs(x)", "y_s1 = Neg(t)", "y = Relu(y_s1)"])
    assert [n.meta["onnxslim.source"] for n in ctx.model.graph] == [(0,), (1,), (1,)]


def test_shapes_are_known_afterwards() -> None:
    proto = model("t = local.F(x)  y = Neg(t)", "F (a) => (o) { o = Relu(a) }")
    ctx = assert_pass(PASS, proto, ["t = Relu(x)", "y = Neg(t)"])
    assert [list(n.outputs[0].shape or ()) for n in ctx.model.graph] == [[2, 4, 8, 8]] * 2


def test_imports_what_the_function_needs() -> None:
    text = (
        '<domain: "local", opset_import: ["" : 17, "my.dom" : 3]> F (a) => (o) { o = my.dom.Op(a) }'
    )
    proto = net("y = local.F(x)", functions=text, outputs=OUT)
    imports = [i for i in proto.opset_import if i.domain != "my.dom"]
    del proto.opset_import[:]
    proto.opset_import.extend(imports)
    ctx = assert_pass(PASS, proto, ["y = my.dom:Op(x)"], run=False)
    assert ctx.model.graph.opset_imports["my.dom"] == 3


def test_another_opset_is_fine_when_the_operators_did_not_change() -> None:
    proto = net(
        "y = local.F(x)", functions=function("F (a) => (o) { o = Neg(a) }", 13), outputs=OUT
    )
    assert_pass(PASS, proto, ["y = Neg(x)"])


def _with_functions(*bodies: tuple[str, list[str]], opset: int = 17) -> ir.Model:
    """``y = local.LAST(x)`` and functions that are chains of these operators; nothing checks it."""
    proto = net("y = Relu(x)")
    proto.graph.node[0].op_type, proto.graph.node[0].domain = bodies[-1][0], "local"
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)]
    proto.opset_import.append(imports[1])
    names = {name for name, _ in bodies}
    for name, chain in bodies:
        nodes = [
            helper.make_node(op, [f"v{i}"], [f"v{i + 1}"], domain="local" if op in names else "")
            for i, op in enumerate(chain)
        ]
        proto.functions.append(
            helper.make_function("local", name, ["v0"], [f"v{len(chain)}"], nodes, imports)
        )
    return ir.from_proto(proto)


def test_skips_operators_that_changed_between_the_opsets() -> None:
    loaded = _with_functions(("F", ["Softmax"]), opset=11)
    ctx = PassContext(loaded)
    assert PASS.run(loaded, ctx) == 0
    assert "Softmax differs between opset 11" in ctx.skipped[0][1]


@pytest.mark.parametrize("bodies", [[("F", ["F"])], [("F", ["G"]), ("G", ["Neg", "F"])]])
def test_refuses_recursion(bodies: list[tuple[str, list[str]]]) -> None:
    loaded = _with_functions(*bodies)
    with pytest.raises(UnsupportedModelError, match="calls itself"):
        PASS.run(loaded, PassContext(loaded))


def test_refuses_a_billion_nodes_at_once() -> None:
    bodies = [("F0", ["Neg"]), *((f"F{i}", [f"F{i - 1}"] * 4) for i in range(1, 100))]
    loaded = _with_functions(*bodies)
    start = time.perf_counter()
    with pytest.raises(UnsupportedModelError, match=r"more than 2\*\*198 nodes"):
        PASS.run(loaded, PassContext(loaded))
    assert time.perf_counter() - start < 5
    assert len(loaded.graph) == 1


def test_limit() -> None:
    proto = model("t = local.F(x)  y = local.F(t)", "F (a) => (o) { b = Neg(a)  o = Neg(b) }")
    small = get_pass("inline-functions")(limit=3)  # type: ignore[call-arg]
    loaded = from_proto(proto)
    with pytest.raises(UnsupportedModelError, match="4 nodes, expected at most 3"):
        small.run(loaded, PassContext(loaded))


def test_a_model_without_functions_is_not_changed() -> None:
    assert_pass(PASS, net("y = Relu(x)"), None)
