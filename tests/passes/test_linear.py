"""Layers as ``y = W x + b``: scaled weights do what scaled tensors do, in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph import edit
from onnxslim.graph.load import from_proto
from onnxslim.passes._linear import (
    MAX_COPY,
    Linear,
    constant,
    copy_cost,
    narrow,
    read_linear,
    write_linear,
)
from onnxslim.pipeline.context import PassContext
from onnxslim.testing import shared_worker
from tests.nets import net

CASES: list[tuple[str, dict[str, Any]]] = [
    ("Conv(x, w, b)", {}),
    ("Conv<group = 2>(x, w)", {"w": (6, 2, 3, 3)}),
    ("Conv(x, w)", {"x": "float[2,4,9]", "w": (5, 4, 3)}),
    ("ConvTranspose(x, w, b)", {}),
    ("ConvTranspose<group = 2>(x, w)", {"w": (4, 3, 3, 3)}),
    ("Gemm<alpha = 1.5, beta = 0.5>(x, w, b)", {"x": "float[7,5]", "w": (5, 4)}),
    ("Gemm<transB = 1>(x, w, b)", {"x": "float[7,5]", "w": (4, 5)}),
    ("Gemm<transB = 1, alpha = 0.5>(x, w)", {"x": "float[7,4]", "w": (4, 4)}),
    ("MatMul(x, w)", {"x": "float[7,5]", "w": (5, 4)}),
]


def load(call: str, **given: Any) -> ir.Model:
    return from_proto(net(f"y = {call}", **given))


def linear_of(model: ir.Model) -> Linear:
    found = read_linear(next(iter(model.graph)))
    assert not isinstance(found, str), found
    return found


def output(model: ir.Model, x: Any) -> Any:
    proto = ir.to_proto(model).SerializeToString()
    with shared_worker().session(proto) as session:
        return np.asarray(session.run({"x": x})["y"], np.float64)


def along(k: Any, rank: int) -> Any:
    """One number per channel, to be multiplied with a tensor whose channels are axis 1."""
    return k.reshape(-1, *[1] * (rank - 2))


@pytest.mark.parametrize(("call", "given"), CASES)
def test_scaled_weights_give_scaled_tensors(call: str, given: dict[str, Any]) -> None:
    model = load(call, **given)
    layer = linear_of(model)
    rng = np.random.default_rng(0)
    shape = edit.static_shape(model.graph.inputs[0])
    assert shape is not None
    assert layer.inputs == (shape[1] if layer.op != "ConvTranspose" else layer.inputs)
    x = rng.standard_normal(shape).astype(np.float32)
    y = output(model, x)
    assert layer.channels == y.shape[1]
    bias = layer.bias.reshape(-1, *[1] * (y.ndim - 2))
    k = rng.uniform(0.5, 2, layer.channels)
    with_outputs = product(layer, layer.scale_outputs(k), x, model)
    np.testing.assert_allclose(with_outputs, (y - bias) * along(k, y.ndim), atol=1e-4)
    if layer.op == "ConvTranspose":
        return
    k = rng.uniform(0.5, 2, layer.inputs)
    with_inputs = product(layer, layer.scale_inputs(k), x / along(k, x.ndim), model)
    np.testing.assert_allclose(with_inputs, y - bias, atol=1e-4)
    flat = np.broadcast_to(along(k, x.ndim), x.shape).astype(np.float32)
    each = output(model, flat) - bias
    wanted = np.broadcast_to(along(layer.respond(k), y.ndim), y.shape)
    np.testing.assert_allclose(each, wanted, atol=1e-4)


def product(layer: Linear, weight: Any, x: Any, model: ir.Model) -> Any:
    """The layer's output without its bias, with another weight."""
    node = layer.node
    copy = ir.from_proto(ir.to_proto(model))
    twin = next(iter(copy.graph))
    value = twin.inputs[1]
    assert value is not None and node.op_type == twin.op_type
    value.const_value = ir.tensor(weight.astype(np.float32), name=value.name)
    if edit.get_input(twin, 2) is not None:
        bias = twin.inputs[2]
        assert bias is not None and bias.const_value is not None
        bias.const_value = ir.tensor(np.zeros_like(bias.const_value.numpy()), name=bias.name)
    return output(copy, x.astype(np.float32))


GEMM = {"x": "float[3,5]", "w": (5, 4)}


@pytest.mark.parametrize(
    ("call", "given", "reason"),
    [
        ("Conv(x, c)", {"c": "float[4,4,3,3]"}, "weight is not constant"),
        ("Conv(x, w, c)", {"c": "float[4]"}, "bias is not constant"),
        ("MatMul(x, w)", {"x": "float[2,3,5]", "w": (2, 5, 4)}, "not a matrix"),
        ("MatMul(x, w)", {"x": "float[3,5]", "w": (5,)}, "not a matrix"),
        ("MatMul(x, w)", {"x": "int32[3,5]", "w": np.ones((5, 4), np.int32)}, "floating"),
        ("Gemm(x, w, b)", {**GEMM, "b": (3, 1)}, "one number per channel"),
    ],
)
def test_refuses(call: str, given: dict[str, Any], reason: str) -> None:
    found = read_linear(next(iter(load(call, **given).graph)))
    assert isinstance(found, str) and reason in found


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("shape", [(1,), (3,), (1, 4)])
def test_a_bias_of_another_shape(op: str, shape: tuple[int, ...]) -> None:
    model = load(f"{op}(x, w, b)")
    bias = next(iter(model.graph)).inputs[2]
    assert bias is not None
    bias.const_value = ir.tensor(np.ones(shape, np.float32), name="b")
    found = read_linear(next(iter(model.graph)))
    assert found == "the bias does not have one number per channel"


@pytest.mark.parametrize(
    ("shape", "kept"),
    [((), (4,)), ((1,), (4,)), ((1, 1), (4,)), ((4,), (4,)), ((1, 4), (4,)), ((3, 4), (3, 4))],
)
def test_bias_of_a_gemm(shape: tuple[int, ...], kept: tuple[int, ...]) -> None:
    given = {**GEMM, "b": np.full(shape, 3, np.float32)}
    layer = linear_of(load("Gemm<beta = 0.5>(x, w, b)", **given))
    assert (layer.bias.shape, set(layer.bias.reshape(-1))) == (kept, {1.5})
    assert layer.bias.dtype == np.float64


def test_through_identities() -> None:
    model = from_proto(net("i = Identity(w)  j = Identity(i)  y = Conv(x, j)  k = Neg(w)"))
    identity, other, conv, neg = list(model.graph)
    array, found = edit.constant_array(neg.inputs[0]), constant(conv.inputs[1])
    assert array is not None and found is not None and np.array_equal(found, array)
    assert constant(identity.inputs[0]) is not None and constant(other.outputs[0]) is not None
    assert constant(neg.outputs[0]) is None and constant(None) is None
    assert constant(model.graph.inputs[0]) is None


@pytest.mark.parametrize(
    ("numbers", "dtype", "fits"),
    [
        ([65504.0], np.float16, True),
        ([1.0, 65520.0], np.float16, False),
        ([2.0**-14], np.float16, True),
        ([2.0**-15], np.float16, False),
        ([1.0, 2.0**-30], np.float16, True),
        ([0.0], np.float16, True),
        ([], np.float16, True),
        ([1e39], np.float32, False),
        ([2.0**-126], np.float32, True),
        ([-(2.0**-127)], np.float32, False),
        ([1e-300], np.float64, True),
        ([np.inf], np.float64, False),
        ([np.nan], np.float32, False),
    ],
)
def test_narrow(numbers: list[float], dtype: Any, fits: bool) -> None:
    found = narrow(np.array(numbers), np.dtype(dtype))
    assert (found is not None) == fits
    assert found is None or found.dtype == dtype
    assert found is None or np.array_equal(found, np.array(numbers).astype(dtype))


def written(model: ir.Model, weight: Any, bias: Any) -> tuple[Any, PassContext]:
    ctx = PassContext(model, worker=shared_worker())
    return write_linear(linear_of(model), model.graph.inputs[0], weight, bias, ctx), ctx


@pytest.mark.parametrize(("call", "given"), CASES)
@pytest.mark.parametrize("number", [0.0, 2.0])
def test_write(call: str, given: dict[str, Any], number: float) -> None:
    model = load(call, **given)
    layer = linear_of(model)
    node, ctx = written(model, layer.weight * 2.0, np.full(layer.channels, number))
    plain = layer.op == "MatMul" and not number
    assert node.op_type == ("Gemm" if layer.op == "MatMul" and not plain else layer.op)
    arrays = [edit.constant_array(v) for v in node.inputs[1:]]
    assert len(arrays) == (1 if plain else 2)
    assert arrays[0] is not None and arrays[0].dtype == np.float32
    assert np.array_equal(arrays[0], layer.weight * 2)
    assert plain or (arrays[1] is not None and arrays[1].tolist() == [number] * layer.channels)
    kept = {n: a.value for n, a in layer.node.attributes.items() if n != "beta"}
    assert {n: a.value for n, a in node.attributes.items()} == kept
    assert node.inputs[0] is model.graph.inputs[0]
    stem = "b" if "b)" in call else "w_bias"
    assert plain or str(node.inputs[2].name).startswith(f"{stem}_s")
    assert ctx.warnings == []


def test_writes_nothing_that_does_not_fit() -> None:
    model = load("Conv(x, w, b)")
    layer = linear_of(model)
    weight = layer.weight.astype(np.float64)
    for new in ((1e39 * weight, layer.bias), (weight, 1e39 + layer.bias)):
        assert written(model, *new)[0] == "the folded weights do not fit float32"
    assert len(model.graph.initializers) == 2


@pytest.mark.parametrize("over", [0, 1])
def test_a_shared_weight_is_copied_while_it_is_small(over: int) -> None:
    rows = MAX_COPY // 4 // 64 + over
    body = "y = MatMul(x, w)  z = MatMul(x, w)"
    model = from_proto(net(body, x=f"float[2,{rows}]", w=(rows, 64)))
    layer = linear_of(model)
    assert copy_cost(layer) == rows * 64 * 4
    found, ctx = written(model, layer.weight * 1.0, layer.bias)
    if over:
        assert found == "the weight is shared and a copy of it would make the file larger"
        assert ctx.warnings == []
    else:
        assert isinstance(found, ir.Node)
        name = layer.node.name or "MatMul"
        assert ctx.warnings == [f"{name}: its shared weight was copied, {MAX_COPY} bytes"]
    assert copy_cost(linear_of(load("Conv(x, w)"))) == 0
