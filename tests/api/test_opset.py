"""Raising the opset, operator by operator, against ONNX Runtime on the original."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import UnsupportedModelError
from onnxslim.graph.load import from_proto
from onnxslim.graph.opset import raise_opset
from onnxslim.graph.serialize import to_proto
from onnxslim.verify.structure import verify_structure


def proto(opset: int, body: str, out: str = "float[?, ?, ?] y", inits: str = "") -> onnx.ModelProto:
    text = f"""
        <ir_version: 7, opset_import: ["" : {opset}]>
        agraph (float[2, 3, 4] x) => ({out}) {inits} {{ {body} }}
    """
    return onnx.parser.parse_model(text.replace("?", "d"))


def run(model: onnx.ModelProto) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    session = ort.InferenceSession(model.SerializeToString(), options)
    return list(session.run(None, {"x": x}))


@pytest.mark.parametrize(
    ("opset", "version", "body"),
    [
        (9, 13, "y = Slice<starts = [1], ends = [3], axes = [2]>(x)"),
        (9, 18, "y = Clip<min = -0.5, max = 0.5>(x)"),
        (10, 18, 'y = Pad<pads = [0,0,1,0,0,1], value = 2.0, mode = "constant">(x)'),
        (10, 13, 'y = Pad<pads = [0,0,1,0,0,1], mode = "reflect">(x)'),
        (11, 13, "s = Unsqueeze<axes = [0]>(x) y = Squeeze<axes = [0]>(s)"),
        (11, 18, "y = ReduceSum<axes = [1], keepdims = 1>(x)"),
        (13, 18, "y = ReduceMean<axes = [1]>(x)"),
        (12, 20, "y = Softmax<axis = 2>(x)"),
        (12, 20, "y = Softmax<axis = -1>(x)"),
        (11, 18, "y, z = Split<axis = 2, split = [1, 3]>(x)"),
        (13, 18, "y, z = Split<axis = 2>(x)"),
        (9, 13, "y, i = TopK<k = 2>(x)"),
        (9, 13, "y = Dropout<ratio = 0.3>(x)"),
        (13, 21, "y = Transpose<perm = [2, 0, 1]>(x)"),
        (9, 21, "c = Cast<to = 11>(x) y = Cast<to = 1>(c)"),
    ],
)
def test_raised(opset: int, version: int, body: str) -> None:
    original = proto(opset, body)
    model = from_proto(original)
    infer_shapes(model)
    raise_opset(model, version)
    assert verify_structure(model) == []
    raised = to_proto(model)
    assert raised.opset_import[0].version == version
    onnx.checker.check_model(raised)
    for before, after in zip(run(original), run(raised), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("opset", "body"),
    [(12, "y = Softmax<axis = 1>(x)"), (9, "s = Upsample(x, k) y = Relu(s)")],
)
def test_what_changed_its_meaning_is_refused(opset: int, body: str) -> None:
    original = proto(opset, body, inits="<float[3] k = {1,1,2}>" if "k)" in body else "")
    model = from_proto(original)
    infer_shapes(model)
    with pytest.raises(UnsupportedModelError, match="cannot be converted"):
        raise_opset(model, 13)
