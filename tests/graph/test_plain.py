"""The short way from protobuf to memory gives what onnx_ir's own gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxslim.graph import plain
from onnxslim.graph.proto import bodies, from_proto
from onnxslim.graph.tensors import FileTensor

MODEL = """
<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1], producer_name: "p", model_version: 3>
agraph (float[N, 4] x, bool c, float[4] w = {1, 2, 3, 4}) => (float[N, 4] y, float[] z)
<float[4] b = {4, 3, 2, 1}, float[N, 4] a>
{
    k = Constant <value = float[4] {1, 1, 1, 1}> ()
    s = Constant <value_floats = [1.0, 2.0]> ()
    a = Add (x, b)
    m = Dropout (a)
    z = ReduceMax <keepdims = 0> (m)
    e = Clip (m, , z)
    y = If (c) <
        then_branch = one () => (float[N, 4] t) <float[4] b2 = {0, 0, 1, 1}> {
            u = Mul (e, b2)
            v = If (c) <
                then_branch = two () => (float[N, 4] p) { p = Add (u, k) },
                else_branch = three () => (float[N, 4] p) { p = com.microsoft.Gelu (x) }
            >
            t = Add (v, w)
        },
        else_branch = four () => (float[N, 4] t) { t = Identity (a) }
    >
}
"""


def model() -> onnx.ModelProto:
    found = onnx.parser.parse_model(MODEL)
    found.doc_string = "a model"
    found.metadata_props.add(key="made", value="by hand")
    graph = found.graph
    graph.initializer.append(numpy_helper.from_array(np.array(["a", "b"], object), "words"))
    graph.value_info.append(helper.make_tensor_value_info("words", TensorProto.STRING, [2]))
    graph.node[2].doc_string = "adds"
    graph.node[2].metadata_props.add(key="layer", value="first")
    return found


def test_both_ways_read_the_same() -> None:
    short, long = plain.deserialize(model()), ir.serde.deserialize_model(model())
    assert ir.serde.serialize_model(short) == ir.serde.serialize_model(long)
    for p, q in zip(bodies(short), bodies(long), strict=True):
        assert [v.name for v in p.inputs] == [v.name for v in q.inputs]
        assert list(p.initializers) == list(q.initializers)
        for name, value in p.initializers.items():
            other = q.initializers[name]
            assert (value.is_graph_input(), value.shape, value.type) == (
                other.is_graph_input(), other.shape, other.type
            )  # fmt: skip


def test_what_bodies_read_from_outside_is_the_value_there() -> None:
    found = plain.deserialize(model())
    users = {v.name: {use.node.op_type for use in v.uses()} for n in found.graph for v in n.outputs}
    assert users["e"] == {"Mul"} and users["k"] == {"Add"}


def test_tensors_are_those_that_are_kept() -> None:
    found = from_proto(model())
    tensors = {name: value.const_value for name, value in found.graph.initializers.items()}
    assert {name: type(t) is FileTensor for name, t in tensors.items()} == {
        "w": True, "b": True, "words": False
    }  # fmt: skip
    assert type(found.graph[0].attributes["value"].value) is FileTensor
    assert tensors["b"] is not None
    np.testing.assert_array_equal(tensors["b"].numpy(), [4, 3, 2, 1])


def _annotated(found: onnx.ModelProto) -> None:
    found.graph.quantization_annotation.add(tensor_name="a")


def _annotated_inside(found: onnx.ModelProto) -> None:
    found.graph.node[-1].attribute[0].g.quantization_annotation.add(tensor_name="u")


def _on_devices(found: onnx.ModelProto) -> None:
    found.graph.node[2].device_configurations.add(configuration_id="two")


def _configured(found: onnx.ModelProto) -> None:
    found.configuration.add(name="two", num_devices=2)


def _with_function(found: onnx.ModelProto) -> None:
    node = helper.make_node("Relu", ["i"], ["o"])
    opsets = [helper.make_opsetid("", 20)]
    found.functions.append(helper.make_function("own", "F", ["i"], ["o"], [node], opsets))
    found.opset_import.append(helper.make_opsetid("own", 1))


SELDOM = [_annotated, _annotated_inside, _on_devices, _configured, _with_function]


@pytest.mark.parametrize("edit", SELDOM)
def test_what_is_seldom_is_left_to_onnx_ir(
    edit: Callable[[onnx.ModelProto], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(proto: onnx.ModelProto) -> ir.Model:
        raise AssertionError("the short way was taken")

    found = model()
    edit(found)
    monkeypatch.setattr("onnxslim.graph.plain.deserialize", never)
    read = from_proto(found)
    assert [n.op_type for n in read.graph] == [n.op_type for n in found.graph.node]


def test_a_declared_shape_does_not_change_that_of_the_tensor() -> None:
    found = model()
    tensor = numpy_helper.from_array(np.ones(4, np.float32), "b")
    found.graph.value_info.append(helper.make_tensor_value_info(tensor.name, 1, ["D"]))
    value = from_proto(found).graph.initializers["b"]
    assert value.const_value is not None
    assert value.const_value.shape == (4,) and value.shape == ir.Shape(["D"])
