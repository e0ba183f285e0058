"""A criterion: the largest single weight of the filters that make and read a unit."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from onnxslim.analysis.dependency.groups import Group
from onnxslim.analysis.saliency.base import Array, Criterion, weight_sites
from onnxslim.analysis.saliency.statistics import Statistics
from onnxslim.analysis.saliency.weights import Weights


class Largest(Criterion):
    """Units whose weights are all small leave first."""

    name: ClassVar[str] = "largest"

    def score(self, group: Group, weights: Weights, statistics: Statistics) -> Array:
        """(size,) the largest magnitude at any site."""
        found = np.zeros(group.size)
        for site in weight_sites(group):
            taken = site.units >= 0
            peaks = np.abs(weights.rows(site)).max(axis=1)
            np.maximum.at(found, site.units[taken], peaks[taken])
        return found / max(float(found.mean()), 1e-300)
