"""Tries ways to quantize one model and judges each by what ONNX Runtime makes of it.

A try is a pass value: it is run on a copy of the model, and the copy on held-back samples.
"""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from glob import escape
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnxslim.analysis.copies import working_copy
from onnxslim.analysis.logits import final_softmaxes
from onnxslim.analysis.quantization.observe import Observations, cache_path, sample_sizes
from onnxslim.analysis.quantization.plan import Layer, Plan
from onnxslim.api.options import RunOptions
from onnxslim.api.sizing import tensor_bytes
from onnxslim.api.split import Again, Samples
from onnxslim.api.stages import entries_of
from onnxslim.graph.duplicate import duplicate
from onnxslim.graph.save import Staged, stage
from onnxslim.pipeline.base import Pass
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.manager import Manager
from onnxslim.pipeline.recipes import Recipe
from onnxslim.pipeline.registry import get_pass
from onnxslim.pipeline.spec import parse_pass
from onnxslim.report.entries import PassEntry
from onnxslim.runtime.session import Session
from onnxslim.runtime.worker import Worker
from onnxslim.verify.compare import Stats
from onnxslim.verify.quantized import Judged, speedup

logger = logging.getLogger(__name__)

FITS = ("reconstruct-integers", "reconstruct-integers{refit=false}")
"""Ways to choose integers, until one helps."""
AUTO = ("minmax", "mse", "percentile")
CAUTION = (2.0, 4.0)
CLEAR_GAIN, LEAST_GAIN = 1.25, 1.1
"""Times as fast as float that need no further search, and that are the least worth integers."""
CLOSE = 30.0
"""dB that a result must reach that is less than clearly faster."""


@dataclass(frozen=True)
class Attempt:
    """One try.

    Attributes:
        item: The pass.
        plan: What it follows.
        sqnr: Of the outputs, in dB.
        closeness: The same, but of the logits where a Softmax gives the output: what tries are
            chosen by.
        stats: Per output.
        more: Passes that are run behind it, with the float model as their reference.
        done: The quantized model and what was done, where that took long: not to be done again.
    """

    item: Any
    plan: Plan
    sqnr: float
    closeness: float
    stats: dict[str, Stats]
    more: tuple[Pass, ...] = ()
    done: Done | None = None


@dataclass(frozen=True)
class Done:
    """A quantized model.

    Attributes:
        model: The model.
        entries: What each pass did.
        warnings: Of the passes.
    """

    model: ir.Model
    entries: list[PassEntry]
    warnings: list[str]


def run_passes(
    model: ir.Model,
    ctx: PassContext,
    items: Sequence[Pass],
    on_pass: Callable[[str], None] | None = None,
) -> Done:
    """Run passes on a model as a recipe: structure is verified, what they did is recorded."""
    recipe = Recipe("quantize", (*items, get_pass("eliminate-dead")()))
    manager = Manager(recipe, on_pass=on_pass)
    manager.run(model, ctx)
    return Done(model, entries_of(manager.records), list(ctx.warnings))


@dataclass
class Lab:
    """A model, its samples, and a worker to try things on.

    Attributes:
        model: Float, simplified, of an opset that can be quantized, with inferred shapes.
        worker: Runs models.
        samples: Calibration data.
        options: How models are run.
        stack: Closes what is opened here.
        on_step: Called with what is being done.
        cache: Keep what was observed for the next run.
        speed: Times as fast as float that the fastest plan is; NaN when none was timed.
    """

    model: ir.Model
    worker: Worker
    samples: Samples
    options: RunOptions
    stack: ExitStack
    on_step: Callable[[str], None]
    cache: bool = False
    speed: float = math.nan
    digest: str = ""
    tries: int = 0
    path: Path = field(init=False)
    session: Session = field(init=False)
    judged: Judged = field(init=False)
    observations: Observations = field(init=False)

    def __post_init__(self) -> None:
        self.path = self.stack.enter_context(stage(self.model)).model_path
        self.session = self.stack.enter_context(self.open(self.path))
        self.judged = Judged(
            self.session, list(self.samples.held_back()), final_softmaxes(self.model)
        )
        first = next(self.samples.source.feeds(), None)
        feeds = Again(self.samples.observed)
        self.observations = Observations(
            feeds=feeds,
            sizes=sample_sizes(self.model, first),
            bytes=tensor_bytes(self.model, sample_sizes(self.model, first, whole=True)),
        )

    def open(self, path: Path, optimization: Any = "all") -> Session:
        """A session as the model will be run."""
        return self.worker.session(
            path,
            provider=self.options.provider,
            optimization=optimization,
            custom_ops=self.options.custom_ops,
            label="the model",  # its file has a temporary name
        )

    def observe(self, names: Sequence[str]) -> None:
        """See what occurs in these tensors on the samples that are not held back."""
        path = None
        if not self.observations.missing(names):
            return
        if self.cache:
            self.on_step("hashing the data")
            self.digest = self.digest or self.samples.source.digest()
            path = cache_path(self.path, self.digest, names)
            self.observations.load(path)
        missing = self.observations.missing(names)
        if missing:
            step = self._counter("observing batch")
            feeds = Again(self.samples.observed)
            self.observations.see(self.session, missing, feeds, step, self.samples.batches)
            if path is not None:
                self.observations.save(path)

    def observe_all(self) -> None:
        """Add the held-back samples to what was seen, once nothing has to be judged any more."""
        if not self.samples.few:
            seen = list(self.observations.histograms)
            self.observations.see(self.session, seen, Again(self.samples.held_back))

    def _counter(self, text: str) -> Callable[[int], None]:
        return lambda number: self.on_step(f"{text} {number} of {self.samples.batches}")

    def plan(self, item: Any) -> Plan:
        """What a pass would do."""
        found: Plan = item.plan(self.model, self.observations.sizes)
        return found

    def attempt(self, item: Any, plan: Plan | None = None, more: tuple[Pass, ...] = ()) -> Attempt:
        """Quantize a copy and run it on the held-back samples."""
        self.tries += 1
        plan = plan or self.plan(item)
        done = self.quantized((item, *more), plan) if more else None
        staged = self.apply(item, plan) if done is None else stage(done.model)
        with staged, self.open(staged.model_path) as session:
            stats, closeness = self.judged.compared(session)
        return Attempt(item, plan, self.judged.sqnr(stats), closeness, stats, more, done)

    def apply(self, item: Any, plan: Plan) -> Staged:
        """A copy with the pass run on it, as a file."""
        copy = duplicate(self.model)
        item.run(copy, self._context(copy, plan))
        return stage(copy)

    def file(self, tried: Attempt) -> Staged:
        """The quantized model of an attempt, as a file."""
        if tried.done is not None:
            return stage(tried.done.model)
        return self.apply(tried.item, tried.plan)

    def quantized(
        self, items: Sequence[Pass], plan: Plan, on_pass: Callable[[str], None] | None = None
    ) -> Done:
        """A copy with passes run on it as a recipe."""
        copy = working_copy(self.model)
        return run_passes(copy, self._context(copy, plan), items, on_pass)

    def _context(self, copy: ir.Model, plan: Plan) -> PassContext:
        calibration = replace(self.observations, plan=plan)
        return PassContext(copy, worker=self.worker, calibration=calibration, reference=self.model)

    def improved(self, base: Attempt) -> Attempt:
        """With integers chosen layer by layer, where that comes closer on held-back samples."""
        if base.more or not base.plan.quantized:
            return base
        for text in FITS:
            self.on_step("fitting the integers of each layer")
            found = self.attempt(base.item, base.plan, (parse_pass(text),))
            logger.info("%s: %.2f dB, %.2f before", text, found.closeness, base.closeness)
            if found.closeness > base.closeness:
                return found
        return base

    def fastest(self, item: Any) -> tuple[Any, Plan]:
        """The pass with as much caution as makes the fastest model, and its plan.

        More caution is only tried where integers gain little. When no plan is clearly faster than
        the float model, nothing is quantized.
        """
        plan = self.plan(item)
        self.observe(plan.observed)
        best, speed = (item, plan), self._speed(item, plan)
        for caution in CAUTION:
            if speed >= CLEAR_GAIN or not plan.quantized:
                break
            tried = replace(item, caution=caution)
            plan = self.plan(tried)
            if plan.layers == best[1].layers:
                continue
            self.observe(plan.observed)
            found = self._speed(tried, plan)
            if found > 1.03 * speed:
                best, speed = (tried, plan), found
        if speed < LEAST_GAIN:
            none = replace(item, caution=math.inf)
            return none, self.plan(none)
        return best

    def worthwhile(self, best: Attempt) -> Attempt:
        """The attempt, or the float model when it is a little faster only and not close."""
        if not best.plan.quantized or best.sqnr >= CLOSE or not self.speed < CLEAR_GAIN:
            return best
        return self.attempt(replace(best.item, caution=math.inf))

    def _speed(self, item: Any, plan: Plan) -> float:
        if not plan.quantized:
            return 1.0
        self.on_step("timing a plan")
        feed = next(self.samples.source.rebatched(1).feeds())
        with self.apply(item, plan) as staged, self.open(staged.model_path) as session:
            times = [speedup(self.session, session, feed)]
            if times[0][0] < CLEAR_GAIN * times[0][1]:  # what decides is not left to one moment
                times += [speedup(self.session, session, feed) for _ in range(2)]
        found = statistics.median(floating / integer for floating, integer in times)
        self.speed = found if math.isnan(self.speed) else max(self.speed, found)
        logger.info("caution %s: %.2fx", item.caution, found)
        return found

    def best_calibrator(self, item: Any, plan: Plan, names: Sequence[str] = AUTO) -> Attempt:
        """The calibrator whose model comes closest on the held-back samples."""
        best: Attempt | None = None
        for name in names:
            self.on_step(f"trying the calibrator {name}")
            found = self.attempt(replace(item, calibrator=name), plan)
            logger.info("calibrator %s: %.2f dB", name, found.closeness)
            if best is None or found.closeness > best.closeness:
                best = found
        assert best is not None
        return best

    def without(self, item: Any, layers: Sequence[Layer]) -> Any:
        """The pass with more layers kept float."""
        more = tuple(escape(layer.key) for layer in layers)
        return replace(item, exclude=(*item.exclude, *more))

    def sensitivities(self, base: Attempt) -> list[tuple[float, Layer]]:
        """What the output gains (dB) when one layer alone is kept float, most first."""
        found = []
        layers = base.plan.quantized
        for number, layer in enumerate(layers, start=1):
            self.on_step(f"sensitivity of layer {number} of {len(layers)}")
            tried = self.attempt(self.without(base.item, [layer]))
            found.append((tried.closeness - base.closeness, layer))
        return sorted(found, key=lambda pair: -pair[0])

    def mix(self, base: Attempt, enough: Callable[[Attempt], bool]) -> tuple[Attempt, int]:
        """Keep the fewest layers float, worst first, so that the result is good enough.

        Returns:
            The attempt, and how many layers were kept float.
        """
        if enough(base):
            return base, 0
        order = [layer for _, layer in self.sensitivities(base)]
        low, high = 0, 1  # `low` layers are not enough
        best = base
        while high < len(order):
            best = self.attempt(self.without(base.item, order[:high]))
            if enough(best):
                break
            low, high = high, 2 * high
        high = min(high, len(order))
        if high == len(order):
            best = self.attempt(self.without(base.item, order))
        while high - low > 1:
            middle = (low + high) // 2
            tried = self.attempt(self.without(base.item, order[:middle]))
            if enough(tried):
                best, high = tried, middle
            else:
                low = middle
        return best, high
