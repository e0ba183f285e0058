"""Steps on mixtures of samples: what the weights learn holds for samples never seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.analysis.gradient.tape import Tape
from onnxslim.passes import distill_weights
from onnxslim.passes._lesson import Lesson, targets_of
from onnxslim.passes.distill_weights import DistillWeights
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.reference import Reference
from onnxslim.testing import shared_worker
from tests.nets import net
from tests.passes.test_distill_weights import (
    AXES,
    BODY,
    GIVEN,
    ODD,
    SHAPE,
    goes_through,
    weights,
)
from tests.pruned import cut, draws, outputs, repaired

MIXED = DistillWeights(mixed=0.9, steps=120, rate=0.02)


def test_few_samples_teach_more() -> None:
    model, few, others = net(BODY, **GIVEN), draws(SHAPE, 2), draws(SHAPE, seed=1)
    _, (before, plain) = repaired(DistillWeights(epochs=60), model, AXES, few, others)
    _, (same, mixed) = repaired(MIXED, model, AXES, few, others)
    assert before == same
    assert mixed < 0.95 * plain


def test_tokens_are_mixed_too() -> None:
    body = "h = Gather(table, x)  r = Relu(h)  g = MatMul(r, w)  y = ReduceMean<axes = [1]>(g)"
    model = net(body, x="int64[N,6]", table=(20, 8), w=(8, 4), opset=17)
    rng = np.random.default_rng(0)
    few, others = ([{"x": rng.integers(0, 20, (16, 6))} for _ in range(count)] for count in (2, 8))
    axes: Any = {"table": {1: range(0, 8, 2)}, "w": {0: range(0, 8, 2)}}
    axes |= {name: {2: range(0, 8, 2)} for name in "hr"}
    _, (before, after) = repaired(MIXED, model, axes, few, others)
    assert after < before


@pytest.mark.parametrize("case", ODD)
def test_odd_models_go_through(case: str) -> None:
    goes_through(MIXED, case)


def test_batches_of_other_sizes_are_looked_at_as_they_are() -> None:
    """No mixture of 8 and 10 rows: both are samples, and the result is as good."""
    given = GIVEN | {"x": "float[N,4,H,8]"}
    feeds = [f for rows in (8, 10) for f in draws((16, 4, rows, 8), 1)]
    _, (before, after) = repaired(MIXED, net(BODY, **given), AXES, feeds)
    assert after < before


def test_the_same_seed_gives_the_same_weights() -> None:
    one, two, other = (
        weights(repaired(pass_, net(BODY, **GIVEN), AXES, draws(SHAPE))[0])
        for pass_ in (MIXED, MIXED, DistillWeights(mixed=0.9, steps=120, rate=0.02, seed=1))
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_few_batches_are_looked_at_more_often() -> None:
    dense, pruned, kept = cut(net(BODY, **GIVEN), AXES)
    seen: list[int] = []
    ctx = PassContext(pruned, worker=shared_worker(), calibration=draws(SHAPE, 3))
    ctx.reference = Reference(dense, kept, lambda done, total, unit: seen.append(total))
    MIXED.run(pruned, ctx)
    assert set(seen) == {40}  # epochs of three batches


def test_a_rate_that_is_much_too_high_changes_nothing() -> None:
    model = net(BODY, **GIVEN)
    hot = DistillWeights(mixed=0.9, steps=60, rate=50.0)
    ctx, (before, after) = repaired(hot, model, AXES, draws(SHAPE))
    assert before == after
    assert [why for _, why in ctx.skipped] == ["the outputs are no nearer to those of before"]


def test_a_mixture_is_made_once_and_the_dense_model_answers_to_it() -> None:
    dense, pruned, kept = cut(net(BODY, **GIVEN), AXES)
    reference = Reference(dense, kept)
    ctx = PassContext(pruned, worker=shared_worker(), calibration=draws(SHAPE, 3))
    rng = np.random.default_rng(0)
    with Lesson(Tape(pruned, targets_of(pruned, reference)), ctx, ctx.calibration) as lesson:
        lesson.begin(reference)
        examples = [lesson.mixture(number, rng) for number in (2, 0, 1, 2)]
        given = [lesson.sample(batch)[0]["x"] for batch in range(3)]
    for feeds, wanted in examples:
        assert not any(np.array_equal(feeds["x"], x) for x in given)
        expected = outputs(dense, [feeds])
        np.testing.assert_allclose(wanted["y"], expected, rtol=1e-4, atol=1e-5)
    first, others = examples[0][0]["x"], [feeds["x"] for feeds, _ in examples[1:]]
    assert [np.array_equal(first, x) for x in others] == [False, False, True]


def test_mixtures_take_no_more_than_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that tell the error, and as many others as fit: those are looked at more often."""
    made: list[int] = []
    make = Lesson._mixture

    def counted(self: Lesson, rng: np.random.Generator) -> Any:
        found = make(self, rng)
        made.append(self.bytes())
        assert made[-1] == sum(a.nbytes for part in found for a in part.values())
        return found

    monkeypatch.setattr(Lesson, "_mixture", counted)
    counts = []
    for kept in (1 << 30, 3):
        made.clear()
        each = (16 * 4 * 8 * 8 + 16 * 5) * 4
        monkeypatch.setattr(distill_weights, "_KEPT", kept * each)
        repaired(MIXED, net(BODY, **GIVEN), AXES, draws(SHAPE, 2))
        counts.append(len(made))
    assert counts[0] > 30
    assert counts[1] == 2 + 3


def test_a_small_part_of_the_steps_is_enough_where_it_is_asked_for() -> None:
    model, few = net(BODY, **GIVEN), draws(SHAPE)
    reasons = []
    for least in (0.2, 0.02):
        short = DistillWeights(mixed=0.9, steps=2000, rate=0.02, work=1e9, least=least)
        ctx, _ = repaired(short, model, AXES, few)
        reasons.append([why for _, why in ctx.skipped])
    assert reasons == [["more work than 1e+09"], []]
