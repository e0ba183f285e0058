"""Which pruning pass a command line amounts to: budgets that are searched for, variants tried."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from onnxslim.analysis.budget import Budget
from onnxslim.analysis.copies import working_copy
from onnxslim.analysis.dims import Dim
from onnxslim.analysis.latency import LatencyTable
from onnxslim.analysis.linear_work import LinearLayer, linear_layers
from onnxslim.analysis.pruned_cost import bindings_of
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.analysis.symbols import symbols
from onnxslim.api.latency import latency_table
from onnxslim.api.latency_search import LatencySearch
from onnxslim.api.options import RunOptions
from onnxslim.api.prune_options import Goal, PruneOptions
from onnxslim.api.prune_search import Ruler, Search
from onnxslim.errors import DataError
from onnxslim.graph.duplicate import duplicate
from onnxslim.graph.save import stage
from onnxslim.pipeline.base import Pass
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.manager import Manager
from onnxslim.pipeline.recipes import Recipe
from onnxslim.pipeline.registry import get_pass
from onnxslim.pipeline.spec import make_pass
from onnxslim.verify.metrics import get_metric

Maker = Callable[[Budget, str, str], Pass]
"""The pass for a budget, a criterion and a scope."""

Timer = Callable[[ir.Model], tuple[float, float] | None]
"""Milliseconds of the model given and of a cut one; None where it cannot be measured."""

TRIAL_WORK = 3e10
"""Multiply-accumulates of all calibration samples up to which several variants are tried."""

LOCAL = (("obs", "local"), ("l2", "local"))
ALLOCATED = (("obs", "auto"), *LOCAL)

WITH_DATA: tuple[str, ...] = ("reconstruct-weights",)
WITHOUT_DATA: tuple[str, ...] = ("merge-channels",)
AT_LAST: tuple[str, ...] = ("distill-weights",)
"""Passes that bring accuracy back: with calibration data, without, and with both data and time."""

MIXED_STEPS, MIXED_WORK = 600, 7e11
"""Of the last passes, where mixtures of samples help: steps, and multiply-accumulates at most."""

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
            free = (asked.criterion, asked.scope, asked.steps) == ("auto", "auto", 1)
            if free and asked.search and asked.recover:
                return self.variants(goal, macs, samples)
            return self.make(goal, "auto", "auto")
        if goal.kind == "max_drop":
            metric = None if asked.labels is None else get_metric(asked.metric)
            return self.max_drop(goal, Ruler(metric))
        return self.latency(goal, table(), ctx, recover=asked.recover)

    def variants(self, budget: Budget, macs: float | None, samples: int) -> Pass:
        """The best of a few ways to choose channels, on samples held back.

        Args:
            budget: Of all of them.
            macs: Of the dense model for one sample; None when unknown.
            samples: For calibration.
        """
        ways = LOCAL if budget.kind == "ratio" else ALLOCATED
        passes = [self.make(budget, *way) for way in ways]
        if self.search is None or not self._small(macs, samples):
            return self.make(budget, "auto", "auto")
        return self.search.best(passes)

    @staticmethod
    def _small(macs: float | None, samples: int) -> bool:
        """Whether there is time for tries, and enough to judge them on."""
        return macs is not None and macs * samples <= TRIAL_WORK and samples >= 32

    def mixes(self, made_by: Pass | None, macs: float | None, samples: int) -> bool:
        """Whether mixtures of samples help the last passes, on samples held back.

        Args:
            made_by: What was decided.
            macs: Of the dense model for one sample; None when unknown.
            samples: For calibration.
        """
        if self.search is None or made_by is None or not self._small(macs, samples):
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

        def make(part: float) -> Pass:
            return self.make(Budget("macs", part), "auto", "auto")

        return self.search.smallest(make, goal.amount, ruler)

    def latency(
        self, goal: Goal, table: LatencyTable, ctx: PassContext, *, recover: bool = True
    ) -> Pass:
        """The largest part of the arithmetic that is fast enough by the table, and measured.

        What is measured is recovered without data first, as recovery adds biases.

        Args:
            goal: A part of the dense model's latency, or milliseconds.
            table: Layer latencies by width.
            ctx: With calibration data, if there is any.
            recover: The result will be recovered.

        Raises:
            TargetError: When no width is fast enough.
        """
        names = table_names(self.model, table)
        measure, recovery = self.measure, WITHOUT_DATA if recover else ()

        def timed(made_by: Pass) -> tuple[float, float] | None:
            return measure(self._cut(ctx, made_by, *recovery)) if measure else None

        search = LatencySearch(
            lambda part: self.make(Budget("macs", part), "auto", "auto"),
            lambda made_by: self._cut(ctx, made_by),
            lambda cut: predict(cut, table, names),
            table.median_ms,
            timed if measure else None,
        )
        made_by, note = search.find(goal)
        self.notes.append(f"latency {note}")
        return made_by

    def _cut(self, ctx: PassContext, made_by: Pass, *more: str) -> ir.Model:
        copy = working_copy(self.model)
        own = PassContext(copy, worker=ctx.worker, calibration=ctx.calibration)
        own.memory = ctx.memory
        passes = (made_by, *(make_pass(get_pass(name), {}) for name in more))
        Manager(Recipe("latency", passes)).run(copy, own)
        return copy


def table_names(model: ir.Model, table: LatencyTable) -> dict[str, str]:
    """Names in the table by names of the layers that stand for them now.

    Raises:
        DataError: When the table is of another model.
    """
    layers = {layer.name for layer in fixed_layers(model)}
    found = {name: name for name in layers if name in table.layers}
    if not found:
        raise DataError(
            "the latency table has no layer of this model: make one with "
            "`onnxslim bench MODEL --table FILE`"
        )
    return found


def predict(pruned: ir.Model, table: LatencyTable, names: dict[str, str]) -> float:
    """Milliseconds of a pruned model, from the widths of its layers."""
    widths = {
        names[layer.name]: (layer.c_in, layer.c_out)
        for layer in fixed_layers(pruned)
        if layer.name in names
    }
    return table.predict_model(widths)


def fixed_layers(model: ir.Model) -> list[LinearLayer]:
    """The linear layers with every dynamic size put to 1 for batches, else as costs assume it."""
    copy = duplicate(model)
    infer_shapes(copy)
    sizes = bindings_of(copy, {})
    for value in copy.graph.inputs:
        if value.shape is not None:
            value.shape = ir.Shape([_size(dim, sizes) for dim in value.shape])
    infer_shapes(copy)
    return linear_layers(copy)


def _size(dim: Dim, sizes: dict[str, int]) -> int:
    return dim if isinstance(dim, int) else sizes.get(next(iter(symbols(dim)), ""), 1)


def pass_maker(asked: PruneOptions, seed: int, sizes: Mapping[str, int]) -> Maker:
    """Makes passes with everything that was asked for besides the budget."""

    def make(budget: Budget, criterion: str, scope: str) -> Pass:
        return make_pass(
            get_pass("prune-channels"),
            {
                budget.kind: budget.amount,
                "criterion": criterion if asked.criterion == "auto" else asked.criterion,
                "scope": scope if asked.scope == "auto" else asked.scope,
                "keep": list(asked.keep), "layers": list(asked.layers),
                "round_to": asked.round_to or 0, "min_channels": asked.min_channels or 0,
                "steps": asked.steps, "schedule": asked.schedule, "seed": seed,
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
    return {"mixed": 0.9, "epochs": epochs, "steps": steps, "rate": 0.02, "work": work}


def trial_passes(asked: PruneOptions) -> tuple[Pass, ...]:
    """The same for tries that are only compared with each other: fewer rows, fewer rounds."""
    short = make_pass(get_pass("reconstruct-weights"), {"rows": 4000, "rounds": 2})
    return (short,) if asked.recover else ()


def table_for(
    model: ir.Model,
    asked: PruneOptions,
    options: RunOptions,
    target: Path | None,
    on_step: Callable[[str], None],
) -> LatencyTable:
    """The latency table: the one given, or one measured here and saved beside the result."""
    if asked.latency_table is not None:
        return LatencyTable.load(asked.latency_table)
    on_step("measuring layers")
    with stage(model) as staged:
        table = latency_table(staged.model_path, options=options, on_step=on_step)
    if target is not None:
        table.save(target.with_name(f"{target.stem}.latency.json"))
    return table


def deadline(seconds: float | None) -> float:
    """The time after which no further try is started."""
    return math.inf if seconds is None else time.monotonic() + seconds
