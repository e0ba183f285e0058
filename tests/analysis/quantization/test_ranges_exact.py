"""Calibrators on small histograms, against their definitions in plain loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from onnxslim.analysis.quantization.ranges import choose_range


def facts(counts: Any, *, zeros: int = 0, low: float, high: float) -> dict[str, Any]:
    """A histogram over [-R, R) with R half the number of bins: every bin is 1 wide."""
    counts = np.asarray(counts, np.int64)
    half = len(counts) // 2
    edges = np.arange(-half, half + 1, dtype=np.float64)
    return {"min": low, "max": high, "counts": counts, "edges": edges, "zeros": zeros}


def test_nothing_but_zeros_or_nothing_at_all() -> None:
    empty = facts([0] * 8, low=0.0, high=0.0)
    assert choose_range({**empty, "min": None}, "mse") == (0.0, 0.0)
    for method in ("minmax", "percentile", "mse", "entropy"):
        assert choose_range(empty, method) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("outer", "zeros", "expected"),
    [
        ((0, 0), 0, (-2.0, 2.0)),
        ((1, 1), 0, (-2.0, 2.0)),  # 1 of 20000: within the 0.005 % on its side
        ((3, 0), 0, (-4.0, 2.0)),
        ((0, 3), 0, (-2.0, 3.5)),
        ((3, 3), 10**6, (-2.0, 2.0)),  # zeros count as values, too
    ],
)
def test_percentile(outer: tuple[int, int], zeros: int, expected: tuple[float, float]) -> None:
    counts = [outer[0], 0, 5000, 5000, 5000, 5000, 0, outer[1]]
    seen = facts(counts, zeros=zeros, low=-4.0, high=3.5)
    assert choose_range(seen, "percentile") == expected


def test_percentile_of_one_side_ends_at_zero() -> None:
    seen = facts([0, 0, 0, 0, 0, 9, 9, 0], low=1.2, high=2.9)
    assert choose_range(seen, "percentile") == (0.0, 2.9)
    seen = facts([0, 9, 9, 0, 0, 0, 0, 0], low=-2.9, high=-1.2)
    assert choose_range(seen, "percentile") == (-2.9, 0.0)


def error(seen: dict[str, Any], low: float, high: float) -> float:
    middle = seen["edges"][:-1] + 0.5
    outside = np.maximum(np.maximum(low - middle, middle - high), 0.0)
    inside = ((high - low) / 255) ** 2 / 12
    return float((seen["counts"] * np.where(outside > 0, outside**2, inside)).sum())


@pytest.mark.parametrize("sides", [(1, 1), (0, 1), (1, 0)])
def test_the_least_squared_error(sides: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    half = 64
    shape = (2000 * np.exp(-np.arange(half) / 4)).astype(int) + (rng.random(half) < 0.02)
    counts = np.concatenate([sides[0] * shape[::-1], sides[1] * shape])
    seen = facts(counts, low=-63.0 * sides[0], high=62.0 * sides[1])
    found = choose_range(seen, "mse")
    parts = np.linspace(1.0, 0.05, 96)
    lows = seen["min"] * parts if sides[0] else [0.0]
    highs = seen["max"] * parts if sides[1] else [0.0]
    best = min((error(seen, a, b), -b, a) for a in lows for b in highs)
    assert error(seen, *found) == pytest.approx(best[0], rel=1e-9)
    assert found != (seen["min"], seen["max"])


def divergence(magnitude: Any, stop: int, levels: int) -> float:
    """KL divergence of a clipped histogram from its quantized form, bin by bin."""
    clipped = [float(c) for c in magnitude[:stop]]
    clipped[-1] += float(sum(magnitude[stop:]))
    spread = [0.0] * stop
    for level in range(levels):
        bins = range(level * stop // levels, (level + 1) * stop // levels)
        seen = [b for b in bins if magnitude[b] > 0]
        for b in seen:
            spread[b] = sum(magnitude[i] for i in bins) / len(seen)
    total, other = sum(clipped), sum(spread)
    return sum(
        p / total * math.log((p / total) / max(q / other, 1e-12))
        for p, q in zip(clipped, spread, strict=True)
        if p > 0
    )


@pytest.mark.parametrize(("both", "levels"), [(True, 128), (False, 255)])
def test_the_least_divergence(both: bool, levels: int) -> None:
    rng = np.random.default_rng(9)
    half = 512
    shape = (3000 * np.exp(-np.arange(half) / 30)).astype(int) + (rng.random(half) < 0.05)
    counts = np.concatenate([shape[::-1] * both, shape])
    seen = facts(counts, low=-500.0 * both, high=510.0)
    magnitude = counts[half:] + counts[:half][::-1]
    used = 511
    stops = sorted({int(s) for s in np.linspace(levels, used, 128)})
    best = min(stops, key=lambda stop: divergence(magnitude[:used], stop, levels))
    low, high = choose_range(seen, "entropy")
    assert high == min(510.0, best) and low == (max(-500.0, -best) if both else 0.0)
    assert best < used


def test_a_histogram_of_few_bins_is_kept_whole() -> None:
    counts = np.ones(256, np.int64)
    assert choose_range(facts(counts, low=-100.0, high=127.0), "entropy") == (-100.0, 127.0)
    assert choose_range(facts(counts, low=-100.0, high=126.0), "entropy") == (-100.0, 126.0)
