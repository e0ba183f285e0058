"""Everything in one go: simplify, prune if asked, quantize where it pays, validate.

A stage that fails its gate is rolled back: the result is never worse than what went into it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from onnxslim.api.optimizing import optimize
from onnxslim.api.options import RunOptions
from onnxslim.api.prune_options import Amount
from onnxslim.api.pruned import PruneResult
from onnxslim.api.pruning import prune
from onnxslim.api.quantized import QuantizeResult
from onnxslim.api.quantizing import quantize
from onnxslim.api.results import Result
from onnxslim.api.sources import ModelLike, path_of
from onnxslim.api.validating import validate
from onnxslim.errors import CalibrationError, DataError, OnnxSlimError, VerificationError
from onnxslim.graph.save import check_target, stage
from onnxslim.report.summary import summarize
from onnxslim.runtime.data import refused
from onnxslim.verify.report import ValidationReport

if TYPE_CHECKING:
    from onnxslim.report.documents import CompressDocument

LOWEST_DB = 15.0
"""Outputs of a quantized model that are farther off are not accepted without a gate."""


@dataclass
class CompressResult(Result):
    """A compressed model with what became of each stage.

    Attributes:
        stages: ``name``, ``kept`` and ``reason`` of each stage, in order.
        pruned: The result of pruning; None when it was not asked for or rolled back.
        quantized: The result of quantizing; None when it was rolled back.
        quality: The final comparison with the model given.
    """

    command: str = "compress"
    stages: list[dict[str, Any]] = field(default_factory=list)
    pruned: PruneResult | None = None
    quantized: QuantizeResult | None = None
    quality: ValidationReport | None = None

    def document(self) -> CompressDocument:
        """The JSON document of the command."""
        from onnxslim.report.documents import CompressDocument

        pruned, quantized = self.pruned, self.quantized
        return CompressDocument(
            **super().document().model_dump(by_alias=True),
            stages=self.stages,
            budget=pruned.budget if pruned else {},
            recovery=pruned.recovery if pruned else "none",
            groups=pruned.groups if pruned else [],
            frozen=pruned.frozen if pruned else [],
            calibration={
                "method": quantized.method if quantized else None,
                "samples": quantized.samples if quantized else 0,
            },
            layers=quantized.layers if quantized else [],
            validation=self.quality.to_json() if self.quality else None,
        )


def compress(
    model: ModelLike,
    *,
    data: Any = None,
    ratio: Amount | None = None,
    macs: Amount | None = None,
    params: Amount | None = None,
    latency: Amount | None = None,
    target: str = "cpu",
    min_sqnr: float | None = None,
    max_drop: float | None = None,
    labels: str | None = None,
    metric: str = "top1",
    search: bool = True,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    verify: bool = True,
    allow_random: bool = False,
    options: RunOptions | None = None,
    allow_external_dir: str | None = None,
    on_step: Callable[[str], None] | None = None,
) -> CompressResult:
    """Simplify, prune if a budget is given, quantize where it pays, validate.

    Args:
        model: A path, an ``onnx_ir.Model`` or an ``onnx.ModelProto``; never changed.
        data: Samples in any form of ``--data``.
        ratio: Part of the channels to remove.
        macs: Keep at most this part of the multiply-accumulates, or this number.
        params: Keep at most this part of the parameters, or this number.
        latency: Keep at most this part of the latency, or milliseconds.
        target: Of the quantization.
        min_sqnr: Every lossy stage must leave the outputs this close (dB).
        max_drop: Every lossy stage may lose at most so many points against the model given: of the
            metric with labels, else of agreement.
        labels: Key of the labels in the data.
        metric: How outputs and labels become points.
        search: Try several ways of choosing channels, where there are few enough to try.
        output: File to write; None gives only the model.
        force: Replace ``output`` when it exists.
        verify: Verify every stage, and compare the result with the model given; gates are always
            checked.
        allow_random: Random calibration data is allowed.
        options: How models are run.
        allow_external_dir: Another folder that external weights may be read from.
        on_step: Called with the name of what is being done.

    Raises:
        CalibrationError: For random data that is not allowed.
        DataError: Without data.
        TargetError: When a budget cannot be met.
        UnsupportedModelError: When the model cannot be read or is invalid.
    """
    chosen = options or RunOptions()
    if data is not None:
        chosen = replace(chosen, data=data)
    if chosen.data is None:
        raise DataError("compress needs samples: give them with --data")
    if chosen.data == "random" and not allow_random:  # else every stage would be rolled back
        raise refused()
    place = None if output is None else check_target(output, path_of(model), force=force)
    say = on_step or (lambda text: None)
    gates = {k: v for k, v in (("min_sqnr", min_sqnr), ("max_drop", max_drop)) if v is not None}
    job = _Job(model, chosen, gates, labels, metric, allow_external_dir, say)
    job.search, job.verify, job.allow_random = search, verify, allow_random
    job.simplify()
    budget = {"ratio": ratio, "macs": macs, "params": params, "latency": latency}
    asked = {k: v for k, v in budget.items() if v is not None}
    if asked:
        job.prune(asked)
    job.quantize(target)
    result = job.finish()
    if place is not None:
        with stage(result.model, place.parent, name=place.name) as staged:
            staged.commit(place)
        result.output = str(place)
    return result


class _Job:
    """One run of :func:`compress`."""

    def __init__(
        self,
        source: ModelLike,
        options: RunOptions,
        gates: Mapping[str, float],
        labels: str | None,
        metric: str,
        allow_external_dir: str | None,
        say: Callable[[str], None],
    ) -> None:
        self.source, self.options, self.gates = source, options, dict(gates)
        self.labels, self.metric, self.say = labels, metric, say
        self.allow_external_dir = allow_external_dir
        self.search, self.verify, self.allow_random = True, True, False
        self.stages: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.pruned: PruneResult | None = None
        self.quantized: QuantizeResult | None = None

    def simplify(self) -> None:
        """The lossless part; what fails here fails altogether."""
        self.say("simplifying")
        self.first = optimize(
            self.source, options=self.options, allow_external_dir=self.allow_external_dir,
            verify=self.verify,
        )  # fmt: skip
        self.model: ir.Model = self.first.model
        self.passes = list(self.first.passes)
        self._note("simplify", True, f"{self.first.before.nodes} -> {self.first.after.nodes} nodes")

    def prune(self, budget: Mapping[str, Any]) -> None:
        """Prune and recover; rolled back when it fails a gate."""
        self.say("pruning")
        original = path_of(self.source) or self.source
        try:
            found = prune(
                original, **budget, options=self.options, labels=self.labels, metric=self.metric,
                allow_external_dir=self.allow_external_dir, on_step=self.say, compare=False,
                search=self.search, verify=self.verify, allow_random=self.allow_random,
            )  # fmt: skip
        except VerificationError as error:
            self._note("prune", False, str(error))
            return
        reason = self._fails(found.model)
        if reason:
            self._note("prune", False, reason)
            return
        self.pruned, self.model = found, found.model
        self.passes += found.passes
        self.warnings += found.warnings
        self._note("prune", True, found.headline)

    def quantize(self, target: str) -> None:
        """Quantize; rolled back where int8 is no faster, far off, or fails a gate."""
        self.say("quantizing")
        try:
            found = quantize(
                self.model, options=self.options, target=target, on_step=self.say,
                verify=self.verify, allow_random=self.allow_random,
            )  # fmt: skip
        except (CalibrationError, VerificationError) as error:
            self._note("quantize", False, str(error))
            return
        judged = found.judgement
        reason = ""
        if not any(layer["quantized"] for layer in found.layers):
            reason = "no layer gains from integers"
        elif judged.speedup <= 1.0:
            reason = f"integers run {judged.speedup:.2f} times as fast as float"
        elif judged.sqnr_db < LOWEST_DB and not self.gates:
            reason = f"outputs are {judged.sqnr_db:.1f} dB off, less than {LOWEST_DB:g} dB"
        else:
            reason = self._fails(found.model)
        if reason:
            self._note("quantize", False, reason)
            return
        self.quantized, self.model = found, found.model
        self.passes += found.passes
        self.warnings += found.warnings
        self._note("quantize", True, f"{judged.speedup:.2f} times as fast, {judged.sqnr_db:.1f} dB")

    def _fails(self, candidate: ir.Model) -> str:
        """Which gate a model fails against the model given; empty for none."""
        if not self.gates:
            return ""
        gates = dict(self.gates)
        if self.labels is None and "max_drop" in gates:
            gates["min_agreement"] = 100.0 - gates.pop("max_drop")
        found = self._validated(candidate, gates)
        failed = [g for g in found.gates if not g.ok]
        return f"gate {failed[0].name}: {failed[0].value} for {failed[0].limit}" if failed else ""

    def _validated(self, candidate: ir.Model, gates: Mapping[str, float]) -> ValidationReport:
        return validate(
            self.source, candidate, gates=gates, labels=self.labels, metric=self.metric,
            options=self.options, allow_external_dir=self.allow_external_dir,
        )  # fmt: skip

    def _note(self, name: str, kept: bool, reason: str) -> None:
        self.stages.append({"name": name, "kept": kept, "reason": reason})
        if not kept:
            self.warnings.append(f"{name} was rolled back: {reason}")

    def finish(self) -> CompressResult:
        """The result with its comparison with the model given."""
        quality: ValidationReport | None = None
        try:
            if self.verify:
                self.say("validating")
                quality = self._validated(self.model, {"min_sqnr": -300.0})
        except OnnxSlimError as error:
            self.warnings.append(f"the result was not compared: {error}")
        with stage(self.model) as staged:
            after = summarize(self.model, staged.bytes)
        last = self.quantized or self.pruned or self.first
        path = path_of(self.source)
        return CompressResult(
            model=self.model,
            before=self.first.before,
            after=after,
            passes=self.passes,
            verification=last.verification,
            warnings=list(dict.fromkeys(self.warnings)),
            input=None if path is None else str(path),
            stages=self.stages,
            pruned=self.pruned,
            quantized=self.quantized,
            quality=quality,
        )
