"""Prune a model: decide, cut, check, bring the accuracy back, simplify, compare, write."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnxslim.analysis.budget import Budget
from onnxslim.analysis.constant_work import excessive_work
from onnxslim.analysis.copies import working_copy
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.api import prune_goals as goals
from onnxslim.api.comparing import compare, latencies
from onnxslim.api.executors import executor_of
from onnxslim.api.latency_goal import table_for
from onnxslim.api.optimizing import FEEDS, verification_warnings
from onnxslim.api.options import RunOptions
from onnxslim.api.prune_options import Amount, Goal, PruneOptions, one_budget
from onnxslim.api.prune_search import Search, finely
from onnxslim.api.pruned import (
    PruneResult,
    Recovery,
    advice,
    budget_entry,
    frozen_entries,
    group_entries,
    headline,
    missed_entry,
)
from onnxslim.api.samples import open_samples
from onnxslim.api.sources import ModelLike, open_model, path_of
from onnxslim.api.stages import CalibrationFeeds, entries_of, prepared
from onnxslim.api.work_items import Given, Spreading
from onnxslim.errors import TargetError, UnsupportedModelError, UsageError, VerificationError
from onnxslim.graph.provenance import remember_readers
from onnxslim.graph.save import Staged, check_target, stage
from onnxslim.graph.signature import signature
from onnxslim.pipeline.base import Pass
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.manager import Manager, PassRecord
from onnxslim.pipeline.privatize import privatize
from onnxslim.pipeline.pruning import PRUNED, Decision
from onnxslim.pipeline.recipes import Recipe, get_recipe
from onnxslim.report.summary import summarize
from onnxslim.runtime.data import DataSource
from onnxslim.runtime.specs import Feed, output_names, specs_of
from onnxslim.runtime.worker import Worker
from onnxslim.verify.numerics import Verifier
from onnxslim.verify.selfcheck import self_check
from onnxslim.verify.structure import verify_structure
from onnxslim.verify.validation import Pair
from onnxslim.verify.verification import NOT_VERIFIED, Verification

SAMPLES = 256
"""Calibration samples by default."""


def prune(
    model: ModelLike,
    *,
    ratio: Amount | None = None,
    macs: Amount | None = None,
    params: Amount | None = None,
    latency: Amount | None = None,
    max_drop: Amount | None = None,
    data: Any = None,
    output: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    verify: bool = True,
    force: bool = False,
    options: RunOptions | None = None,
    allow_external_dir: str | None = None,
    on_step: Callable[[str], None] | None = None,
    worker: Worker | None = None,
    executor: Executor | str | None = None,
    **settings: Any,
) -> PruneResult:
    """Remove channels, hidden units and heads until a budget is met, and repair what is left.

    Args:
        model: A path, an ``onnx_ir.Model`` or an ``onnx.ModelProto``; never changed.
        ratio: Part of the channels to remove: ``0.5``, ``"50%"``.
        macs: Keep at most this part of the multiply-accumulates, or this number (``"120M"``).
        params: Keep at most this part of the parameters, or this number.
        latency: Keep at most this part of the latency, or milliseconds (``"8ms"``), by a table.
        max_drop: The smallest model that loses at most so many points: of agreement with the dense
            model, or of the metric with labels.
        data: Samples in any form of ``--data``, for scores and for bringing accuracy back.
        output: File to write; None gives only the model.
        dry_run: Only decide; nothing is run, nothing written.
        verify: Check the pruned model against the masked original, the rest as ``optimize`` does.
        force: Replace ``output`` when it exists.
        options: How models are run.
        allow_external_dir: Another folder that external weights may be read from.
        on_step: Called with the name of what is being done.
        worker: The child process for native code, left open; by default one for this call.
        executor: Measures what widths are allocated by, as ``batch`` takes it; None does it here.
        settings: The fields of :class:`PruneOptions`.

    Returns:
        The pruned model with the decision, counts, checks and a comparison.

    Raises:
        TargetError: When the budget cannot be met; it names the best reached and has ``result``.
        VerificationError: When the pruned model is not the masked original.
        UnsupportedModelError: When the model cannot be read or is invalid.
        DataError: When the data does not fit, or is required and missing.
        UsageError: For options that make no sense, or a GLOB that matches nothing.
    """
    try:
        asked = PruneOptions(**settings)
    except TypeError as error:
        raise UsageError(f"prune: {error}") from error
    budget = one_budget(ratio=ratio, macs=macs, params=params, latency=latency, max_drop=max_drop)
    options = options or RunOptions()
    if data is not None:
        options = replace(options, data=data)
    asked.check(options)
    target = None if output is None else check_target(output, path_of(model), force=force)
    with ExitStack() as stack:
        if worker is None:
            worker = Worker()
            stack.callback(worker.close)
        if not dry_run:
            worker.start()
        given = Given(model, options, SAMPLES, None, asked.allow_random, allow_external_dir)
        pool = stack.enter_context(executor_of(executor))
        job = _Job(Spreading(pool, given), budget, asked, worker, stack, on_step, dry_run)
        job.open()
        job.choose(target)
        job.prune(verify and not dry_run)
        if dry_run:
            return job.result()
        job.repair()
        job.simplify(verify, target)
        return job.finish(target)


class _Job:
    """One run of :func:`prune`."""

    def __init__(
        self,
        spreading: Spreading,
        budget: Budget | Goal,
        asked: PruneOptions,
        worker: Worker,
        stack: ExitStack,
        on_step: Callable[[str], None] | None,
        dry_run: bool,
    ) -> None:
        self.spreading, self.given = spreading, spreading.given
        self.source, self.options = self.given.model, self.given.options
        self.goal, self.asked = budget, asked
        self.made_by: Pass | None = None
        self.worker, self.stack, self.on_step = worker, stack, on_step or (lambda text: None)
        self.records: list[PassRecord] = []
        self.verification = NOT_VERIFIED
        self.recovery: Recovery = "none"
        self.quality: dict[str, Any] | None = None
        self.warnings: list[str] = []
        self.dry_run, self.bytes = dry_run, 0

    # ------------------------------------------------------------------ before

    def open(self) -> None:
        """Read the model, refuse an invalid one, open the data, clean up."""
        self.on_step("reading")
        self.model = self._original()
        problems = verify_structure(self.model)
        if problems:
            raise UnsupportedModelError(f"{self.label} is not a valid model: {problems[0]}")
        remember_readers(self.model)
        self.bytes = signature(self.model).bytes
        infer_shapes(self.model, worker=self.worker)
        self.before = summarize(self.model, self.bytes)
        self.description = self.options.describe(specs_of(self.model), output_names(self.model))
        self.data: DataSource | None = None
        if self.options.data is not None:
            self.data = self.given.data(self.model)
        self.ctx = PassContext(
            self.model,
            worker=self.worker,
            calibration=None if self.data is None else CalibrationFeeds(self.data),
        )
        self.ctx.spread = self.spreading.on(None)
        privatize(self.ctx)
        self._run(prepared())

    def _original(self) -> ir.Model:
        return open_model(self.source, allow_external_dir=self.given.allow_external_dir)

    @property
    def label(self) -> str:
        """How messages call the model."""
        return str(path_of(self.source) or "the model")

    def _run(self, recipe: Recipe) -> None:
        manager = Manager(recipe, on_pass=self.on_step)
        manager.run(self.model, self.ctx)
        self.records += manager.records

    # ------------------------------------------------------------------ cutting

    def prune(self, verify: bool) -> None:
        """Decide, cut, and compare with the masked original."""
        self.on_step("pruning")
        try:
            assert self.made_by is not None
            self._run(Recipe("prune", (self.made_by,)))
        except TargetError as error:
            error.result = self._missed()  # type: ignore[attr-defined]
            raise
        self.decision: Decision = self.model.meta[PRUNED]
        if verify:
            self.on_step("checking against the masked original")
            self._runnable()
            self._self_check()

    def choose(self, target: Path | None) -> None:
        """Find the pass that the budget amounts to."""
        goal, asked = self.goal, self.asked
        self.until = goals.deadline(asked.time_limit)
        self.macs = self.before.macs or goals.macs_of(self.model, self.data)
        make = goals.pass_maker(asked, self.options.seed, self.description.dims)
        measure = None
        if goal.kind == "latency" and asked.latency_table is None and not self.dry_run:
            measure = partial(latencies, self._original(), worker=self.worker, options=self.options,
                              description=self.description)  # fmt: skip
        self.chooser = goals.Chooser(self.model, make, self._search(), measure)
        try:
            self.made_by = self.chooser.choose(
                goal, asked, self.macs, len(self.data or ()), self.ctx,
                lambda: table_for(self.model, asked, self.options, target, self.on_step),
            )  # fmt: skip
        except TargetError as error:
            error.result = self._missed()  # type: ignore[attr-defined]
            raise
        self.warnings += self.chooser.notes

    def _search(self) -> Search | None:
        """Tries on the samples; with their labels, and on all, where a drop is measured."""
        if self.data is None or self.dry_run:
            return None
        data, spreading = self.data, self.spreading
        if not isinstance(self.goal, Budget) and self.asked.labels is not None:
            given = replace(self.given, samples=None, labels=self.asked.labels)
            data, spreading = given.data(self.model), replace(spreading, given=given)
        return Search(
            working_copy(self.model), self.worker, finely(data), goals.trial_passes(self.asked),
            self.on_step, self.until, spreading.on,
        )  # fmt: skip

    def _runnable(self) -> None:
        if excess := excessive_work(self.model):
            raise UnsupportedModelError(
                f"{self.label} is not run to verify the result: {excess}; use --no-verify to prune "
                "it all the same"
            )

    def _self_check(self) -> None:
        decision = self.decision
        with stage(self.model) as staged:
            found = self_check(
                decision.dependency, decision.kept, staged.model_path, self.model, self.worker,
                feeds=self._first_feeds(), description=self.description, seed=self.options.seed,
                provider=self.options.provider, custom_ops=self.options.custom_ops,
            )  # fmt: skip
        self._accept(found, "the pruned model is not the masked original")

    def _accept(self, found: Verification, what: str) -> None:
        """Take a verification over, the worse of two.

        Raises:
            VerificationError: When it failed.
            UnsupportedModelError: When nothing could be compared.
        """
        if self.verification is NOT_VERIFIED or found.ok is not True:
            self.verification = found
        if found.ok is None:
            raise UnsupportedModelError(
                f"{self.label} cannot be verified ({found.failure}): describe its inputs with "
                "--input-shape, --dim or --data, or use --no-verify"
            )
        if found.ok is False:
            error = VerificationError(
                f"{what}: {found.explain()}; leave the layers out with --keep, and report it"
            )
            error.result = self.result()  # type: ignore[attr-defined]
            raise error

    def _first_feeds(self) -> list[Feed] | None:
        if self.options.data is None:
            return None
        source = open_samples(
            self.options, specs_of(self.model), self.description, self.model, samples=FEEDS
        )
        return list(source.rebatched(1).feeds())[:FEEDS]

    # ------------------------------------------------------------------ after

    def repair(self) -> None:
        """Bring accuracy back: from data where there is some."""
        if self.ctx.reference is None:
            return
        self.ctx.reference = self.ctx.reference.telling("recovering", self.on_step)
        before = len(self.records)
        mixes = partial(self.chooser.mixes, self.made_by, self.macs, len(self.data or ()))
        for passes in goals.recovery_passes(self.asked, self.data is not None, self.until, mixes):
            self._run(Recipe("recovery", passes))
        if any(record.rewrites for record in self.records[before:]):
            self.recovery = "data-free" if self.data is None else "data"

    def simplify(self, verify: bool, target: Path | None) -> None:
        """Fold and clean what is left; compare it with what it was before that."""
        verifier: Verifier | None = None
        if verify:
            before = self.stack.enter_context(stage(self.model))
            verifier = Verifier(
                before.model_path, self.model, self.worker, feeds=self._first_feeds(),
                description=self.description, seed=self.options.seed,
                provider=self.options.provider, custom_ops=self.options.custom_ops,
            )  # fmt: skip
        self._run(get_recipe("default"))
        self.staged: Staged = self.stack.enter_context(
            stage(self.model)
            if target is None
            else stage(self.model, target.parent, name=target.name)
        )
        self.bytes = self.staged.bytes
        if verifier is not None:
            self.on_step("verifying")
            found = verifier.verify(self.staged.model_path, self.model)
            verifier.close()
            self._accept(found, "simplifying the pruned model changed it")

    def finish(self, target: Path | None) -> PruneResult:
        """Compare with the model given, and put the new one in place."""
        if self.asked.compare:
            self._compare()
        result = self.result()
        if target is not None:
            self.staged.commit(target)
            result.output = str(target)
        return result

    def _compare(self) -> None:
        self.on_step("comparing")
        original = self._original()
        infer_shapes(original)
        path = path_of(self.source)
        if path is None or signature(original).rewritten:
            path = self.stack.enter_context(stage(original)).model_path
        pair = Pair(path, original), Pair(self.staged.model_path, self.model)
        self.quality, problems = compare(
            *pair, worker=self.worker, options=self.options, description=self.description,
            labels=self.asked.labels, metric=self.asked.metric,
        )  # fmt: skip
        self.warnings += problems

    # ------------------------------------------------------------------ result

    def result(self) -> PruneResult:
        """Everything that is known by now."""
        return replace(
            self._missed(),
            verification=self.verification,
            warnings=[
                *advice(self.data is not None, self.quality),
                *self.ctx.warnings,
                *self.warnings,
                *verification_warnings(self.verification),
            ],
            budget=budget_entry(self.decision, self.goal),
            groups=group_entries(self.decision, explained=self.dry_run),
            frozen=frozen_entries(self.decision),
            recovery=self.recovery,
            quality=self.quality,
            headline=headline(self.decision),
            decision=self.decision,
        )

    def _missed(self) -> PruneResult:
        """The result when the budget cannot be met: the model as it was."""
        path = path_of(self.source)
        return PruneResult(
            model=self.model, before=self.before, after=summarize(self.model, self.bytes),
            passes=entries_of(self.records), verification=NOT_VERIFIED,
            warnings=list(self.ctx.warnings), input=None if path is None else str(path),
            budget=missed_entry(self.goal),
        )  # fmt: skip
