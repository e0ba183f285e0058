"""What a criterion is, and the arithmetic that all of them share.

The score of a unit is the mean over the sites of its group of ``s / mean(s)``, with ``s`` the
unit's saliency at that site: units compete within their group, sites have no unit of measure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from onnxslim.analysis.dependency.groups import Group, Indices, Role, Site
from onnxslim.analysis.saliency.statistics import Statistics
from onnxslim.analysis.saliency.weights import Weights
from onnxslim.graph.edit import is_op

Array = npt.NDArray[np.float64]


class Criterion(ABC):
    """Scores the units of a group; those with the lowest scores are removed first.

    A subclass is constructed without arguments, or is a dataclass with a field ``seed``. Another
    distribution registers its own in the entry-point group ``onnxslim.criteria``.

    Attributes:
        name: What ``--criterion`` calls it.
        needs_data: Whether the statistics of calibration data are needed.
        needs_grams: Whether covariances are needed among them.
    """

    name: ClassVar[str]
    needs_data: ClassVar[bool] = False
    needs_grams: ClassVar[bool] = False

    @abstractmethod
    def score(self, group: Group, weights: Weights, statistics: Statistics) -> Array:
        """(size,) scores; comparable between groups when their mean is 1.

        Args:
            group: The units and the sites where they take part.
            weights: The constants behind the sites.
            statistics: Of the data tensors behind the sites; empty without calibration data.
        """


def unit_sums(units: Indices, values: npt.NDArray[Any], size: int) -> Array:
    """(size,) sums of per-position values over the positions of each unit.

    Args:
        units: (n,) unit of each position, -1 for none.
        values: (n,) a number per position.
        size: Number of units.
    """
    taken = units >= 0
    found = np.bincount(units[taken], weights=values[taken], minlength=size)
    return found[:size].astype(np.float64)


def normalised(scores: Array) -> Array:
    """Scores with mean 1; zeros stay zeros."""
    mean = float(scores.mean()) if scores.size else 0.0
    return scores / mean if mean > 0 else np.zeros_like(scores)


def mean_of(parts: Iterable[Array], size: int) -> Array | None:
    """(size,) mean of normalised scores; None when there are none or all are zero."""
    found = [normalised(part) for part in parts if part.any()]
    return np.mean(found, axis=0) if found else None


def weight_sites(group: Group) -> list[Site]:
    """The sites of filters: constants that produce or consume units, depthwise ones too.

    A bias says little of a unit; it counts only where there is nothing else.
    """
    roles = (Role.PRODUCE, Role.CONSUME)
    sites = [s for s in group.sites if s.constant and (s.role in roles or is_op(s.node, "Conv"))]
    wide = [s for s in sites if _row_size(s) > 1]
    return wide or sites or [s for s in group.sites if s.constant]


def _row_size(site: Site) -> int:
    shape = site.value.shape
    return 1 if shape is None else int(np.prod(shape.numpy())) // max(len(site.units), 1)


def over_weights(
    group: Group, weights: Weights, saliency: Callable[[Array], Array]
) -> Array | None:
    """Group score from a saliency of the rows of each filter.

    Args:
        group: The units.
        weights: The constants.
        saliency: (n, D) rows to (n,) numbers that add up over the positions of a unit.
    """
    parts = (
        unit_sums(site.units, saliency(weights.rows(site)), group.size)
        for site in weight_sites(group)
    )
    return mean_of(parts, group.size)


def in_order(group: Group) -> Array:
    """The score of units about which nothing is known: the first are kept."""
    return np.linspace(1.5, 0.5, group.size) if group.size > 1 else np.ones(group.size)
