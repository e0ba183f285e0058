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
    cov, cross, mean_x, mean_y = moments.centred()
    new = np.asarray(weight, np.float64)
    if not math.isinf(strength):
        rest = cross - cov @ new.transpose(0, 2, 1)
        new = new + np.linalg.solve(loaded(cov, strength), rest).transpose(0, 2, 1)
    bias = mean_y - (new @ mean_x[:, :, None])[:, :, 0]
    return Solution(new, bias, strength)


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
) -> tuple[Array, float]:
    """Where to pull to and how strongly: what fits one part with the least error on the other.

    Args:
        fit: Moments of the rows to fit.
        held: Moments of rows of other samples.
        weights: (G, O, D) each: where the ridge may pull to.
        importance: (G, O) weight of each output's squared error.
        strengths: What to try; the larger of two equals wins.
    """
    best, least = (weights[0], math.inf), math.inf
    for strength in sorted(strengths, reverse=True):
        for weight in weights:
            found = ridge(fit, weight, strength)
            error = float((held.error(found.weight, found.bias) * importance).sum())
            if error < least:
                best, least = (weight, strength), error
    return best
