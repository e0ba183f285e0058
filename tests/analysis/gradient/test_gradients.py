"""Every gradient rule against differences of what ONNX Runtime gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from onnxslim.analysis.gradient.rule import ruled
from onnxslim.analysis.gradient.tape import Tape
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from tests.nets import net

H = "h = Conv(x, w, b)"  # (2, 4, 6, 6); every case goes back to its weights
S = "s = Reshape(h, rows)"  # (2, 4, 36)
ROWS: dict[str, Any] = {"rows": [2, 4, 36]}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        op: (f"{H} y = {op}(h)", {})
        for op in (
            "Abs", "Elu", "Erf", "Exp", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Neg",
            "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Tanh", "Dropout",
        )
    },
    "Mish": (f"{H} y = Mish(h)", {"opset": 18}),
    "Cast": (f"{H} y = Cast <to = 1> (h)", {}),
    "Gelu": (f"{H} y = Gelu(h)", {"opset": 20}),
    "Gelu tanh": (f'{H} y = Gelu <approximate = "tanh"> (h)', {"opset": 20}),
    "Log": (f"{H} a = Exp(h) c = Add(a, a) y = Log(c)", {}),
    "Sqrt": (f"{H} a = Exp(h) y = Sqrt(a)", {}),
    "Reciprocal": (f"{H} a = Exp(h) y = Reciprocal(a)", {}),
    "Swish": (f"{H} y = Swish <alpha = 1.5> (h)", {"opset": 24}),
    "Clip": (f"{H} y = Clip(h, low, high)", {"low": np.float32(-0.5), "high": np.float32(0.7)}),
    "Clip 6": (f"{H} y = Clip <min = -0.5, max = 0.7> (h)", {"opset": 9}),
    "Add": (f"{H} y = Add(h, b4)", {"b4": (4, 1, 1)}),
    "Sub": (f"{H} a = Tanh(h) y = Sub(a, h)", {}),
    "Sum": (f"{H} a = Tanh(h) c = Sigmoid(h) y = Sum(a, c, h)", {}),
    "Mul": (f"{H} m = GlobalAveragePool(h) y = Mul(h, m)", {}),
    "Div": (f"{H} m = GlobalAveragePool(h) e = Exp(m) y = Div(h, e)", {}),
    "Pow": (f"{H} y = Pow(h, three)", {"three": np.float32(3)}),
    "PRelu": (f"{H} y = PRelu(h, slope)", {"slope": (4, 1, 1)}),
    "Where": (
        f"{H} a = Tanh(h) c = Greater(h, half) y = Where(c, a, h)", {"half": np.float32(0.1)},
    ),
    "Max": (f"{H} a = Tanh(x2) y = Max(h, a)", {"x2": "float[2,4,6,6]"}),
    "Min": (f"{H} a = Sigmoid(h) y = Min(a, h)", {}),
    "Conv": (
        f"{H} y = Conv <strides = [2, 1], pads = [1, 0, 2, 1], dilations = [1, 2]> (h, w2, b)",
        {"w2": (4, 4, 3, 2)},
    ),
    "Conv grouped": (
        f"{H} y = Conv <group = 2, pads = [1, 1, 1, 1]> (h, w2)", {"w2": (6, 2, 3, 3)},
    ),
    "Conv depthwise": (f"{H} y = Conv <group = 4> (h, w2)", {"w2": (4, 1, 3, 3)}),
    "Conv same": (f'{H} y = Conv <auto_pad = "SAME_LOWER"> (h, w2)', {"w2": (3, 4, 2, 2)}),
    "Conv 1-D": (f"{H} {S} y = Conv <strides = [3]> (s, w2)", {"w2": (5, 4, 4), **ROWS}),
    "ConvTranspose": (
        f"{H} y = ConvTranspose <strides = [2, 2], pads = [1, 0, 0, 1], "
        "output_padding = [1, 0]> (h, w2, b3)",
        {"w2": (4, 3, 3, 3), "b3": (3,)},
    ),
    "ConvTranspose same": (
        f'{H} y = ConvTranspose <strides = [2, 2], auto_pad = "SAME_UPPER", '
        "output_padding = [1, 1]> (h, w2)", {"w2": (4, 3, 3, 3)},
    ),
    "ConvTranspose sized": (
        f"{H} y = ConvTranspose <strides = [2, 2], output_shape = [12, 11], "
        "output_padding = [1, 1]> (h, w2)", {"w2": (4, 3, 3, 3)},
    ),
    "ConvTranspose grouped": (
        f"{H} y = ConvTranspose <group = 2, dilations = [2, 1]> (h, w2)", {"w2": (4, 3, 2, 3)},
    ),
    "Gemm": (
        f"{H} f = Flatten(h) y = Gemm <alpha = 0.5, beta = 2.0, transB = 1> (f, w2, b3)",
        {"w2": (3, 144), "b3": (3,)},
    ),
    "Gemm transA": (
        f"{H} f = Flatten(h) t = Transpose(f) y = Gemm <transA = 1> (t, w2, b3)",
        {"w2": (144, 3), "b3": (1, 3)},
    ),
    "MatMul": (f"{H} {S} m = MatMul(s, w2) y = Add(m, b5)", {"w2": (36, 5), "b5": (5,), **ROWS}),
    "MatMul two": (f"{H} {S} t = Transpose <perm = [0, 2, 1]> (s) y = MatMul(s, t)", ROWS),
    "MatMul batched": (f"{H} {S} y = MatMul(w2, s)", {"w2": (1, 3, 4), **ROWS}),
    "BatchNormalization": (f"{H} y = BatchNormalization(h, scale, shift, mean, var)", {}),
    "LayerNormalization": (
        f"{H} y = LayerNormalization <axis = 2> (h, g, d)", {"g": (6, 6), "d": (6, 6)},
    ),
    "InstanceNormalization": (f"{H} y = InstanceNormalization(h, scale, shift)", {}),
    "Softmax": (f"{H} y = Softmax <axis = 1> (h)", {}),
    "Softmax 11": (f"{H} y = Softmax <axis = 1> (h)", {"opset": 11}),
    "LogSoftmax": (f"{H} y = LogSoftmax(h)", {}),
    "MaxPool": (
        f"{H} y = MaxPool <kernel_shape = [3, 2], strides = [2, 2], pads = [1, 0, 1, 0]> (h)", {},
    ),
    "MaxPool ceil": (
        f"{H} y = MaxPool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1> (h)", {},
    ),
    "AveragePool": (f"{H} y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (h)", {}),
    "AveragePool padded": (
        f"{H} y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], "
        "count_include_pad = 1> (h)", {},
    ),
    "GlobalAveragePool": (f"{H} y = GlobalAveragePool(h)", {}),
    "GlobalMaxPool": (f"{H} y = GlobalMaxPool(h)", {}),
    "ReduceMean": (f"{H} y = ReduceMean <axes = [1, -1], keepdims = 0> (h)", {}),
    "ReduceSum": (f"{H} y = ReduceSum <keepdims = 0> (h, ax)", {"ax": [2, 3]}),
    "ReduceMax": (f"{H} y = ReduceMax <axes = [1]> (h)", {}),
    "ReduceMin": (f"{H} y = ReduceMin <axes = [2], keepdims = 0> (h)", {}),
    "ReduceL2": (f"{H} y = ReduceL2 <axes = [1]> (h)", {}),
    "ReduceSumSquare": (f"{H} y = ReduceSumSquare(h)", {}),
    "Reshape": (f"{H} {S} y = Tanh(s)", ROWS),
    "Flatten": (f"{H} f = Flatten <axis = 2> (h) y = Tanh(f)", {}),
    "Squeeze": (f"{H} m = GlobalAveragePool(h) q = Squeeze(m, ax) y = Tanh(q)", {"ax": [2, 3]}),
    "Unsqueeze": (f"{H} u = Unsqueeze(h, ax) y = Tanh(u)", {"ax": [0, 3]}),
    "Expand": (
        f"{H} m = GlobalAveragePool(h) e = Expand(m, to) y = Mul(e, h)", {"to": [2, 4, 6, 6]},
    ),
    "Transpose": (f"{H} t = Transpose <perm = [0, 2, 3, 1]> (h) y = Mul(t, k)", {"k": (4,)}),
    "Concat": (
        f"{H} t = Tanh(h) c = Concat <axis = 1> (t, x2, h) y = Tanh(c)", {"x2": "float[2,1,6,6]"},
    ),
    "Split": (f"{H} p, q = Split <axis = 1> (h, at) y = Tanh(q)", {"at": [1, 3]}),
    "Slice": (
        f"{H} y = Slice(h, a, e, ax, st)",
        {"a": [1, 5], "e": [4, -9], "ax": [1, 3], "st": [2, -2]},
    ),
    "Slice from far": (
        f"{H} t = Slice(h, a, e, ax, st) y = Mul(t, t)",
        {"a": [-100], "e": [-1000], "ax": [3], "st": [-1]},
    ),
    "Slice 9": (
        f"{H} y = Slice <starts = [1, 0], ends = [9, -1], axes = [1, 2]> (h)", {"opset": 9},
    ),
    "Pad": (f"{H} t = Pad(h, p) y = Tanh(t)", {"p": [0, 0, 1, -1, 0, 0, 2, 1]}),
    "Gather": (f"{H} g = Gather <axis = 1> (h, i) y = Tanh(g)", {"i": [[3, 0], [3, -2]]}),
    "DepthToSpace": (f"{H} d = DepthToSpace <blocksize = 2> (h) y = Mul(d, k)", {"k": (12, 12)}),
    "DepthToSpace CRD": (
        f'{H} d = DepthToSpace <blocksize = 2, mode = "CRD"> (h) y = Mul(d, k)', {"k": (12, 12)},
    ),
    "SpaceToDepth": (f"{H} d = SpaceToDepth <blocksize = 2> (h) y = Mul(d, k)", {"k": (16, 3, 3)}),
    "Resize": (
        f'{H} r = Resize <coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> '
        "(h, , sc) y = Mul(r, k)",
        {"sc": np.array([1, 1, 3, 2], np.float32), "k": (18, 12)},
    ),
    "Upsample": (f"{H} r = Upsample(h, sc) y = Mul(r, k)",
                 {"opset": 9, "sc": np.array([1, 1, 2, 2], np.float32), "k": (12, 12)}),
}  # fmt: skip


def _values(model: onnx.ModelProto, names: list[str], feeds: dict[str, Any]) -> dict[str, Any]:
    """What ONNX Runtime gives for these values."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(copy.SerializeToString(), options)
    return dict(zip(names, session.run(names, feeds), strict=True))


def _shifted(model: onnx.ModelProto, moves: dict[str, Any]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name in moves:
            array = numpy_helper.to_array(tensor) + moves[tensor.name].astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return copy


def _tape(proto: onnx.ModelProto, target: str = "y") -> Tape:
    model = from_proto(proto)
    infer_shapes(model)
    found = [v for n in model.graph for v in n.outputs if v.name == target]
    return Tape(model, found)


@pytest.mark.parametrize("case", CASES)
def test_a_gradient_is_the_difference_for_a_small_step(case: str) -> None:
    body, given = CASES[case]
    given = {"x": "float[2,4,8,8]", **given}
    proto = net(body, **given)
    rng = np.random.default_rng(3)
    feeds = {
        i.name: rng.standard_normal([d.dim_value for d in i.type.tensor_type.shape.dim]).astype("f")
        for i in proto.graph.input
    }
    tape = _tape(proto)
    names = [str(v.name) for v in tape.needed if v.producer() is not None]
    values = _values(proto, names, feeds)
    pull = rng.standard_normal(values["y"].shape).astype(np.float32)
    grads = tape.backward({**feeds, **values}, {"y": pull})
    assert {"w", "b"} <= grads.keys()
    for name in grads:
        shape = next(t.dims for t in proto.graph.initializer if t.name == name)
        assert grads[name].shape == tuple(shape)
        away = rng.standard_normal(grads[name].shape)
        step = 1e-3

        def loss(sign: float, name: str = name, away: Any = away, step: float = step) -> float:
            moved = _shifted(proto, {name: sign * step * away})
            return float((_values(moved, ["y"], feeds)["y"].astype(np.float64) * pull).sum())

        found = (loss(1) - loss(-1)) / (2 * step)
        scale = float(np.linalg.norm(grads[name]))
        assert float((grads[name] * away).sum()) == pytest.approx(found, abs=0.02 * scale + 1e-3)


def test_every_rule_has_a_case() -> None:
    used = {
        n.op_type
        for body, given in CASES.values()
        for n in net(body, **{"x": "float[2,4,8,8]", **given}).graph.node
    }
    assert set(ruled()) <= used


def test_weights_behind_an_unknown_operator_are_left_alone() -> None:
    tape = _tape(
        net("h = Conv(x, w, b) u = CumSum(h, one) y = Conv(u, w2)", w2=(4, 4, 3, 3), one=1)
    )
    assert [v.name for v in tape.weights] == ["w2"]


def test_weights_are_left_alone_when_one_of_two_ways_is_unknown() -> None:
    body = "h = Conv(x, w, b) a = Relu(h) u = CumSum(h, one) y = Add(a, u)"
    assert not _tape(net(body, one=1)).weights


def test_what_only_gives_shapes_or_indices_does_not_matter() -> None:
    body = "h = Conv(x, w, b) s = Shape(h) t = Tanh(h) y = Reshape(t, s)"
    assert {v.name for v in _tape(net(body)).weights} == {"w", "b"}


def test_constants_that_are_no_weights_are_left_alone() -> None:
    tape = _tape(
        net("h = Conv(x, w, b) a = Mul(h, grid) y = Add(a, shift4)", grid=(6, 6), shift4=(4, 1, 1))
    )
    assert {v.name for v in tape.weights} == {"w", "b"}


def test_a_weight_read_by_a_subgraph_is_left_alone() -> None:
    body = """h = Conv(x, w, b)
        y = If (c) <then_branch = t () => (p) { p = Conv(h, w2) },
                    else_branch = e () => (q) { q = Conv(h, w2) }>"""
    tape = _tape(net(body, w2=(4, 4, 3, 3)))
    assert not tape.weights


def test_a_mask_behind_a_product_is_no_weight() -> None:
    """It is a constant summand like a bias, but with an axis more."""
    body = f"{H} {S} m = MatMul(s, w2) a = Add(m, mask) k = MatMul(a, w3) y = Add(k, b5)"
    given: dict[str, Any] = {"w2": (36, 5), "mask": (4, 5), "w3": (5, 5), "b5": (5,), **ROWS}
    assert {v.name for v in _tape(net(body, **given)).weights} == {"w", "b", "w2", "w3", "b5"}


@pytest.mark.parametrize(
    ("body", "given"),
    [
        ("h = Conv <pads = [-1, 0, 0, 0]> (x, w, b) y = Relu(h)",
         {"outputs": {"y": "float[2,4,5,6]"}}),
        ("h = Conv(x, w, b) y = AveragePool <kernel_shape = [3, 3], ceil_mode = 1> (h)", {}),
        ("h = Conv(x, w, b) y = Relu(h)", {"opset": 8}),
        ("h = Conv(x, w, b) y = Resize <coordinate_transformation_mode = \"asymmetric\", "
         "nearest_mode = \"floor\"> (h, , k)", {"k": np.array([1, 1, 2.05, 2.16], np.float32)}),
        ("h = Conv(x, w, b) q = QuantizeLinear(h, s) d = DequantizeLinear(q, s) y = Add(d, h)",
         {"s": np.float32(0.1)}),
        ("h = Conv(x, w, b) y = Dropout(h, r, t)", {"r": np.float32(0.5), "t": np.bool_(True)}),
        ("h = Conv(x, w, b) s = Reshape(h, r) y = Resize <mode = \"linear\"> (h, , k)",
         {"k": np.array([1, 1, 2, 2], np.float32), "r": [-1]}),
    ],
)  # fmt: skip
def test_what_a_rule_cannot_do_gives_no_gradient(body: str, given: dict[str, Any]) -> None:
    assert not _tape(net(body, **given)).weights


def test_whole_numbers_carry_no_gradient() -> None:
    """A mask is flat: only the other factor counts."""
    body = f"{H} r = Relu(h) m = Cast <to = 9> (r) k = Cast <to = 1> (m) y = Mul(h, k)"
    tape = _tape(net(body))
    assert {v.name for v in tape.weights} == {"w", "b"}
    assert "Cast" not in {node.op_type for node in tape.nodes}


def test_a_mask_between_activations_is_no_bias() -> None:
    body = f"{H} {S} t = Transpose <perm = [0, 2, 1]> (s) m = MatMul(s, t) y = Add(m, mask)"
    assert {v.name for v in _tape(net(body, mask=(4,), **ROWS)).weights} == {"w", "b"}
