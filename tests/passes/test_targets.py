"""How far behind a layer its result is still its own, scaled and shifted per channel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from onnxslim.passes._layers import Layer, read_layer
from onnxslim.passes._targets import Target, find_target
from onnxslim.testing import shared_worker
from tests.nets import net

F = np.float32
CONV = "h = Conv(x, w)  "
ROWS = {"x": "float[3,6]", "w": (6, 4)}
NORM = "BatchNormalization(h, scale, shift, mean, var)"


def target_of(proto: onnx.ModelProto, final: bool = False, limit: int | None = None) -> Target:
    model = from_proto(proto)
    infer_shapes(model)
    layer = read_layer(next(n for n in model.graph if n.op_type in ("Conv", "MatMul", "Gemm")))
    assert isinstance(layer, Layer), layer
    return find_target(layer, lambda value: final, None, 17, limit)


def values(proto: onnx.ModelProto, *names: str) -> list[Any]:
    """What a model computes under these names."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    for value in copy.graph.output:
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    rng = np.random.default_rng(0)
    feed = {
        v.name: rng.standard_normal([d.dim_value for d in v.type.tensor_type.shape.dim]).astype(F)
        for v in copy.graph.input
    }
    found = shared_worker().session(copy.SerializeToString()).run(feed)
    return [np.asarray(found[name], np.float64) for name in names]


PER_CHANNEL = {"k": (4, 1, 1)}
FOLLOWED: list[tuple[str, dict[str, Any]]] = [
    (f"{CONV} y = {NORM}", {}),
    (f"{CONV} y = BatchNormalization<epsilon = 0.5>(h, scale, shift, mean, var)", {}),
    (f"{CONV} y = Add(h, k)", PER_CHANNEL),
    (f"{CONV} y = Add(k, h)", {"k": (1, 4, 1, 1)}),
    (f"{CONV} y = Sub(h, k)", PER_CHANNEL),
    (f"{CONV} y = Sub(k, h)", PER_CHANNEL),
    (f"{CONV} y = Mul(k, h)", PER_CHANNEL),
    (f"{CONV} y = Div(h, k)", PER_CHANNEL),
    (f"{CONV} y = Mul(h, k)", {"k": F(3)}),
    (f"{CONV} y = Div(h, k)", {"k": np.full((1, 1), 4, F)}),
    (f"{CONV} a = Mul(h, k)  y = Sub(j, a)", {"k": (4, 1, 1), "j": F(2)}),
    (f"{CONV} a = {NORM}  y = Mul(a, k)", PER_CHANNEL),
    ("h = MatMul(x, w)  y = Add(h, b)", ROWS | {"b": (4,)}),
    ("h = MatMul(x, w)  y = BatchNormalization(h, scale, shift, mean, var)", ROWS),
    ("h = Gemm(x, w, b)  y = Mul(h, k)", ROWS | {"b": (4,), "k": (1, 4)}),
]


@pytest.mark.parametrize(("body", "given"), FOLLOWED)
def test_what_is_behind_is_scaled_and_shifted(body: str, given: dict[str, Any]) -> None:
    proto = net(body, **given)
    target = target_of(proto)
    assert target.point.name == "y" and target.other is None
    h, y = values(proto, "h", "y")
    shape = (-1, *[1] * (h.ndim - 2))
    expected = h * target.scale.reshape(shape) + target.shift.reshape(shape)
    np.testing.assert_allclose(expected, y, rtol=1e-5, atol=1e-5)


STOPPED: list[tuple[str, dict[str, Any]]] = [
    (f"{CONV} y = Div(k, h)", PER_CHANNEL),
    (f"{CONV} y = Div(h, k)", {"k": np.array([1, 2, 0, 3], F).reshape(4, 1, 1)}),
    (f"{CONV} y = Add(h, h)", {}),
    (f"{CONV} y = Max(h, k)", PER_CHANNEL),
    (f"{CONV} y = Add(h, k)", {"k": (4,), "x": "float[2,4,8,6]"}),
    (f"{CONV} y = Add(h, k)", {"k": (1, 1, 4, 1, 1)}),
    (f"{CONV} y = Add(h, k)", {"k": (2, 4, 1, 1)}),
    (f"{CONV} y = Add(h, z)", {"z": "float[2,4,6,6]"}),
    (f"{CONV} y = Add(h, k)  z = Neg(h)", PER_CHANNEL),
    (f"{CONV} y, a, b = BatchNormalization<training_mode = 1>(h, scale, shift, mean, var)", {}),
    (f"{CONV} y = BatchNormalization(h, scale, shift, mean, q)", {"q": "float[4]"}),
    (f"{CONV} y = BatchNormalization(h, scale, shift, mean, q)", {"q": np.full(4, -1, F)}),
    ("h = MatMul(x, w)  y = BatchNormalization(h, scale, shift, mean, var)",
     {"x": "float[3,4,6]", "w": (6, 5)}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "given"), STOPPED)
def test_it_ends_at_what_is_not(body: str, given: dict[str, Any]) -> None:
    target = target_of(net(body, **{"x": "float[2,4,8,8]", **given}))
    assert target.point.name == "h"
    assert (target.scale == 1).all() and (target.shift == 0).all()


def test_a_final_operand_is_taken_along_once() -> None:
    body = f"{CONV} a = Add(h, z)  y = Mul(a, k)"
    target = target_of(net(body, z="float[2,4,6,6]", k=(4, 1, 1)), final=True)
    assert target.point.name == "a" and target.other is not None and target.other.name == "z"
    wide = target_of(net(f"{CONV} y = Add(h, z)", z="float[2,4,1,6]"), final=True)
    assert wide.point.name == "y", "broadcast into the layer's shape"
    larger = target_of(net(f"{CONV} y = Add(h, z)", z="float[3,2,4,6,6]"), final=True)
    assert larger.point.name == "h" and larger.other is None


def test_a_limit_of_steps() -> None:
    proto = net(f"{CONV} a = Mul(h, k)  y = Add(a, k)", k=(4, 1, 1))
    assert [str(target_of(proto, limit=n).point.name) for n in (0, 1, 2)] == ["h", "a", "y"]


LIMITS: list[tuple[str, dict[str, Any], tuple[float, float]]] = [
    ("y = Relu(h)", {}, (0.0, math.inf)),
    ("y = Clip(h, lo, hi)", {"lo": F(-1), "hi": F(6)}, (-1.0, 6.0)),
    ("y = Clip(h, , hi)", {"hi": F(6)}, (-math.inf, 6.0)),
    ("y = Clip(h, lo)", {"lo": F(-1)}, (-1.0, math.inf)),
    ("y = Clip(h, lo, hi)", {"lo": F(2), "hi": F(2)}, (-math.inf, math.inf)),
    ("y = Clip(h, lo, hi)", {"lo": F(2), "hi": "float"}, (-math.inf, math.inf)),
    ("y = Tanh(h)", {}, (-math.inf, math.inf)),
]


@pytest.mark.parametrize(("body", "given", "limits"), LIMITS)
def test_what_is_clipped_behind(
    body: str, given: dict[str, Any], limits: tuple[float, float]
) -> None:
    target = target_of(net(CONV + body, **given))
    assert (target.low, target.high) == limits


def test_an_operator_of_another_domain_ends_it() -> None:
    proto = net(f"{CONV} y = local.Add(h, k)", k=(4, 1, 1), outputs={"y": "float[2,4,6,6]"})
    model = from_proto(proto)
    assert isinstance(model, ir.Model) and target_of(proto).point.name == "h"
