"""Measuring what single groups' prunings do, as plain values that any executor can run.

A work item names a model by its path, says how its samples are opened, and lists cuts. Whoever
runs it prepares the model as ``prune`` does, so that groups have the same numbers everywhere.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import onnx_ir as ir

from onnxslim.analysis.copies import working_copy
from onnxslim.analysis.dependency import analyze
from onnxslim.analysis.saliency.statistics import measure
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.api.executors import each, width
from onnxslim.api.options import RunOptions
from onnxslim.api.prune_search import Share, finely
from onnxslim.api.samples import open_samples
from onnxslim.api.sources import ModelLike, open_model, path_of
from onnxslim.api.stages import CalibrationFeeds, prepared
from onnxslim.errors import OnnxSlimError, UnsupportedModelError, UsageError, WorkerError
from onnxslim.graph.provenance import remember_readers
from onnxslim.graph.save import stage
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.manager import Manager
from onnxslim.pipeline.privatize import privatize
from onnxslim.pipeline.sensitivity import Cut, Judge, Measured, Spread, few_samples, measure_cuts
from onnxslim.runtime.data import DataSource
from onnxslim.runtime.specs import output_names, specs_of
from onnxslim.runtime.worker import Worker

Quarters = tuple[int, ...] | None
"""Which of four consecutive batches of finely divided samples; None is all, as they come."""


@dataclass(frozen=True)
class Given:
    """A model and its samples, as whoever runs a work item opens them; picklable with a path.

    Attributes:
        model: Its path, where others are to read it.
        options: How it is run, with the data.
        samples: At most this many when the options do not say; None is all.
        labels: Of the samples, where they are judged by a metric.
        allow_random: Random inputs may stand for samples.
        allow_external_dir: Another folder that external weights may be read from.
    """

    model: ModelLike
    options: RunOptions
    samples: int | None = None
    labels: str | None = None
    allow_random: bool = False
    allow_external_dir: str | None = None

    def data(self, model: ir.Model) -> DataSource:
        """The samples, for this model as it was read.

        Raises:
            DataError: When the data is missing or does not fit the inputs.
        """
        specs = specs_of(model)
        description = self.options.describe(specs, output_names(model))
        return open_samples(
            self.options, specs, description, model, samples=self.samples, labels=self.labels,
            calibration=self.labels is None, allow_random=self.allow_random,
        )  # fmt: skip


@dataclass(frozen=True)
class WorkItem:
    """Some cuts of one model; picklable.

    Attributes:
        given: The model and its samples.
        cuts: What to measure.
        fitted: Samples that covariances are measured on.
        judged: Samples that outputs are compared on.
        most: Of these, about so many.
    """

    given: Given
    cuts: tuple[Cut, ...]
    fitted: Quarters = None
    judged: Quarters = None
    most: int | None = None


class Dense:
    """A model as ``prune`` analyses it, with its samples, in any process.

    Args:
        given: What to open.
        worker: Runs it.
    """

    def __init__(self, given: Given, worker: Worker) -> None:
        self.worker = worker
        model = open_model(given.model, allow_external_dir=given.allow_external_dir)
        remember_readers(model)
        infer_shapes(model, worker=worker)
        self.data = given.data(model)
        ctx = PassContext(model, worker=worker)
        privatize(ctx)
        Manager(prepared()).run(model, ctx)
        self.model = working_copy(model)
        self.groups = analyze(self.model).groups

    def feeds(self, quarters: Quarters) -> Iterable[Mapping[str, Any]]:
        """Some of the samples, re-iterable."""
        if quarters is None:
            return CalibrationFeeds(self.data)
        return Share(finely(self.data), quarters)

    def measure(
        self, item: WorkItem, on_group: Callable[[int, int], None] | None = None
    ) -> list[Measured]:
        """The errors of a work item's cuts.

        Args:
            item: Of this model.
            on_group: Called with the number of a group before it is measured, and of all.

        Raises:
            UnsupportedModelError: When the cuts are not of this model.
        """
        groups = {group.id: group for group in self.groups}
        for cut in item.cuts:
            if cut.group not in groups or groups[cut.group].size != cut.size:
                raise UnsupportedModelError(
                    f"{item.given.model} is not the model that the work is about: it has no group "
                    f"{cut.group} of {cut.size} units; give every process the same file"
                )
        judging = self.feeds(item.judged)
        held = list(judging) if item.most is None else few_samples(judging, item.most)
        fitting, own = self.feeds(item.fitted), {cut.group for cut in item.cuts}
        measured = [group for group in self.groups if group.id in own]
        with stage(self.model) as staged, self.worker.session(staged.model_path) as session:
            statistics = measure(session, fitting, measured, covariances=True)
        cuts = item.cuts if on_group is None else _told(item.cuts, on_group)
        return measure_cuts(Judge(self.model, self.worker, held), groups, statistics, cuts)


def _told(cuts: Sequence[Cut], on_group: Callable[[int, int], None]) -> Iterator[Cut]:
    """The same cuts, told of as they are taken."""
    numbers = {group: n for n, group in enumerate(dict.fromkeys(c.group for c in cuts), 1)}
    for cut in cuts:
        on_group(numbers[cut.group], len(numbers))
        yield cut


def run_item(item: WorkItem) -> list[Measured]:
    """Measure the cuts of a work item, in any process."""
    with Worker() as worker:
        return Dense(item.given, worker).measure(item)


@dataclass(frozen=True)
class Spreading:
    """Gives an executor what is to be measured of one model.

    Attributes:
        executor: Any; None where everything is measured here.
        given: The model and its samples.

    Raises:
        UsageError: When other processes cannot be told of the model or its samples.
    """

    executor: Executor | None
    given: Given

    def __post_init__(self) -> None:
        """What cannot be sent is known before anything is measured."""
        if self.executor is None:
            return
        if self.given.options.data is None:
            raise UsageError("--executor spreads what is measured on samples: give --data, too")
        path = path_of(self.given.model)
        if path is None:
            raise UsageError("an executor needs the model as a path, so that others can read it")
        object.__setattr__(self, "given", replace(self.given, model=str(path)))
        try:
            pickle.dumps(self.given)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise UsageError(
                f"an executor needs data that can be sent to others, such as a path: {error}"
            ) from error

    def on(self, quarters: Quarters) -> Spread | None:
        """Measures on some of the samples, which fit and judge; None where that is done here."""
        return None if self.executor is None else partial(self._spread, quarters)

    def _spread(self, quarters: Quarters, cuts: Sequence[Cut], most: int) -> list[Measured]:
        return self.run(WorkItem(self.given, tuple(cuts), quarters, quarters, most))

    def run(
        self, whole: WorkItem, on_done: Callable[[int, int], None] | None = None
    ) -> list[Measured]:
        """Deal a work item out, groups apart, and gather what is found.

        Args:
            whole: All cuts.
            on_done: Called with the number of items that are done, and of all.

        Raises:
            WorkerError: When a process died, also alone.
        """
        assert self.executor is not None
        ids = list(dict.fromkeys(cut.group for cut in whole.cuts))
        parts = min(width(self.executor), len(ids))  # each prepares the model anew
        dealt = [frozenset(ids[i::parts]) for i in range(parts)]
        items = [
            replace(whole, given=self.given, cuts=tuple(c for c in whole.cuts if c.group in own))
            for own in dealt
        ]
        ended: list[WorkItem] = []

        def count(item: WorkItem, _: list[Measured] | BaseException) -> None:
            ended.append(item)
            if on_done is not None:
                on_done(len(ended), len(items))

        results = each(self.executor, _attempt, items, lost=_lost, on_done=count)
        found: list[Measured] = []
        for result in results:
            if isinstance(result, OnnxSlimError):
                raise result
            if isinstance(result, BaseException):
                raise WorkerError(
                    "a process that measured groups of the model died "
                    f"({type(result).__name__}: {result}); in a script, call it below "
                    "if __name__ == '__main__'",
                    "crash",
                ) from result
            found += result
        return found


def _attempt(item: WorkItem) -> list[Measured] | BaseException:
    """A work item, with what is wrong with its input as a value."""
    try:
        return run_item(item)
    except OnnxSlimError as error:
        return error


def _lost(item: WorkItem, error: BaseException) -> BaseException:
    return error
