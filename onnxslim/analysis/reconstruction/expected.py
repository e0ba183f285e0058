"""Mean and variance per channel of what a network computes, from BatchNormalization's numbers.

A channel behind a BatchNormalization is taken as normal with mean ``shift`` and deviation
``|scale|``. Elementwise functions are averaged over the quantiles of the normal distribution, which
for a Relu agrees with the clipped normal's closed form ``mu Phi(mu/s) + s phi(mu/s)``.

Source: Nagel et al. 2019, arXiv:1906.04721, appendix C (clipped normal distribution).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_POINTS = 256


@dataclass(frozen=True)
class Spread:
    """Per channel of a value.

    Attributes:
        mean: (C,) float64.
        var: (C,) float64.
    """

    mean: Array
    var: Array

    def through(self, function: Callable[[Array], Array]) -> Spread:
        """Behind an elementwise function."""
        deviation = np.sqrt(self.var)
        values = function(self.mean[:, None] + deviation[:, None] * quantiles()[None, :])
        return Spread(values.mean(axis=1), values.var(axis=1))

    def scaled(self, factor: Array | float, summand: Array | float = 0.0) -> Spread:
        """``factor * x + summand``."""
        return Spread(self.mean * factor + summand, self.var * np.square(factor))

    def plus(self, other: Spread) -> Spread:
        """Sum of two, taken as independent."""
        return Spread(self.mean + other.mean, self.var + other.var)

    def largest_of(self, count: int) -> Spread:
        """Maximum of several, taken as independent draws (MaxPool).

        The true values are correlated: neighbours in an image are nearly equal, so this is an
        upper end; halving the number of draws is a compromise that is exact for neither.
        """
        draws = max(count / 2, 1.0)
        share = (np.arange(_POINTS) + 0.5) / _POINTS
        at = np.array([NormalDist().inv_cdf(float(p)) for p in share ** (1 / draws)])
        values = self.mean[:, None] + np.sqrt(self.var)[:, None] * at[None, :]
        return Spread(values.mean(axis=1), values.var(axis=1))


def quantiles() -> Array:
    """Midpoints of equal parts of the standard normal distribution, scaled to variance 1."""
    normal = NormalDist()
    at = np.array([normal.inv_cdf((i + 0.5) / _POINTS) for i in range(_POINTS)])
    return np.asarray(at / at.std())
