"""Static quantization: what becomes integers, with what parameters, and what ONNX Runtime runs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import CalibrationError, UsageError
from onnxslim.graph.load import from_proto
from onnxslim.passes._quantize_qoperator import _quantizer
from onnxslim.pipeline import PassContext
from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import model_bytes, shared_worker
from onnxslim.verify.compare import Stats
from onnxslim.verify.structure import verify_structure
from tests.nets import net

WIDE: dict[str, Any] = {
    "x": "float[N,32,16,16]",
    "w": (32, 32, 3, 3),
    "w2": (32, 32, 3, 3),
    "b": (32,),
}
CONV = "Conv<pads = [1, 1, 1, 1]>"
ALL = ("op:*",)
STATIC: Any = get_pass("quantize-static")


def feeds(model: onnx.ModelProto, count: int = 4, batch: int = 4, seed: int = 0) -> list[Any]:
    """Seeded normal data for the inputs."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        feed = {}
        for value in model.graph.input:
            dims = value.type.tensor_type.shape.dim
            shape = [d.dim_value or batch for d in dims]
            feed[value.name] = rng.standard_normal(shape).astype(np.float32)
        found.append(feed)
    return found


def quantize(model: onnx.ModelProto, **options: Any) -> tuple[ir.Model, PassContext, int]:
    """The model after the pass."""
    loaded = from_proto(model)
    infer_shapes(loaded, worker=shared_worker())
    ctx = PassContext(loaded, worker=shared_worker(), calibration=feeds(model))
    rewrites = STATIC(**options).run(loaded, ctx)
    assert verify_structure(loaded) == []
    if rewrites:
        shared_worker().check(model_bytes(loaded), full=True)
    return loaded, ctx, rewrites


def run_ops(model: ir.Model) -> Counter[str]:
    """Operators that ONNX Runtime really runs."""
    return Counter(n["op"].split(":")[-1] for n in shared_worker().optimized(model_bytes(model)))


def sqnr(before: onnx.ModelProto, after: ir.Model, level: str = "all") -> float:
    """Of all outputs together on fresh data, in dB."""
    stats = Stats()
    data = model_bytes(after)
    with (
        shared_worker().session(before.SerializeToString()) as one,
        shared_worker().session(data, optimization=level) as two,  # type: ignore[arg-type]
    ):
        for feed in feeds(before, seed=7):
            a, b = one.run(feed), two.run(feed)
            for name in a:
                stats.add(a[name], b[name])
    return stats.sqnr_db


def test_a_chain_of_convolutions_runs_on_integers() -> None:
    model = net(f"h = {CONV}(x, w, b)  r = Relu(h)  y = {CONV}(r, w2)", **WIDE)
    after, _, rewrites = quantize(model, include=ALL)
    assert rewrites == 2
    ops = run_ops(after)
    assert ops["QLinearConv"] == 2
    assert not ops["Conv"] + ops["FusedConv"] + ops["Relu"]
    assert sqnr(model, after) > 30


def test_nothing_is_done_without_data() -> None:
    loaded = from_proto(net(f"y = {CONV}(x, w)", **WIDE))
    infer_shapes(loaded, worker=shared_worker())
    with pytest.raises(CalibrationError, match="--data"):
        get_pass("quantize-static")().run(loaded, PassContext(loaded, worker=shared_worker()))


def test_a_glob_without_a_match_is_an_error() -> None:
    with pytest.raises(UsageError, match="--exclude 'nothing'"):
        quantize(net(f"y = {CONV}(x, w)", **WIDE), exclude=("nothing",))


@pytest.mark.parametrize("opset", [9, 11, 12])
def test_an_old_opset_is_raised_and_the_model_is_valid(opset: int) -> None:
    model = net(f"h = {CONV}(x, w, b)  y = Relu(h)", opset=opset, **WIDE)
    after, _, rewrites = quantize(model, include=ALL)
    assert rewrites == 1
    assert after.graph.opset_imports[""] == 13
    assert run_ops(after)["QLinearConv"] == 1
    assert sqnr(model, after) > 30


RES = "a = Relu(x)  h = {c}(a, w, b)  s = Add(h, a)  r = Relu(s)  y = {c}(r, w2)".replace(
    "{c}", CONV
)


def test_a_residual_that_several_read_runs_on_integers() -> None:
    """Signed activations leave such a model in float on x64; ours are unsigned."""
    model = net(RES, **WIDE)
    after, _, _ = quantize(model, include=ALL)
    ops = run_ops(after)
    assert ops["QLinearConv"] == 2 and ops["QLinearAdd"] == 1
    assert not ops["Conv"] + ops["FusedConv"] + ops["Add"] + ops["Relu"]
    assert sqnr(model, after) > 28
    types = {v.dtype for n in after.graph for v in n.outputs if n.op_type == "QuantizeLinear"}
    assert types == {ir.DataType.UINT8}


def test_weights_are_signed_symmetric_and_per_channel() -> None:
    model = net(f"h = {CONV}(x, w, b)  y = Relu(h)", **WIDE)
    after, _, _ = quantize(model, include=ALL)
    conv = next(n for n in after.graph if n.op_type == "Conv")
    stored, scale, zero = dequantizer(conv, 1)
    assert stored.dtype == np.int8 and np.abs(stored.astype(int)).max() == 127
    assert scale.shape == (32,) and not zero.any() and zero.dtype == np.int8
    bias, bias_scale, _ = dequantizer(conv, 2)
    data_scale = dequantizer(conv, 0)[1]
    assert bias.dtype == np.int32
    assert np.allclose(bias_scale, data_scale * scale, rtol=1e-6)


def constants(model: ir.Model, stem: str) -> list[Any]:
    """Initializers whose name starts so."""
    named = model.graph.initializers.items()
    return [v.const_value.numpy() for k, v in named if k.startswith(stem) and v.const_value]


def dequantizer(node: ir.Node, index: int) -> tuple[Any, Any, Any]:
    """Inputs of the DequantizeLinear before an input; None for what is computed."""
    value = node.inputs[index]
    before = None if value is None else value.producer()
    assert before is not None and before.op_type == "DequantizeLinear"
    found = [
        None if v is None or v.const_value is None else v.const_value.numpy() for v in before.inputs
    ]
    return found[0], found[1], found[2]


def test_weights_for_cpus_without_vnni_have_seven_bits() -> None:
    model = net(f"h = {CONV}(x, w, b)  y = Relu(h)", **WIDE)
    after, _, _ = quantize(model, include=ALL, target="cpu-avx2")
    conv = next(n for n in after.graph if n.op_type == "Conv")
    assert np.abs(dequantizer(conv, 1)[0].astype(int)).max() == 63


def test_arm_has_signed_activations_whose_relu_is_absorbed() -> None:
    model = net(f"h = {CONV}(x, w, b)  y = Relu(h)", **WIDE)
    after, _, _ = quantize(model, include=ALL, target="cpu-arm")
    q = [n for n in after.graph if n.op_type == "QuantizeLinear"][-1]
    zero = q.inputs[2]
    assert zero is not None and zero.const_value is not None
    assert zero.const_value.numpy() == -128
    assert sqnr(model, after, "disable") > 30


def test_a_clip_is_absorbed_because_the_range_lies_within_it() -> None:
    """With a range up to 6.5 ONNX Runtime would leave the Conv in float."""
    body = f"h = {CONV}(x, w, b)  r = Clip(h, lo, hi)  y = {CONV}(r, w2)"
    model = net(body, lo=np.float32(0), hi=np.float32(6), **WIDE)
    after, _, _ = quantize(model, include=ALL, calibrator="minmax")
    ops = run_ops(after)
    assert ops["QLinearConv"] == 2 and not ops["Clip"] + ops["FusedConv"] + ops["Conv"]


def test_a_clip_that_does_not_start_at_zero_is_not_absorbed() -> None:
    body = f"h = {CONV}(x, w, b)  r = Clip(h, lo, hi)  y = {CONV}(r, w2)"
    model = net(body, lo=np.float32(-1), hi=np.float32(6), **WIDE)
    after, _, _ = quantize(model, include=ALL, calibrator="minmax")
    assert run_ops(after)["QLinearConv"] == 2
    assert sqnr(model, after) > 28


@pytest.mark.parametrize(
    "body",
    [
        f"h = {CONV}(x, w, b)  r = Relu(h)  k = {CONV}(r, w2)  q = Relu(k)  y = {CONV}(q, w3)",
        f"h = {CONV}(x, w, b)  r = Relu(h)  k = {CONV}(r, w2)  y = {CONV}(k, w3)",
        f"h = {CONV}(x, w, b)  r = Relu(h)  m = MaxPool<kernel_shape = [2, 2]>(r)"
        f"  k = {CONV}(m, w2)  q = Relu(k)  y = {CONV}(q, w3)",
    ],
)
def test_an_excluded_convolution_is_float_in_the_graph_that_runs(body: str) -> None:
    model = net(body, w3=(32, 32, 3, 3), **WIDE)
    after, ctx, rewrites = quantize(model, include=("op:Conv",), exclude=("k",))
    assert rewrites == 2 and ("Conv", "excluded") in ctx.skipped
    ops = run_ops(after)
    assert ops["QLinearConv"] == 2 and ops["Conv"] + ops["FusedConv"] == 1


def test_without_the_guard_the_runtime_would_quantize_it() -> None:
    """The trap that the guard is for; when this fails, ONNX Runtime has changed."""
    body = f"h = {CONV}(x, w, b)  r = Relu(h)  k = {CONV}(r, w2)  q = Relu(k)  y = {CONV}(q, w3)"
    model = net(body, w3=(32, 32, 3, 3), **WIDE)
    after, _, _ = quantize(model, include=("op:Conv",), exclude=("k",))
    for node in list(after.graph):
        axis = node.attributes.get("axis")
        if node.op_type == "DequantizeLinear" and axis is not None and axis.value == 1:
            scalar = next(
                u.node
                for u in node.inputs[0].uses()  # type: ignore[union-attr]
                if u.node is not node
            )
            node.outputs[0].replace_all_uses_with(scalar.outputs[0])
            after.graph.remove(node, safe=True)
    assert run_ops(after)["QLinearConv"] == 3


FLAT: dict[str, Any] = {"x": "float[N,64]", "w": (64, 96), "w2": (96, 64), "b": (96,)}


def test_a_matmul_gives_floats_and_keeps_its_bias_for_what_follows() -> None:
    body = "h = MatMul(x, w)  k = Add(h, b)  e = Exp(k)  y = MatMul(e, w2)"
    model = net(body, x="float[N,S,64]", **{k: v for k, v in FLAT.items() if k != "x"})
    after, _, rewrites = quantize(model, include=ALL)
    assert rewrites == 2
    assert run_ops(after)["MatMulIntegerToFloat"] == 2
    assert not [v for v in after.graph.initializers.values() if v.dtype == ir.DataType.INT32]


def test_a_matmul_of_static_shape_has_an_integer_bias() -> None:
    """ONNX Runtime makes a Gemm of it, which runs on integers with such a bias only."""
    body = "h = MatMul(x, w)  k = Add(h, b)  e = Exp(k)  y = MatMul(e, w2)"
    model = net(body, x="float[2,8,64]", **{k: v for k, v in FLAT.items() if k != "x"})
    after, _, rewrites = quantize(model, include=ALL)
    ops = run_ops(after)
    assert rewrites == 2 and not ops["MatMul"] + ops["Gemm"]
    assert sqnr(model, after) > 25


@pytest.mark.parametrize("trans", [0, 1])
@pytest.mark.parametrize("act", ["Relu", "Tanh", "LeakyRelu", "Sin"])
def test_a_gemm_before_an_activation_runs_on_integers(act: str, trans: int) -> None:
    """ONNX Runtime fuses some activations into a float Gemm before it looks at integers."""
    shape = (96, 64) if trans else (64, 96)
    body = f"h = Gemm<transB = {trans}>(x, w, b)  a = {act}(h)  y = Gemm(a, w2, b2)"
    model = net(body, b2=(64,), **{**FLAT, "w": shape})
    after, _, rewrites = quantize(model, include=ALL)
    ops = run_ops(after)
    assert rewrites == 2 and ops["QGemm"] == 2, ops
    assert sqnr(model, after) > 25


def test_products_of_computed_matrices_stay_float() -> None:
    body = (
        "q = MatMul(x, w)  k = MatMul(x, w3)  t = Transpose<perm = [0, 2, 1]>(k)"
        "  s = MatMul(q, t)  p = Softmax(s)  v = MatMul(p, q)  y = MatMul(v, w2)"
    )
    model = net(body, w3=(64, 96), x="float[N,S,64]", w=(64, 96), w2=(96, 64))
    after, ctx, rewrites = quantize(model, include=ALL)
    assert rewrites == 3
    assert sum("attention product" in reason for _, reason in ctx.skipped) == 2
    ops = run_ops(after)
    assert ops["MatMulIntegerToFloat"] == 3 and not ops["QLinearMatMul"]


def test_one_quantizer_serves_all_readers() -> None:
    model = net("a = MatMul(x, w)  c = MatMul(x, w3)", w3=(64, 96), x="float[N,S,64]", w=(64, 96))
    after, _, _ = quantize(model, include=ALL)
    assert sum(n.op_type == "QuantizeLinear" for n in after.graph) == 1


def test_hard_swish_is_a_float_island_between_integers() -> None:
    body = f"h = {CONV}(x, w, b)  a = HardSwish(h)  y = {CONV}(a, w2)"
    model = net(body, **WIDE)
    after, _, _ = quantize(model, include=ALL)
    ops = run_ops(after)
    assert ops["QLinearConv"] == 2 and not ops["Conv"] + ops["QLinearMul"]


def test_swish_runs_on_integers_with_a_fixed_range_of_the_gate() -> None:
    body = f"h = {CONV}(x, w, b)  g = Sigmoid(h)  a = Mul(h, g)  y = {CONV}(a, w2)"
    model = net(body, **WIDE)
    after, _, _ = quantize(model, include=ALL)
    ops = run_ops(after)
    assert ops["QLinearConv"] == 2 and ops["QLinearSigmoid"] == 1 and ops["QLinearMul"] == 1
    assert [x.item() for x in constants(after, "g_scale")] == [1 / 256]


def test_pools_and_concat_between_convolutions_run_on_integers() -> None:
    body = (
        f"h = {CONV}(x, w, b)  p = MaxPool<kernel_shape = [2, 2]>(h)"
        "  q = AveragePool<kernel_shape = [2, 2]>(h)  c = Concat<axis = 1>(p, q)"
        f"  y = {CONV}(c, w2)"
    )
    model = net(body, **{**WIDE, "w2": (32, 64, 3, 3)})
    after, _, _ = quantize(model, include=ALL)
    ops = run_ops(after)
    assert ops["QLinearConcat"] == 1 and ops["QLinearAveragePool"] == 1
    assert ops["NhwcMaxPool"] == 1 and not ops["MaxPool"] + ops["AveragePool"] + ops["Concat"]
    pool = next(n for n in after.graph if n.op_type == "MaxPool")
    after_pool = next(u.node for u in pool.outputs[0].uses())
    scale = after_pool.inputs[1]
    assert after_pool.op_type == "QuantizeLinear" and scale is not None and scale.const_value
    assert scale.const_value.numpy() == dequantizer(pool, 0)[1]


def test_a_graph_output_keeps_its_name_and_readers_of_floats_read_them() -> None:
    body = f"e = Exp(x)  h = {CONV}(e, w, b)  y = Relu(h)  z = Neg(e)"
    model = net(body, outputs=("y", "z", "e"), **WIDE)
    after, _, rewrites = quantize(model, include=ALL)
    assert rewrites == 1
    assert [v.name for v in after.graph.outputs] == ["y", "z", "e"]
    neg = next(n for n in after.graph if n.op_type == "Neg")
    assert neg.inputs[0] is not None and neg.inputs[0].name == "e"
    assert run_ops(after)["QLinearConv"] == 1


def test_shared_weights_are_stored_once() -> None:
    model = net(f"h = {CONV}(x, w)  r = Relu(h)  y = {CONV}(r, w)", **WIDE)
    after, _, rewrites = quantize(model, include=ALL)
    assert rewrites == 2
    assert len(constants(after, "w_quantized")) == 1
    assert run_ops(after)["QLinearConv"] == 2


def test_a_bias_far_beyond_its_weights_still_fits() -> None:
    """int32 with scale s_x * s_w would overflow: the scale of that channel grows."""
    w = np.full((32, 32, 3, 3), 1e-9, np.float32)
    b = np.full(32, 50, np.float32)
    model = net(f"h = {CONV}(x, w, b)  y = Relu(h)", **{**WIDE, "w": w, "b": b})
    after, _, rewrites = quantize(model, include=ALL)
    assert rewrites == 1
    assert sqnr(model, after) > 40


def test_dead_channels_and_constant_tensors_are_no_trouble() -> None:
    w = np.random.default_rng(0).standard_normal((32, 32, 3, 3)).astype(np.float32)
    w[3] = 0
    model = net(
        f"n = Relu(x)  m = Neg(n)  z = Relu(m)  h = {CONV}(z, w, b)  y = Relu(h)",
        **{**WIDE, "w": w},
    )
    after, _, rewrites = quantize(model, include=ALL)
    assert rewrites == 1
    assert sqnr(model, after) > 30  # z is zero throughout: the bias is the output


@pytest.mark.parametrize(
    ("body", "given", "reason"),
    [
        (f"v = Abs(w)  y = {CONV}(x, v)", {}, "no constant"),
        (f"y = {CONV}(x, w)", {"overridable": ("w",)}, "no constant"),
        (f"y = {CONV}(x, w)", {"dtype": "float16"}, "float16"),
        ("y = ConvTranspose(x, w)", {}, "ConvTranspose"),
        (f"y = {CONV}(x, w, d)", {"d": "float[32]"}, "bias"),
        (f"y = {CONV}(x, w)", {"w": np.full((32, 32, 3, 3), np.nan, np.float32)}, "NaN"),
    ],
)
def test_layers_that_cannot_are_left_alone(body: str, given: dict[str, Any], reason: str) -> None:
    model = net(body, **{**WIDE, **given})
    before = model.SerializeToString(deterministic=True)
    after, ctx, rewrites = quantize(model, include=ALL)
    assert not rewrites and any(reason in text for _, text in ctx.skipped)
    assert model.SerializeToString(deterministic=True) == before


def test_layers_in_subgraphs_are_named_and_left() -> None:
    kind = "(float[N,32,16,16] {0})"
    branches = (
        f"then_branch = t () => {kind.format('u')} {{ u = {CONV}(h, w) }}, "
        f"else_branch = e () => {kind.format('v')} {{ v = Neg(h) }}"
    )
    model = net(f"h = {CONV}(x, w2)  y = If(c) <{branches}>", c="bool", **WIDE)
    loaded = from_proto(model)
    infer_shapes(loaded, worker=shared_worker())
    data = [{**f, "c": np.array(True)} for f in feeds_of({"x": (4, 32, 16, 16)})]
    ctx = PassContext(loaded, worker=shared_worker(), calibration=data)
    assert STATIC(include=ALL).run(loaded, ctx) == 1
    assert verify_structure(loaded) == []
    with shared_worker().session(model_bytes(loaded)) as session:
        assert session.run(data[0])


def feeds_of(shapes: dict[str, tuple[int, ...]]) -> list[Any]:
    rng = np.random.default_rng(0)
    return [
        {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()} for _ in range(4)
    ]


def test_what_is_quantized_already_stays() -> None:
    model = net(f"h = {CONV}(x, w, b)  r = Relu(h)  y = {CONV}(r, w2)", **WIDE)
    once, _, _ = quantize(model, include=ALL)
    before = model_bytes(once)
    ctx = PassContext(once, worker=shared_worker(), calibration=feeds(model))
    assert STATIC(include=ALL).run(once, ctx) == 0
    assert model_bytes(once) == before


def test_feeds_of_several_shapes_are_observed() -> None:
    model = net(f"h = {CONV}(x, w, b)  y = Relu(h)", **{**WIDE, "x": "float[N,32,H,H]"})
    loaded = from_proto(model)
    infer_shapes(loaded, worker=shared_worker())
    data = [f for s in ((1, 32, 8, 8), (3, 32, 12, 12)) for f in feeds_of({"x": s})]
    ctx = PassContext(loaded, worker=shared_worker(), calibration=data)
    assert STATIC(include=ALL).run(loaded, ctx) == 1


def test_every_sample_counts() -> None:
    """The largest value may be in the first feed, or in the last."""
    model = net(f"y = {CONV}(x, w)", **WIDE)
    for where in (0, 7):
        data = feeds(model, count=8)
        data[where]["x"][0, 0, 0, 0] = 100
        loaded = from_proto(model)
        infer_shapes(loaded, worker=shared_worker())
        ctx = PassContext(loaded, worker=shared_worker(), calibration=data)
        STATIC(include=ALL, calibrator="minmax").run(loaded, ctx)
        scale = next(
            v for v in loaded.graph.initializers.values() if v.name and v.name.startswith("x_scale")
        )
        assert scale.const_value is not None
        assert scale.const_value.numpy() > 100 / 255


def test_tensorrt_has_symmetric_inputs_and_float_biases() -> None:
    model = net(
        f"h = {CONV}(x, w, b)  r = Relu(h)  k = {CONV}(r, w2)  s = Add(k, x)  y = Relu(s)", **WIDE
    )
    after, _, rewrites = quantize(model, target="tensorrt")
    assert rewrites == 2
    kinds = Counter(n.op_type for n in after.graph)
    assert kinds["QuantizeLinear"] == 2  # x and r: nothing behind the layers
    zeros = constants(after, "zero_point")
    assert zeros and not any(z.any() for z in zeros)
    conv = next(n for n in after.graph if n.op_type == "Conv")
    assert conv.inputs[2] is not None and conv.inputs[2].name == "b"
    assert sqnr(model, after, "disable") > 28


def test_a_layer_that_does_not_pay_stays_float() -> None:
    model = net(f"h = {CONV}(x, w)  y = Relu(h)", x="float[1,4,8,8]", w=(4, 4, 3, 3))
    _, ctx, rewrites = quantize(model)
    assert (
        rewrites == 0
        and ctx.skipped == [("y", "would not pay")]
        or ctx.skipped[0][1] == "would not pay"
    )


QOPERATOR = [
    (f"h = {CONV}(x, w, b)  r = Relu(h)  y = {CONV}(r, w2)", {}, {"QLinearConv": 2}),
    (RES, {}, {"QLinearConv": 2, "com.microsoft:QLinearAdd": 1}),
    (
        f"h = {CONV}(x, w, b)  p = MaxPool<kernel_shape = [2, 2]>(h)  y = {CONV}(p, w2)",
        {},
        {"QLinearConv": 2, "MaxPool": 1},
    ),
    (
        f"h = {CONV}(x, w, b)  g = Sigmoid(h)  a = Mul(h, g)  y = {CONV}(a, w2)",
        {},
        {"QLinearConv": 2, "com.microsoft:QLinearSigmoid": 1, "com.microsoft:QLinearMul": 1},
    ),
    (
        f"h = {CONV}(x, w, b)  p, q = Split<axis = 1, num_outputs = 2>(h)"
        f"  c = Concat<axis = 1>(q, p)  y = {CONV}(c, w2)",
        {"opset": 18},
        {"QLinearConv": 2, "Split": 1, "com.microsoft:QLinearConcat": 1},
    ),
]


@pytest.mark.parametrize(("body", "given", "expected"), QOPERATOR)
def test_the_operator_form_computes_what_the_pairs_do(
    body: str, given: dict[str, Any], expected: dict[str, int]
) -> None:
    model = net(body, **{**WIDE, **given})
    pairs, _, _ = quantize(model, include=ALL)
    after, _, rewrites = quantize(model, include=ALL, format="qoperator")
    assert rewrites == 2
    found = Counter(f"{n.domain}:{n.op_type}" if n.domain else n.op_type for n in after.graph)
    assert {op: found[op] for op in expected} == expected
    assert not found["Conv"] + found["Relu"] - body.startswith("a = Relu")
    assert sqnr(model, after, "disable") == pytest.approx(sqnr(model, pairs), abs=0.5)


def test_the_operator_form_of_matrix_products_gives_floats() -> None:
    body = "h = Gemm(x, w, b)  e = Sin(h)  y = MatMul(e, w2)"
    model = net(body, **FLAT)
    after, _, rewrites = quantize(model, include=ALL, format="qoperator")
    found = Counter(n.op_type for n in after.graph)
    assert rewrites == 2 and found["QGemm"] == 1 and found["MatMulIntegerToFloat"] == 1
    assert sqnr(model, after, "disable") > 25


@pytest.mark.parametrize(
    ("zero", "absorbed"),
    [(np.int8(-128), True), (np.int8(0), False), (np.uint8(0), True), (np.uint8(1), False)],
)
def test_a_rectifier_is_absorbed_where_the_numbers_begin(zero: Any, absorbed: bool) -> None:
    """Below zero nothing is left when the least number stands for 0."""
    body = "n = Neg(x)  h = Relu(n)  q = QuantizeLinear(h, s, z)  y = DequantizeLinear(q, s, z)"
    model = from_proto(net(body, s=np.float32(0.1), z=np.array(zero)))
    neg, relu, quantizer = list(model.graph)[:3]
    found = _quantizer(neg)
    assert found == (([relu], quantizer) if absorbed else None)
    assert _quantizer(relu) == ([], quantizer)
