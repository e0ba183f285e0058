from __future__ import annotations

import math

import numpy as np
import pytest

from onnxslim.runtime.specs import Array
from onnxslim.verify.metrics import get_metric
from onnxslim.verify.scores import Agreement, Scorer, bootstrap, paired_proportions


def truth(right: int, wrong: int) -> Array:
    return np.array([True] * right + [False] * wrong)


def test_paired_proportions_by_hand() -> None:
    reference = np.array([1, 1, 1, 0, 0, 1, 1, 1], bool)
    candidate = np.array([1, 1, 0, 0, 1, 0, 1, 1], bool)
    gained, lost = 2 / 10, 3 / 10
    reach = 1.959964 * math.sqrt((gained + lost - 0.01) / 10)
    low, high = paired_proportions(reference, candidate)
    assert (low, high) == pytest.approx((-10 - 100 * reach, -10 + 100 * reach))


def test_the_interval_keeps_a_width_without_disagreement_and_shrinks_with_n() -> None:
    few, many = (paired_proportions(truth(n, 0), truth(n, 0)) for n in (10, 1000))
    assert few[0] < many[0] < 0 < many[1] < few[1]
    assert few[1] == -few[0]


def test_the_interval_covers() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        reference = rng.random(200) < 0.8
        flip = rng.random(200) < 0.1
        candidate = np.where(flip, rng.random(200) < 0.5, reference)
        low, high = paired_proportions(reference, candidate)
        expected = 100 * 0.1 * (0.5 - 0.8)
        hits += low <= expected <= high
    assert hits >= 275


def test_bootstrap_is_seeded_and_covers_the_difference() -> None:
    metric = get_metric("cosine")
    rng = np.random.default_rng(1)
    a = rng.normal(90, 2, (200, 1))
    b = a - 1 + rng.normal(0, 0.5, (200, 1))
    low, high = bootstrap(metric, a, b, 0)
    assert (low, high) == bootstrap(metric, a, b, 0)
    assert -1.2 < low < -1 < high < -0.8


def test_scorer() -> None:
    scorer = Scorer(get_metric("top1"), 0)
    logits = {"o": np.eye(3, dtype=np.float32)}
    flipped = {"o": np.eye(3, dtype=np.float32)[::-1].copy()}
    assert scorer.score(0.0) is None
    scorer.add(logits, flipped, np.array([0, 1, 2]))
    score = scorer.score(33.0)
    assert score is not None
    assert (score.reference, score.candidate, score.n) == pytest.approx((100, 100 / 3, 3))
    assert score.drop == pytest.approx(200 / 3)
    assert set(score.to_json()) == {
        "metric",
        "reference",
        "candidate",
        "agreement",
        "n",
        "interval",
    }


def test_agreement() -> None:
    agreement = Agreement()
    assert math.isnan(agreement.percent)
    a = np.eye(4, dtype=np.float32)
    b = a.copy()
    b[0] = [0, 0, 0, 1]
    agreement.add({"o": a}, {"o": b})
    agreement.add({"o": a}, {"o": a * 2})
    assert agreement.percent == pytest.approx(100 * 7 / 8)
