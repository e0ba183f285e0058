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


def run(model: onnx.ModelProto, shape: tuple[int, ...] = (2, 3, 4)) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
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


IMAGE = "float[1,2,5,6] x"
BIGGER = "<float[4] k = {1,1,2,1.7}>"
SMALLER = "<float[4] k = {1,1,0.6,0.4}>"
BOTH = "<float[4] k = {1,1,0.6,2}>"
EMPTY = "<float[0] r = {}, float[0] e = {}, int64[4] k = {1,2,7,9}>"
BOXES = "<float[2,4] b = {0,0,3,4, 1,1,5,5}, int64[2] k = {0,0}>"
GRID = "<float[1,2,2,2] g = {-0.9,-0.3, 0.1,0.4, 0.5,0.9, -0.2,1.2}>"


def image(opset: int, body: str, inits: str) -> onnx.ModelProto:
    text = f"""
        <ir_version: 7, opset_import: ["" : {opset}]>
        agraph ({IMAGE}) => (float[a,b,c,d] y) {inits} {{ {body} }}
    """
    return onnx.parser.parse_model(text)


CHANGED = [
    (8, "y = Upsample<scales = [1.0, 1.0, 2.0, 3.0]>(x)", ""),
    (9, "y = Upsample(x, k)", BIGGER),
    (9, 'y = Upsample<mode = "linear">(x, k)', BIGGER),
    (10, "y = Resize(x, k)", BIGGER),
    (10, "y = Resize(x, k)", SMALLER),
    (10, 'y = Resize<mode = "linear">(x, k)', BIGGER),
    (10, 'y = Resize<mode = "linear">(x, k)', BOTH),
    (11, "y = Resize(x, r, e, k)", EMPTY),
    (11, 'y = Resize<mode = "cubic">(x, r, k)', BIGGER.replace("<", "<float[0] r = {}, ")),
    (10, "y = RoiAlign<output_height = 2, output_width = 3>(x, b, k)", BOXES),
    (16, "y = GridSample(x, g)", GRID),
    (16, 'y = GridSample<mode = "nearest">(x, g)', GRID),
    (16, 'y = GridSample<mode = "bicubic">(x, g)', GRID),
    (9, "y = Softmax<axis = 1>(x)", ""),
    (9, "y = LogSoftmax(x)", ""),
    (9, "y = Hardmax<axis = 2>(x)", ""),
    (11, "y = Softmax<axis = -2>(x)", ""),
    (11, "s = Unsqueeze<axes = [4]>(x) t = Softmax<axis = 3>(s) y = Squeeze<axes = [4]>(t)",
     ""),
    (11, "s = Slice(x, o, e, o) y = Softmax<axis = 0>(s)",
     "<int64[1] o = {1}, int64[1] e = {2}>"),
    (11, "y_flat = Relu(x) y = Softmax<axis = 1>(y_flat)", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("opset", "version", "body", "inits"),
    [(o, v, body, inits) for o, body, inits in CHANGED for v in (13, 18, 21) if o <= v],
)
def test_raised_images(opset: int, version: int, body: str, inits: str) -> None:
    """What changed its meaning is written so that it computes the same."""
    original = image(opset, body, inits)
    model = from_proto(original)
    infer_shapes(model)
    raise_opset(model, version)
    assert verify_structure(model) == []
    raised = to_proto(model)
    onnx.checker.check_model(raised, full_check=True)
    before, after = (run(m, (1, 2, 5, 6)) for m in (original, raised))
    np.testing.assert_allclose(after[0], before[0], rtol=1e-6, atol=1e-7)


def test_a_softmax_of_unknown_rank_is_flattened() -> None:
    original = proto(9, "r = Reshape(x, k) y = Softmax<axis = 1>(r)", inits="<int64[2] k = {6, 4}>")
    model = from_proto(original)
    model.graph[0].outputs[0].shape = None
    raise_opset(model, 13)
    assert [node.op_type for node in model.graph][1:] == ["Flatten", "Shape", "Softmax", "Reshape"]
    np.testing.assert_array_equal(run(original)[0], run(to_proto(model))[0])


@pytest.mark.parametrize(
    ("opset", "body", "inits"),
    [
        (10, "y = Resize(x, k)", BOTH),
        (10, "s = Shape(x) k = Cast<to = 1>(s) y = Resize(x, k)", ""),
        (11, 'y = Resize<coordinate_transformation_mode = "tf_half_pixel_for_nn">(x, r, k)',
         BIGGER.replace("<", "<float[0] r = {}, ")),
        (9, 'y = Upsample<mode = "bilinear">(x, k)', BIGGER),
        (17, "y = DFT(x)", ""),
    ],
)  # fmt: skip
def test_what_changed_its_meaning_is_refused(opset: int, body: str, inits: str) -> None:
    model = from_proto(image(opset, body, inits))
    with pytest.raises(UnsupportedModelError, match="cannot be converted"):
        raise_opset(model, 20)
