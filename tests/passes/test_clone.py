"""Copies of nodes: other values, attribute references, subgraphs under fresh names."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.graph.load import from_proto
from onnxslim.passes._clone import Cloner
from onnxslim.pipeline.context import PassContext
from onnxslim.testing import node_lines, shared_worker
from tests.nets import net

BRANCHES = """k = Cast<to = 9>(q)
    y = If(k) <then_branch = t (float[4] p) => (float[4] o)
                <float[4] u = {1, 2, 3, 4}> {v = Relu(x) o = Add(v, u)},
               else_branch = e () => (float[4] o) {o = Identity(x)}>"""


def cloner(model: ir.Model, **attributes: ir.Attr) -> Cloner:
    ctx = PassContext(model, worker=shared_worker())
    return Cloner(attributes, ctx.names, (3, 4))


def test_a_node_with_other_values() -> None:
    model = from_proto(net("a = Clip<min = 1.0>(x)  y, z = Split(a)", opset=9))
    clip, split = model.graph
    clip.doc_string, clip.metadata_props["k"] = "said", "kept"
    split.outputs[1].name = ""
    made = cloner(model)
    new, parts = made.node(clip), made.node(split)
    assert new.inputs[0] is model.graph.inputs[0] and new.graph is None
    assert parts.inputs[0] is new.outputs[0] and len(parts.outputs) == 2
    assert (new.doc_string, dict(new.metadata_props)) == ("said", {"k": "kept"})
    assert [v.name for v in parts.outputs] == [None, ""]
    assert made.values[split.outputs[1]] is parts.outputs[1]
    assert new.attributes["min"].value == 1.0


def test_a_value_that_is_given_and_one_that_is_left_out() -> None:
    model = from_proto(net("y = Clip(x, a, b)", a=np.float32(0), b=np.float32(1)))
    (clip,) = model.graph
    other, made = ir.Value(name="other"), cloner(model)
    assert clip.inputs[0] is not None and clip.inputs[1] is not None
    made.values |= {clip.inputs[0]: other, clip.inputs[1]: None}
    assert list(made.node(clip).inputs) == [other, None, clip.inputs[2]]


def test_attribute_references() -> None:
    model = from_proto(net("y = Relu(x)"))
    node = ir.Node("", "LeakyRelu", [model.graph.inputs[0]], [
        ir.RefAttr("alpha", "given", ir.AttributeType.FLOAT),
        ir.RefAttr("beta", "absent", ir.AttributeType.FLOAT),
    ])  # fmt: skip
    copy = cloner(model, given=ir.AttrFloat32("given", 0.5)).node(node)
    assert {n: a.value for n, a in copy.attributes.items()} == {"alpha": 0.5}


def test_subgraphs_get_fresh_names() -> None:
    model = from_proto(net(BRANCHES, x="float[4]", q="float", outputs={"y": "float[4]"}))
    node = list(model.graph)[1]
    before = node_lines(model.graph)
    copy = cloner(model).node(node)
    assert node_lines(model.graph) == before
    then = copy.attributes["then_branch"].value
    old = node.attributes["then_branch"].value
    assert [v.name for v in then.inputs] == ["p_s1"]
    assert list(then.initializers) == ["u_s1"]
    value = then.initializers["u_s1"]
    array = edit.constant_array(value)
    assert array is not None and array.tolist() == [1, 2, 3, 4]
    assert value.const_value is not None and value.const_value.name == "u_s1"
    assert (value.dtype, value.shape) == (ir.DataType.FLOAT, [4])
    relu, add = then
    assert relu.inputs[0] is next(iter(old)).inputs[0]
    assert add.inputs[1] is value and then.outputs[0] is add.outputs[0]
    assert not {v.name for n in then for v in n.outputs} & {v.name for n in old for v in n.outputs}
    assert relu.meta[edit.SOURCE] == add.meta[edit.SOURCE] == (3, 4)
    assert (then.name, dict(then.opset_imports)) == (old.name, dict(old.opset_imports))


def test_lists_of_subgraphs() -> None:
    model = from_proto(net(BRANCHES, x="float[4]", q="float", outputs={"y": "float[4]"}))
    branches = [a.value for a in list(model.graph)[1].attributes.values()]
    node = ir.Node("local", "Several", [], [ir.AttrGraphs("bodies", branches)])
    copy = cloner(model).node(node)
    found = copy.attributes["bodies"].value
    assert [len(graph) for graph in found] == [len(graph) for graph in branches]
    assert all(new is not old for new, old in zip(found, branches, strict=True))


def test_an_initializer_that_is_an_input_is_copied_once() -> None:
    model = from_proto(net("y = Relu(x)"))
    value = ir.Value(name="w", const_value=ir.tensor(np.ones(2, np.float32), name="w"))
    graph = ir.Graph([value], [value], nodes=[], initializers=[value], name="g")
    copy = cloner(model).graph(graph)
    assert copy.inputs[0] is copy.outputs[0] is next(iter(copy.initializers.values()))
    assert copy.inputs[0] is not value and copy.inputs[0].name == "w_s1"
