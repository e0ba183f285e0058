"""Quantizing again what was just dequantized."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.passes import eliminate_qdq
from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass, shared_worker
from tests.nets import net

PASS = get_pass("eliminate-qdq")()
PAIR = "q = QuantizeLinear{a}(x, s, z)  d = DequantizeLinear{a}(q, s, z)"
TWICE = f"{PAIR}  p = QuantizeLinear{{a}}(d, s, z)  y = DequantizeLinear{{a}}(p, s, z)"
F = np.float32


def twice(attributes: str = "", **given: Any) -> onnx.ModelProto:
    return net(TWICE.replace("{a}", attributes), **{"s": F(0.05), "z": np.int8(3), **given})


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("opset", [10, 13, 17, 19, 21])
def test_a_second_pair_goes(kind: type, opset: int) -> None:
    lines = ["q = QuantizeLinear(x, s, z)", "y = DequantizeLinear(q, s, z)"]
    assert_pass(PASS, twice(z=kind(3), opset=opset), lines)


@pytest.mark.parametrize(("kind", "goes"), [(np.int8, True), (np.int16, False)])
def test_half_floats_carry_eight_bits(kind: type, goes: bool) -> None:
    """Ten bits of fraction: 8 and two for the roundings fit, 16 do not."""
    proto = twice(x="float16[2,4]", s=np.float16(0.05), z=kind(3), opset=21)
    lines = ["q = QuantizeLinear(x, s, z)", "y = DequantizeLinear(q, s, z)"]
    assert_pass(PASS, proto, lines if goes else None)


def test_equal_parameters_under_other_names() -> None:
    body = PAIR.replace("{a}", "") + (
        "  p = QuantizeLinear(d, s2, z2)  y = DequantizeLinear(p, s, z)"
    )
    model = net(body, s=F(0.05), s2=F(0.05), z=np.uint8(0), z2=np.uint8(0))
    assert_pass(PASS, model, ["q = QuantizeLinear(x, s, z)", "y = DequantizeLinear(q, s, z)"])
    body = "d = DequantizeLinear(x, s)  y = QuantizeLinear(d, s, z)  k = Cast<to = 6>(y)"
    model = net(body, s=F(0.05), z=np.uint8(0), x="uint8[4]")
    assert_pass(PASS, model, ["k = Cast(x) to=6"])


def test_per_axis() -> None:
    s, z = np.array([0.1, 0.2, 0.3, 0.4], F), np.array([1, 2, 3, 4], np.int8)
    lines = ["q = QuantizeLinear(x, s, z)", "y = DequantizeLinear(q, s, z)"]
    assert_pass(PASS, twice(s=s, z=z, opset=13), lines)
    body = PAIR.replace("{a}", "<axis = 3>") + (
        "  p = QuantizeLinear<axis = 2>(d, s, z)  y = DequantizeLinear<axis = 3>(p, s, z)"
    )
    assert_pass(PASS, net(body, x="float[2,4,4,4]", s=s, z=z, opset=13), None)


def test_int16_and_blocks() -> None:
    lines = ["q = QuantizeLinear(x, s, z)", "y = DequantizeLinear(q, s, z)"]
    assert_pass(PASS, twice(z=np.int16(3), opset=21), lines)
    s, z = np.full((2, 2), 0.1, F), np.zeros((2, 2), np.int8)
    blocks = "<axis = 1, block_size = 2>"
    model = twice(blocks, x="float[2,4]", s=s, z=z, opset=21)
    lines = [f"{line} axis=1 block_size=2" for line in lines]
    assert_pass(PASS, model, lines)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"s2": F(0.06)}, "differ"),
        ({"z2": np.int8(4)}, "differ"),
        ({"z2": np.uint8(3)}, "another type"),
        ({"s2": np.array([0.05, 0.05], F)[:1].reshape(1), "s": F(0.06)}, "differ"),
    ],
)
def test_other_parameters(given: dict[str, Any], reason: str) -> None:
    body = PAIR.replace("{a}", "") + "  y = QuantizeLinear(d, s2, z2)"
    model = net(body, **{"s": F(0.05), "z": np.int8(3), "s2": F(0.05), "z2": np.int8(3), **given})
    assert reason in assert_pass(PASS, model, None).skipped[0][1]


def test_scales_that_do_not_come_back() -> None:
    for scale in (F(0), F(1e-40), F(3e38)):
        assert "too" in assert_pass(PASS, twice(s=scale), None).skipped[0][1]
    assert_pass(PASS, twice(s="float"), None)
    assert_pass(PASS, twice(overridable=["s"]), None)
    assert_pass(PASS, twice(z="int8"), None)


def test_readers_and_outputs() -> None:
    body = "q = Identity(x)  d = DequantizeLinear(q, s, z)  p = QuantizeLinear(d, s, z)"
    body += "  k = Cast<to = 6>(p)  f = Neg(d)"
    model = net(body, s=F(0.05), z=np.uint8(0), x="uint8[4]")
    lines = ["q = Identity(x)", "d = DequantizeLinear(q, s, z)", "k = Cast(q) to=6", "f = Neg(d)"]
    assert_pass(PASS, model, lines)
    body = "d = DequantizeLinear(x, s, z)  y = QuantizeLinear(d, s, z)"
    ctx = assert_pass(PASS, net(body, s=F(0.05), z=np.uint8(0), x="uint8[4]"), None)
    assert "graph output" in ctx.skipped[0][1]
    assert_pass(PASS, net("d = Neg(x)  y = QuantizeLinear(d, s)", s=F(0.05)), None)


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_every_integer_comes_back(kind: type) -> None:
    info = np.iinfo(kind)
    q: np.ndarray = np.arange(info.min, info.max + 1).astype(kind)
    rng = np.random.default_rng(0)
    body = "d = DequantizeLinear(x, s, z)  y = QuantizeLinear(d, s, z)"
    for zero in (info.min, 3, info.max):
        scale = F(np.exp(rng.uniform(-60, 60)))
        name = np.dtype(kind).name
        model = net(body, s=scale, z=kind(zero), x=f"{name}[256]", outputs={"y": f"{name}[256]"})
        with shared_worker().session(model.SerializeToString()) as session:
            np.testing.assert_array_equal(session.run({"x": q})["y"], q)


@pytest.mark.parametrize(
    ("left", "right", "goes"),
    [
        ({}, {}, True),
        ({"z": np.uint8(0)}, {}, True),
        ({}, {"z": np.int8(1)}, False),
        ({"z": np.zeros(4, np.int8)}, {"z": np.int8(0)}, True),
        ({"z": np.int8(0)}, {"z": np.zeros(4, np.int8)}, True),
        ({"z": np.array([0, 0, 1, 0], np.int8)}, {"z": np.int8(0)}, False),
        ({"z": np.int8(0)}, {"z": np.array([0, 0, 1, 0], np.int8)}, False),
        ({"z": np.int8(1)}, {"z": np.array([1], np.int8)}, True),
        ({"s": np.array([0.05], F), "z": np.int8(1)}, {"z": np.int8(1)}, True),
        ({"s": np.array([[0.05]], F), "z": np.int8(1)}, {"z": np.int8(1)}, False),
        ({"s": np.full(4, 0.05, F), "z": np.zeros(4, np.int8)}, {"z": np.int8(0)}, False),
    ],
)
def test_shapes_of_equal_parameters(
    left: dict[str, Any], right: dict[str, Any], goes: bool
) -> None:
    """Numbers as one element, or as many equal ones; only what the operators do is compared."""
    node = {}
    for op, given in (("DequantizeLinear", left), ("QuantizeLinear", right)):
        arrays = {"s": F(0.05), **given}
        values = [ir.Value(name="x")]
        for name in ("s", "z"):
            if name in arrays:
                value = ir.Value(name=name, const_value=ir.tensor(np.asarray(arrays[name])))
                ir.Graph([], [], nodes=[], initializers=[value])
                values.append(value)
        node[op] = ir.node(op, values)
    found = eliminate_qdq._same_parameters(node["DequantizeLinear"], node["QuantizeLinear"])
    assert found == goes


@pytest.mark.parametrize(
    ("scale", "bits", "exact"),
    [
        (F(2.0**-126), 8, True),
        (F(2.0**-127), 8, False),
        (F(-0.5), 8, True),
        (F(2.0**118), 8, True),
        (F(2.0**119), 8, False),
        (np.array([0.5, 0.0], F), 8, False),
        (F(0.5), 21, True),
        (F(0.5), 22, False),
        (np.float16(0.5), 8, True),
        (np.float16(0.5), 10, False),
        (np.float64(0.5), 16, True),
    ],
)
def test_which_scales_give_integers_back(scale: Any, bits: int, exact: bool) -> None:
    assert eliminate_qdq._is_exact(np.asarray(scale), bits) == exact
