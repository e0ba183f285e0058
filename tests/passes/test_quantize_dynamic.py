"""Matrix products become integer ones whose input range is found while the model runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import UsageError
from onnxslim.graph.load import from_proto
from onnxslim.graph.serialize import to_proto
from onnxslim.passes.quantize_dynamic import QuantizeDynamic
from onnxslim.pipeline import PassContext
from onnxslim.testing import assert_pass, node_lines, shared_worker
from tests.nets import net

ALL = QuantizeDynamic(min_macs=1)
FLAT: dict[str, Any] = {"x": "float[N,32]", "w": (32, 16), "b": (16,)}
CORE = [
    "y_s1, y_s2, y_s3 = DynamicQuantizeLinear(x)",
    "y_s4 = MatMulInteger(y_s1, w_quantized_s1, y_s3)",
    "y_s5 = Mul(y_s2, w_scale_s1)",
    "y_s6 = Cast(y_s4) to=1",
]
RTOL = 0.02


def dynamic(text: str, item: QuantizeDynamic = ALL, **given: Any) -> tuple[ir.Model, PassContext]:
    """The model after the pass, and its context."""
    model = from_proto(net(text, **{**FLAT, **given}))
    infer_shapes(model, worker=shared_worker())
    ctx = PassContext(model, worker=shared_worker())
    item.run(model, ctx)
    return model, ctx


def operators(model: ir.Model) -> list[str]:
    return [line.split(" = ")[1].split("(")[0] for line in node_lines(model.graph)]


def weights(model: ir.Model) -> list[str]:
    return sorted(name for name in model.graph.initializers if name.startswith("w"))


def fused(model: ir.Model, feed: dict[str, Any]) -> dict[str, Any]:
    """Outputs at all optimizations."""
    data = to_proto(model).SerializeToString()
    with shared_worker().session(data, optimization="all") as session:
        return session.run(feed)


def test_quantizes_a_matmul() -> None:
    assert_pass(ALL, net("y = MatMul(x, w)", **FLAT), [*CORE, "y = Mul(y_s6, y_s5)"], rtol=RTOL)


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("y = Gemm(x, w, b)", {}),
        ("y = Gemm(x, w)", {}),
        ("y = Gemm<transB = 1>(x, w, b)", {"w": (16, 32)}),
        ("y = Gemm<alpha = 0.5, beta = 3.0>(x, w, b)", {}),
        ("y = Gemm<alpha = -2.0, beta = 0.0>(x, w, b)", {}),
        ("y = Gemm<beta = 3.0>(x, w, c)", {"c": "float[16]"}),
        ("y = Gemm(x, w, b)", {"b": (1, 16)}),
        ("y = Gemm(x, w, b)", {"b": ()}),
        ("h = MatMul(x, w)  y = Add(h, b)", {}),
        ("y = MatMul(x, w)", {"x": "float[2,3,32]"}),
        ("y = MatMul(x, w)", {"x": "float[N,S,32]"}),
        ("y = MatMul(x, w)", {"opset": 11}),
        ("y = MatMul(x, w)", {"opset": 22}),
        ("y = MatMul(x, w)  z = MatMul(x, w)", {}),
        ("y = MatMul(x, w)  z = Relu(y)", {"outputs": ["y", "z"]}),
    ],
)
def test_gives_the_same_within_int8(text: str, given: dict[str, Any]) -> None:
    ctx = assert_pass_like(text, given)
    assert ctx.skipped == []


def assert_pass_like(text: str, given: dict[str, Any]) -> PassContext:
    """All promises of a pass, whatever the names are."""
    model, ctx = dynamic(text, **given)
    assert "MatMulInteger" in operators(model)
    return assert_pass(ALL, net(text, **{**FLAT, **given}), node_lines(model.graph), rtol=RTOL)


def test_raises_the_opset_to_eleven() -> None:
    model, ctx = dynamic("y = MatMul(x, w)", opset=9)
    assert model.graph.opset_imports[""] == 11
    assert "opset raised to 11" in ctx.warnings[0]


def test_an_input_of_two_products_is_quantized_once_before_both() -> None:
    model, _ = dynamic("z = Relu(x)  y = MatMul(x, w)  q = MatMul(x, v)", v=(32, 8))
    assert operators(model).count("DynamicQuantizeLinear") == 1
    assert operators(model).index("DynamicQuantizeLinear") < operators(model).index("MatMulInteger")


def test_a_weight_of_two_products_is_quantized_once() -> None:
    model, _ = dynamic("y = MatMul(x, w)  q = MatMul(z, w)", z="float[N,32]")
    assert weights(model) == ["w_quantized_s1", "w_scale_s1"]


def test_a_float_weight_that_is_still_read_stays() -> None:
    model, _ = dynamic("y = MatMul(x, w)  q = Relu(w)")
    assert "w" in model.graph.initializers


def test_weights_have_a_scale_per_column() -> None:
    w = np.linspace(-1, 1, 32 * 16, dtype=np.float32).reshape(32, 16) * np.logspace(-3, 3, 16)
    w[:, 3] = 0
    model, _ = dynamic("y = MatMul(x, w)", w=w.astype(np.float32))
    values = {
        k: v.const_value.numpy() for k, v in model.graph.initializers.items() if v.const_value
    }
    integers, scale = values["w_quantized_s1"], values["w_scale_s1"]
    assert integers.dtype == np.int8 and scale.shape == (16,)
    assert not integers[:, 3].any()
    peaks = np.abs(integers).max(axis=0)
    assert (np.delete(peaks, 3) == 127).all()
    np.testing.assert_allclose(integers * scale, w, atol=float(scale.max()) / 2)


def test_seven_bits() -> None:
    model, _ = dynamic("y = MatMul(x, w)", QuantizeDynamic(min_macs=1, reduce_range=True))
    integers = model.graph.initializers["w_quantized_s1"].const_value
    assert integers is not None and np.abs(integers.numpy()).max() == 63


@pytest.mark.parametrize(
    ("text", "given", "reason"),
    [
        ("y = MatMul(x, w)", {"w": "float[32,16]"}, "both factors are computed"),
        ("y = MatMul(x, w)", {"x": "float[2,5,32]", "w": (2, 32, 16)}, "no float32 matrix"),
        ("y = MatMul(x, w)", {"x": "float[32]"}, "a vector or transposed"),
        ("y = Gemm<transA = 1>(x, w)", {"x": "float[32,N]"}, "a vector or transposed"),
        ("y = Conv(x, w)", {"x": "float[1,4,8,8]", "w": (4, 4, 3, 3)}, "no dynamic int8 Conv"),
        ("y = MatMul(k, w)  z = Relu(x)", {"k": (4, 32)}, "quantized already or constant"),
        (
            "q = QuantizeLinear(x, s, p)  h = DequantizeLinear(q, s, p)  y = MatMul(h, w)",
            {"s": 0.1, "p": np.uint8(3)},
            "quantized already",
        ),
    ],
)
def test_leaves_alone(text: str, given: dict[str, Any], reason: str) -> None:
    ctx = assert_pass(ALL, net(text, **{**FLAT, **given}), None, run=False)
    assert reason in ctx.skipped[0][1]


@pytest.mark.parametrize("dtype", ["float16", "double"])
def test_leaves_other_types_alone(dtype: str) -> None:
    assert_pass(ALL, net("y = MatMul(x, w)", **FLAT, dtype=dtype), None)


def test_leaves_another_domain_alone() -> None:
    assert_pass(
        ALL, net("y = other.MatMul(x, w)", outputs={"y": "float[N,16]"}, **FLAT), None, run=False
    )


def test_small_products_stay_float() -> None:
    item = QuantizeDynamic()
    model, ctx = dynamic("y = MatMul(x, w)", item)
    assert operators(model) == ["MatMul"] and "small" in ctx.skipped[0][1]
    for given in ({"x": "float[2,300,32]"}, {"x": "float[N,S,128]", "w": (128, 128)}):
        model, _ = dynamic("y = MatMul(x, w)", item, **given)
        assert "MatMulInteger" in operators(model), given
    model, _ = dynamic("y = MatMul(x, w)", item, x="float[N,256]", w=(256, 256))
    assert "MatMulInteger" in operators(model)


def test_include_and_exclude() -> None:
    text = "y = MatMul(x, w)  z = MatMul(x, v)"
    given: dict[str, Any] = {"v": (32, 8)}
    model, ctx = dynamic(text, QuantizeDynamic(min_macs=1, exclude=("z",)), **given)
    assert operators(model).count("MatMul") == 1 and ("MatMul", "excluded") in ctx.skipped
    model, _ = dynamic(text, QuantizeDynamic(include=("z",)), **given)
    assert operators(model).count("MatMulInteger") == 1, "included though it is small"
    with pytest.raises(UsageError, match="matches nothing"):
        dynamic(text, QuantizeDynamic(exclude=("nobody",)), **given)


def test_inside_a_subgraph() -> None:
    text = """
        y = If (c) <
            then_branch = t () => (float[N,16] p) { p = MatMul(x, w) },
            else_branch = e () => (float[N,16] q) { h = MatMul(x, w)  q = Neg(h) }
        >
    """
    model, _ = dynamic(text)
    for body in model.graph[0].attributes.values():
        ops = [node.op_type for node in body.as_graph()]
        assert ops[:2] == ["DynamicQuantizeLinear", "MatMulInteger"]
    assert weights(model) == ["w_quantized_s1", "w_scale_s1"]
    feed = {"x": np.random.default_rng(0).standard_normal((3, 32)).astype(np.float32)}
    for c in (True, False):
        feed["c"] = np.asarray(c)
        with shared_worker().session(net(text, **FLAT).SerializeToString()) as session:
            wanted = session.run(feed)["y"]
        np.testing.assert_allclose(fused(model, feed)["y"], wanted, atol=RTOL * abs(wanted).max())


LSTM: dict[str, Any] = {
    "x": "float[7,N,8]",
    "w": (2, 64, 8),
    "r": (2, 64, 16),
    "bias": (2, 128),
}
BOTH = 'h, hn, cn = LSTM<hidden_size = 16, direction = "bidirectional">(x, w, r, bias)'


def test_lstm_only_when_asked_for() -> None:
    model, ctx = dynamic(BOTH, **LSTM)
    assert operators(model) == ["LSTM"] and "only with lstm=true" in ctx.skipped[0][1]


@pytest.mark.parametrize(
    "text",
    [
        BOTH,
        'h, hn, cn = LSTM<hidden_size = 16, direction = "bidirectional">(x, w, r)',
        'h, , cn = LSTM<hidden_size = 16, direction = "bidirectional">(x, w, r, bias)',
    ],
)
def test_lstm(text: str) -> None:
    item = QuantizeDynamic(lstm=True)
    model, _ = dynamic(text, item, **LSTM)
    assert operators(model) == ["com.microsoft:DynamicQuantizeLSTM"]
    feed = {"x": np.random.default_rng(1).standard_normal((7, 3, 8)).astype(np.float32)}
    with shared_worker().session(net(text, **LSTM).SerializeToString()) as session:
        wanted = session.run(feed)
    for name, value in fused(model, feed).items():
        np.testing.assert_allclose(value, wanted[name], atol=0.05 * abs(wanted[name]).max())


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ('h = LSTM<hidden_size = 16, direction = "bidirectional", layout = 1>(x, w, r)', {}),
        (BOTH, {"r": "float[2,64,16]"}),
    ],
)
def test_lstm_left_alone(text: str, given: dict[str, Any]) -> None:
    model, ctx = dynamic(text, QuantizeDynamic(lstm=True), **{**LSTM, **given})
    assert operators(model) == ["LSTM"] and ctx.skipped
