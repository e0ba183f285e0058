"""What calibration data says of the tensors in which units take part, measured in one go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxslim.analysis.dependency.groups import Group, Role, Site
from onnxslim.runtime.moments import Moments
from onnxslim.runtime.reducers import Gram, Reducer

if TYPE_CHECKING:
    from onnxslim.runtime.session import Session

Array = npt.NDArray[np.float64]

_ROWS, _WIDEST = 4096, 4096
"""Rows per batch and most channels for which a covariance is measured."""


@dataclass(frozen=True, eq=False)
class Moment:
    """Statistics per position of one axis of a tensor, over samples and all other axes.

    Attributes:
        mean: (n,) mean.
        mean_abs: (n,) mean magnitude.
        mean_square: (n,) mean square.
        zeros: (n,) part of the values that are exactly zero, 0 to 1.
    """

    mean: Array
    mean_abs: Array
    mean_square: Array
    zeros: Array


@dataclass(frozen=True)
class Statistics:
    """Moments by value name and axis; empty without calibration data.

    Attributes:
        moments: Of every tensor in which units take part.
        covariances: (n, n) over samples and all other axes, of the tensors that layers read;
            empty unless asked for.
        curves: What followed from them for the dense weights, by group id: each takes long.
    """

    moments: Mapping[tuple[str, int], Moment] = field(default_factory=dict)
    covariances: Mapping[tuple[str, int], Array] = field(default_factory=dict)
    curves: dict[int, Any] = field(default_factory=dict, compare=False)

    def covariance(self, site: Site) -> Array | None:
        """(n, n) covariance of the positions of a site's axis; None when it was not measured."""
        found = self.covariances.get((site.value.name or "", site.axis))
        return found if found is not None and len(found) == len(site.units) else None

    def at(self, site: Site) -> Moment | None:
        """The moments of the tensor and axis of a site; None when they were not measured."""
        found = self.moments.get((site.value.name or "", site.axis))
        return found if found is not None and len(found.mean) == len(site.units) else None


def measured_sites(groups: Iterable[Group]) -> list[Site]:
    """The data tensors that criteria ask about: where units are consumed or normalized."""
    roles = (Role.CONSUME, Role.STATISTIC)
    return [s for g in groups for s in g.sites if not s.constant and s.role in roles]


def measure(
    session: Session,
    feeds: Iterable[Mapping[str, Any]],
    groups: Iterable[Group],
    *,
    covariances: bool = False,
) -> Statistics:
    """Stream calibration data through a model and measure the tensors of all groups.

    Args:
        session: The model that the groups are of, ONNX Runtime's optimizer off.
        feeds: Batches of calibration data.
        groups: Groups of the model.
        covariances: Measure those of the tensors that layers read, too.
    """
    groups = list(groups)
    keys = dict.fromkeys((s.value.name or "", s.axis) for s in measured_sites(groups))
    reducers: dict[str, list[Reducer]] = {}
    for name, axis in keys:
        reducers.setdefault(name, []).append(Moments(axis))
    wide = _wide_sites(groups) if covariances else {}
    for (name, axis), _ in wide.items():
        reducers[name].append(Gram(axis, max_rows=_ROWS))
    if not reducers:
        return Statistics()
    found = session.reduce(feeds, reducers)
    moments, spread = {}, {}
    for name, made in reducers.items():
        for reducer, facts in zip(made, found[name], strict=True):
            if not facts["count"]:
                continue
            if isinstance(reducer, Gram):
                mean = facts["sum"] / facts["count"]
                spread[name, reducer.axis] = facts["gram"] / facts["count"] - np.outer(mean, mean)
            elif isinstance(reducer, Moments):
                moments[name, reducer.axis] = Moment(
                    facts["mean"], facts["mean_abs"], facts["mean_square"], facts["zeros"]
                )
    return Statistics(moments, spread)


def _wide_sites(groups: Iterable[Group]) -> dict[tuple[str, int], None]:
    """Names and axes of the data tensors that layers with weights read."""
    return {
        (s.value.name or "", s.axis): None
        for g in groups
        for s in g.of_role(Role.CONSUME, constant=False)
        if len(s.units) <= _WIDEST
    }
