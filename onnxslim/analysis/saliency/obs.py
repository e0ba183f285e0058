"""Optimal brain surgeon over whole channels: what a layer loses, if the others make up for it.

For a layer that reads channels x with covariance H (C, C) and weights with Gram matrix M (C, C) of
its columns (``M_cd`` sums ``w_c w_d`` over outputs and kernel taps), removing the positions c of a
unit, with the best linear compensation by the others, costs::

    error(c) = trace(M_cc ((H^-1)_cc)^-1)
    A = ((H^-1)_cc)^-1 (H^-1)_c:        W <- W - W_c A        H^-1 <- H^-1 - (H^-1)_:c A

All kernel taps share the compensation, so that a step costs C^2 whatever the kernel. Repeated
greedily it gives the order in which units leave and the whole curve of errors.

Source: Hassibi and Stork 1993; Kurtic et al. 2023 (ZipLM), arXiv:2302.04089, for whole structures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from onnxslim.analysis.dependency.groups import Group, Indices, Role, Site
from onnxslim.analysis.saliency.activation import Wanda
from onnxslim.analysis.saliency.base import Array, Criterion
from onnxslim.analysis.saliency.statistics import Statistics
from onnxslim.analysis.saliency.weights import Weights
from onnxslim.graph import edit

RIDGE = 0.1
"""Added to the covariance's diagonal, in parts of its mean: what few samples do not show counts by
the weights alone. Of 0.001 to 10 the best in the mean on small trained networks."""

_BATCHES = 128
"""Units of large groups leave in at most this many steps."""


_SHRINK = 0.8
"""Matrices are cut down when so much of their units is left."""


@dataclass(frozen=True, eq=False)
class Curve:
    """How units of a group leave.

    Attributes:
        order: (size,) units, the first to leave first.
        errors: (size + 1,) relative error of the layers that read them when the first k are out.
    """

    order: Indices
    errors: Array


@dataclass(frozen=True, eq=False)
class Reader:
    """A layer that reads the units.

    Attributes:
        units: (C,) unit of each channel that it reads, -1 for channels of other groups.
        covariance: (C, C) of the channels.
        gram: (C, C) of the columns of its weights.
    """

    units: Indices
    covariance: Array
    gram: Array


class _State:
    """One reader while units leave."""

    def __init__(self, reader: Reader, size: int, ridge: float) -> None:
        cov = reader.covariance
        load = ridge * float(np.trace(cov)) / max(len(cov), 1)
        self.inverse = np.linalg.inv(cov + max(load, 1e-12) * np.eye(len(cov)))
        self.gram = reader.gram.copy()
        energy = float(np.einsum("ij,ji->", reader.gram, cov))
        self.scale = 1.0 / max(energy, 1e-30)
        order = np.argsort(reader.units, kind="stable")
        units = reader.units[order]
        first = np.searchsorted(units, np.arange(size + 1))
        self.positions = [order[first[u] : first[u + 1]] for u in range(size)]
        self.single = all(len(p) == 1 for p in self.positions)
        self.flat = np.array([p[0] if len(p) else 0 for p in self.positions])

    def errors(self, left: Indices) -> Array:
        """(left,) relative error of letting each unit go next."""
        if self.single:
            at = self.flat[left]
            cheap: Array = self.gram[at, at] / np.maximum(self.inverse[at, at], 1e-30)
            return cheap * self.scale
        found = [self._block(self.positions[unit]) for unit in left.tolist()]
        return np.asarray(found) * self.scale

    def _block(self, at: Indices) -> float:
        if not len(at):
            return 0.0
        block = np.ix_(at, at)
        return float(np.trace(np.linalg.solve(self.inverse[block], self.gram[block])))

    def forget(self, left: Indices) -> None:
        """Hold only what is known of these units: steps cost the square of what is held."""
        kept = np.concatenate([self.positions[unit] for unit in left.tolist()])
        at = np.zeros(len(self.gram), np.int64)
        at[kept] = np.arange(len(kept))
        for unit in left.tolist():
            self.positions[unit] = at[self.positions[unit]]
        self.flat = at[self.flat]
        block = np.ix_(kept, kept)
        self.inverse, self.gram = self.inverse[block], self.gram[block]

    def remove(self, units: Sequence[int]) -> None:
        """Let units go; the others make up for them. What is held of these is of no use now."""
        at = np.concatenate([self.positions[unit] for unit in units])
        if not len(at):
            return
        step = np.linalg.solve(self.inverse[np.ix_(at, at)], self.inverse[at])
        self.inverse -= self.inverse[:, at] @ step
        mixed = self.gram[:, at] @ step
        self.gram += step.T @ self.gram[np.ix_(at, at)] @ step - mixed - mixed.T


def obs_curve(readers: Sequence[Reader], cells: Indices, ridge: float = RIDGE) -> Curve:
    """Let the units of a group leave one after the other, the cheapest first.

    Args:
        readers: The layers that read them; their relative errors add up.
        cells: (size,) cell of each unit; units leave one of every cell in turn.
        ridge: Added to the covariances' diagonals, in parts of their means.
    """
    size = len(cells)
    states = [_State(reader, size, ridge) for reader in readers]
    left, held = np.arange(size), size
    count = int(cells.max(initial=0)) + 1
    batch = max(1, size // count // _BATCHES)
    order: list[int] = []
    errors, total = [0.0], 0.0
    while len(left):
        costs = sum((state.errors(left) for state in states), np.zeros(len(left)))
        chosen = _cheapest(costs, cells[left], count, batch)
        total += float(costs[chosen].sum())
        out = left[chosen]
        errors += np.linspace(errors[-1], total, len(out) + 1)[1:].tolist()
        order += out.tolist()
        left = np.delete(left, chosen)
        if len(left):
            for state in states:
                state.remove(out.tolist())
        if 0 < len(left) < _SHRINK * held:
            held = len(left)
            for state in states:
                state.forget(left)
    return Curve(np.asarray(order, np.int64), np.asarray(errors))


def _cheapest(costs: Array, cells: Indices, count: int, batch: int) -> Indices:
    """Positions of the ``batch`` cheapest of every cell, cell by cell in turn."""
    found: Indices = np.argsort(costs, kind="stable")
    if count == 1:
        return found[:batch]
    rows = [found[cells[found] == cell][:batch] for cell in range(count)]
    width = min(len(row) for row in rows)
    return np.stack([row[:width] for row in rows], axis=1).reshape(-1)


class Obs(Criterion):
    """Error of the layers that read a unit, when the others make up for it as well as they can.

    Where nothing was measured (hidden states of recurrent layers), Wanda.
    """

    name: ClassVar[str] = "obs"
    needs_data: ClassVar[bool] = True
    needs_grams: ClassVar[bool] = True

    def score(self, group: Group, weights: Weights, statistics: Statistics) -> Array:
        """(size,) relative error that each unit adds when it leaves, never falling."""
        curve = curve_of(group, weights, statistics)
        if curve is None:
            return Wanda().score(group, weights, statistics)
        scores = np.empty(group.size)
        steps = np.maximum.accumulate(np.diff(curve.errors))
        scores[curve.order] = steps + 1e-9 * np.arange(group.size) * max(float(steps[-1]), 1e-30)
        return scores


def curve_of(group: Group, weights: Weights, statistics: Statistics) -> Curve | None:
    """The curve of a group; None when no reader with constant weights was measured."""
    if not weights.dense:
        return _curve(group, weights, statistics)
    if group.id not in statistics.curves:
        statistics.curves[group.id] = _curve(group, weights, statistics)
    found: Curve | None = statistics.curves[group.id]
    return found


def _curve(group: Group, weights: Weights, statistics: Statistics) -> Curve | None:
    readers = []
    for site in group.of_role(Role.CONSUME, constant=False):
        covariance = statistics.covariance(site)
        gram = None if covariance is None else column_gram(group, site, weights)
        if covariance is not None and gram is not None and gram.any() and covariance.any():
            readers.append(Reader(site.units, covariance, gram))
    return obs_curve(readers, group.cells) if readers else None


def column_gram(group: Group, data: Site, weights: Weights) -> Array | None:
    """(C, C) products of the weights with which a node reads its channels; None without any."""
    for site in group.of_role(Role.CONSUME, constant=True):
        if site.node is data.node and len(site.units) == len(data.units):
            rows = weights.rows(site)
            found: Array = rows @ rows.T
            return found
    return _grouped_gram(data)


def _grouped_gram(data: Site) -> Array | None:
    """Of a grouped convolution: channels meet only inside their block."""
    array = edit.constant_array(edit.get_input(data.node, 1))
    groups = int(edit.attr(data.node, "group", 1))
    if not edit.is_op(data.node, "Conv") or array is None or array.shape[0] % groups:
        return None
    if array.shape[1] * groups != len(data.units):
        return None
    width = array.shape[1]
    found: npt.NDArray[np.float64] = np.zeros((len(data.units), len(data.units)))
    for block, part in enumerate(np.split(array.astype(np.float64), groups)):
        rows = np.moveaxis(part, 1, 0).reshape(width, -1)
        inside = slice(block * width, (block + 1) * width)
        found[inside, inside] = rows @ rows.T
    return found
