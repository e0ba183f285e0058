"""From the histogram of a tensor to the range that its integers cover.

``minmax``
    Everything that was seen.
``percentile``
    The central 99.99 %.
``mse``
    The range with the least expected squared error. With step ``d = (high - low) / 255``::

        d^2 / 12 * (values inside, exact zeros left out) + sum over values outside of (x - edge)^2

    minimised over a grid of lower and upper edges; sums over bins come from cumulative moments.
``entropy``
    The clipping threshold with the least Kullback-Leibler divergence between the clipped histogram
    and what remains of it with 128 (255 for both signs) levels.

Source: Migacz 2017, "8-bit inference with TensorRT" (entropy); Banner et al. 2019,
arXiv:1810.05723, section 3 (mean squared error).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim.errors import UsageError

Floats = NDArray[np.float64]

CALIBRATORS = ("minmax", "percentile", "mse", "entropy")
PERCENTILE = 99.99
_GRID = 96
_THRESHOLDS = 128


def choose_range(facts: Mapping[str, Any], method: str) -> tuple[float, float]:
    """The range of a tensor.

    Args:
        facts: Result of the reducer ``Histogram``.
        method: One of ``CALIBRATORS``.

    Raises:
        UsageError: For another method.
    """
    if method not in CALIBRATORS:
        raise UsageError(f"calibrator {method!r}: expected one of {', '.join(CALIBRATORS)}")
    if facts["min"] is None:
        return 0.0, 0.0
    low, high = min(float(facts["min"]), 0.0), max(float(facts["max"]), 0.0)
    total = int(facts["counts"].sum())
    if method == "minmax" or not total or low == high:
        return low, high
    if method == "percentile":
        return _percentile(facts, low, high)
    return _least_error(facts, low, high) if method == "mse" else _entropy(facts, low, high)


def _percentile(facts: Mapping[str, Any], low: float, high: float) -> tuple[float, float]:
    counts, edges = facts["counts"].astype(np.float64), facts["edges"]
    counts = counts.copy()
    counts[len(counts) // 2] += facts["zeros"]
    total = np.cumsum(counts)
    tail = (100 - PERCENTILE) / 200 * total[-1]
    first = int(np.searchsorted(total, tail, side="right"))
    last = int(np.searchsorted(total, total[-1] - tail, side="left"))
    return max(low, min(edges[first], 0.0)), min(high, max(edges[last + 1], 0.0))


def _least_error(facts: Mapping[str, Any], low: float, high: float) -> tuple[float, float]:
    counts, edges = facts["counts"].astype(np.float64), facts["edges"]
    lows = low * np.linspace(1.0, 0.05, _GRID) if low < 0 else np.zeros(1)
    highs = high * np.linspace(1.0, 0.05, _GRID) if high > 0 else np.zeros(1)
    middle = (edges[:-1] + edges[1:]) / 2
    below, below_error = _tail(counts, middle, lows)
    above, above_error = _tail(counts[::-1], -middle[::-1], -highs)
    inside = counts.sum() - below[:, None] - above[None, :]
    step = (highs[None, :] - lows[:, None]) / 255
    error = step**2 / 12 * inside + below_error[:, None] + above_error[None, :]
    i, j = np.unravel_index(int(np.argmin(error)), error.shape)
    return float(lows[i]), float(highs[j])


def _tail(counts: Floats, middle: Floats, cuts: Floats) -> tuple[Floats, Floats]:
    """Number of values below each cut, and their summed squared distance to it."""
    sums = [
        np.concatenate([[0.0], np.cumsum(counts * power)])
        for power in (np.ones_like(middle), middle, middle**2)
    ]
    at = np.searchsorted(middle, cuts, side="left")
    zeroth, first, second = (s[at] for s in sums)
    return zeroth, second - 2 * cuts * first + cuts**2 * zeroth


def _entropy(facts: Mapping[str, Any], low: float, high: float) -> tuple[float, float]:
    """The threshold on the magnitude; each sign keeps what it had within it."""
    counts, edges = facts["counts"].astype(np.float64), facts["edges"]
    half = len(counts) // 2
    magnitude = counts[half:] + counts[:half][::-1]
    levels = 255 if low == 0 or high == 0 else 128
    peak = max(-low, high)
    width = float(edges[half + 1])
    used = int(np.searchsorted(edges[half:], peak, side="right"))
    used = max(min(used, half), 1)
    if used <= levels:
        return low, high
    stops = np.unique(np.linspace(levels, used, _THRESHOLDS).astype(int))
    divergences = [_divergence(magnitude[:used], int(stop), levels) for stop in stops]
    cut = min(peak, int(stops[int(np.argmin(divergences))]) * width)
    return max(low, -cut), min(high, cut)


def _divergence(magnitude: Floats, stop: int, levels: int) -> float:
    """KL divergence of the histogram clipped at ``stop`` bins from its form in ``levels``."""
    clipped = magnitude[:stop].copy()
    clipped[-1] += magnitude[stop:].sum()
    starts = (np.arange(levels) * stop) // levels
    seen = (magnitude[:stop] > 0).astype(np.float64)
    sums = np.add.reduceat(magnitude[:stop], starts)
    filled = np.add.reduceat(seen, starts)
    lengths = np.diff(np.append(starts, stop))
    level = np.divide(sums, filled, out=np.zeros_like(sums), where=filled > 0)
    spread = np.repeat(level, lengths) * seen
    p, q = clipped / clipped.sum(), spread / max(spread.sum(), 1e-300)
    both = p > 0
    q = np.maximum(q[both], 1e-12)
    return float(np.sum(p[both] * np.log(p[both] / q)))
