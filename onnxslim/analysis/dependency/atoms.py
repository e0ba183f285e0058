"""Atoms: the coordinates that axes are made of, and which of them are the same.

An axis of size n is an array of n atom numbers (its *labels*), or None when no coordinate of it may
leave. Two coordinates that must leave together are *united*. Facts are collected as arrays of
pairs and resolved at once: a graph has up to a million of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from onnxslim.analysis.dependency.groups import Indices

STAYS = 0
"""The atom of every coordinate that never leaves."""

Labels = Indices
"""(n,) atom of each position of an axis."""


def components(count: int, pairs: list[tuple[Indices, Indices]]) -> Indices:
    """(count,) smallest member of each element's component.

    Pointer jumping over the pairs until nothing changes (Shiloach and Vishkin 1982): a handful of
    rounds over arrays.
    """
    parent = np.arange(count, dtype=np.int64)
    if not pairs:
        return parent
    left = np.concatenate([a for a, _ in pairs])
    right = np.concatenate([b for _, b in pairs])
    while True:
        a, b = parent[left], parent[right]
        apart = a != b
        if not apart.any():
            return parent
        left, right, a, b = left[apart], right[apart], a[apart], b[apart]
        np.minimum.at(parent, np.maximum(a, b), np.minimum(a, b))
        while True:
            jumped = parent[parent]
            if np.array_equal(jumped, parent):
                break
            parent = jumped


@dataclass
class Atoms:
    """All atoms of a model with what is known of them.

    Attributes:
        count: Atoms made so far; number 0 is :data:`STAYS`.
        reasons: Why coordinates stay, one line each, in the order found.
    """

    count: int = 1
    reasons: list[str] = field(default_factory=list)
    _pairs: list[tuple[Indices, Indices]] = field(default_factory=list)
    _frozen: list[tuple[Indices, int]] = field(default_factory=list)

    def fresh(self, size: int) -> Labels:
        """New atoms, one per position."""
        made = np.arange(self.count, self.count + size, dtype=np.int64)
        self.count += size
        return made

    def unite(self, a: Labels, b: Labels) -> None:
        """Position by position, the coordinates of ``a`` and ``b`` leave together."""
        if a is b or not len(a):
            return
        fixed = (a == STAYS) | (b == STAYS)
        if fixed.any():
            self.freeze(np.where(a == STAYS, b, a)[fixed], "it meets coordinates that stay")
            a, b = a[~fixed], b[~fixed]
        if len(a):
            self._pairs.append((a, b))

    def freeze(self, labels: Labels, reason: str) -> None:
        """These coordinates stay, for a reason."""
        labels = labels[labels != STAYS]
        if len(labels):
            self.reasons.append(reason)
            self._frozen.append((labels, len(self.reasons) - 1))

    def solve(self) -> Solution:
        """Classes of coordinates from the facts so far."""
        root = components(self.count, self._pairs)
        why = np.full(self.count, len(self.reasons), dtype=np.int64)
        for labels, index in self._frozen:
            np.minimum.at(why, root[labels], index)
        stays = why[root] < len(self.reasons)
        stays[STAYS] = True
        return Solution(root, stays, why[root])


@dataclass(frozen=True)
class Solution:
    """Classes of coordinates.

    Attributes:
        root: (atoms,) the class of each atom, named by its smallest member.
        stays: (atoms,) True where the class may not leave.
        why: (atoms,) index of the first reason, ``len(reasons)`` where there is none.
    """

    root: Indices
    stays: np.ndarray
    why: Indices
