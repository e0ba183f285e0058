"""What a node depends on, bodies included."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph.load import from_proto
from onnxslim.graph.reach import ancestors, reads
from tests.nets import net

BODY = """
h = Relu(x)
k = Neg(x)
u = Abs(k)
y = If(c) <
  then_branch = t () => (p) { q = Sigmoid(h)  p = If(c) <
     then_branch = tt () => (r) { r = Add(q, k) },
     else_branch = te () => (r) { r = Identity(q) }
  > },
  else_branch = e () => (p) { p = Identity(h) }
>
z = Exp(u)
"""


def loaded() -> dict[str, ir.Node]:
    model = from_proto(net(BODY, x="float[2]", outputs={"y": "float[2]", "z": "float[2]"}))
    return {str(node.outputs[0].name): node for node in model.graph}


def test_what_bodies_capture_is_read_and_what_they_make_is_not() -> None:
    nodes = loaded()
    assert {v.name for v in reads(nodes["y"])} == {"c", "h", "k"}


def test_everything_in_front_of_a_value_is_found() -> None:
    nodes = loaded()
    found = ancestors([nodes["y"].outputs[0]])
    assert found == {nodes[name] for name in ("y", "h", "k")}
    assert ancestors(nodes["z"].outputs) == {nodes[name] for name in ("z", "u", "k")}


def test_nothing_is_looked_for_behind_what_is_known() -> None:
    nodes = loaded()
    found = ancestors(nodes["z"].outputs, lambda value: value.name == "u")
    assert found == {nodes["z"]}
