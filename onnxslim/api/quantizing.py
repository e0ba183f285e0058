"""Quantize a model: simplify, observe, try, choose, check, write."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnxslim.analysis.quantization.observe import sample_sizes
from onnxslim.analysis.quantization.plan import Plan
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.api.checking import Check, Gates, Judgement
from onnxslim.api.equalizing import equalized
from onnxslim.api.lab import AUTO, Attempt, Done, Lab, run_passes
from onnxslim.api.optimizing import FEEDS, optimize
from onnxslim.api.options import RunOptions
from onnxslim.api.plausible import contradiction
from onnxslim.api.quantized import (
    QuantizeOptions,
    QuantizeResult,
    layer_entries,
    not_worth,
    nothing_quantized,
    untouched,
    verified,
)
from onnxslim.api.samples import open_samples
from onnxslim.api.sources import ModelLike, open_model, path_of
from onnxslim.api.split import Samples, split
from onnxslim.errors import CalibrationError, UsageError
from onnxslim.graph.duplicate import duplicate
from onnxslim.graph.opset import raise_opset
from onnxslim.graph.provenance import copy_provenance
from onnxslim.graph.save import Staged, check_target, stage
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.registry import get_pass
from onnxslim.pipeline.targets import get_target
from onnxslim.report.entries import PassEntry
from onnxslim.report.summary import summarize
from onnxslim.runtime.data import DataSource
from onnxslim.runtime.specs import output_names, specs_of
from onnxslim.runtime.worker import Worker
from onnxslim.verify.verification import NOT_VERIFIED, Verification

SAMPLES = 256
FEWEST, FEW = 8, 64
PLAUSIBLE_BATCHES = 4
OPSET = 13


def quantize(
    model: ModelLike,
    *,
    data: Any = None,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    verify: bool = True,
    dry_run: bool = False,
    options: RunOptions | None = None,
    allow_external_dir: str | None = None,
    on_step: Callable[[str], None] | None = None,
    worker: Worker | None = None,
    **settings: Any,
) -> QuantizeResult:
    """Quantize a model so that ONNX Runtime runs it faster, and say how close it stays.

    Args:
        model: A path, an ``onnx_ir.Model`` or an ``onnx.ModelProto``; never changed.
        data: Samples in any form of ``--data``; ``mode="static"`` needs them.
        output: File to write; None gives only the model.
        force: Replace ``output`` when it exists.
        verify: Verify the simplified model before it is quantized, and run the result.
        dry_run: Only plan; nothing is run but the verification, nothing written.
        options: How models are run.
        allow_external_dir: Another folder that external weights may be read from.
        on_step: Called with the name of what is being done.
        worker: The child process for native code; by default one for this call.
        settings: The fields of :class:`QuantizeOptions`.

    Raises:
        CalibrationError: For a static mode without data, with too few samples, or random ones.
        TargetError: When ``min_sqnr``, ``max_drop`` or ``strict`` cannot be met; it has ``result``.
        UsageError: For options that make no sense, or a glob that matches nothing.
    """
    try:
        asked = QuantizeOptions(**{k: _tuple(v) for k, v in settings.items()})
    except TypeError as error:
        raise UsageError(f"quantize: {error}") from error
    asked.check()
    options = options or RunOptions()
    if data is not None:
        options = replace(options, data=data)
    if asked.mode == "static" and options.data is None and not dry_run:
        raise CalibrationError(
            "static quantization needs real samples: give them with --data (or use --mode dynamic)"
        )
    target = None if output is None else check_target(output, path_of(model), force=force)
    step = on_step or (lambda text: None)
    with ExitStack() as stack:
        if worker is None:
            worker = Worker()
            stack.callback(worker.close)
        job = _Job(asked, options, worker, stack, step, verify)
        job.prepare(model, allow_external_dir)
        if dry_run:
            return job.planned()
        result = job.run()
        if target is not None:
            with stage(job.model, target.parent, name=target.name) as staged:
                staged.commit(target)
            result.output = str(target)
    return result


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class _Job:
    """One run of :func:`quantize`."""

    def __init__(
        self,
        asked: QuantizeOptions,
        options: RunOptions,
        worker: Worker,
        stack: ExitStack,
        on_step: Callable[[str], None],
        verify: bool,
    ) -> None:
        self.asked, self.options, self.worker = asked, options, worker
        self.stack, self.on_step, self.verify = stack, on_step, verify
        self.warnings: list[str] = []
        self.plan: Plan | None = None
        self.equalization: list[PassEntry] = []
        self.method: str | None = None
        self.samples = 0

    # ------------------------------------------------------------------ before

    def prepare(self, model: ModelLike, allow_external_dir: str | None) -> None:
        """Simplify the model, which is verified as ever, and raise its opset."""
        self.source, self.external = model, allow_external_dir
        first = optimize(
            model,
            options=replace(self.options, samples=FEEDS),  # all are for calibration
            verify=self.verify,
            allow_external_dir=allow_external_dir,
            on_step=self.on_step,
            worker=self.worker,
        )
        self.first, self.base = first, first.model
        self.warnings += [w for w in first.warnings if not w.startswith("the model grew")]
        before = self.base.graph.opset_imports.get("", 1)
        if self.asked.mode == "static" and before < OPSET:
            raise_opset(self.base, OPSET)
            self.warnings.append(f"opset raised from {before} to {OPSET}: scales per channel")
        infer_shapes(self.base, worker=self.worker)
        self.model = self.base
        if self.asked.mode == "static" and "cuda" in self.options.provider.lower():
            self.warnings.append(
                "ONNX Runtime has no int8 kernels for CUDA: a QDQ model runs slower there than "
                "float; --mode float16 helps, or --target tensorrt with TensorRT"
            )

    def item(self) -> Any:
        """The pass that is asked for."""
        asked = self.asked
        if asked.mode == "static":
            static: Any = get_pass("quantize-static")
            calibrator = "minmax" if asked.calibrator == "auto" else asked.calibrator
            return static(
                target=asked.target,
                format=asked.format,
                calibrator=calibrator,
                include=asked.include,
                exclude=asked.exclude,
            )
        if asked.mode == "dynamic":
            dynamic: Any = get_pass("quantize-dynamic")
            return dynamic(reduce_range=asked.target == "cpu-avx2", exclude=asked.exclude)
        half: Any = get_pass("convert-float16")
        return half(keep_io_types=asked.keep_io_types, exclude=asked.exclude)

    def planned(self) -> QuantizeResult:
        """What ``--dry-run`` gives: the plan."""
        result = self._result([], NOT_VERIFIED, Judgement(), None)
        if self.asked.mode == "static":
            source = None if self.options.data is None else self._open()
            feed = None if source is None else next(source.feeds(), None)
            self.plan = self.item().plan(self.base, sample_sizes(self.base, feed))
            result.plan = list(self.plan.lines())
            result.layers = layer_entries(self.plan, {}, None)
        return result

    def _open(self, labels: str | None = None) -> DataSource:
        specs = specs_of(self.base)
        description = self.options.describe(specs, output_names(self.base))
        return open_samples(
            self.options,
            specs,
            description,
            self.base,
            samples=SAMPLES if labels is None else None,
            labels=labels,
            calibration=labels is None and self.asked.mode == "static",
            allow_random=self.asked.allow_random,
        )

    # ------------------------------------------------------------------ run

    def run(self) -> QuantizeResult:
        """Quantize and judge."""
        lab, best = self._static() if self.asked.mode == "static" else (None, None)
        self.on_step("writing the quantized model")
        entries = [*self.equalization, *self._apply(lab, best)]
        with stage(self.model) as staged:
            check = self._check(lab)
            judgement = check.judge(staged.model_path, self.model, self.plan)
            verification = self._verification(judgement, check)
        self.warnings += judgement.warnings(self.asked.mode)
        result = self._result(entries, verification, judgement, staged)
        result.gate(self.asked)
        return result

    def _static(self) -> tuple[Lab, Attempt]:
        source = self._open()
        samples = split(source, self.base)
        self.samples = samples.count
        self._count_samples(samples.count)
        self._plausible(source)
        lab = self._lab(samples, self.options, self._cached())
        item, plan = self._planned(lab)
        names = AUTO if self.asked.calibrator == "auto" else (self.asked.calibrator,)
        best = lab.best_calibrator(item, plan, names)
        if self.asked.improve:
            lab, best, self.equalization = equalized(lab, best, names)
            self.base = lab.model
            best = lab.improved(best)
        mixed = self._mixed(lab, best)
        gated = self.asked.min_sqnr is not None or self.asked.max_drop is not None
        if self.asked.improve and mixed is not best:
            mixed = lab.improved(mixed)
        best = mixed if gated else lab.worthwhile(mixed)
        if best is not mixed:
            self.warnings.append(not_worth(lab.speed, mixed.sqnr))
        if best.done is None and not gated:
            lab.observe_all()  # else what was judged is what is written
        self.plan, self.method = best.plan, best.item.calibrator
        return lab, best

    def _lab(self, samples: Samples, options: RunOptions, cache: bool) -> Lab:
        step = self.on_step
        return Lab(self.base, self.worker, samples, options, self.stack, step, cache=cache)

    def _planned(self, lab: Lab) -> tuple[Any, Plan]:
        item = self.item()
        if get_target(self.asked.target).costs is not None and not self.asked.include:
            item, plan = lab.fastest(item)
            if not plan.quantized:
                self.warnings.append(nothing_quantized(plan, lab.speed))
            return item, plan
        plan = lab.plan(item)
        lab.observe(plan.observed)
        return item, plan

    def _cached(self) -> bool:
        return self.asked.cache and isinstance(self.options.data, (str, Path))

    def _count_samples(self, count: int) -> None:
        if count < FEWEST:
            raise CalibrationError(
                f"{count} calibration samples are too few: expected at least {FEWEST}, better "
                f"{FEW} or more that look like what the model will see"
            )
        if count < FEW:
            few = f"only {count} calibration samples: ranges are uncertain below {FEW}"
            self.warnings.append(few)

    def _plausible(self, source: DataSource) -> None:
        """Warn when the data cannot be what the model was trained on."""
        given = open_model(self.source, allow_external_dir=self.external)
        feeds = itertools.islice(source.rebatched(8).feeds(), PLAUSIBLE_BATCHES)
        custom = self.options.custom_ops
        self.warnings += filter(None, [contradiction(given, self.worker, list(feeds), custom)])

    def _mixed(self, lab: Lab, best: Attempt) -> Attempt:
        """Keep layers float until the gates hold."""
        gates = Gates(self.asked.min_sqnr, self.asked.max_drop, self.asked.metric)
        if not gates.asked:
            return best
        labelled = None
        if self.asked.max_drop is not None:
            labelled = self._open(self.asked.labels) if self.asked.labels else lab.samples.source
        judge = gates.judge(lab, labelled)
        found, count = lab.mix(best, judge)
        if count:
            self.warnings.append(f"{count} layers kept float to reach what was asked for")
        return found

    def _apply(self, lab: Lab | None, best: Attempt | None) -> list[PassEntry]:
        """Run the pass as part of a recipe: structure is verified, what it did is recorded."""
        if lab is None or best is None:
            done = self._dataless()
        else:
            done = best.done or lab.quantized((best.item,), best.plan, self.on_step)
        self.warnings += [w for w in done.warnings if w not in self.warnings]
        self.model = done.model
        return done.entries

    def _dataless(self) -> Done:
        """Without calibration."""
        copy = duplicate(self.base)
        copy_provenance(self.base, copy)
        infer_shapes(copy, worker=self.worker)
        few = None
        if self.options.data is not None:
            few = list(self._open().rebatched(1).feeds())[:FEWEST]
        ctx = PassContext(copy, worker=self.worker, calibration=few, reference=self.base)
        done = run_passes(copy, ctx, (self.item(),), self.on_step)
        self.warnings += filter(None, [untouched(done.entries[0])])
        return done

    def _check(self, lab: Lab | None) -> Check:
        self.on_step("checking the quantized model")
        if lab is not None:
            return Check.of_lab(lab)
        options = self.options
        if options.data is None:
            options = replace(options, data="random", samples=FEWEST)
        specs = specs_of(self.base)
        description = options.describe(specs, output_names(self.base))
        source = open_samples(options, specs, description, self.base, samples=FEW)
        samples = split(source, self.base)
        lab = self._lab(samples, options, cache=False)
        return Check.of_lab(lab)

    def _verification(self, judgement: Judgement, check: Check) -> Verification:
        if not self.verify:
            return NOT_VERIFIED
        return verified(self.first.verification, judgement, check.samples)

    def _result(
        self,
        entries: list[PassEntry],
        verification: Verification,
        judgement: Judgement,
        staged: Staged | None,
    ) -> QuantizeResult:
        path = path_of(self.source)
        size = self.first.after.bytes if staged is None else staged.bytes
        integers = judgement.census.integer if judgement.census else None
        infer_shapes(self.model)  # of what was inserted: the summary counts MACs by shape
        return QuantizeResult(
            model=self.model,
            before=self.first.before,
            after=summarize(self.model, size),
            passes=[*self.first.passes, *entries],
            verification=verification,
            warnings=self.warnings,
            input=None if path is None else str(path),
            mode=self.asked.mode,
            target=self.asked.target,
            method=self.method,
            samples=self.samples,
            layers=layer_entries(self.plan, judgement.layers, integers),
            plan=[] if self.plan is None else list(self.plan.lines()),
            judgement=judgement,
        )
