"""BatchNormalization gets the statistics of what reaches it now."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.errors import CalibrationError
from onnxslim.graph.load import from_proto
from onnxslim.passes.reestimate_batchnorm import ReestimateBatchNorm
from onnxslim.pipeline.context import PassContext
from onnxslim.testing import node_lines, shared_worker
from tests.nets import net
from tests.pruned import Array, draws, outputs

PASS = ReestimateBatchNorm()
TWO = (
    "h = Conv(x, w)  n = BatchNormalization(h, scale, shift, mean, var)  r = Relu(n)"
    "  g = Conv(r, w)  y = BatchNormalization(g, scale2, shift2, mean2, var2)"
)
SECOND: dict[str, Any] = {name: (4,) for name in ("scale2", "shift2", "mean2", "var2")}


def run(body: str, feeds: list[dict[str, Array]], **given: Any) -> tuple[int, PassContext]:
    model = from_proto(net(body, **given))
    ctx = PassContext(model, worker=shared_worker(), calibration=feeds)
    return PASS.run(model, ctx), ctx


def test_each_layer_is_normalized_on_what_the_ones_before_give_now() -> None:
    feeds = [{"x": 3 * feed["x"] + 1} for feed in draws((2, 4, 8, 8), batches=8)]
    scale, shift = np.array([1, 2, 3, 4], "f4"), np.array([4, 3, 2, 1], "f4")
    given = {**SECOND, "scale2": scale, "shift2": shift}
    count, ctx = run(TWO, feeds, **given)
    assert count == 2
    y = outputs(ctx.model, feeds)
    np.testing.assert_allclose(y.mean(axis=(0, 2, 3)), shift, atol=1e-3)
    np.testing.assert_allclose(y.std(axis=(0, 2, 3)), scale, rtol=1e-3)


def test_a_second_run_finds_nothing() -> None:
    feeds = draws((2, 4, 8, 8))
    _, ctx = run(TWO, feeds, **SECOND)
    lines = node_lines(ctx.model.graph)
    assert PASS.run(ctx.model, ctx) == 0
    assert node_lines(ctx.model.graph) == lines


def test_a_matrix_is_normalized_per_column() -> None:
    feeds = draws((64, 4))
    count, ctx = run("y = BatchNormalization(x, scale, shift, mean, var)", feeds, x="float[N,4]")
    assert count == 1
    y, shift = outputs(ctx.model, feeds), ctx.model.graph.initializers["shift"].const_value
    assert shift is not None
    np.testing.assert_allclose(y.mean(axis=0), shift.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("body", "given"),
    [
        (
            "y, m, v = BatchNormalization<training_mode = 1>(x, scale, shift, mean, var)",
            {"outputs": {"y": "float[2,4,8,8]"}},
        ),
        ("y = BatchNormalization(x, c, shift, mean, var)", {"c": "float[4]"}),
    ],
)
def test_is_left_alone(body: str, given: dict[str, Any]) -> None:
    count, _ = run(body, draws((2, 4, 8, 8)), **given)
    assert count == 0


def test_samples_that_never_change_are_refused() -> None:
    count, ctx = run(TWO, [{"x": np.zeros((2, 4, 8, 8), np.float32)}], **SECOND)
    assert count == 0
    assert {reason for _, reason in ctx.skipped} == {"the samples never change its input"}


def test_samples_that_are_not_finite_are_refused() -> None:
    feeds = draws((2, 4, 8, 8))
    feeds[0]["x"][0, 1, 0, 0] = np.inf
    count, ctx = run("y = BatchNormalization(x, scale, shift, mean, var)", feeds)
    assert count == 0
    assert "not finite" in ctx.skipped[0][1]


def test_statistics_that_do_not_fit_are_refused() -> None:
    feeds = [{"x": (feed["x"] * 400).astype(np.float16)} for feed in draws((2, 4, 8, 8))]
    body = "y = BatchNormalization(x, scale, shift, mean, var)"
    count, ctx = run(body, feeds, dtype="float16")
    assert count == 0
    assert ctx.skipped[0][1] == "the statistics do not fit float16"


def test_a_dead_channel_keeps_its_variance() -> None:
    feeds = draws((2, 4, 8, 8))
    for feed in feeds:
        feed["x"][:, 2] = 7
    count, ctx = run("y = BatchNormalization(x, scale, shift, mean, var)", feeds)
    assert count == 1
    new, old = (ctx.model.graph.initializers[n].const_value for n in ("var_s1", "var"))
    assert new is not None
    assert old is not None
    assert new.numpy()[2] == old.numpy()[2]
    assert new.numpy()[1] != old.numpy()[1]


def test_needs_data() -> None:
    model = from_proto(net(TWO, **SECOND))
    with pytest.raises(CalibrationError, match="--data"):
        PASS.run(model, PassContext(model))
