"""Flat numbers in ascending order read nothing anew; any other order stays a Gather."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("eliminate-strided-gather")()
TEXT = """f = Reshape(x, flat)  s = Shape(x)  n = Gather(s, zero)
    r = Range(zero, n, one)  m = Mul(r, stride)  u = Unsqueeze(m, axes)  i = Add(u, inner)
    y = Gather(f, i)"""


def strided(
    stride: int = 6, inner: np.ndarray | None = None, axes: tuple[int, ...] = (1, 2)
) -> onnx.ModelProto:
    rows = np.arange(6, dtype=np.int64).reshape(1, 2, 3) if inner is None else inner
    return net(
        TEXT, x="float[N,2,3]", flat=[-1], zero=np.int64(0), one=np.int64(1),
        stride=np.int64(stride), axes=list(axes), inner=rows,
    )  # fmt: skip


def test_as_strided_of_a_contiguous_tensor() -> None:
    lines = [
        "f = Reshape(x, flat)",
        "s = Shape(x)",
        "n = Gather(s, zero)",
        "r = Range(zero, n, one)",
        "m = Mul(r, stride)",
        "u = Unsqueeze(m, axes)",
        "i = Add(u, inner)",
        "y = Reshape(f, shape_s1)",
    ]
    assert_pass(PASS, strided(), lines)


def test_the_factor_may_come_first() -> None:
    proto = strided()
    proto.graph.node[4].input[:] = ["stride", "r"]
    lines = [
        "f = Reshape(x, flat)",
        "s = Shape(x)",
        "n = Gather(s, zero)",
        "r = Range(zero, n, one)",
        "m = Mul(stride, r)",
        "u = Unsqueeze(m, axes)",
        "i = Add(u, inner)",
        "y = Reshape(f, shape_s1)",
    ]
    assert_pass(PASS, proto, lines)


@pytest.mark.parametrize(
    "model",
    [
        strided(stride=5),
        strided(inner=np.arange(6, dtype=np.int64)[::-1].reshape(1, 2, 3).copy()),
        strided(inner=np.arange(6, dtype=np.int64).reshape(1, 3, 2).transpose(0, 2, 1).copy()),
        strided(inner=np.zeros((1, 2, 3), np.int64)),
    ],
)
def test_another_order_stays(model: onnx.ModelProto) -> None:
    assert_pass(PASS, model, None, feeds=lambda seed: {})


def test_a_constant_index() -> None:
    index = np.arange(12, dtype=np.int64).reshape(3, 4)
    model = net("y = Gather(x, i)", x="float[12]", i=index)
    assert_pass(PASS, model, ["y = Reshape(x, shape_s1)"])
    assert_pass(PASS, net("y = Gather(x, i)", x="float[13]", i=index), None)
    assert_pass(PASS, net("y = Gather(x, i)", x="float[12]", i=index.T.copy()), None)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (3, 1), (2, 1, 3), (1, 2, 1, 2)])
@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_sizes_of_one_have_no_step(shape: tuple[int, ...], kind: type) -> None:
    size = int(np.prod(shape))
    index: np.ndarray = np.arange(size).reshape(shape).astype(kind)
    model = net("y = Gather(x, i)", x=f"float[{size}]", i=index)
    assert_pass(PASS, model, ["y = Reshape(x, shape_s1)"])
    if size > 1:
        assert_pass(PASS, net("y = Gather(x, i)", x=f"float[{size}]", i=index[..., ::-1] * 0), None)


@pytest.mark.parametrize(
    ("x", "index", "axis"),
    [
        ("float[12]", np.arange(12), 0),
        ("float[12,1]", np.arange(12).reshape(3, 4), 0),
        ("float[0]", np.zeros((0, 2), np.int64), 0),
    ],
)
def test_other_gathers_stay(x: str, index: np.ndarray, axis: int) -> None:
    assert_pass(PASS, net(f"y = Gather<axis = {axis}>(x, i)", x=x, i=index), None)


def test_two_dynamic_sizes_are_refused() -> None:
    text = """f = Reshape(x, flat)  s = Shape(x)  n = Gather(s, zero)  k = Gather(s, one)
        r = Range(zero, n, one)  m = Mul(r, stride)  u = Unsqueeze(m, axes)
        q = Range(zero, k, one)  i = Add(u, q)  y = Gather(f, i)"""
    model = net(
        text, x="float[N,M]", flat=[-1], zero=np.int64(0), one=np.int64(1), stride=np.int64(6),
        axes=[1],
    )  # fmt: skip
    assert_pass(PASS, model, None, run=False)
