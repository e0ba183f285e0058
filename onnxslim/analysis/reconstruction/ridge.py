"""Ridge regression towards given weights.

For rows x (D,) with targets y (O,), starting from W (O, D), with centred moments H = cov(x, x) and
C = cov(x, y)::

    W' = W + ((H + mu I)^-1 (C - H W^T))^T         b' = mean(y) - W' mean(x)

``mu = strength * trace(H) / D``. A strength of infinity leaves W and corrects b alone.

Source: He, Zhang, Sun 2017, arXiv:1707.06168, section 3.1 (least squares); the pull towards the
sliced weights instead of 0 keeps what the samples say nothing about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxslim.analysis.reconstruction.moments import Array, Moments

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, math.inf)
_FLOOR = 1e-10


@dataclass(frozen=True)
class Solution:
    """A layer's new weights.

    Attributes:
        weight: (G, O, D) float64.
        bias: (G, O) float64.
        strength: Of the ridge.
    """

    weight: Array
    bias: Array
    strength: float


def ridge(moments: Moments, weight: Array, strength: float) -> Solution:
    """Solve one strength; weight (G, O, D)."""
    return ridges(moments, [weight], strength)[0]


def ridges(moments: Moments, weights: Sequence[Array], strength: float) -> list[Solution]:
    """Solve one strength for several weights (G, O, D) to pull to, with one factorization."""
    cov, cross, mean_x, mean_y = moments.centred()
    found = [np.asarray(weight, np.float64) for weight in weights]
    if not math.isinf(strength):
        across = [weight.transpose(0, 2, 1) for weight in found]
        rest = np.concatenate([cross - cov @ w for w in across], axis=2)
        steps = np.split(np.linalg.solve(loaded(cov, strength), rest), len(found), axis=2)
        found = [w + step.transpose(0, 2, 1) for w, step in zip(found, steps, strict=True)]
    return [Solution(w, mean_y - (w @ mean_x[:, :, None])[:, :, 0], strength) for w in found]


def loaded(cov: Array, strength: float) -> Array:
    """Covariances (G, D, D) with the ridge on the diagonal; never singular."""
    width = cov.shape[-1]
    size = np.trace(cov, axis1=1, axis2=2) / max(width, 1)
    peak = float(size.max()) if size.size else 0.0
    load = strength * size + _FLOOR * (peak or 1.0)
    return np.asarray(cov + load[:, None, None] * np.eye(width))


def choose(
    fit: Moments,
    held: Moments,
    weights: Sequence[Array],
    importance: Array,
    strengths: Sequence[float] = STRENGTHS,
) -> tuple[int, Solution]:
    """Where to pull to and how strongly: what fits one part with the least error on the other.

    Args:
        fit: Moments of the rows to fit.
        held: Moments of rows of other samples.
        weights: (G, O, D) each: where the ridge may pull to.
        importance: (G, O) weight of each output's squared error.
        strengths: What to try; the larger of two equals wins.

    Returns:
        Which of the weights, and the fit itself.
    """
    best: tuple[int, Solution] | None = None
    least = math.inf
    for strength in sorted(strengths, reverse=True):
        for index, found in enumerate(ridges(fit, weights, strength)):
            error = float((held.error(found.weight, found.bias) * importance).sum())
            if best is None or error < least:
                best, least = (index, found), error
    assert best is not None, "no strength to try"
    return best
