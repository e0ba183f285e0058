"""How much the outputs of a model suffer when one group loses units and the others make up for it.

What leaves is not cut: in front of every layer that reads the group, the missing channels are put
back as the best linear guess from those that stay (what reconstruction can do at best), and the
model's outputs are compared with the dense model's::

    x_R' = mean_R + Cov_RS (Cov_SS + ridge)^-1 (x_S - mean_S)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.cost import batch_of_one, model_macs
from onnxslim.analysis.dependency import Group, Role, Site
from onnxslim.analysis.dependency.groups import Mask
from onnxslim.analysis.logits import final_softmaxes
from onnxslim.analysis.saliency.base import Array
from onnxslim.analysis.saliency.obs import RIDGE, Curve, curve_of
from onnxslim.analysis.saliency.statistics import Statistics
from onnxslim.analysis.saliency.weights import Weights
from onnxslim.graph.duplicate import duplicate
from onnxslim.graph.save import stage
from onnxslim.pipeline.context import PassContext
from onnxslim.runtime.worker import Worker

_BYTES = 4 << 30
"""Models written to measure one network, at most."""

_SAMPLES, _FEWEST = 64, 8
"""Samples that variants of a model are judged on, and of large models."""

_WORK = 2e12
"""Multiply-accumulates to judge one variant per group with, about."""


@dataclass(frozen=True)
class Cut:
    """One group's pruning: the units that the model misses least are out; picklable.

    Attributes:
        group: Its id.
        removed: Units out.
        size: Units of the group, by which it is recognised in another process.
    """

    group: int
    removed: int
    size: int


@dataclass(frozen=True)
class Measured:
    """What a cut does to the outputs; picklable.

    Attributes:
        group: Its id.
        removed: Units out.
        error: Squared error of the float outputs, in parts of their variance, mean over outputs.
    """

    group: int
    removed: int
    error: float


Spread = Callable[[Sequence[Cut], int], list[Measured]]
"""Measures cuts in other processes, on so many of a context's calibration samples."""


def guessed(model: ir.Model, group: Group, stays: Mask, statistics: Statistics) -> ir.Model | None:
    """A copy of a dense model in which a group's missing units are guessed from the others.

    Args:
        model: The model that the group is of.
        group: The group.
        stays: (size,) True for units that stay.
        statistics: With means and covariances.

    Returns:
        None when nothing was measured in front of the layers that read the group.
    """
    copy = duplicate(model)
    twins = dict(zip(model.graph, copy.graph, strict=True))
    made: dict[tuple[str, int], ir.Value] = {}
    for site in group.of_role(Role.CONSUME, constant=False):
        key = (site.value.name or "", site.axis)
        for position, value in enumerate(site.node.inputs):
            if value is not site.value:
                continue
            twin = twins[site.node]
            if key not in made:
                affine = _guess(site, stays, statistics)
                source = twin.inputs[position]
                if affine is None or source is None:
                    continue
                made[key] = _insert(copy, source, site, *affine, len(made))
            twin.replace_input_with(position, made[key])
    return copy if made else None


def _guess(site: Site, stays: Mask, statistics: Statistics) -> tuple[Array, Array] | None:
    """``B`` (C, C) and ``c`` (C,) with ``x' = B x + c``."""
    covariance, moment = statistics.covariance(site), statistics.at(site)
    if covariance is None or moment is None:
        return None
    gone = (site.units >= 0) & ~stays[site.units]
    left, out = np.flatnonzero(~gone), np.flatnonzero(gone)
    matrix = np.eye(len(gone))
    matrix[out, out] = 0.0
    inner = covariance[np.ix_(left, left)]
    load = RIDGE * float(np.trace(inner)) / max(len(left), 1)
    solved = np.linalg.solve(
        inner + max(load, 1e-12) * np.eye(len(left)), covariance[np.ix_(left, out)]
    )
    matrix[np.ix_(out, left)] = solved.T
    shift = np.zeros(len(gone))
    shift[out] = moment.mean[out] - solved.T @ moment.mean[left]
    return matrix, shift


def _insert(
    model: ir.Model, source: ir.Value, site: Site, matrix: Array, shift: Array, number: int
) -> ir.Value:
    """Put ``x' = B x + c`` along an axis behind a value; returns x'."""
    graph = model.graph
    dtype = site.value.dtype or ir.DataType.FLOAT
    rank, kind = len(site.value.shape or ()), dtype.numpy()

    def constant(name: str, array: np.ndarray) -> ir.Value:
        tensor = ir.Tensor(array, dtype=dtype, name=f"onnxslim_guess_{number}_{name}")
        value = ir.Value(
            name=tensor.name, type=ir.TensorType(dtype), shape=tensor.shape, const_value=tensor
        )
        graph.register_initializer(value)
        return value

    c = constant("shift", shift.astype(kind))
    nodes: list[ir.Node] = []
    if site.axis == 1 and rank > 2:
        shape = matrix.shape + (1,) * (rank - 2)
        w = constant("matrix", matrix.astype(kind).reshape(shape))
        nodes.append(ir.node("Conv", [source, w, c]))
    else:
        order = [i for i in range(rank) if i != site.axis] + [site.axis]
        w = constant("matrix", np.ascontiguousarray(matrix.T).astype(kind))
        value = source
        if order != list(range(rank)):
            nodes.append(ir.node("Transpose", [value], {"perm": order}))
            value = nodes[-1].outputs[0]
        nodes.append(ir.node("MatMul", [value, w]))
        nodes.append(ir.node("Add", [nodes[-1].outputs[0], c]))
        if order != list(range(rank)):
            back = [int(i) for i in np.argsort(order)]
            nodes.append(ir.node("Transpose", [nodes[-1].outputs[0]], {"perm": back}))
    for index, node in enumerate(nodes):
        node.name = f"onnxslim_guess_{number}_{index}"
        node.outputs[0].name = f"{node.name}_out"
    producer = source.producer()
    if producer is None:
        graph.insert_before(graph[0], nodes)
    else:
        graph.insert_after(producer, nodes)
    return nodes[-1].outputs[0]


class Judge:
    """Compares variants of a dense model with it on the same samples.

    Where a Softmax gives an output, its logits are compared.

    Args:
        model: The dense model.
        worker: Runs them.
        feeds: Samples; a few dozen are enough.
    """

    def __init__(self, model: ir.Model, worker: Worker, feeds: Sequence[Mapping[str, Any]]) -> None:
        self.model, self.worker, self.feeds = model, worker, feeds
        self.softmaxes = final_softmaxes(model)
        with stage(model) as staged:
            self.bytes = staged.bytes
            self.wanted = self._answers(staged.model_path)

    def _answers(self, path: Any) -> dict[str, Array]:
        with self.worker.session(path, label="the model") as session:
            runs = [session.run(feed) for feed in self.feeds]
        found = {}
        for name, first in runs[0].items():
            if isinstance(first, np.ndarray) and first.dtype.kind == "f":
                soft = self.softmaxes.get(name)
                arrays = (run[name] if soft is None else soft.logits(run[name]) for run in runs)
                parts = [np.asarray(a, np.float64).reshape(-1) for a in arrays]
                found[name] = np.concatenate(parts)
        return found

    def error(self, model: ir.Model) -> float:
        """Squared error in parts of the variance, mean over float outputs."""
        with stage(model) as staged:
            given = self._answers(staged.model_path)
        parts = []
        for name, wanted in self.wanted.items():
            if given[name].shape != wanted.shape:
                return 1.0
            spread = float(((wanted - wanted.mean()) ** 2).sum())
            parts.append(float(((given[name] - wanted) ** 2).sum()) / max(spread, 1e-30))
        return float(np.mean(parts)) if parts else 0.0


def measure_cuts(
    judge: Judge, groups: Mapping[int, Group], statistics: Statistics, cuts: Iterable[Cut]
) -> list[Measured]:
    """The errors of some cuts of the judge's model; without those of groups that have no curve.

    Args:
        judge: Of the dense model.
        groups: Its groups by id.
        statistics: With means and covariances.
        cuts: What to measure.
    """
    found = []
    curves: dict[int, Curve | None] = {}
    for cut in cuts:
        group = groups[cut.group]
        if cut.group not in curves:
            curves[cut.group] = curve_of(group, Weights(), statistics)
        curve = curves[cut.group]
        if curve is None or not cut.removed:
            continue
        stays = np.ones(group.size, bool)
        stays[curve.order[: cut.removed]] = False
        variant = guessed(judge.model, group, stays, statistics)
        if variant is not None:
            found.append(Measured(cut.group, cut.removed, judge.error(variant)))
    return found


def levels(counts: Sequence[int], size: int, how_many: int) -> list[int]:
    """Of the possible numbers of units out, those nearest to evenly spread parts of the group."""
    wanted = [size * (i + 1) / (how_many + 1) for i in range(how_many)]
    possible = [c for c in counts if c > 0]
    if not possible:
        return []
    return sorted({min(possible, key=lambda c, w=w: (abs(c - w), c)) for w in wanted})  # type: ignore[misc]


def affordable(size: int, groups: int) -> int:
    """How many levels per group are measured for a model of this many bytes: 0 to 3."""
    return min(3, _BYTES // max(size * groups, 1))


def scaled_errors(curve: Array, measured: Iterable[Measured]) -> Array:
    """(size + 1,) a curve brought to the level of measurements.

    The ratio of measurement and curve is interpolated geometrically between the measured numbers of
    units and constant beyond.

    Args:
        curve: (size + 1,) rising, 0 first.
        measured: Of one group.
    """
    points = sorted((m.removed, max(m.error, 1e-12)) for m in measured)
    if not points:
        return curve
    at = np.array([p for p, _ in points], np.float64)
    ratios = np.array([e / max(float(curve[p]), 1e-12) for p, e in points])
    factor = np.exp(np.interp(np.arange(len(curve)), at, np.log(ratios)))
    found: Array = curve * factor
    return found


def predicted_errors(
    ctx: PassContext, model: ir.Model, groups: Sequence[Group], statistics: Statistics
) -> dict[int, Array]:
    """(size + 1,) error of the outputs by group id when its first k units are out.

    Curves of the layers' errors, brought to the level of what a few prunings of the whole model
    give. Groups that were not measured get the mean curve.

    Args:
        ctx: With calibration data; where it spreads work, the prunings are measured elsewhere.
        model: The dense model.
        groups: Its groups.
        statistics: With covariances.
    """
    curves = {g.id: curve_of(g, Weights(), statistics) for g in groups}
    each = (model_macs(model, batch_of_one(model)) or 0) * len(groups)
    samples = min(_SAMPLES, max(_FEWEST, int(_WORK // each))) if each else _SAMPLES
    judge = Judge(model, ctx.worker, few_samples(ctx.calibration, samples))
    how_many = affordable(judge.bytes, len(groups))
    cuts = [
        Cut(group.id, removed, group.size)
        for group in groups
        if curves[group.id] is not None
        for removed in levels(range(1, group.size), group.size, how_many)
    ]
    if ctx.spread is not None:
        measured = ctx.spread(cuts, samples)
    else:
        measured = measure_cuts(judge, {g.id: g for g in groups}, statistics, cuts)
    found = {
        number: scaled_errors(curve.errors, (m for m in measured if m.group == number))
        for number, curve in curves.items()
        if curve is not None
    }
    return {**{g.id: _typical(g, found.values()) for g in groups if g.id not in found}, **found}


def few_samples(feeds: Iterable[Mapping[str, Any]], samples: int) -> list[Mapping[str, Any]]:
    """The first batches, up to about so many samples."""
    found, count = [], 0
    for feed in feeds:
        found.append(feed)
        count += max((len(a) for a in feed.values() if np.ndim(a)), default=1)
        if count >= samples:
            break
    return found


def _typical(group: Group, known: Iterable[Array]) -> Array:
    """The mean of the other curves at the same parts of a group."""
    at = np.linspace(0.0, 1.0, group.size + 1)
    curves = [np.interp(at, np.linspace(0.0, 1.0, len(c)), c) for c in known]
    return np.mean(curves, axis=0) if curves else at**2
