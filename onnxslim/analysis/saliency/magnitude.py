"""Criteria that only read weights: magnitudes, BatchNormalization scales, chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxslim.analysis.dependency.groups import Group
from onnxslim.analysis.saliency.base import (
    Array,
    Criterion,
    in_order,
    mean_of,
    normalised,
    over_weights,
    unit_sums,
)
from onnxslim.analysis.saliency.statistics import Statistics
from onnxslim.analysis.saliency.weights import Weights, batchnorm_scale


class L1(Criterion):
    """Sum of magnitudes of the filters that make and read a unit.

    Source: Li et al. 2017, arXiv:1608.08710; over groups: Fang et al. 2023, arXiv:2301.12900.
    """

    name: ClassVar[str] = "l1"

    def score(self, group: Group, weights: Weights, statistics: Statistics) -> Array:
        """Mean over sites of the normalised sum of ``|w|``."""
        found = over_weights(group, weights, lambda rows: np.abs(rows).sum(axis=1))
        return in_order(group) if found is None else found


class L2(Criterion):
    """Euclidean norm of the filters that make and read a unit.

    Source: Fang et al. 2023, arXiv:2301.12900, section 3.3.
    """

    name: ClassVar[str] = "l2"

    def score(self, group: Group, weights: Weights, statistics: Statistics) -> Array:
        """Square root of the mean over sites of the normalised sum of squares."""
        found = over_weights(group, weights, lambda rows: np.einsum("ij,ij->i", rows, rows))
        return in_order(group) if found is None else normalised(np.sqrt(found))


class Lamp(Criterion):
    """Squared norm as a part of what would remain with it: made for the scope ``global``.

    With squared norms ``s`` in ascending order: ``s_c / sum(s_c' for s_c' >= s_c)``.

    Source: Lee et al. 2021, arXiv:2010.07611, section 2.
    """

    name: ClassVar[str] = "lamp"

    def score(self, group: Group, weights: Weights, statistics: Statistics) -> Array:
        """(size,) in (0, 1]: the strongest unit of every group has 1 and is never removed."""
        squares = L2().score(group, weights, statistics) ** 2
        order = np.argsort(squares, kind="stable")
        rest = np.cumsum(squares[order][::-1])[::-1]
        found = np.empty_like(squares)
        found[order] = squares[order] / np.maximum(rest, 1e-300)
        return found


class BnScale(Criterion):
    """Magnitude of the BatchNormalization scale of a unit; L2 where there is none.

    Source: Liu et al. 2017 (Network Slimming), arXiv:1708.06519.
    """

    name: ClassVar[str] = "bn-scale"

    def score(self, group: Group, weights: Weights, statistics: Statistics) -> Array:
        """Mean over BatchNormalizations of the normalised ``|scale|``."""
        parts = [
            unit_sums(site.units, scale, group.size)
            for site in group.sites
            if (scale := batchnorm_scale(site)) is not None
        ]
        found = mean_of(parts, group.size)
        return L2().score(group, weights, statistics) if found is None else found


@dataclass(frozen=True)
class Random(Criterion):
    """Chance, to see what a criterion is worth.

    Attributes:
        seed: Of the draw; every group draws on its own.
    """

    name: ClassVar[str] = "random"
    seed: int = 0

    def score(self, group: Group, weights: Weights, statistics: Statistics) -> Array:
        """Uniform in (0, 2)."""
        return np.random.default_rng([self.seed, group.id, group.size]).uniform(0, 2, group.size)
