"""What follows from a branch: a reader that cannot run, within reach, where something changes."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph import edit
from onnxslim.graph.load import from_proto
from onnxslim.passes._speculate import certainly_fails
from tests.nets import net

HEAD = """y = If(c) <then_branch = t () => (float[2,3] o) {o = Identity(x)},
                     else_branch = e () => (float[2,3,1] p) {p = Unsqueeze(x, k)}>  """
GIVEN = {"x": "float[2,3]", "k": [2], "w": (3, 4)}


def fails(tail: str, branch: str = "else_branch", reach: int = 9, **given: object) -> bool:
    outputs = {"z": "float[A,B]"} if "z =" in tail else {"y": "float[A,B]"}
    model = from_proto(net(HEAD + tail, **{**GIVEN, **given, "outputs": outputs}))
    infer_shapes(model)
    nodes = list(model.graph)
    node = next(n for n in nodes if n.op_type == "If")
    facts = [(v.type, edit.shape_of(v), dict(v.meta)) for n in nodes for v in n.outputs]
    found = certainly_fails(node, node.attributes[branch].value, reach)
    assert facts == [(v.type, edit.shape_of(v), dict(v.meta)) for n in nodes for v in n.outputs]
    return found


@pytest.mark.parametrize(
    "tail",
    [
        "z = Gemm(y, w)",
        "a = Relu(y)  z = Gemm(a, w)",
        "a = Relu(y)  b = Neg(a)  d = Abs(y)  z = Gemm(b, w)  v = Neg(d)",
    ],
)
def test_a_reader_of_another_rank(tail: str) -> None:
    assert fails(tail)
    assert not fails(tail, "then_branch")


@pytest.mark.parametrize(("reach", "found"), [(0, False), (1, False), (2, False), (3, True)])
def test_only_so_many_nodes(reach: int, found: bool) -> None:
    tail = "a = Relu(y)  b = Neg(a)  z = Gemm(b, w)"
    assert fails(tail, reach=reach) == found


@pytest.mark.parametrize(
    "tail",
    [
        "z = MatMul(y, w)",
        "z = Add(y, w)",
        "a = Squeeze(x)  z = Gemm(a, w)  v = Neg(y)",
        "z = local.Gemm(y, w)",
    ],
)
def test_others_can_run(tail: str) -> None:
    given = {"w": (3,)} if "Add" in tail else {"w": (1, 4)} if "MatMul" in tail else {}
    assert not fails(tail, **given)


def test_where_nothing_changes_nothing_follows() -> None:
    """The Reshape gives the same whatever the branch: what reads it says nothing of the branch."""
    tail = "a = Reshape(y, s)  z = Gemm(a, w)"
    model = from_proto(net(HEAD + tail, s=[2, 3], outputs={"z": "float[A,B]"}, **GIVEN))
    infer_shapes(model)
    node, reshape, _ = model.graph
    shape = reshape.outputs[0]
    assert not certainly_fails(node, node.attributes["else_branch"].value, 9)
    assert shape.shape == ir.Shape([2, 3])


def test_a_reader_in_a_branch_may_never_run() -> None:
    tail = """z = If(c) <then_branch = f () => (float[2,4] q) {q = Gemm(y, w)},
                         else_branch = g () => (float[2,4] r) {r = Gemm(x, w)}>"""
    assert not fails(tail)
