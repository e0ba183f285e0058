"""Criteria from calibration data: no gradients, no labels, only what the runtime computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from onnxslim.analysis.dependency.groups import Group, Role, Site
from onnxslim.analysis.saliency.base import Array, Criterion, mean_of, unit_sums
from onnxslim.analysis.saliency.magnitude import L2
from onnxslim.analysis.saliency.statistics import Moment, Statistics
from onnxslim.analysis.saliency.weights import Weights
from onnxslim.graph import edit


def _over_data(
    group: Group, statistics: Statistics, saliency: Callable[[Moment], Array]
) -> Array | None:
    """Group score from a saliency per position of the data tensors that consumers read."""
    parts = []
    tensors = {(s.value, s.axis): s for s in group.of_role(Role.CONSUME, constant=False)}
    for site in tensors.values():
        moment = statistics.at(site)
        if moment is not None:
            parts.append(unit_sums(site.units, saliency(moment), group.size))
    return mean_of(parts, group.size)


class MeanActivation(Criterion):
    """Mean magnitude of a unit's activations where it is consumed.

    Source: Molchanov et al. 2017, arXiv:1611.06440, section 2.2.
    """

    name: ClassVar[str] = "mean-activation"
    needs_data: ClassVar[bool] = True

    def score(self, group: Group, weights: Weights, statistics: Statistics) -> Array:
        """Mean over consumed tensors of the normalised ``E|x|``; L2 where nothing was measured."""
        found = _over_data(group, statistics, lambda m: m.mean_abs)
        return L2().score(group, weights, statistics) if found is None else found


class Apoz(Criterion):
    """Part of a unit's activations that are not zero; the mean magnitude decides among equals.

    Source: Hu et al. 2016, arXiv:1607.03250.
    """

    name: ClassVar[str] = "apoz"
    needs_data: ClassVar[bool] = True

    def score(self, group: Group, weights: Weights, statistics: Statistics) -> Array:
        """Mean over consumed tensors of ``1 - zeros``; L2 where nothing was measured."""
        found = _over_data(group, statistics, _alive)
        return L2().score(group, weights, statistics) if found is None else found


def _alive(moment: Moment) -> Array:
    peak = float(moment.mean_abs.max(initial=0.0))
    return (1.0 - moment.zeros) + (1e-3 * moment.mean_abs / peak if peak else 0.0)


class Wanda(Criterion):
    """Energy that a unit brings into the layers that read it: ``|W_next[:, c]|^2 E[x_c^2]``.

    The diagonal of the layer-wise Hessian times the squared weights. Where nothing was measured
    (hidden states of recurrent layers), the L2 criterion.

    Source: Sun et al. 2024, arXiv:2306.11695, for whole input channels.
    """

    name: ClassVar[str] = "wanda"
    needs_data: ClassVar[bool] = True

    def score(self, group: Group, weights: Weights, statistics: Statistics) -> Array:
        """Square root of the mean over consumers of the normalised energy."""
        parts = []
        for site in group.of_role(Role.CONSUME, constant=False):
            moment = statistics.at(site)
            column = None if moment is None else column_energy(group, site, weights)
            if moment is not None and column is not None:
                parts.append(unit_sums(site.units, column * moment.mean_square, group.size))
        found = mean_of(parts, group.size)
        if found is None:
            return L2().score(group, weights, statistics)
        found = np.sqrt(found)
        return found / max(float(found.mean()), 1e-300)


def column_energy(group: Group, data: Site, weights: Weights) -> Array | None:
    """(n,) sum of squared weights that a node reads each position of a data tensor with.

    None when the node's other operand is no constant. In a grouped convolution the input channel
    ``b * (C / g) + j`` meets column ``j`` of the filters of block ``b`` only.
    """
    for site in group.of_role(Role.CONSUME, constant=True):
        if site.node is not data.node:
            continue
        if len(site.units) == len(data.units):
            rows = weights.rows(site)
            found: Array = np.einsum("ij,ij->i", rows, rows)
            return found
    return _grouped_energy(data, weights)


def _grouped_energy(data: Site, weights: Weights) -> Array | None:
    node, value = data.node, edit.get_input(data.node, 1)
    groups = int(edit.attr(node, "group", 1))
    if value is None or not edit.is_op(node, "Conv") or not edit.is_constant(value):
        return None
    if value.const_value is None:
        return None
    array = weights.folded(node, value)
    if array.shape[0] % groups or array.shape[1] * groups != len(data.units):
        return None
    blocks = array.reshape(groups, -1, *array.shape[1:])
    found: Array = (blocks**2).sum(axis=(1, *range(3, blocks.ndim))).reshape(-1)
    return found
