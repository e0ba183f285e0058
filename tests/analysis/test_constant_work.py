"""What a model computes from constants alone: just within the limits, and just beyond."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.analysis.constant_work import MAX_BYTES, MAX_TRIPS, excessive_work
from onnxslim.analysis.shapes import infer_shapes
from tests.analysis.facts import parse

MIB = 1 << 20
F = np.float32
LOOP = "y = Loop(m, , v) <body = b (int64 i, bool k, w) => (bool k2, u) " \
    "{ k2 = Identity(k) u = Relu(w) }>"  # fmt: skip


def said(body: str, inputs: str = "", **constants: Any) -> str | None:
    model = parse(body, inputs, **constants)
    infer_shapes(model)
    return excessive_work(model)


CASES: list[tuple[str, dict[str, Any], str | None]] = [
    ("y = ConstantOfShape(s)", {"s": [MAX_BYTES // 4]}, None),
    ("y = ConstantOfShape(s)", {"s": [MAX_BYTES // 4 + 1]}, "builds more than 640 MiB"),
    ("y = ConstantOfShape<value = int8[1] {1}>(s)", {"s": [MAX_BYTES]}, None),
    ("y = ConstantOfShape<value = int8[1] {1}>(s)", {"s": [MAX_BYTES + 1]}, "a ConstantOfShape"),
    ("a = ConstantOfShape(s) y = ConstantOfShape(s)", {"s": [MAX_BYTES // 8]}, None),
    ("a = ConstantOfShape(s) y = ConstantOfShape(s)", {"s": [MAX_BYTES // 8 + 1]}, "640 MiB"),
    ("a = ConstantOfShape(s) y = Relu(a)", {"s": [MAX_BYTES // 8 + 1]}, "at a Relu node"),
    ("y = Range(a, b, c)", {"a": 0, "b": MAX_BYTES // 8, "c": 1}, None),
    ("y = Range(a, b, c)", {"a": 0, "b": MAX_BYTES // 4 + 2, "c": 2}, "at a Range node"),
    ("y = Range(a, b, c)", {"a": 0, "b": -(2**40), "c": 1}, None),
    ("y = Range(a, b, c)", {"a": 0, "b": 2**40, "c": 0}, None),
    ("y = Range(a, b, c)", {"a": np.array(0, F), "b": np.array(np.inf, F),
     "c": np.array(1, F)}, None),
    ("y = Tile(a, r)", {"a": np.zeros(MIB, F), "r": [160]}, None),
    ("y = Tile(a, r)", {"a": np.zeros(MIB, F), "r": [161]}, "at a Tile node"),
    ("a = Expand(t, s) y = MatMul(a, a)", {"t": np.array(1, F), "s": [3600, 3600]}, None),
    ("a = Expand(t, s) y = MatMul(a, a)", {"t": np.array(1, F), "s": [3700, 3700]},
     "multiplies constants 50653000000 times"),
    (LOOP, {"m": MAX_TRIPS, "v": np.zeros(3, F)}, None),
    (LOOP, {"m": MAX_TRIPS + 1, "v": np.zeros(3, F)}, "a Loop node makes 10000001 trips"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "constants", "expected"), CASES)
def test_limits(body: str, constants: dict[str, Any], expected: str | None) -> None:
    found = said(body, **constants)
    assert (found is None) if expected is None else (found is not None and expected in found)


def test_work_on_inputs_is_the_callers_business() -> None:
    assert said("y = Tile(x, r)", "float[N,4] x", r=[2**30, 1]) is None
    assert said(LOOP, "float[3] v", m=2**60) is None
    assert said("a = Add(x, b) y = Expand(a, s)", "float[1] x", b=np.ones(1, F), s=[2**30]) is None


def test_what_follows_from_constants_is_constant() -> None:
    body = "a = Relu(t) b = Neg(a) y = Expand(b, s)"
    assert "at a Expand node" in str(said(body, t=np.zeros(1, F), s=[2**30]))
    assert said(body, "float[1] t", s=[2**30]) is None
