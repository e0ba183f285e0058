"""Scores of groups, also of those that lost units in an earlier step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from onnxslim.analysis.dependency import Group
from onnxslim.analysis.dependency.groups import Mask
from onnxslim.analysis.saliency.base import Array

Scorer = Callable[[Group], Array]


def subgroup(group: Group, stays: Mask) -> Group:
    """The group of the units that are left: positions of the others belong to nobody."""
    number = np.where(stays, np.cumsum(stays) - 1, -1)
    padded = np.append(number, -1)
    sites = tuple(type(s)(s.node, s.role, s.value, s.axis, padded[s.units]) for s in group.sites)
    return Group(
        group.id, int(stays.sum()), group.cells[stays], group.width, sites, group.layers, group.kind
    )


def score_groups(
    groups: Sequence[Group], scorer: Scorer, before: Mapping[int, Mask] | None = None
) -> dict[int, Array]:
    """(size,) scores by group id; units that left before have 0."""
    found = {}
    for group in groups:
        stays = (before or {}).get(group.id)
        if stays is None or stays.all():
            found[group.id] = scorer(group)
            continue
        own = np.zeros(group.size)
        own[stays] = scorer(subgroup(group, stays))
        found[group.id] = own
    return found
