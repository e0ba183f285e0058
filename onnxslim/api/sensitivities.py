"""How much the outputs of a model suffer from pruning each group, other things being equal.

The channels that leave are put back as the best linear guess from those that stay, which is what
reconstruction can reach in the layers that read them (see :mod:`onnxslim.pipeline.sensitivity`).
Any executor can do the measuring (see :mod:`onnxslim.api.work_items`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from onnxslim.analysis.dependency import Group
from onnxslim.api.executors import executor_of
from onnxslim.api.options import RunOptions
from onnxslim.api.prune_search import deals, finely
from onnxslim.api.sources import ModelLike, path_of
from onnxslim.api.work_items import Dense, Given, Spreading, WorkItem
from onnxslim.errors import DataError, TargetError, UsageError
from onnxslim.pipeline.sensitivity import Cut
from onnxslim.runtime.worker import Worker

RATIOS = (0.25, 0.5, 0.75)
SAMPLES = 128

FITTED, JUDGED = (0, 1, 2), (3,)
"""Quarters of the samples that units are guessed from, and that outputs are compared on."""


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
    executor: Executor | str | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Sensitivity:
    """Measure what pruning each group alone does to the outputs.

    Args:
        model: A path, an ``onnx_ir.Model`` or an ``onnx.ModelProto``.
        ratios: Parts of a group's units that leave.
        options: How the model is run.
        data: Samples in any form of ``--data``.
        executor: Runs groups in parallel, as ``batch`` takes it; needs a path as ``model``. None
            runs here.
        on_step: Called with the name of what is being done.

    Raises:
        DataError: Without data, or with fewer than four samples or feeds.
        TargetError: When nothing can be pruned.
        UsageError: For a ratio that is not between 0 and 1.
    """
    chosen = options or RunOptions()
    if data is not None:
        chosen = replace(chosen, data=data)
    if chosen.data is None:
        raise DataError("--sensitivity compares outputs on samples: give them with --data")
    if any(not 0 < r < 1 for r in ratios):
        raise UsageError(f"ratios are {list(ratios)}: expected parts between 0 and 1")
    say = on_step or (lambda text: None)

    def count(done: int, of: int) -> None:
        say(f"group {done} of {of}" if pool is None else f"part {done} of {of}")

    given = Given(model, chosen, SAMPLES)
    with Worker() as worker, executor_of(executor) as pool:
        spreading = Spreading(pool, given)
        dense = Dense(given, worker)
        if not dense.groups:
            raise TargetError("no channel can be pruned: there is nothing to measure")
        if not deals(finely(dense.data)):
            raise DataError(
                "--sensitivity deals samples out in four, but the data comes in fewer feeds: give "
                "more samples, or smaller feeds"
            )
        asked = {(g.id, r): _cut(g, r) for g in dense.groups for r in ratios}
        cuts = tuple(dict.fromkeys(asked.values()))
        whole = WorkItem(given, cuts, FITTED, JUDGED)
        run = dense.measure if pool is None else spreading.run
        errors = {(m.group, m.removed): m.error for m in run(whole, count)}
        held = dense.feeds(JUDGED)
        samples = sum(max((len(a) for a in f.values() if np.ndim(a)), default=1) for f in held)
    points = tuple(
        Point(group, ratio, cut.removed, errors[group, cut.removed])
        for (group, ratio), cut in asked.items()
        if (group, cut.removed) in errors
    )
    return Sensitivity(
        str(path_of(model) or "the model"),
        samples,
        points,
        {g.id: g.layers for g in dense.groups},
        {g.id: g.size for g in dense.groups},
    )


def _cut(group: Group, ratio: float) -> Cut:
    return Cut(group.id, min(round(group.size * ratio), group.size - 1), group.size)
