from __future__ import annotations

import numpy as np
import pytest

from onnxslim.verify.submodel import cut_unknown, extract, is_unknown_operator, named_operator
from tests.nets import net


def test_extracts_the_piece_between_tensors() -> None:
    model = net("a = Add(x, w)  b = Relu(a)  c = Mul(b, v)  d = Neg(a)", w=(8,), v=(8,))
    piece = extract(model, {"b": np.dtype(np.float32)}, ["c"])
    assert [n.op_type for n in piece.graph.node] == ["Mul"]
    assert [v.name for v in piece.graph.input] == ["b"]
    assert [t.name for t in piece.graph.initializer] == ["v"]
    assert [v.name for v in piece.graph.output] == ["c"]
    assert len(model.graph.node) == 4


def test_the_piece_keeps_what_a_subgraph_captures() -> None:
    body = (
        "h = Neg(x)  y = If(c) <then_branch = t () => (float[2,4,8,8] p) { p = Add(h, w) },"
        " else_branch = e () => (float[2,4,8,8] q) { q = Relu(x) }>"
    )
    piece = extract(net(body, w=(8,), c="bool"), {"h": np.dtype(np.float32)}, ["y"])
    assert {v.name for v in piece.graph.input} == {"h", "x", "c"}
    assert [t.name for t in piece.graph.initializer] == ["w"]


def test_cuts_unknown_operators_and_all_behind_them() -> None:
    model = net(
        "a = Relu(x)  b = my.domain.Foo(a)  c = Neg(b)  d = Exp(x)",
        outputs={"c": "float[2,4,8,8]", "d": "float[2,4,8,8]"},
    )
    cut = cut_unknown(model, [])
    assert cut.model is not None
    assert [n.op_type for n in cut.model.graph.node] == ["Relu", "Exp"]
    assert [v.name for v in cut.model.graph.output] == ["d", "a"]
    assert (cut.unknown, cut.frontier) == (("my.domain:Foo",), ("a",))
    assert len(cut.removed) == 2


def test_nothing_left() -> None:
    model = net("b = my.domain.Foo(x)", outputs={"b": "float[1]"})
    assert cut_unknown(model, []).model is None


def test_a_function_of_the_model_is_known() -> None:
    function = '<domain: "f", opset_import: ["" : 17]> twice (a) => (b) { b = Add(a, a) }'
    model = net("y = f.twice(x)", functions=function, outputs={"y": "float[2,4,8,8]"})
    assert cut_unknown(model, []).removed == ()


@pytest.mark.parametrize(
    ("message", "operator"),
    [
        ("Fatal error: com.foo:Bar(-1) is not a registered function/op", "Bar"),
        (
            "NOT_IMPLEMENTED : Could not find an implementation for Gelu(20) node with name ''",
            "Gelu",
        ),
        (
            "FAIL : Fatal error: my.d:Op(1) is not a registered function/op",
            "Op",
        ),
    ],
)
def test_reads_refusals(message: str, operator: str) -> None:
    assert is_unknown_operator(message)
    assert named_operator(message) == operator


def test_other_refusals_are_no_unknown_operator() -> None:
    assert not is_unknown_operator("INVALID_GRAPH : This is an invalid model. Error in Node:")
