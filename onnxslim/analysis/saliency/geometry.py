"""Criteria that compare the filters of a group with each other: what is redundant goes first."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from onnxslim.analysis.dependency.groups import Group, Role, Site
from onnxslim.analysis.saliency.base import Array, Criterion, in_order, mean_of, weight_sites
from onnxslim.analysis.saliency.magnitude import L2
from onnxslim.analysis.saliency.statistics import Statistics
from onnxslim.analysis.saliency.weights import Weights


def unit_vectors(site: Site, rows: Array, size: int) -> Array:
    """(size, K * D): the rows of all positions of a unit, side by side; zeros where it has fewer.

    Args:
        site: Says which positions belong to which unit.
        rows: (n, D) one row per position.
        size: Number of units.
    """
    taken = np.flatnonzero(site.units >= 0)
    order = taken[np.argsort(site.units[taken], kind="stable")]
    units = site.units[order]
    counts = np.bincount(units, minlength=size)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    found = np.zeros((size, int(counts.max(initial=1)), rows.shape[1]))
    found[units, rank] = rows[order]
    return found.reshape(size, -1)


def _makers(group: Group) -> list[Site]:
    """The filters that make the units; those that read them where none is constant."""
    sites = weight_sites(group)
    return [s for s in sites if s.role is Role.PRODUCE] or sites


def _gram(vectors: Array) -> Array:
    found: Array = vectors @ vectors.T
    return found


class Fpgm(Criterion):
    """Distance to all other filters of the group: filters near the geometric median go first.

    Source: He et al. 2019, arXiv:1811.00250, equation 8.
    """

    name: ClassVar[str] = "fpgm"

    def score(self, group: Group, weights: Weights, statistics: Statistics) -> Array:
        """Mean over sites of the normalised sum of distances."""
        parts = []
        for site in _makers(group):
            gram = _gram(unit_vectors(site, weights.rows(site), group.size))
            square = np.diag(gram)
            apart = np.maximum(square[:, None] + square[None, :] - 2 * gram, 0.0)
            np.fill_diagonal(apart, 0.0)
            parts.append(np.sqrt(apart).sum(axis=1))
        found = mean_of(parts, group.size)
        return in_order(group) if found is None else found


class Cosine(Criterion):
    """Redundancy: of the two filters that point in the most similar directions one goes, and again.

    The score is ``1 - |cos|`` of the pair at the time of removal; of the two the one with the
    smaller norm goes.
    """

    name: ClassVar[str] = "cosine"

    def score(self, group: Group, weights: Weights, statistics: Statistics) -> Array:
        """(size,) in [0, 1], in the order of removal."""
        similar = np.zeros((group.size, group.size))
        sites = _makers(group)
        for site in sites:
            vectors = unit_vectors(site, weights.rows(site), group.size)
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            similar += np.abs(_gram(vectors / np.maximum(norms, 1e-30)))
        if not sites:
            return in_order(group)
        norms = L2().score(group, weights, statistics)
        return removal_scores(np.minimum(similar / len(sites), 1.0), norms)


def removal_scores(similar: Array, norms: Array) -> Array:
    """Score of each unit when always one of the most similar pair is removed.

    Args:
        similar: (n, n) symmetric, 0 to 1; the diagonal is not looked at.
        norms: (n,) which of a pair to keep.

    Returns:
        (n,) ``1 - similarity`` at the removal, never falling with the order; the last has 1.
    """
    n = len(norms)
    similar = similar.copy()
    np.fill_diagonal(similar, -1.0)
    nearest = similar.argmax(axis=1)
    scores, least = np.ones(n), 0.0
    for step in range(n - 1):
        best = similar[np.arange(n), nearest]
        a = int(best.argmax())
        b = int(nearest[a])
        gone = b if (norms[b], -b) < (norms[a], -a) else a
        least = max(least, 1.0 - float(best[a]))
        scores[gone] = least + 1e-9 * step  # the order decides among equals
        similar[gone, :] = similar[:, gone] = -2.0
        stale = np.flatnonzero(nearest == gone)
        nearest[stale] = similar[stale].argmax(axis=1)
    scores[scores == 1.0] = 1.0 + 1e-9 * n
    return scores
