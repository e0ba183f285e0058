"""First and second moments of the inputs and targets of a layer, summed up in float64.

G groups of a convolution are G independent problems with D inputs and O outputs each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_SMALL = 16


@dataclass
class Moments:
    """Sums over rows.

    Attributes:
        count: Number of rows.
        x: (G, D) sum of inputs.
        y: (G, O) sum of targets.
        xx: (G, D, D) Gram matrix.
        xy: (G, D, O).
        yy: (G, O) squares of targets.
    """

    count: int
    x: Array
    y: Array
    xx: Array
    xy: Array
    yy: Array

    @classmethod
    def empty(cls, groups: int, inputs: int, outputs: int) -> Moments:
        """Nothing seen."""
        g, d, o = groups, inputs, outputs
        zeros = np.zeros
        return cls(0, zeros((g, d)), zeros((g, o)), zeros((g, d, d)), zeros((g, d, o)),
                   zeros((g, o)))  # fmt: skip

    def add(self, x: Array, y: Array) -> None:
        """See rows ``x`` (G, R, D) with targets ``y`` (G, R, O)."""
        if not x.shape[1]:
            return
        x, y = x.astype(np.float64), y.astype(np.float64)
        self.count += x.shape[1]
        self.x += x.sum(axis=1)
        self.y += y.sum(axis=1)
        for group in range(len(x)) if x.shape[2] > _SMALL else ():
            self.xx[group] += x[group].T @ x[group]  # NumPy sees that this is symmetric: half
        across = x.transpose(0, 2, 1)
        if x.shape[2] <= _SMALL:
            self.xx += across @ x
        self.xy += across @ y
        self.yy += (y * y).sum(axis=1)

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.count + other.count,
            self.x + other.x,
            self.y + other.y,
            self.xx + other.xx,
            self.xy + other.xy,
            self.yy + other.yy,
        )

    def centred(self) -> tuple[Array, Array, Array, Array]:
        """Covariances (G, D, D) and (G, D, O), means (G, D) and (G, O)."""
        n = max(self.count, 1)
        mean_x, mean_y = self.x / n, self.y / n
        cov = self.xx / n - mean_x[:, :, None] * mean_x[:, None, :]
        cross = self.xy / n - mean_x[:, :, None] * mean_y[:, None, :]
        return cov, cross, mean_x, mean_y

    def error(self, weight: Array, bias: Array) -> Array:
        """Mean squared error (G, O) of ``x @ weight.T + bias``.

        Args:
            weight: (G, O, D).
            bias: (G, O).
        """
        n = max(self.count, 1)
        across = weight.transpose(0, 2, 1)  # (G, D, O)
        answer = (across * (self.xx @ across)).sum(axis=1)
        mean = (self.x[:, None, :] @ across)[:, 0]
        cross = (across * self.xy).sum(axis=1)
        total = self.yy + answer + n * bias**2 - 2 * cross + 2 * bias * (mean - self.y)
        return np.asarray(np.maximum(total, 0.0) / n)
