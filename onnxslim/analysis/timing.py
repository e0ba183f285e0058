"""Statistics of interleaved timings: medians, spread, ratios with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 2000


@dataclass(frozen=True)
class Timing:
    """One model beside the first.

    Args:
        median_ms: Of all runs.
        p10_ms: A tenth of the runs is faster.
        p90_ms: A tenth is slower.
        ratio: To the first model: median over the rounds of the ratio within a round.
        low: Lower end of the 95 % interval of the ratio.
        high: Upper end.
        runs: How many were timed.
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    ratio: float
    low: float
    high: float
    runs: int


def compare(rounds: Sequence[Sequence[Sequence[float]]], seed: int = 0) -> list[Timing]:
    """Summarize rounds in which every model was timed.

    Whatever slows the machine down for a while slows all models of a round: ratios are taken within
    a round, and their interval comes from resampling whole rounds (percentile bootstrap, Efron
    1979), so that runs of one round are not mistaken for independent ones.

    Args:
        rounds: Per round, per model, seconds of each run; the first model is the yardstick.
        seed: Of the resampling.
    """
    medians = np.array([[np.median(block) for block in round_] for round_ in rounds])
    ratios = medians / medians[:, :1]
    picks = np.random.default_rng(seed).integers(0, len(ratios), (_RESAMPLES, len(ratios)))
    spread = np.median(ratios[picks], axis=1)  # (resamples, models)
    low, high = np.percentile(spread, [2.5, 97.5], axis=0)
    found = []
    for index in range(medians.shape[1]):
        all_runs = np.concatenate([np.asarray(round_[index]) for round_ in rounds]) * 1000
        p10, median, p90 = np.percentile(all_runs, [10, 50, 90])
        found.append(
            Timing(
                float(median), float(p10), float(p90), float(np.median(ratios[:, index])),
                float(low[index]), float(high[index]), int(all_runs.size),
            )
        )  # fmt: skip
    return found
