"""Asked-for edits of the interface, through the API: declared, checked, still equal."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import onnxslim
from onnxslim import InterfaceEdits
from onnxslim.demo import model_path
from onnxslim.errors import UsageError
from onnxslim.graph.serialize import to_proto

NODES = """
    <ir_version: 8, opset_import: ["" : %d]>
    agraph (float[batch, 4, 6] x, float[batch, 4, 6] z) => (float[batch, k] y, float[batch, 4, 6] w)
    <float[6, 3] m = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18}>
    {
        a = Relu(x)
        b = MatMul(a, m)
        y = Flatten(b)
        w = Neg(z)
    }
"""


def model(opset: int = 17) -> onnx.ModelProto:
    return onnx.parser.parse_model(NODES % opset)


def dims(value: onnx.ValueInfoProto) -> list[int | str]:
    shape = value.type.tensor_type.shape.dim
    return [d.dim_value if d.HasField("dim_value") else d.dim_param for d in shape]


def run(proto: onnx.ModelProto, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options)
    return list(session.run(None, feed))


FEED = {
    "x": np.linspace(-1, 1, 48, dtype=np.float32).reshape(2, 4, 6),
    "z": np.ones((2, 4, 6), np.float32),
}


def test_a_fixed_shape_is_declared_everywhere() -> None:
    result = onnxslim.optimize(model(), edits=InterfaceEdits(fix_shapes=("x=2,4,6",)))
    graph = to_proto(result.model).graph
    assert [dims(v) for v in graph.input] == [[2, 4, 6], [2, 4, 6]]
    assert [dims(v) for v in graph.output] == [[2, 12], [2, 4, 6]]
    assert result.edits == ["shape of input x fixed to [2, 4, 6]"]
    np.testing.assert_allclose(run(to_proto(result.model), FEED)[0], run(model(), FEED)[0])


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        (InterfaceEdits(fix_shapes=("nope=1",)), "there is no input 'nope'; there are x, z"),
        (InterfaceEdits(fix_shapes=("x=1,2",)), "has the shape"),
        (InterfaceEdits(fix_shapes=("x=a",)), "expected numbers"),
        (InterfaceEdits(fix_shapes=("x=2,5,6",)), "has the shape"),
        (InterfaceEdits(outputs=("nope",)), "no tensor 'nope'"),
        (InterfaceEdits(inputs=("b",)), "also need z"),
        (InterfaceEdits(rename_dims=("nope=n",)), "there are batch"),
        (InterfaceEdits(opset=5), "it is only raised"),
        (InterfaceEdits(opset=999), "the newest known is"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused(edits: InterfaceEdits, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        onnxslim.optimize(model(), edits=edits)


def test_renamed_dimensions() -> None:
    result = onnxslim.optimize(model(), edits=InterfaceEdits(rename_dims=("batch=N",)))
    graph = to_proto(result.model).graph
    assert [dims(v)[0] for v in (*graph.input, *graph.output)] == ["N"] * 4


def test_cutting_outputs_drops_what_they_needed() -> None:
    result = onnxslim.optimize(model(), edits=InterfaceEdits(outputs=("b",)))
    proto = to_proto(result.model)
    assert [v.name for v in proto.graph.output] == ["b"]
    assert [v.name for v in proto.graph.input] == ["x"]
    assert any("input z dropped" in line for line in result.edits)
    want = np.maximum(FEED["x"], 0) @ np.arange(1, 19, dtype=np.float32).reshape(6, 3)
    np.testing.assert_allclose(run(proto, {"x": FEED["x"]})[0], want, rtol=1e-6)


def test_cutting_inputs_makes_an_inner_tensor_an_input() -> None:
    edits = InterfaceEdits(inputs=("b",), outputs=("y",))
    proto = to_proto(onnxslim.optimize(model(), edits=edits).model)
    assert [v.name for v in proto.graph.input] == ["b"]
    b = np.ones((2, 4, 3), np.float32)
    np.testing.assert_array_equal(run(proto, {"b": b})[0], b.reshape(2, 12))


@pytest.mark.parametrize("opset", [18, 19, 21])
def test_a_raised_opset_keeps_the_numbers(opset: int) -> None:
    result = onnxslim.optimize(str(model_path()), edits=InterfaceEdits(opset=opset))
    assert result.verification.ok
    assert result.after.opset == opset
    assert result.edits == [f"opset raised from 17 to {opset}"]


def test_question_marks_are_different_dimensions() -> None:
    """Exporters write ? for every size that they do not know."""
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        agraph (float[N, M] x) => (float[N, M] y) { y = Relu(x) }
    """
    proto = onnx.parser.parse_model(text)
    for value in (*proto.graph.input, *proto.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            dim.dim_param = "?"
    result = onnxslim.optimize(proto, edits=InterfaceEdits(fix_shapes=("x=2,3",)))
    fixed = to_proto(result.model)
    assert dims(fixed.graph.input[0]) == [2, 3]
    feed = {"x": np.ones((2, 3), np.float32)}
    assert run(fixed, feed)[0].shape == (2, 3)
