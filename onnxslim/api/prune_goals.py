"""Which pruning pass a command line amounts to: budgets that are searched for, variants tried."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.budget import Budget
from onnxslim.analysis.cost import batch_of_one, model_macs
from onnxslim.analysis.latency import LatencyTable
from onnxslim.analysis.pruned_cost import bindings_of
from onnxslim.api.latency_goal import LatencyFinder, Timer
from onnxslim.api.prune_options import Goal, PruneOptions
from onnxslim.api.prune_search import Ruler, Search
from onnxslim.errors import DataError, TargetError
from onnxslim.pipeline.base import Pass
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.registry import get_pass
from onnxslim.pipeline.spec import make_pass
from onnxslim.runtime.data import DataSource
from onnxslim.verify.metrics import get_metric

Way = tuple[str, str, float]
"""How channels are chosen: the criterion, the scope and the caution of ``prune-channels``."""

Maker = Callable[[Budget, Way], Pass]
"""The pass for a budget."""

TRIAL_WORK = 3e10
"""Multiply-accumulates of all calibration samples up to which several variants are tried."""

AUTOMATIC: Way = ("auto", "auto", 1.0)
LOCAL: tuple[Way, ...] = (("obs", "local", 1.0), ("l2", "local", 1.0))
FAST: tuple[Way, ...] = (("obs", "auto", 1.0), *LOCAL)
ALLOCATED: tuple[Way, ...] = (*(("obs", "auto", c) for c in (0.0, 0.5, 1.0, 2.0)), *LOCAL)
"""Ways that are tried: for a ratio, for a latency, for costs."""

WITH_DATA: tuple[str, ...] = ("reconstruct-weights",)
WITHOUT_DATA: tuple[str, ...] = ("merge-channels",)
AT_LAST: tuple[str, ...] = ("distill-weights",)
"""Passes that bring accuracy back: with calibration data, without, and with both data and time."""

MIXED_STEPS, MIXED_WORK, LEAST = 4000, 8e11, 0.04
"""Of the last passes, where mixtures of samples help: steps, multiply-accumulates at most, and the
part of the steps that is worth taking."""

TRIED = 0.25
"""Part of them by which that is found out."""


@dataclass
class Chooser:
    """Chooses the pass for one model.

    Attributes:
        model: Prepared for pruning; never changed.
        make: Makes a pass.
        search: Tries on samples held back; None without data.
        measure: Times what predictions say; None where the table is of another machine.
        notes: Lines for the user.
    """

    model: ir.Model
    make: Maker
    search: Search | None
    measure: Timer | None = None
    notes: list[str] = field(default_factory=list)

    def choose(
        self,
        goal: Budget | Goal,
        asked: PruneOptions,
        macs: float | None,
        samples: int,
        ctx: PassContext,
        table: Callable[[], LatencyTable],
    ) -> Pass:
        """The pass that a budget amounts to.

        Args:
            goal: The budget.
            asked: Everything else.
            macs: Of the dense model for one sample; None when unknown.
            samples: For calibration.
            ctx: With calibration data, if there is any.
            table: Finds or measures the latency table.
        """
        if isinstance(goal, Budget):
            if _free(asked):
                return self.variants(goal, macs, samples)
            return self.make(goal, AUTOMATIC)
        if goal.kind == "max_drop":
            metric = None if asked.labels is None else get_metric(asked.metric)
            return self.max_drop(goal, Ruler(metric))
        recovery = WITHOUT_DATA if asked.recover else ()
        finder = LatencyFinder(self.model, table(), ctx, self.measure, recovery)
        return self.latency(goal, asked, macs, samples, finder)

    def variants(self, budget: Budget, macs: float | None, samples: int) -> Pass:
        """The best of a few ways to choose channels, on samples held back.

        Args:
            budget: Of all of them.
            macs: Of the dense model for one sample; None when unknown.
            samples: For calibration.
        """
        ways = LOCAL if budget.kind == "ratio" else ALLOCATED
        passes = [self.make(budget, way) for way in ways]
        if self.search is None or not self._tries(macs, samples):
            return self.make(budget, AUTOMATIC)
        return self.search.best(passes)

    def _tries(self, macs: float | None, samples: int) -> bool:
        """Whether there is time for tries, and enough to judge them on."""
        small = macs is not None and macs * samples <= TRIAL_WORK and samples >= 32
        return small and self.search is not None and self.search.deals()

    def mixes(self, made_by: Pass | None, macs: float | None, samples: int) -> bool:
        """Whether mixtures of samples help the last passes, on samples held back.

        Args:
            made_by: What was decided.
            macs: Of the dense model for one sample; None when unknown.
            samples: For calibration.
        """
        if self.search is None or made_by is None or not self._tries(macs, samples):
            return False
        last = [make_pass(get_pass(name), mixed_options(TRIED)) for name in AT_LAST]
        return self.search.helps(made_by, last, round(1 / TRIED))

    def max_drop(self, goal: Goal, ruler: Ruler) -> Pass:
        """The smallest model within some points.

        Raises:
            DataError: Without data.
        """
        if self.search is None:
            raise DataError("--max-drop compares models on samples: give them with --data")
        return self.search.smallest(partial(self._keeping, AUTOMATIC), goal.amount, ruler)

    def latency(
        self,
        goal: Goal,
        asked: PruneOptions,
        macs: float | None,
        samples: int,
        finder: LatencyFinder,
    ) -> Pass:
        """The best of a few ways to choose channels, each as large as it is fast enough.

        Which widths are fast hangs on the way: allocated by arithmetic, they may need a third of
        that of equal ones to be as fast.

        Args:
            goal: A part of the dense model's latency, or milliseconds.
            asked: Everything else.
            macs: Of the dense model for one sample; None when unknown.
            samples: For calibration.
            finder: Finds how much arithmetic that is.

        Raises:
            TargetError: When no width is fast enough.
        """
        tries = _free(asked) and self._tries(macs, samples)
        ways = self._distinct(FAST) if tries else [AUTOMATIC]
        found: list[tuple[Pass, str]] = []
        missed: TargetError | None = None
        for way in ways:
            if found and self.search is not None and time.monotonic() > self.search.until:
                break
            try:
                found.append(finder.find(goal, partial(self._keeping, way)))
            except TargetError as error:
                missed = missed or error
        if missed is not None and not found:
            raise missed
        made_by = found[0][0]
        if self.search is not None and len(found) > 1:
            made_by = self.search.best([item for item, _ in found])
        self.notes.append("latency " + next(note for item, note in found if item is made_by))
        return made_by

    def _distinct(self, ways: Sequence[Way]) -> list[Way]:
        """Of ways that what was asked for makes the same, the first."""
        made: dict[Pass, Way] = {}
        for way in ways:
            made.setdefault(self._keeping(way, 0.5), way)
        return list(made.values())

    def _keeping(self, way: Way, part: float) -> Pass:
        return self.make(Budget("macs", part), way)


def _free(asked: PruneOptions) -> bool:
    """Whether ways to choose channels may be tried: those that the criterion or scope leaves."""
    open_ = "auto" in (asked.criterion, asked.scope) and asked.steps == 1
    return open_ and asked.search and asked.recover


def macs_of(model: ir.Model, data: DataSource | None) -> float | None:
    """Multiply-accumulates of one sample, in sizes that the samples have; None when unknown."""
    sizes: dict[str, int] = {}
    feed = next(data.rebatched(1).feeds(), {}) if data is not None else {}
    for value in model.graph.inputs:
        if value.shape is not None and value.name in feed:
            for dim, size in zip(value.shape, np.shape(feed[value.name]), strict=False):
                if isinstance(dim, ir.SymbolicDim) and dim.value:
                    sizes[dim.value] = size
    known = {**sizes, **batch_of_one(model)}
    return model_macs(model, bindings_of(model, known)) if sizes else None


def pass_maker(asked: PruneOptions, seed: int, sizes: Mapping[str, int]) -> Maker:
    """Makes passes with everything that was asked for besides the budget."""

    def make(budget: Budget, way: Way) -> Pass:
        criterion, scope, caution = way
        return make_pass(
            get_pass("prune-channels"),
            {
                budget.kind: budget.amount,
                "criterion": criterion if asked.criterion == "auto" else asked.criterion,
                "scope": scope if asked.scope == "auto" else asked.scope,
                "keep": list(asked.keep), "layers": list(asked.layers),
                "round_to": asked.round_to or 0, "min_channels": asked.min_channels or 0,
                "steps": asked.steps, "schedule": asked.schedule, "seed": seed,
                "caution": caution,
                "dims": [f"{name}={size}" for name, size in sizes.items()],
            },
        )  # fmt: skip

    return make


def recovery_passes(
    asked: PruneOptions, has_data: bool, until: float, mixes: Callable[[], bool]
) -> Iterator[tuple[Pass, ...]]:
    """Passes that bring accuracy back, in turn; what takes long only before a deadline.

    Args:
        asked: What to do.
        has_data: There are calibration samples.
        until: The deadline, as ``time.monotonic`` counts.
        mixes: Whether mixtures of samples help; asked last.
    """
    if not asked.recover:
        return
    yield tuple(make_pass(get_pass(n), {}) for n in (WITH_DATA if has_data else WITHOUT_DATA))
    if has_data and asked.search and time.monotonic() < until:
        options = mixed_options() if mixes() else {}
        yield tuple(make_pass(get_pass(name), options) for name in AT_LAST)


def mixed_options(part: float = 1.0) -> dict[str, float]:
    """Of the last passes, with mixtures of samples; for a part of the steps.

    Models of a fixed batch of one have few steps for every sample, and many in all.
    """
    steps, epochs = round(MIXED_STEPS * part), max(1, round(5 * part))
    work = MIXED_WORK * part
    return {
        "mixed": 0.9, "epochs": epochs, "steps": steps, "rate": 0.02, "work": work, "least": LEAST,
    }  # fmt: skip


def trial_passes(asked: PruneOptions) -> tuple[Pass, ...]:
    """The same for tries that are only compared with each other: fewer rows, fewer rounds."""
    short = make_pass(get_pass("reconstruct-weights"), {"rows": 4000, "rounds": 2})
    return (short,) if asked.recover else ()


def deadline(seconds: float | None) -> float:
    """The time after which no further try is started."""
    return math.inf if seconds is None else time.monotonic() + seconds
