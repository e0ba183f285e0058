"""Mean outputs come back: from samples, or from what BatchNormalization knows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.errors import PreconditionError
from onnxslim.graph.load import from_proto
from onnxslim.passes.correct_bias import CorrectBias
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.reference import Reference
from onnxslim.testing import shared_worker
from tests.nets import net, random_array
from tests.pruned import Axes, cut, draws, outputs, repaired

PASS = CorrectBias()
HALF = range(0, 8, 2)
NET = (
    "h = Conv(x, v)  n = BatchNormalization(h, scale, shift, mean, var)  r = {act}(n)"
    "  y = Conv(r, w, b)"
)
SIZES = dict.fromkeys(("scale", "shift", "mean", "var"), (8,))
AXES: Axes = {
    "v": {0: HALF}, "w": {1: HALF}, **{name: {0: HALF} for name in SIZES},
    **{name: {1: HALF} for name in ("h", "n", "r")},
}  # fmt: skip


def normalized(act: str, **more: Any) -> Any:
    """A model whose BatchNormalization has the statistics of standard normal inputs."""
    v = random_array("v", (8, 4, 3, 3))
    given: dict[str, Any] = {
        "x": "float[N,4,8,8]", "v": v, "w": (4, 8, 3, 3), **SIZES,
        "mean": np.zeros(8, np.float32), "var": (v**2).sum(axis=(1, 2, 3)), **more,
    }  # fmt: skip
    return net(NET.format(act=act), **given)


@pytest.mark.parametrize(
    "act",
    ["Relu", "LeakyRelu", "Sigmoid", "HardSigmoid<alpha=0.3>", "Tanh", "Elu", "Softplus",
     "HardSwish", "MaxPool<kernel_shape=[2,2]>", "AveragePool<kernel_shape=[2,2]>"],
)  # fmt: skip
def test_without_data_the_mean_comes_back(act: str) -> None:
    model = normalized(act)
    dense, pruned, kept = cut(model, AXES)
    feeds = draws((32, 4, 8, 8))
    wanted, before = outputs(dense, feeds), outputs(pruned, feeds)
    ctx = PassContext(pruned, worker=shared_worker(), reference=Reference(dense, kept))
    assert PASS.run(pruned, ctx) == 1
    after = outputs(pruned, feeds)
    off, left = (abs((a - wanted).mean(axis=(0, 2, 3))).max() for a in (before, after))
    assert left < 0.12 * off


def test_with_samples_the_mean_comes_back_in_every_layer() -> None:
    model = normalized("Softsign")
    feeds = draws((32, 4, 8, 8))
    dense, pruned, kept = cut(model, AXES)
    ctx = PassContext(
        pruned, worker=shared_worker(), calibration=feeds, reference=Reference(dense, kept)
    )
    assert PASS.run(pruned, ctx) == 1
    wanted, found = outputs(dense, feeds), outputs(pruned, feeds)
    np.testing.assert_allclose(found.mean(axis=(0, 2, 3)), wanted.mean(axis=(0, 2, 3)), atol=1e-4)
    assert pruned.graph.node(3).inputs[1] is pruned.graph.initializers["w"]


def test_nothing_known_is_said_and_nothing_done() -> None:
    model = net("h = Conv(x, v)  y = Conv(h, w)", v=(8, 4, 3, 3), w=(4, 8, 3, 3))
    dense, pruned, kept = cut(model, {"v": {0: HALF}, "w": {1: HALF}, "h": {1: HALF}})
    ctx = PassContext(pruned, worker=shared_worker(), reference=Reference(dense, kept))
    assert PASS.run(pruned, ctx) == 0
    assert [reason for _, reason in ctx.skipped] == ["nothing is known of its inputs without data"]


def test_flattened_channels_keep_their_means() -> None:
    v = random_array("v", (8, 4))
    given: dict[str, Any] = {
        "x": "float[N,4,3,3]", "v": v.reshape(8, 4, 1, 1), "w": (72, 5), **SIZES,
        "mean": np.zeros(8, np.float32), "var": (v**2).sum(axis=1),
    }  # fmt: skip
    body = (
        "h = Conv(x, v)  n = BatchNormalization(h, scale, shift, mean, var)  r = Relu(n)"
        "  f = Flatten(r)  y = Gemm(f, w)"
    )
    wide = [c * 9 + i for c in HALF for i in range(9)]
    axes: Axes = {**AXES, "w": {0: wide}, "f": {1: wide}}
    dense, pruned, kept = cut(net(body, **given), axes)
    feeds = draws((256, 4, 3, 3))
    before = outputs(pruned, feeds)
    ctx = PassContext(pruned, worker=shared_worker(), reference=Reference(dense, kept))
    assert PASS.run(pruned, ctx) == 1
    wanted, after = outputs(dense, feeds), outputs(pruned, feeds)
    off, left = (abs((a - wanted).mean(axis=0)).max() for a in (before, after))
    assert left < 0.1 * off


def test_needs_a_reference() -> None:
    model = from_proto(net("y = Conv(x, w)"))
    with pytest.raises(PreconditionError, match="the one before"):
        PASS.run(model, PassContext(model))


def test_with_data_errors_shrink() -> None:
    model = normalized("Sigmoid")
    _, (before, after) = repaired(PASS, model, AXES, draws((16, 4, 8, 8)))
    assert after < 0.8 * before
