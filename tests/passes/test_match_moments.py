"""Mean and deviation per channel come back, with no BatchNormalization around."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.passes.match_moments import MatchMoments
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.reference import Reference
from onnxslim.testing import shared_worker
from tests.nets import net
from tests.pruned import Axes, cut, draws, outputs

PASS = MatchMoments()
HALF = range(0, 8, 2)

CASES: list[tuple[str, dict[str, Any], Axes, tuple[int, ...]]] = [
    (
        "h = Conv(x, v)  r = Relu(h)  y = Conv(r, w, b)",
        {"x": "float[N,4,8,8]", "v": (8, 4, 3, 3), "w": (4, 8, 3, 3)},
        {"v": {0: HALF}, "w": {1: HALF}, "h": {1: HALF}, "r": {1: HALF}},
        (0, 2, 3),
    ),
    (
        "h = MatMul(x, v)  r = Sigmoid(h)  y = MatMul(r, w)",
        {"x": "float[N,4,8,6]", "v": (6, 8), "w": (8, 5)},
        {"v": {1: HALF}, "w": {0: HALF}, "h": {3: HALF}, "r": {3: HALF}},
        (0, 1, 2),
    ),
    (
        "h = MatMul(x, v)  r = Abs(h)  m = MatMul(r, w)  y = Add(m, b)",
        {"x": "float[N,4,6]", "v": (6, 8), "w": (8, 4)},
        {"v": {1: HALF}, "w": {0: HALF}, "h": {2: HALF}, "r": {2: HALF}},
        (0, 1),
    ),
    (
        "h = Conv(x, v)  r = Relu(h)  y = ConvTranspose<group = 2>(r, w)",
        {"x": "float[N,4,8,8]", "v": (8, 4, 3, 3), "w": (8, 2, 3, 3)},
        {"v": {0: HALF}, "w": {0: HALF}, "h": {1: HALF}, "r": {1: HALF}},
        (0, 2, 3),
    ),
]


def draw(text: str) -> tuple[int, ...]:
    return tuple(32 if d == "N" else int(d) for d in text[6:-1].split(","))


@pytest.mark.parametrize(("body", "given", "axes", "over"), CASES)
def test_moments_come_back(
    body: str, given: dict[str, Any], axes: Axes, over: tuple[int, ...]
) -> None:
    feeds = draws(draw(given["x"]))
    dense, pruned, kept = cut(net(body, **given), axes)
    wanted, before = outputs(dense, feeds), outputs(pruned, feeds)
    ctx = PassContext(
        pruned, worker=shared_worker(), calibration=feeds, reference=Reference(dense, kept)
    )
    assert PASS.run(pruned, ctx) == 1  # the first layer is as it was
    after = outputs(pruned, feeds)
    assert not np.allclose(before.std(axis=over), wanted.std(axis=over), rtol=0.05)
    np.testing.assert_allclose(after.mean(axis=over), wanted.mean(axis=over), atol=2e-4)
    np.testing.assert_allclose(after.std(axis=over), wanted.std(axis=over), rtol=2e-4)
    assert PASS.run(pruned, ctx) == 0


def test_layer_normalization_and_what_follows_it() -> None:
    """The layer behind sees the matched normalization, not the one that was run before."""
    body = "h = MatMul(x, v)  n = LayerNormalization(h, s, t)  r = Relu(n)  y = MatMul(r, w)"
    given: dict[str, Any] = {"x": "float[N,4,6]", "v": (6, 8), "s": (8,), "t": (8,), "w": (8, 4)}
    axes: Axes = {
        "v": {1: HALF}, "s": {0: HALF}, "t": {0: HALF}, "w": {0: HALF},
        **{name: {2: HALF} for name in ("h", "n", "r")},
    }  # fmt: skip
    feeds = draws((64, 4, 6))
    dense, pruned, kept = cut(net(body, **given), axes)
    wanted = outputs(dense, feeds)
    ctx = PassContext(
        pruned, worker=shared_worker(), calibration=feeds, reference=Reference(dense, kept)
    )
    assert PASS.run(pruned, ctx) == 2
    after = outputs(pruned, feeds)
    np.testing.assert_allclose(after.mean(axis=(0, 1)), wanted.mean(axis=(0, 1)), atol=2e-4)
    np.testing.assert_allclose(after.std(axis=(0, 1)), wanted.std(axis=(0, 1)), rtol=2e-4)


def double(model: ir.Model, name: str) -> None:
    """Twice the numbers of an initializer."""
    value = model.graph.initializers[name]
    assert value.const_value is not None
    value.const_value = ir.Tensor(value.const_value.numpy() * 2, name=name)


def test_a_shared_weight_is_left_alone() -> None:
    body = "h = Conv(x, w)  g = Neg(x)  k = Conv(g, w)  y = Sub(h, k)"
    dense, pruned, kept = cut(net(body, w=(4, 4, 3, 3)), {})
    double(pruned, "w")
    ctx = PassContext(
        pruned,
        worker=shared_worker(),
        calibration=draws((2, 4, 8, 8)),
        reference=Reference(dense, kept),
    )
    assert PASS.run(pruned, ctx) == 0
    assert {reason for _, reason in ctx.skipped} == {"its weight is shared"}


@pytest.mark.parametrize(
    ("body", "given", "reason"),
    [
        ("y = LayerNormalization<axis = 1>(x, s)", {"s": (4, 6)}, "one scale per channel"),
        (
            "t = ReduceMean<axes = [0, 1], keepdims = 0>(x)  y = LayerNormalization(x, s, t)",
            {"s": (6,)},
            "its bias is not constant",
        ),
    ],
)
def test_a_normalization_of_another_form_is_left_alone(
    body: str, given: dict[str, Any], reason: str
) -> None:
    dense, pruned, kept = cut(net(body, x="float[N,4,6]", **given), {})
    double(pruned, "s")
    ctx = PassContext(
        pruned,
        worker=shared_worker(),
        calibration=draws((8, 4, 6)),
        reference=Reference(dense, kept),
    )
    assert PASS.run(pruned, ctx) == 0
    assert reason in ctx.skipped[0][1]


def test_the_factor_is_limited() -> None:
    dense, pruned, kept = cut(net("y = Conv(x, w)", x="float[N,4,8,8]"), {})
    value = pruned.graph.initializers["w"]
    assert value.const_value is not None
    small = (value.const_value.numpy() / 100).astype(np.float32)
    value.const_value = ir.Tensor(small, name="w")
    feeds = draws((32, 4, 8, 8))
    ctx = PassContext(
        pruned, worker=shared_worker(), calibration=feeds, reference=Reference(dense, kept)
    )
    assert MatchMoments(limit=5.0).run(pruned, ctx) == 1
    ratio = outputs(pruned, feeds).std() / outputs(dense, feeds).std()
    assert abs(ratio - 0.05) < 0.001
