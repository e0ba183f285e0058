"""Channels between layers are rescaled, and the function stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from onnxslim.passes.equalize_channels import EqualizeChannels
from onnxslim.pipeline import PassContext
from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass, node_lines, shared_worker
from tests.nets import net

PASS = get_pass("equalize-channels")()


def uneven(shape: tuple[int, ...], axis: int = 0, seed: int = 0) -> Any:
    """Weights whose size differs by orders of magnitude along an axis."""
    rng = np.random.default_rng(seed)
    sizes = [1] * len(shape)
    sizes[axis] = -1
    factors = np.exp(2 * rng.standard_normal(shape[axis])).reshape(sizes)
    return (rng.standard_normal(shape) * factors).astype(np.float32)


CONVS: dict[str, Any] = {
    "x": "float[N,3,12,12]",
    "w": uneven((8, 3, 3, 3)),
    "b": (8,),
    "v": (4, 8, 3, 3),
    "c": (4,),
}
FLAT: dict[str, Any] = {"x": "float[N,6]", "w": uneven((6, 8), 1), "b": (8,), "v": (8, 3)}


def equalized(text: str, **given: Any) -> tuple[ir.Model, int]:
    model = from_proto(net(text, **given))
    infer_shapes(model)
    return model, PASS.run(model, PassContext(model, worker=shared_worker()))


def peaks(model: ir.Model, node: str, axis: int) -> Any:
    """Largest weight of a node per index of an axis."""
    found = next(n for n in model.graph if n.outputs[0].name == node).inputs[1]
    assert found is not None and found.const_value is not None
    array = np.abs(found.const_value.numpy())
    return array.max(axis=tuple(i for i in range(array.ndim) if i != axis))


CASES: list[tuple[str, dict[str, Any]]] = [
    ("h = Conv(x, w, b)  r = Relu(h)  y = Conv(r, v, c)", CONVS),
    ("h = Conv(x, w)  y = Conv(h, v)", CONVS),
    ("h = Conv(x, w, b)  r = LeakyRelu(h)  y = Conv(r, v)", CONVS),
    ("h = Conv(x, w, b)  r = PRelu(h, s)  y = Conv(r, v)", {**CONVS, "s": (8, 1, 1)}),
    ("h = Conv(x, w, b)  p = MaxPool<kernel_shape = [2, 2]>(h)  y = Conv(p, v)", CONVS),
    ("h = Conv(x, w, b)  p = GlobalAveragePool(h)  f = Flatten(p)  y = Gemm(f, v)",
     {**CONVS, "v": (8, 5)}),
    ("h = Conv(x, w, b)  r = Relu(h)  f = Flatten(r)  y = Gemm<transB = 1>(f, v)",
     {**CONVS, "v": (5, 8 * 100)}),
    ("h = Conv(x, w, b)  y = Conv<group = 2>(h, v)", {**CONVS, "v": (4, 4, 3, 3)}),
    ("h = Conv(x, w, b)  d = Conv<group = 8>(h, v)  y = Conv(d, u)",
     {**CONVS, "v": (8, 1, 3, 3), "u": (2, 8, 1, 1)}),
    ("h = Conv(x, w, b)  y = ConvTranspose(h, v)", {**CONVS, "v": (8, 4, 3, 3)}),
    ("h = Conv(x, w, b)  y = Conv(h, v)  z = Conv(h, u)", {**CONVS, "u": (2, 8, 1, 1)}),
    ("h = Gemm(x, w, b)  r = Relu(h)  y = Gemm(r, v)", FLAT),
    ("h = Gemm<alpha = 0.5>(x, w, b)  r = Relu(h)  y = Gemm<alpha = 2.0>(r, v)", FLAT),
]  # fmt: skip


@pytest.mark.parametrize(("text", "given"), CASES)
def test_the_function_and_the_nodes_stay(text: str, given: dict[str, Any]) -> None:
    model, count = equalized(text, **given)
    assert count >= 1
    assert_pass(PASS, net(text, **given), node_lines(model.graph), rtol=1e-5)


def test_both_sides_become_alike() -> None:
    model, _ = equalized(CASES[0][0], **CONVS)
    np.testing.assert_allclose(peaks(model, "h", 0), peaks(model, "y", 1), rtol=1e-2)


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("h = Conv(x, w, b)  r = Clip(h, lo, hi)  y = Conv(r, v)", {"lo": 0.0, "hi": 6.0}),
        ("h = Conv(x, w, b)  r = Sigmoid(h)  y = Conv(r, v)", {}),
        ("h = Conv(x, w, b)  y = Conv(h, v)  z = Exp(h)", {}),
        ("h = Conv(x, w, b)  y = Conv(h, v)", {"outputs": ["h", "y"]}),
        ("h = Conv(x, w, b)  k = Conv(q, w)  y = Conv(h, v)", {"q": "float[N,3,12,12]"}),
        ("h = Conv(x, w, b)  y = Conv(h, v)", {"v": "float[4,8,3,3]"}),
        ("h = Conv(x, w, b)  y = Conv(h, v)", {"w": "float[8,3,3,3]"}),
        ("h = Conv(x, w, b)  y = Conv(h, v)", {"b": "float[8]"}),
        ("h = Conv(x, w, b)  r = PRelu(h, s)  y = Conv(r, v)", {"s": "float[8,1,1]"}),
        ("h = Conv(x, w, b)  y = Conv(q, h)", {"q": "float[1,10,30,30]", "x": "float[4,3,12,12]"}),
        ("h = Conv(x, w, b)  y = Conv(h, v)", {"w": (8, 3, 3, 3)}),
        ("h = Conv(x, w, b)  y = Conv(h, v)", {"dtype": "double", "w": (8, 3, 3, 3)}),
    ],
)
def test_leaves_alone(text: str, given: dict[str, Any]) -> None:
    item = EqualizeChannels(least=50.0) if given.get("w") == (8, 3, 3, 3) else PASS
    assert_pass(item, net(text, **{**CONVS, **given}), None)


def test_channels_that_are_alike_stay() -> None:
    given = {
        **CONVS,
        "w": np.ones((8, 3, 3, 3), np.float32),
        "v": np.ones((4, 8, 3, 3), np.float32),
    }
    assert_pass(PASS, net(CASES[0][0], **given), None)


def test_a_channel_without_weights_stays() -> None:
    w = uneven((8, 3, 3, 3))
    w[2] = 0
    model, count = equalized(CASES[0][0], **{**CONVS, "w": w})
    assert count == 1 and peaks(model, "h", 0)[2] == 0
