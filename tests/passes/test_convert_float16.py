"""A model computes in float16, and what float16 cannot hold stays float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from onnxslim.graph.serialize import to_proto
from onnxslim.passes.convert_float16 import ConvertFloat16
from onnxslim.pipeline import PassContext
from onnxslim.testing import model_bytes, node_lines, shared_worker
from onnxslim.verify.structure import verify_structure
from tests.nets import net

RTOL = 5e-3
KEEP = ConvertFloat16(keep_io_types=True)


def half(
    text: str, item: ConvertFloat16 = KEEP, calibration: Any = None, **given: Any
) -> tuple[ir.Model, PassContext]:
    """The model after the pass, valid and settled, and its context."""
    model = from_proto(net(text, **given))
    infer_shapes(model, worker=shared_worker())
    ctx = PassContext(model, worker=shared_worker(), calibration=calibration)
    before = model_bytes(model)
    count = item.run(model, ctx)
    assert verify_structure(model) == []
    data = model_bytes(model)
    shared_worker().check(data, full=True)
    again = from_proto(to_proto(model))
    infer_shapes(again, worker=shared_worker())
    if calibration is None:
        assert item.run(again, PassContext(again, worker=shared_worker())) == 0, "not settled"
        assert model_bytes(again) == data
    assert count == 0 or model_bytes(model) != before
    return model, ctx


def compare(text: str, model: ir.Model, rtol: float = RTOL, **given: Any) -> None:
    """Run both on the same feeds, given in the types that each declares."""
    before = net(text, **given).SerializeToString()
    with (
        shared_worker().session(before) as one,
        shared_worker().session(model_bytes(model)) as two,
    ):
        for seed in (0, 1):
            rng = np.random.default_rng(seed)
            feed: dict[str, Any] = {}
            for spec in one.inputs:
                shape = [d if isinstance(d, int) else 2 + seed for d in spec.shape]
                drawn = rng.standard_normal(shape)
                feed[spec.name] = (drawn > 0) if spec.dtype == bool else drawn.astype(spec.dtype)
            other = {spec.name: feed[spec.name].astype(spec.dtype) for spec in two.inputs}
            wanted, found = one.run(feed), two.run(other)
            assert list(wanted) == list(found)
            for name, value in wanted.items():
                limit = rtol * np.abs(value).max()
                np.testing.assert_allclose(found[name].astype(value.dtype), value, atol=limit)


def lines(model: ir.Model) -> list[str]:
    return node_lines(model.graph)


def dtypes(model: ir.Model) -> dict[str, str]:
    """Type of every value of the main graph, as written to a file."""
    proto = to_proto(model)
    return {
        v.name: ir.DataType(v.type.tensor_type.elem_type).name
        for v in (*proto.graph.input, *proto.graph.output)
    }


def test_keeps_the_interface_with_casts_at_its_borders() -> None:
    text = "h = Conv(x, w)  y = Relu(h)"
    model, _ = half(text)
    assert lines(model) == [
        "x_s1 = Cast(x) to=10",
        "h = Conv(x_s1, w_s1)",
        "y_s1 = Relu(h)",
        "y = Cast(y_s1) to=1",
    ]
    assert dtypes(model) == {"x": "FLOAT", "y": "FLOAT"}
    assert (
        list(model.graph.initializers) == ["b", "scale"][:0] or "w" not in model.graph.initializers
    )
    compare(text, model)


def test_converts_the_interface() -> None:
    text = "h = Conv(x, w)  y = Relu(h)"
    model, _ = half(text, ConvertFloat16())
    assert lines(model) == ["h = Conv(x, w_s1)", "y = Relu(h)"]
    assert dtypes(model) == {"x": "FLOAT16", "y": "FLOAT16"}
    compare(text, model)


CASES: list[tuple[str, dict[str, Any]]] = [
    ("h = BatchNormalization(x, scale, shift, mean, var)  y = Relu(h)", {}),
    ("y, i = MaxPool<kernel_shape = [2, 2]>(x)", {}),
    ("y = Gemm<transB = 1>(x, w, b)", {"x": "float[N,8]", "w": (4, 8)}),
    ("h = MatMul(x, w)  y = Softmax(h)", {"x": "float[N,5,8]", "w": (8, 8)}),
    ("y, z = Split<axis = 1>(x)", {}),
    ("y = Concat<axis = 1>(x, x, k)", {"k": (2, 1, 8, 8)}),
    ("y = Resize(x, , s)", {"s": [1.0, 1.0, 2.0, 2.0]}),
    ("i = Cast<to = 7>(x)  y = Relu(x)", {}),
    ("g = Greater(x, k)  y = Where(g, x, k)", {"k": 0.5}),
    ("y = Relu(x)  z = Neg(y)", {"outputs": ["y", "z"]}),
    ("s = Shape(x)  f = Cast<to = 1>(s)  y = Mul(x, x)  z = Sqrt(f)", {}),
    ("y = Gather(t, i)", {"t": (10, 4), "i": [[1, 2]], "x": "float[1]"}),
    (
        "h, hn, cn = LSTM<hidden_size = 4>(x, w, r)",
        {"x": "float[5,N,3]", "w": (1, 16, 3), "r": (1, 16, 4)},
    ),
    ("y = LayerNormalization(x, k, k)", {"k": (8,)}),
    ("y = ReduceMean<axes = [2, 3]>(x)", {}),
    ("y = com.microsoft.Gelu(x)", {"outputs": {"y": "float[2,4,8,8]"}}),
    ("y = Relu(x)", {"opset": 9}),
]


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(("text", "given"), CASES)
def test_computes_the_same_within_float16(text: str, given: dict[str, Any], keep: bool) -> None:
    model, _ = half(text, ConvertFloat16(keep_io_types=keep), **given)
    assert any(v.dtype == ir.DataType.FLOAT16 for node in model.graph for v in node.outputs)
    compare(text, model, **given)


def test_float_only_slots_stay_float() -> None:
    model, _ = half("y = Resize(x, , s)", ConvertFloat16(), s=[1.0, 1.0, 2.0, 2.0])
    assert lines(model)[0].startswith("y = Resize(x, _, s)")


def test_an_output_that_is_read_inside_keeps_its_name() -> None:
    model, _ = half("y = Relu(x)  z = Neg(y)", outputs=["y", "z"])
    assert lines(model) == [
        "x_s1 = Cast(x) to=10",
        "y_s1 = Relu(x_s1)",
        "z_s1 = Neg(y_s1)",
        "y = Cast(y_s1) to=1",
        "z = Cast(z_s1) to=1",
    ]


@pytest.mark.parametrize("op", ["TopK", "CumSum"])
def test_operators_on_the_block_list_stay_float(op: str) -> None:
    text = "h = Relu(x)  s = CumSum(h, k)  y = Neg(s)"
    if op == "TopK":
        text = "h = Relu(x)  s, i = TopK(h, k)  y = Neg(s)"
    k: Any = np.array([3]) if op == "TopK" else np.array(3)
    model, ctx = half(text, k=k)
    assert [line for line in lines(model) if "Cast(h)" in line] == ["h_s1 = Cast(h) to=1"]
    assert "block list" in ctx.skipped[0][1]
    model, _ = half(text, ConvertFloat16(keep_io_types=True, block=()), k=k)
    assert not [line for line in lines(model) if "Cast(h)" in line]


def test_the_block_list_names_operators() -> None:
    model, ctx = half("h = Conv(x, w)  y = Exp(h)", ConvertFloat16(block=("Exp",)))
    assert "h_s1 = Cast(h) to=1" in lines(model) and ctx.skipped[0][0] == "Exp"


def test_include_and_exclude() -> None:
    text = "h = Conv(x, w)  g = Exp(h)  y = Neg(g)"
    model, _ = half(text, ConvertFloat16(exclude=("g",)))
    assert "h_s1 = Cast(h) to=1" in lines(model)
    model, _ = half(text, ConvertFloat16(keep_io_types=True, include=("op:Conv",)))
    assert "g = Exp(h_s1)" in lines(model) and "y = Neg(g)" in lines(model)


def test_a_mask_above_the_largest_float16_stays_float_until_it_is_bounded() -> None:
    text = "m = Where(c, z, k)  h = Relu(x)  s = Add(h, m)  p = Softmax(s)  y = Neg(p)"
    given: dict[str, Any] = {"c": "bool[8]", "z": 0.0, "k": float(np.finfo(np.float32).min)}
    model, ctx = half(text, **given)
    kept = {name for name, _ in ctx.skipped}
    assert kept == {"Where", "Add", "Softmax"}
    assert "above the largest float16" in ctx.skipped[0][1]
    assert "y_s1 = Neg(p_s1)" in lines(model), "what follows the Softmax is float16 again"
    compare(text, model, **given)


def test_minus_infinity_is_a_float16() -> None:
    text = "m = Where(c, x, k)  y = Softmax(m)"
    model, ctx = half(text, c="bool[2,4,8,8]", k=-np.inf)
    assert ctx.skipped == []


def test_an_epsilon_that_would_vanish_keeps_its_division_in_float() -> None:
    text = "v = ReduceMean(x)  e = Add(v, eps)  s = Sqrt(e)  d = Div(x, s)  y = Neg(d)"
    model, ctx = half(text, eps=1e-12)
    assert {name for name, _ in ctx.skipped} == {"Add", "Sqrt", "Div"}
    assert "too small" in ctx.skipped[0][1]
    assert half(text, eps=1e-5)[1].skipped == []


def test_weights_too_small_for_full_precision_stay_float() -> None:
    w = np.full((4, 4, 3, 3), 1e-6, np.float32)
    assert "too small" in half("h = Conv(x, w)  y = Neg(h)", w=w)[1].skipped[0][1]
    b = np.full(4, 1e-6, np.float32)
    model, ctx = half("h = Conv(x, w, b)  y = Neg(h)", b=b)
    assert ctx.skipped == [], "a bias that vanishes beside the sum"


def test_numbers_that_become_zero_are_counted() -> None:
    w = np.random.default_rng(0).standard_normal((4, 4, 3, 3)).astype(np.float32)
    w[0, 0, 0] = 1e-9
    _, ctx = half("y = Conv(x, w)", w=w)
    assert ctx.warnings == ["w: 3 of 144 numbers become 0, below 6e-08"]


def test_numbers_made_of_integers_stay_float() -> None:
    text = "p = Cast<to = 1>(i)  f = Mul(p, k)  s = Sin(f)  h = Relu(x)  y = Mul(h, s)"
    given: dict[str, Any] = {"i": "int64[8]", "k": 0.37}
    model, ctx = half(text, **given)
    assert {name for name, _ in ctx.skipped} == {"Mul", "Sin"}
    assert "s_s1 = Cast(s) to=10" in lines(model)
    with shared_worker().session(model_bytes(model)) as session:
        feed = {"i": np.arange(8) * 9999, "x": np.ones((2, 4, 8, 8), np.float32)}
        found = session.run(feed)["y"]
    wanted = np.sin((np.arange(8) * 9999).astype(np.float32) * np.float32(0.37))
    np.testing.assert_allclose(found[0, 0, 0], wanted, atol=2e-3)


def test_images_of_bytes_become_float16_at_the_first_layer() -> None:
    text = "f = Cast<to = 1>(x)  h = Conv(f, w)  y = Relu(h)"
    model, _ = half(text, x="uint8[1,4,8,8]")
    assert "h = Conv(f_s1, w_s1)" in lines(model)


def test_quantized_layers_stay_as_they_are() -> None:
    text = """q = QuantizeLinear(x, s, p)  h = DequantizeLinear(q, s, p)  g = Conv(h, w)
              r = QuantizeLinear(g, s, p)  d = DequantizeLinear(r, s, p)  z = Neg(x)  y = Exp(z)"""
    model, ctx = half(text, s=0.1, p=np.uint8(3))
    assert "g = Conv(h, w)" in lines(model)
    assert "quantized" in ctx.skipped[0][1]


def test_tensors_too_large_on_the_samples_stay_float() -> None:
    text = "h = Mul(x, k)  g = Div(h, k)  y = Neg(g)"
    feeds = [{"x": np.full((2, 4, 8, 8), 40.0, np.float32)}]
    model, ctx = half(text, calibration=feeds, k=2000.0)
    assert {name for name, _ in ctx.skipped} == {"Mul", "Div"}
    assert "reaches 8e+04 on the samples" in ctx.skipped[0][1]
    small = [{"x": np.full((2, 4, 8, 8), 1.0, np.float32)}]
    assert half(text, calibration=small, k=2000.0)[1].skipped == []


def test_an_interface_too_large_for_float16_stays_float() -> None:
    feeds = [{"x": np.full((2, 4, 8, 8), 1e6, np.float32)}]
    text = "h = Log(x)  y = Relu(h)  z = Exp(h)"
    model, ctx = half(text, ConvertFloat16(), calibration=feeds)
    assert dtypes(model) == {"x": "FLOAT", "y": "FLOAT16", "z": "FLOAT"}
    assert len(ctx.warnings) == 2 and "input x stays float32" in ctx.warnings[0]


def test_bodies_are_converted_inside_and_float_at_their_borders() -> None:
    text = """
        h = Relu(x)
        y = If (c) <
            then_branch = t () => (float[2,4,8,8] p)
            { a = Conv<pads=[1,1,1,1]>(h, w)  p = Relu(a) },
            else_branch = e () => (float[2,4,8,8] q) { q = Neg(h) }
        >
    """
    model, _ = half(text)
    branch = next(n for n in model.graph if n.op_type == "If")
    body = branch.attributes["then_branch"].as_graph()
    assert node_lines(body) == [
        "a = Conv(h, w_s1) pads=(1, 1, 1, 1)",
        "p_s1 = Relu(a)",
        "p = Cast(p_s1) to=1",
    ]
    compare(text, model)


def test_a_loop_over_a_float_state() -> None:
    text = """
        y, all = Loop (n, t, x) <
            body = b (int64 i, bool g, float[2,4,8,8] s)
            => (bool go, float[2,4,8,8] o, float[2,4,8,8] k)
            { go = Identity(g)  o = Mul(s, half)  k = Exp(o) }
        >
    """
    given: dict[str, Any] = {"n": np.array(3), "t": np.array(True), "half": 0.5}
    given["outputs"] = {"y": "float[2,4,8,8]", "all": "float[N,2,4,8,8]"}
    model, _ = half(text, **given)
    compare(text, model, **given)


def test_sequences_stay_float() -> None:
    text = "h = Relu(x)  q = SequenceConstruct(h, x)  y = ConcatFromSequence<axis = 0>(q)"
    model, _ = half(text)
    assert "q = SequenceConstruct(h_s1, x)" in lines(model)
    compare(text, model)


@pytest.mark.parametrize("dtype", ["float16", "double", "bfloat16"])
def test_leaves_other_types_alone(dtype: str) -> None:
    model = from_proto(net("y = Relu(x)", dtype=dtype))
    infer_shapes(model)
    before = model_bytes(model)
    assert ConvertFloat16().run(model, PassContext(model, worker=shared_worker())) == 0
    assert model_bytes(model) == before


def test_a_default_that_the_caller_may_replace_stays_float() -> None:
    text = "y = Add(x, b)"
    given: dict[str, Any] = {"b": (8,), "overridable": ["b"]}
    model, _ = half(text, ConvertFloat16(), **given)
    assert dtypes(model) == {"x": "FLOAT16", "b": "FLOAT", "y": "FLOAT16"}
    compare(text, model, **given)


def test_a_weight_shared_with_a_float_reader_is_kept_in_both_types() -> None:
    model, _ = half("h = Conv(x, w)  y = Exp(w)", ConvertFloat16(block=("Exp",)))
    assert {"w", "w_s1"} <= set(model.graph.initializers)
    model, _ = half("h = Conv(x, w)  y = Exp(h)", ConvertFloat16())
    assert "w" not in model.graph.initializers
