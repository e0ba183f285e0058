"""Two models scored on the same samples: their difference with its paired interval.

The interval of a right-or-wrong metric is that of a difference of paired proportions after
adding one to each kind of disagreement::

    p12 = (n12 + 1) / (n + 2)      p21 = (n21 + 1) / (n + 2)
    p12 - p21  +-  1.96 sqrt((p12 + p21 - (p12 - p21)^2) / (n + 2))

Source: Bonett and Price 2012, Journal of Educational and Behavioral Statistics 37(4), 479-488.
It keeps a width when the two models never disagree. Other metrics use the percentile interval of
a seeded bootstrap over samples (Efron and Tibshirani 1993, chapter 13), both models resampled
together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxslim.runtime.specs import Array
from onnxslim.verify.compare import json_number
from onnxslim.verify.metrics import Metric, Outputs, classes, main_output

Z95 = 1.959963984540054
RESAMPLES = 1000


@dataclass(frozen=True)
class Score:
    """Both scores in points.

    Args:
        metric: Its name.
        reference: Of the reference.
        candidate: Of the candidate.
        agreement: Samples (positions, tokens) on which both say the same class, in percent.
        n: Samples.
        interval: Of ``candidate - reference``, 95 %.
    """

    metric: str
    reference: float
    candidate: float
    agreement: float
    n: int
    interval: tuple[float, float]

    @property
    def drop(self) -> float:
        """Points lost."""
        return self.reference - self.candidate

    def to_json(self) -> dict[str, Any]:
        """``score`` of the contract."""
        return {
            "metric": self.metric,
            "reference": json_number(self.reference),
            "candidate": json_number(self.candidate),
            "agreement": json_number(self.agreement),
            "n": self.n,
            "interval": [json_number(bound) for bound in self.interval],
        }


class Agreement:
    """How often two models say the same class."""

    def __init__(self) -> None:
        self._same = self._total = 0.0

    def add(self, reference: Outputs, candidate: Outputs) -> None:
        """Takes in a batch."""
        if not reference or not candidate:
            return
        a, b = main_output(reference), main_output(candidate)
        if a.ndim == 0 or a.shape != b.shape or not a.size:
            self._total += 1
            self._same += float(a.shape == b.shape and bool(np.array_equal(a, b)))
            return
        same = classes(a) == classes(b)
        part = same.reshape(same.shape[0], -1).mean(axis=1)
        self._same += float(part.sum())
        self._total += len(part)

    @property
    def percent(self) -> float:
        """Agreement so far, NaN before the first batch."""
        return 100 * self._same / self._total if self._total else math.nan


class Scorer:
    """Collects the rows of a metric for both models."""

    def __init__(self, metric: Metric, seed: int) -> None:
        self._metric, self._seed = metric, seed
        self._rows: tuple[list[Array], list[Array]] = ([], [])

    def add(self, reference: Outputs, candidate: Outputs, labels: Array) -> None:
        """Takes in a batch.

        Raises:
            DataError: The labels do not fit the outputs.
        """
        self._rows[0].append(self._metric.rows(reference, labels))
        self._rows[1].append(self._metric.rows(candidate, labels))

    def score(self, agreement: float) -> Score | None:
        """The result; None without samples."""
        if not self._rows[0]:
            return None
        a, b = (np.concatenate(rows) for rows in self._rows)
        total = self._metric.total
        one, two = total(a.mean(axis=0)), total(b.mean(axis=0))
        return Score(self._metric.name, one, two, agreement, len(a), self._interval(a, b))

    def _interval(self, a: Array, b: Array) -> tuple[float, float]:
        if self._metric.binary and np.isin(a, (0, 100)).all() and np.isin(b, (0, 100)).all():
            return paired_proportions(a[:, 0] > 50, b[:, 0] > 50)
        return bootstrap(self._metric, a, b, self._seed)


def paired_proportions(reference: Array, candidate: Array) -> tuple[float, float]:
    """95 % interval of the difference of two paired proportions, in points."""
    n = len(reference)
    gained = (int(np.count_nonzero(candidate & ~reference)) + 1) / (n + 2)
    lost = (int(np.count_nonzero(reference & ~candidate)) + 1) / (n + 2)
    difference = gained - lost
    reach = Z95 * math.sqrt(max(gained + lost - difference**2, 0.0) / (n + 2))
    return 100 * max(difference - reach, -1.0), 100 * min(difference + reach, 1.0)


def bootstrap(metric: Metric, a: Array, b: Array, seed: int) -> tuple[float, float]:
    """95 % percentile interval of ``metric(b) - metric(a)`` over resampled samples."""
    rng, n = np.random.default_rng(seed), len(a)
    found = []
    for _ in range(RESAMPLES):
        weights = np.bincount(rng.integers(0, n, n), minlength=n) / n
        found.append(metric.total(weights @ b) - metric.total(weights @ a))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)
