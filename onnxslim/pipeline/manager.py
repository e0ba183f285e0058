"""Runs the passes of a recipe over a model and verifies the structure after each change."""

from __future__ import annotations

import logging
import operator
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from onnxslim.errors import OnnxSlimError, PassError, VerificationError
from onnxslim.pipeline.base import Pass
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.recipes import Recipe, Repeat
from onnxslim.verify.structure import verify_structure

logger = logging.getLogger(__name__)


@dataclass
class PassRecord:
    """What one pass did, summed over its runs.

    Attributes:
        name: Name of the pass.
        options: Its options.
        rewrites: Rewrites made.
        seconds: Time spent.
        skipped: Reason to number of places that matched but were refused.
    """

    name: str
    options: dict[str, Any]
    rewrites: int = 0
    seconds: float = 0.0
    skipped: dict[str, int] = field(default_factory=dict)


class Manager:
    """Runs one recipe once.

    Args:
        recipe: What to run.
        verify: Check the structure after every pass that changed something.
        stop_after: Stop after this many runs of a pass (to replay a prefix); None runs all.
        on_pass: Called before each run of a pass with its name, for progress bars.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        verify: bool = True,
        stop_after: int | None = None,
        on_pass: Callable[[str], None] | None = None,
    ) -> None:
        self.recipe = recipe
        self.runs: list[Pass] = []
        self._verify = verify
        self._stop_after = stop_after
        self._on_pass = on_pass
        self._records: dict[int, PassRecord] = {}
        self._last: dict[int, int] = {}
        self._idle: dict[int, int] = {}  # revision at which a pass saw everything and did nothing

    @property
    def records(self) -> list[PassRecord]:
        """One record per pass of the recipe that was run, in order."""
        return list(self._records.values())

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Run the recipe on ``model`` in place; returns the number of rewrites.

        Raises:
            VerificationError: When a pass left a broken model; names the pass and what is wrong.
            PassError: When a pass raised something it should not have.
        """
        return sum(
            self._repeat(step, model, ctx)
            if isinstance(step, Repeat)
            else self._run_one(step, model, ctx)
            for step in self.recipe.steps
        )

    def _repeat(self, step: Repeat, model: ir.Model, ctx: PassContext) -> int:
        """Rounds over what changed, then a whole round; done when a whole round changes nothing."""
        total, whole = 0, True
        for _ in range(step.limit):
            changed = sum(self._run_one(p, model, ctx, whole=whole) for p in step.passes)
            total += changed
            if whole and not changed:
                return total
            whole = not changed
            if self._stopped():
                return total
        ctx.warnings.append(f"recipe {self.recipe.name}: still changing after {step.limit} rounds")
        return total

    def _stopped(self) -> bool:
        return self._stop_after is not None and len(self.runs) >= self._stop_after

    def _run_one(self, item: Pass, model: ir.Model, ctx: PassContext, whole: bool = True) -> int:
        if self._stopped() or self._idle.get(id(item)) == ctx.revision:
            return 0
        self.runs.append(item)
        if self._on_pass is not None:
            self._on_pass(item.name)
        record = self._records.setdefault(id(item), PassRecord(item.name, item.options()))
        start, refusals = time.perf_counter(), len(ctx.skipped)
        before = ctx.revision
        ctx.begin(-1 if whole else self._last.get(id(item), -1), item.name)
        rewrites = self._guarded(item, model, ctx)
        self._last[id(item)] = before
        if rewrites and ctx.revision == before:
            ctx.touch()
        if ctx.revision == before and not ctx.narrowed:
            self._idle[id(item)] = before
        record.seconds += time.perf_counter() - start
        record.rewrites += rewrites
        counts = Counter(reason for _, reason in ctx.skipped[refusals:])
        for reason, count in sorted(counts.items()):
            record.skipped[reason] = record.skipped.get(reason, 0) + count
        if rewrites:
            logger.info("%s: %d rewrites", item.name, rewrites)
        if self._verify and (rewrites or ctx.revision != before):
            self._check(item, model)
        return rewrites

    def _guarded(self, item: Pass, model: ir.Model, ctx: PassContext) -> int:
        try:
            rewrites = operator.index(item.run(model, ctx))
            if rewrites < 0:
                raise ValueError(f"it counted {rewrites} rewrites")
            return rewrites
        except OnnxSlimError:
            raise
        except Exception as error:  # any bug of a pass must be named, not shown as a traceback
            logger.debug("pass %s raised", item.name, exc_info=True)
            raise PassError(
                f"pass {item.name} failed with {type(error).__name__}: {error}; leave it out with "
                f"--skip {item.name} and report it"
            ) from error

    def _check(self, item: Pass, model: ir.Model) -> None:
        problems = verify_structure(model)
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise VerificationError(
                f"pass {item.name} (run {len(self.runs)}) broke the model: {problems[0]}{more}"
            )


def without(recipe: Recipe, names: Sequence[str]) -> Recipe:
    """The recipe without the passes of these names."""
    steps: list[Pass | Repeat] = []
    for step in recipe.steps:
        if isinstance(step, Repeat):
            steps.append(Repeat(tuple(p for p in step.passes if p.name not in names), step.limit))
        elif step.name not in names:
            steps.append(step)
    return Recipe(recipe.name, tuple(steps))
