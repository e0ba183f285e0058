"""Tries prunings of a model and judges each on samples that it was not fitted on.

Samples are dealt out in fours: two fit, one selects, one judges (three fit where nothing is
judged). A try is a pass value, cut and recovered on a copy of the model.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.copies import working_copy
from onnxslim.errors import DataError, TargetError
from onnxslim.graph.save import stage
from onnxslim.pipeline.base import Pass
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.manager import Manager
from onnxslim.pipeline.pruning import PRUNED, Decision
from onnxslim.pipeline.recipes import Recipe
from onnxslim.pipeline.sensitivity import Judge, Spread
from onnxslim.runtime.data import DataSource
from onnxslim.runtime.items import Batch
from onnxslim.runtime.worker import Worker
from onnxslim.verify.metrics import Metric
from onnxslim.verify.scores import Agreement

logger = logging.getLogger(__name__)

Feed = Mapping[str, Any]

_STEPS = 6
"""Halvings of the range of budgets."""

_SLACK = 1.2
"""Error after a part of the steps, over that before, up to which all of them are worth it."""

_Z = 1.6448536269514722
"""One-sided 95 % of the normal distribution."""


@dataclass(frozen=True)
class Share:
    """Every fourth batch of a data source, or several of the four; re-iterable.

    Attributes:
        source: All samples.
        quarters: Which of four consecutive batches.
    """

    source: DataSource
    quarters: tuple[int, ...]

    def __iter__(self) -> Iterator[Feed]:
        return (f for i, f in enumerate(self.source.feeds()) if i % 4 in self.quarters)

    def batches(self) -> Iterator[Batch]:
        """The same with labels and the number of real samples."""
        return (b for i, b in enumerate(self.source) if i % 4 in self.quarters)


def finely(source: DataSource) -> DataSource:
    """The source in at least eight batches, so that it can be dealt out."""
    return source.rebatched(max(1, min(source.batch_size, len(source) // 8)))


def deals(source: DataSource) -> bool:
    """Whether there is a batch for each of the four; complete feeds are not divided."""
    return len(list(islice(source.feeds(), 4))) == 4


@dataclass(frozen=True, eq=False)
class Try:
    """One pruning.

    Attributes:
        made_by: The pass.
        model: The pruned, recovered model.
        error: On the samples that select; see :class:`Judge`.
    """

    made_by: Pass
    model: ir.Model
    error: float


@dataclass
class Search:
    """Tries for one model.

    Attributes:
        model: Prepared for pruning; never changed.
        worker: Runs models.
        source: Samples.
        recovery: Passes that bring accuracy back.
        on_step: Called with what is being done.
        until: Time (``time.monotonic``) after which no further try is started.
        spread: Gives what measures cuts in other processes, on some quarters of the samples.
    """

    model: ir.Model
    worker: Worker
    source: DataSource
    recovery: Sequence[Pass]
    on_step: Callable[[str], None]
    until: float = math.inf
    spread: Callable[[tuple[int, ...]], Spread | None] = lambda _: None
    _judge: Judge | None = field(default=None, repr=False)
    _memory: dict[tuple[int, ...], dict[str, Any]] = field(default_factory=dict, repr=False)

    def deals(self) -> bool:
        """Whether there is a batch for each of the four."""
        return deals(self.source)

    def attempt(
        self, made_by: Pass, quarters: tuple[int, ...], *, recover: bool = True
    ) -> ir.Model:
        """Prune and recover a copy."""
        copy = working_copy(self.model)
        ctx = PassContext(copy, worker=self.worker, calibration=Share(self.source, quarters))
        ctx.memory = self._memory.setdefault(quarters, {})
        ctx.spread = self.spread(quarters)
        Manager(Recipe("try", (made_by, *(self.recovery if recover else ())))).run(copy, ctx)
        return copy

    def judged(self, made_by: Pass, quarters: tuple[int, ...] = (0, 1, 2)) -> Try:
        """A try with its error on the last quarter (the third, when two fit)."""
        if self._judge is None:
            held = list(Share(self.source, (2,) if len(quarters) == 2 else (3,)))
            self._judge = Judge(self.model, self.worker, held)
        model = self.attempt(made_by, quarters)
        return Try(made_by, model, self._judge.error(model))

    def best(self, variants: Sequence[Pass]) -> Pass:
        """The variant with the smallest error; the first where there is no time to compare.

        Of variants that cut the same, one is tried.
        """
        tried: list[Try] = []
        cuts: dict[object, Pass] = {}
        for variant in variants:
            cuts.setdefault(self._cut(variant), variant)
        if len(cuts) == 1:
            return variants[0]
        for number, variant in enumerate(cuts.values(), 1):
            if tried and time.monotonic() > self.until:
                break
            self.on_step(f"trying {number} of {len(cuts)}")
            tried.append(self.judged(variant))
            logger.debug("%s: error %.4g", variant, tried[-1].error)
        return min(tried, key=lambda t: t.error).made_by

    def _cut(self, variant: Pass) -> object:
        """What leaves, to be compared; the pass itself where it does not say."""
        decision = self.attempt(variant, (0, 1, 2), recover=False).meta.get(PRUNED)
        if not isinstance(decision, Decision):
            return variant
        return tuple((group.id, stays.tobytes()) for group, stays in decision.groups)

    def helps(self, made_by: Pass, last: Sequence[Pass], times: int) -> bool:
        """Whether more passes behind recovery will lessen the error on the samples that select.

        A part of their steps hardly does so, but shows where it goes.

        Args:
            made_by: The pruning.
            last: The passes, as they are tried.
            times: How many times as long they take in earnest; False where that is too late.
        """
        start = time.monotonic()
        plain = self.judged(made_by).error
        self.on_step("trying mixtures of samples")
        more = replace(self, recovery=(*self.recovery, *last)).judged(made_by).error
        logger.debug("error without and with mixtures of samples: %.4g, %.4g", plain, more)
        now = time.monotonic()
        idle = more == plain  # the passes refused: too much work
        return not idle and more < _SLACK * plain and now + times * (now - start) < self.until

    def smallest(self, make: Callable[[float], Pass], drop: float, ruler: Ruler) -> Pass:
        """The pass for the smallest part whose drop is certainly within ``drop`` points.

        Args:
            make: The pass that keeps at most a part of the cost.
            drop: Points.
            ruler: Measures drops.

        Raises:
            TargetError: When no pruning is within it.
            DataError: When the samples are too few to tell, or come in too few feeds.
        """
        if not self.deals():
            raise DataError(
                "--max-drop deals samples out in four, but the data comes in fewer feeds: give "
                "it in smaller ones, or as an .npz file"
            )
        judging = Share(self.source, (3,))
        ruler.check_count(sum(b.count for b in judging.batches()), drop, len(self.source))
        low, high = 0.0, 1.0
        good: list[tuple[float, ir.Model, Pass]] = []
        for number in range(1, _STEPS + 1):
            if time.monotonic() > self.until:
                break
            part = (low + high) / 2
            self.on_step(f"try {number} of {_STEPS}: keeping {100 * part:.0f} %")
            made_by = make(part)
            try:
                model = self.attempt(made_by, (0, 1))
            except TargetError:
                low = part
                continue
            found = ruler.drop(self.model, model, Share(self.source, (2,)), self.worker)
            logger.debug("keeping %.3f: drop %.3f, at most %.3f", part, *found)
            if found[0] <= drop:
                high = part
                good.append((part, model, made_by))
            else:
                low = part
        for _, model, made_by in sorted(good, key=lambda g: g[0]):
            found = ruler.drop(self.model, model, judging, self.worker)
            if found[1] <= drop:
                return made_by
        raise TargetError(
            f"no pruning is within {drop:g} points with 95 % certainty"
            + (f": the best tried loses {found[0]:.2f}, at most {found[1]:.2f}" if good else "")
        )


@dataclass(frozen=True)
class Ruler:
    """Measures how many points a model loses against another.

    Attributes:
        metric: With labels; None is by agreement of the classes.
    """

    metric: Metric | None = None

    def drop(
        self, reference: ir.Model, candidate: ir.Model, share: Share, worker: Worker
    ) -> tuple[float, float]:
        """Points lost, and the one-sided 95 % bound of that."""
        rows = self._rows(reference, candidate, share, worker)
        if self.metric is None:
            lost = int(np.sum(rows < 0.5))
            return 100 * lost / len(rows), 100 * binomial_bound(lost, len(rows))
        mean, n = float(rows.mean()), len(rows)
        spread = math.sqrt((float(rows.var()) * n + 2 * 100.0**2 / n) / n)
        return mean, mean + _Z * spread / math.sqrt(n)

    def _rows(
        self, reference: ir.Model, candidate: ir.Model, share: Share, worker: Worker
    ) -> np.ndarray:
        """(n,) 1 where both agree; with labels the points that each sample loses."""
        found: list[np.ndarray] = []
        with stage(reference) as a, stage(candidate) as b:
            one = worker.session(a.model_path, label="the model")
            two = worker.session(b.model_path, label="the pruned model")
            with one, two:
                for batch in share.batches():
                    left, right = (_real(s.run(batch.feeds), batch) for s in (one, two))
                    if self.metric is None:
                        found += _agreements(left, right, batch.count)
                    elif batch.labels is not None:
                        first, second = (self.metric.rows(o, batch.labels) for o in (left, right))
                        found.append(np.asarray(first - second, np.float64)[:, 0])
        if not found:
            raise DataError("there are no samples left to judge on: give more samples")
        return np.concatenate(found)

    def check_count(self, judging: int, drop: float, given: int) -> None:
        """Refuse samples that are too few to show so small a drop.

        Raises:
            DataError: Naming the number that can.
        """
        needed = samples_needed(drop)
        if self.metric is None and judging < needed:
            raise DataError(
                f"{judging} of {given} samples judge the result, and cannot show a drop of at "
                f"most {drop:g} points with 95 % certainty: give at least {4 * needed} samples, "
                "or labels"
            )


def _agreements(left: Any, right: Any, count: int) -> list[np.ndarray]:
    """Whether the classes agree, one entry per sample."""
    judge = Agreement()
    judge.add(left, right)
    same = round(judge.percent / 100 * count) if judge.percent == judge.percent else 0
    return [np.concatenate([np.ones(same), np.zeros(count - same)])]


def _real(outputs: Mapping[str, Any], batch: Batch) -> dict[str, Any]:
    """Outputs without those of padding."""
    whole = next((len(batch.feeds[name]) for name in batch.rows), batch.count)
    return {
        name: o[: batch.count] if np.ndim(o) and len(o) == whole else o
        for name, o in outputs.items()
    }


def samples_needed(drop: float) -> int:
    """Samples of which none may disagree to show a drop of at most so many points (95 %)."""
    if drop <= 0:
        raise DataError("--max-drop 0 cannot be shown with any number of samples")
    if drop >= 100:
        return 1
    return math.ceil(math.log(0.05) / math.log(1 - drop / 100))


def binomial_bound(lost: int, count: int) -> float:
    """One-sided 95 % upper bound of a rate (Clopper and Pearson 1934)."""
    if lost >= count:
        return 1.0
    low, high = lost / count, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _tail(lost, count, middle) > 0.05:
            low = middle
        else:
            high = middle
    return high


def _tail(lost: int, count: int, rate: float) -> float:
    """Probability of at most ``lost`` of ``count``."""
    logs = [
        math.lgamma(count + 1) - math.lgamma(i + 1) - math.lgamma(count - i + 1)
        + i * math.log(max(rate, 1e-300)) + (count - i) * math.log(max(1 - rate, 1e-300))
        for i in range(lost + 1)
    ]  # fmt: skip
    return sum(math.exp(x) for x in logs)
