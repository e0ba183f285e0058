"""How much the outputs of a model suffer from pruning each group, other things being equal.

The channels that leave are put back as the best linear guess from those that stay, which is what
reconstruction can reach in the layers that read them (see :mod:`onnxslim.pipeline.sensitivity`).
Work items are plain values: any executor can run them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dependency import Dependency, Group, analyze
from onnxslim.analysis.saliency.obs import Curve, curve_of
from onnxslim.analysis.saliency.statistics import Statistics, measure
from onnxslim.analysis.saliency.weights import Weights
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.api.options import RunOptions
from onnxslim.api.prune_search import Share, finely
from onnxslim.api.samples import open_samples
from onnxslim.api.sources import ModelLike, open_model, path_of
from onnxslim.api.stages import prepared
from onnxslim.errors import DataError, TargetError, UsageError
from onnxslim.graph.save import stage
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.manager import Manager
from onnxslim.pipeline.privatize import privatize
from onnxslim.pipeline.sensitivity import Judge, guessed
from onnxslim.runtime.specs import output_names, specs_of
from onnxslim.runtime.worker import Worker

RATIOS = (0.25, 0.5, 0.75)
SAMPLES = 128


@dataclass(frozen=True)
class WorkItem:
    """Some groups of one model; picklable.

    Attributes:
        model: Path of the model.
        options: How it is run, with the data.
        groups: Ids of the groups.
        ratios: Parts of their units that leave.
    """

    model: str
    options: RunOptions
    groups: tuple[int, ...]
    ratios: tuple[float, ...]


@dataclass(frozen=True)
class Point:
    """One group at one ratio.

    Attributes:
        group: Id.
        ratio: Part of the units asked to leave.
        removed: Units out.
        error: Squared error of the outputs in parts of their variance.
    """

    group: int
    ratio: float
    removed: int
    error: float

    @property
    def sqnr_db(self) -> float:
        """The same in decibels."""
        return -10 * math.log10(max(self.error, 1e-30))


@dataclass(frozen=True)
class Sensitivity:
    """The table.

    Attributes:
        model: Path or name.
        samples: That judged.
        points: By group and ratio.
        layers: Names of the layers of each group.
        sizes: Units of each group.
    """

    model: str
    samples: int
    points: tuple[Point, ...]
    layers: dict[int, tuple[str, ...]] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """One entry per group with the points of its curve."""
        groups = []
        for number, names in self.layers.items():
            curve = [
                {"ratio": p.ratio, "removed": p.removed, "error": p.error, "sqnr_db": p.sqnr_db}
                for p in self.points
                if p.group == number
            ]
            groups.append(
                {"id": number, "units": self.sizes[number], "layers": list(names), "curve": curve}
            )
        return {
            "schema": 1,
            "command": "prune",
            "sensitivity": groups,
            "input": self.model,
            "samples": self.samples,
        }


def sensitivity(
    model: ModelLike,
    *,
    ratios: Sequence[float] = RATIOS,
    options: RunOptions | None = None,
    data: Any = None,
    executor: Executor | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Sensitivity:
    """Measure what pruning each group alone does to the outputs.

    Args:
        model: A path, an ``onnx_ir.Model`` or an ``onnx.ModelProto``.
        ratios: Parts of a group's units that leave.
        options: How the model is run.
        data: Samples in any form of ``--data``.
        executor: Runs groups in parallel; needs a path as ``model``. None runs here.
        on_step: Called with the name of what is being done.

    Raises:
        DataError: Without data.
        TargetError: When nothing can be pruned.
        UsageError: For a ratio that is not between 0 and 1.
    """
    chosen = options or RunOptions()
    if data is not None:
        chosen = RunOptions(**{**chosen.__dict__, "data": data})
    if chosen.data is None:
        raise DataError("--sensitivity compares outputs on samples: give them with --data")
    if any(not 0 < r < 1 for r in ratios):
        raise UsageError(f"ratios are {list(ratios)}: expected parts between 0 and 1")
    with ExitStack() as stack:
        bench = _Bench(model, chosen, stack.enter_context(Worker()))
        say = on_step or (lambda text: None)
        if not bench.dependency.groups:
            raise TargetError("no channel can be pruned: there is nothing to measure")
        ids = tuple(g.id for g in bench.dependency.groups)
        if executor is None:
            points = bench.run(ids, tuple(ratios), say)
        else:
            path = path_of(model)
            if path is None:
                raise UsageError(
                    "an executor needs the model as a path, so that others can read it"
                )
            items = [WorkItem(str(path), chosen, (i,), tuple(ratios)) for i in ids]
            points = [p for found in executor.map(run_item, items) for p in found]
        groups = bench.dependency.groups
        return Sensitivity(
            str(path_of(model) or "the model"),
            bench.count,
            tuple(points),
            {g.id: g.layers for g in groups},
            {g.id: g.size for g in groups},
        )


def run_item(item: WorkItem) -> list[Point]:
    """Measure the groups of a work item, in any process."""
    with Worker() as worker:
        bench = _Bench(item.model, item.options, worker)
        return bench.run(item.groups, item.ratios, lambda text: None)


class _Bench:
    """A model ready to be measured."""

    def __init__(self, source: ModelLike, options: RunOptions, worker: Worker) -> None:
        self.worker = worker
        self.model = open_model(source)
        infer_shapes(self.model, worker=worker)
        specs = specs_of(self.model)
        description = options.describe(specs, output_names(self.model))
        samples = finely(
            open_samples(options, specs, description, self.model, samples=SAMPLES, calibration=True)
        )
        ctx = PassContext(self.model, worker=worker)
        privatize(ctx)
        Manager(prepared()).run(self.model, ctx)
        infer_shapes(self.model)
        self.dependency: Dependency = analyze(self.model)
        held = list(Share(samples, (3,)))
        self.count = sum(max((len(a) for a in f.values() if np.ndim(a)), default=1) for f in held)
        self.judge = Judge(self.model, worker, held)
        self.statistics = self._measured(self.model, Share(samples, (0, 1, 2)))

    def _measured(self, model: ir.Model, feeds: Share) -> Statistics:
        with stage(model) as staged, self.worker.session(staged.model_path) as session:
            return measure(session, feeds, self.dependency.groups, covariances=True)

    def run(
        self, ids: Sequence[int], ratios: Sequence[float], say: Callable[[str], None]
    ) -> list[Point]:
        """The points of some groups."""
        found = []
        for number, group in enumerate((self.dependency.groups[i] for i in ids), 1):
            say(f"group {number} of {len(ids)}")
            curve = curve_of(group, Weights(), self.statistics)
            if curve is None:
                continue
            for ratio in ratios:
                point = self._point(group, curve, ratio)
                if point is not None:
                    found.append(point)
        return found

    def _point(self, group: Group, curve: Curve, ratio: float) -> Point | None:
        removed = min(round(group.size * ratio), group.size - 1)
        stays = np.ones(group.size, bool)
        stays[curve.order[:removed]] = False
        variant = guessed(self.model, group, stays, self.statistics) if removed else None
        if variant is None:
            return None
        return Point(group.id, ratio, removed, self.judge.error(variant))
