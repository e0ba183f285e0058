"""Plans: which tensors become integers, what layers are guarded, what stays float and why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.analysis.quantization.plan import Plan
from onnxslim.analysis.quantization.planner import make_plan
from onnxslim.analysis.quantization.select import Selection
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import UsageError
from onnxslim.graph.load import from_proto
from onnxslim.pipeline.targets import get_target
from tests.nets import net

CONV = "Conv<pads = [1, 1, 1, 1]>"
WIDE: dict[str, Any] = {"x": "float[N,32,16,16]", "b": (32,)} | {
    n: (32, 32, 3, 3) for n in ("w", "w2", "w3")
}


def plan(
    body: str,
    target: str = "cpu",
    include: tuple[str, ...] = ("op:*",),
    exclude: tuple[str, ...] = (),
    **given: Any,
) -> Plan:
    model = from_proto(net(body, **{**WIDE, **given}))
    infer_shapes(model)
    return make_plan(model, get_target(target), Selection(model, include, exclude))


def test_a_relu_belongs_to_the_convolution_before_it() -> None:
    found = plan(f"h = {CONV}(x, w, b)  r = Relu(h)  y = {CONV}(r, w2)")
    assert list(found.edges) == ["x", "r", "y"]
    assert (found.edges["r"].low, found.edges["r"].high) == (0.0, None)
    assert found.layers[0].result == "r" and found.layers[0].integer_bias


def test_a_clip_bounds_the_range() -> None:
    body = f"h = {CONV}(x, w, b)  r = Clip(h, lo, hi)  y = {CONV}(r, w2)"
    found = plan(body, lo=np.float32(0), hi=np.float32(6))
    assert (found.edges["r"].low, found.edges["r"].high) == (0.0, 6.0)
    loose = plan(body, lo=np.float32(-1), hi=np.float32(6))
    assert (loose.edges["h"].low, loose.layers[0].result) == (None, "h")


def test_what_moves_elements_shares_the_scale_of_its_input() -> None:
    body = (
        f"h = {CONV}(x, w)  m = MaxPool<kernel_shape = [2, 2]>(h)"
        f"  t = Transpose<perm = [0, 1, 3, 2]>(m)  y = {CONV}(t, w2)"
    )
    found = plan(body)
    assert [found.edges[n].like for n in ("h", "m", "t")] == ["h"] * 3
    assert "m" not in found.observed and list(found.carriers.values()) == ["MaxPool", "Transpose"]


def test_a_sigmoid_has_a_fixed_range_and_is_not_observed() -> None:
    found = plan(f"h = {CONV}(x, w)  g = Sigmoid(h)  a = Mul(h, g)  y = {CONV}(a, w2)")
    assert found.edges["g"].fixed and found.edges["g"].high == 255 / 256
    assert "g" not in found.observed


def test_an_excluded_layer_between_integers_is_guarded() -> None:
    body = f"h = {CONV}(x, w)  k = {CONV}(h, w2)  y = {CONV}(k, w3)"
    found = plan(body, exclude=("k",))
    kept = found.layers[1]
    assert (kept.quantized, kept.reason, kept.guard, kept.guarded) == (False, "excluded", "h", "k")
    assert not plan(body, exclude=("y",)).layers[2].guard  # nothing behind it is quantized


@pytest.mark.parametrize("glob", ["k", "k*", "op:Conv"])
def test_layers_are_chosen_by_name_glob_and_type(glob: str) -> None:
    found = plan(f"h = MatMul(x, m)  k = {CONV}(h, w2)", exclude=(glob,), m=(16, 16))
    assert [layer.quantized for layer in found.layers] == [True, False]
    found = plan(f"h = MatMul(x, m)  k = {CONV}(h, w2)", include=(glob,), m=(16, 16))
    assert [layer.quantized for layer in found.layers] == [False, True]


def test_an_exclusion_wins_over_an_inclusion_and_a_glob_must_match() -> None:
    found = plan(f"h = {CONV}(x, w)  k = {CONV}(h, w2)", include=("op:Conv",), exclude=("h",))
    assert [layer.quantized for layer in found.layers] == [False, True]
    with pytest.raises(UsageError, match="--include 'nobody'"):
        plan(f"y = {CONV}(x, w)", include=("nobody",))


def test_every_layer_that_stays_float_says_why() -> None:
    body = (
        f"h = {CONV}(x, w)  t = ConvTranspose(h, w2)  q = MatMul(t, m)  u = Transpose(q)"
        "  s = MatMul(q, u)  d = MatMul(m2, s)"
    )
    found = plan(body, x="float[32,32,16,16]", m=(18, 32), m2=(4, 32))
    reasons = {layer.key: layer.reason for layer in found.layers}
    assert "ConvTranspose" in reasons["t"] and "attention product" in reasons["s"]
    assert "first operand" in reasons["d"] and not reasons["h"] + reasons["q"]


def test_a_plan_is_text_that_can_be_compared() -> None:
    body = f"h = {CONV}(x, w)  r = Relu(h)  y = {CONV}(r, w2)"
    a, b = (list(plan(body, exclude=e).lines()) for e in ((), ("y",)))
    assert a == list(plan(body).lines())
    changed = set(a) ^ set(b)
    assert changed == {
        "layer y Conv: int8",
        "layer y Conv: float: excluded",
        "tensor y: uint8",
    }


# ---------------------------------------------------------------- TensorRT (design, section 4.3)

FLAT: dict[str, Any] = {"x": "float[N,S,64]", "w": (64, 96)}


def test_tensorrt_quantizes_inputs_of_layers_only() -> None:
    pool = "MaxPool<kernel_shape = [2, 2]>"
    body = f"h = {CONV}(x, w, b)  r = Relu(h)  p = {pool}(r)  y = {CONV}(p, w2)"
    found = plan(body, "tensorrt", include=())
    assert list(found.edges) == ["x", "p"] and not found.carriers
    assert not any(layer.integer_bias for layer in found.layers)


def test_tensorrt_quantizes_the_shortcut_and_not_the_convolution_before_an_add() -> None:
    body = f"h = {CONV}(x, w)  k = {CONV}(h, w2)  s = Add(k, h)  r = Relu(s)  y = {CONV}(r, w3)"
    for text in (body, body.replace("Add(k, h)", "Add(h, k)")):
        found = plan(text, "tensorrt", include=())
        assert list(found.edges) == ["x", "h", "r"]
        assert found.edges["h"].readers == ("k", "s")
    assert plan(body).edges["h"].readers is None  # CPUs want all three of an Add's tensors


def test_tensorrt_quantizes_one_of_two_convolutions_before_an_add() -> None:
    body = f"h = {CONV}(x, w)  k = {CONV}(x, w2)  y = Add(h, k)"
    found = plan(body, "tensorrt", include=())
    assert list(found.edges) == ["x", "k"] and found.edges["k"].readers == ("y",)


def test_tensorrt_has_one_scale_for_all_that_a_concat_joins() -> None:
    body = f"h = {CONV}(x, w)  k = {CONV}(x, w2)  c = Concat<axis = 1>(h, k)  y = Conv(c, v)"
    found = plan(body, "tensorrt", include=(), v=(8, 64, 1, 1))
    assert list(found.edges) == ["x", "c"]  # the concatenation itself is quantized


def test_tensorrt_leaves_attention_normalization_and_softmax_alone() -> None:
    body = (
        "n = LayerNormalization<axis = -1>(x, g)  q = MatMul(n, w)"
        "  t = Transpose<perm = [0, 2, 1]>(q)  s = MatMul(q, t)"
        "  p = Softmax(s)  v = MatMul(p, q)  y = MatMul(v, w2)"
    )
    found = plan(body, "tensorrt", include=(), g=(64,), w2=(96, 64), **FLAT)
    assert list(found.edges) == ["n", "v"]


@pytest.mark.parametrize(
    ("x", "w", "quantized"),
    [
        ("float[1,64]", (64, 96), False),
        ("float[1,1,64]", (64, 96), False),
        ("float[8,64]", (64, 1), False),
        ("float[8,64]", (64, 96), True),
        ("float[N,64]", (64, 96), True),
    ],
)
def test_tensorrt_leaves_products_with_a_vector_float(
    x: str, w: tuple[int, int], quantized: bool
) -> None:
    found = plan("y = MatMul(x, w)", "tensorrt", include=(), x=x, w=w)
    assert found.layers[0].quantized == quantized
    assert found.layers[0].reason == ("" if quantized else "a product with a single vector")
    assert plan("y = MatMul(x, w)", x=x, w=w).layers[0].quantized  # asked for, on a CPU


INFINITE = np.full((32, 1, 1), np.inf, np.float32)


@pytest.mark.parametrize(
    ("body", "given", "carriers"),
    [
        ("a = Add(h, k)", {"k": (32, 1, 1)}, {"a": "Add"}),
        ("a = Mul(k, h)", {"k": (32, 1, 1)}, {"a": "Mul"}),
        ("a = Concat<axis = 2>(h, k)", {"k": (1, 32, 1, 16), "x": "float[1,32,16,16]"},
         {"a": "Concat"}),
        ("s = Sin(x)  g = Sigmoid(s)  a = Mul(h, g)", {}, {"a": "Mul"}),
        ("a = Add(h, k)", {"k": INFINITE}, {}),
        ("a = Mul(k, h)", {"k": np.where(INFINITE > 0, np.nan, INFINITE)}, {}),
        ("a = Sin(h)", {}, {}),
    ],
)  # fmt: skip
def test_what_carries_integers_beside_floats(
    body: str, given: dict[str, Any], carriers: dict[str, str]
) -> None:
    found = plan(f"h = {CONV}(x, w)  {body}  y = {CONV}(a, w2)", **given)
    assert found.carriers == carriers
    assert ("k" in found.edges) == bool(carriers and "k" in given)
