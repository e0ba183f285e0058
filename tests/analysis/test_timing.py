from __future__ import annotations

import numpy as np
import pytest

from onnxslim.analysis.timing import compare


def rounds(factor: float, count: int = 30, noise: float = 0.05) -> list[list[list[float]]]:
    """Rounds of a machine that gets slower and slower."""
    rng = np.random.default_rng(0)
    found = []
    for index in range(count):
        speed = 1 + index / 3
        blocks = []
        for cost in (1.0, factor):
            blocks.append(list(0.001 * speed * cost * rng.normal(1, noise, 5).clip(0.5)))
        found.append(blocks)
    return found


def test_the_ratio_does_not_see_what_slows_both() -> None:
    first, second = compare(rounds(0.5))
    assert first.ratio == first.low == first.high == 1
    assert second.ratio == pytest.approx(0.5, rel=0.03)
    assert second.low < 0.5 < second.high and second.high - second.low < 0.05
    assert first.p10_ms < first.median_ms < first.p90_ms and first.runs == 150


def test_more_noise_more_doubt() -> None:
    calm, wild = compare(rounds(0.5, noise=0.01))[1], compare(rounds(0.5, noise=0.2))[1]
    assert wild.high - wild.low > 3 * (calm.high - calm.low)


def test_same_seed_same_interval() -> None:
    data = rounds(0.7)
    assert compare(data, seed=3) == compare(data, seed=3) != compare(data, seed=4)


def test_one_round() -> None:
    timing = compare([[[0.001, 0.002, 0.003]]])[0]
    assert timing.median_ms == 2 and timing.low == timing.high == 1
