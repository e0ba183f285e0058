"""What ``quantize`` takes and gives back."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from onnxslim.analysis.quantization.plan import Plan
from onnxslim.analysis.quantization.planner import UNPAYING
from onnxslim.analysis.quantization.ranges import CALIBRATORS
from onnxslim.api.checking import Judgement
from onnxslim.api.results import Result
from onnxslim.errors import TargetError, UsageError, VerificationError
from onnxslim.pipeline.targets import get_target
from onnxslim.report.entries import PassEntry
from onnxslim.verify.compare import json_number
from onnxslim.verify.verification import OutputResult, Verification, failures

if TYPE_CHECKING:
    from onnxslim.report.documents import QuantizeDocument

MODES = ("static", "dynamic", "float16")


@dataclass(frozen=True)
class QuantizeOptions:
    """What to quantize and how.

    Attributes:
        mode: ``static`` (needs data), ``dynamic`` or ``float16``.
        target: ``cpu``, ``cpu-avx2``, ``cpu-arm``, ``tensorrt`` or a plug-in's.
        format: ``qdq`` or ``qoperator``.
        calibrator: ``auto`` tries several; else ``minmax``, ``percentile``, ``mse``, ``entropy``.
        include: Only layers that match one of these globs are quantized.
        exclude: Layers that match one of these globs stay float.
        min_sqnr: Keep layers float until the outputs reach this many dB.
        max_drop: Keep layers float until at most this many points are lost.
        labels: Key of the labels in the data; without them points are those of agreement.
        metric: How labels become points.
        keep_io_types: ``float16``: inputs and outputs stay float32.
        strict: Slower than float, or below 15 dB, is an error.
        allow_random: Random calibration data is allowed.
        cache: Keep and use observations of the same model and data.
        improve: Choose integers layer by layer where that comes closer.
    """

    mode: str = "static"
    target: str = "cpu"
    format: str = "qdq"
    calibrator: str = "auto"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min_sqnr: float | None = None
    max_drop: float | None = None
    labels: str | None = None
    metric: str = "top1"
    keep_io_types: bool = False
    strict: bool = False
    allow_random: bool = False
    cache: bool = True
    improve: bool = True

    def check(self) -> None:
        """Raises UsageError for values that make no sense."""
        choices = {
            "mode": MODES,
            "format": ("qdq", "qoperator"),
            "calibrator": ("auto", *CALIBRATORS),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                given = getattr(self, name)
                raise UsageError(f"--{name} {given!r}: expected one of {', '.join(allowed)}")
        get_target(self.target)
        if self.max_drop is not None and self.max_drop < 0:
            raise UsageError(f"--max-drop {self.max_drop}: expected 0 or more points")
        if self.mode != "static" and self.include:
            raise UsageError("--include works with --mode static only; use --exclude")


@dataclass
class QuantizeResult(Result):
    """A quantized model with what is known of it.

    Attributes:
        mode: How it was quantized.
        target: For what.
        method: The calibrator that was chosen; None when nothing was calibrated.
        samples: Calibration samples.
        layers: What became of each layer: name, quantized, reason, sqnr_db, runs.
        plan: The plan that was followed, a line per layer and tensor.
        judgement: How close and how fast the result is.
    """

    command: str = "quantize"
    mode: str = "static"
    target: str = "cpu"
    method: str | None = None
    samples: int = 0
    layers: list[dict[str, Any]] = field(default_factory=list)
    plan: list[str] = field(default_factory=list)
    judgement: Judgement = field(default_factory=Judgement)

    def document(self) -> QuantizeDocument:
        """The JSON document of the command."""
        from onnxslim.report.documents import QuantizeDocument

        common = super().document().model_dump(by_alias=True)
        return QuantizeDocument(
            **common,
            mode=self.mode,
            target=self.target,
            calibration={"method": self.method, "samples": self.samples},
            layers=self.layers,
            plan=self.plan,
            **self.judgement.to_json(),
        )

    def gate(self, asked: QuantizeOptions) -> None:
        """Refuse a result that is broken or not what was asked for.

        Raises:
            VerificationError: The quantized model does not run, or gives no numbers.
            TargetError: ``min_sqnr`` or ``strict`` is not met. Both errors have ``result``.
        """
        error: Exception | None = None
        judgement, failure = self.judgement, self.verification.failure
        if self.verification.ok is False:
            error = VerificationError(f"the quantized model is broken: {failure}")
        elif asked.min_sqnr is not None and judgement.sqnr_db < asked.min_sqnr:
            error = TargetError(
                f"--min-sqnr {asked.min_sqnr:g} cannot be met: the best reached is "
                f"{judgement.sqnr_db:.1f} dB"
            )
        elif asked.strict and judgement.alarms():
            error = TargetError(f"--strict: {judgement.alarms()[0]}")
        if error is not None:
            error.result = self  # type: ignore[attr-defined]
            raise error


def verified(first: Verification, judgement: Judgement, samples: int) -> Verification:
    """The verification of a quantized model: that its outputs are numbers, however far off.

    Args:
        first: Of the simplified model it was made from.
        judgement: What its outputs are beside those of the float model.
        samples: How many samples were compared.
    """
    outputs = {
        name: OutputResult(
            name,
            stats,
            None,
            stats.problem_status if stats.problem else "ok",
            not stats.problem,
            (),
            stats.detail,
        )
        for name, stats in judgement.outputs.items()
    }
    failure = failures(outputs)
    return replace(first, ok=not failure, outputs=outputs, samples=samples, failure=failure)


def untouched(entry: PassEntry) -> str:
    """The warning that a pass changed no layer, with its commonest reason; else nothing."""
    if entry.rewrites or not entry.skipped:
        return ""
    reason, count = max(entry.skipped.items(), key=lambda item: item[1])
    return f"{entry.name} changed no layer: {reason} ({count} of {sum(entry.skipped.values())})"


def not_worth(speed: float, sqnr: float = math.inf) -> str:
    """The warning that nothing became integers.

    Args:
        speed: Over float, of the best plan; NaN when none was timed.
        sqnr: Of its outputs, in dB; infinite when it was not tried.
    """
    how = "reckoned, not timed" if math.isnan(speed) else f"{speed:.2f}x as fast as float at best"
    if math.isfinite(sqnr):
        how += f", with {sqnr:.1f} dB"
    return (
        f"no layer is worth integers here ({how}): the result is the simplified float model "
        "(--include 'op:*' quantizes all the same)"
    )


def nothing_quantized(plan: Plan, speed: float) -> str:
    """The warning that a plan has no integers: nothing can become some, or nothing pays."""
    reasons = Counter(layer.reason for layer in plan.layers)
    if not reasons:
        return "the model has no layer that could be quantized: no Conv, Gemm or MatMul"
    if UNPAYING in reasons:
        return not_worth(speed)
    reason, count = reasons.most_common(1)[0]
    return (
        f"no layer can be quantized: {reason} ({count} of {len(plan.layers)} layers); "
        "the result is the simplified model"
    )


def layer_entries(
    plan: Plan | None, closeness: Mapping[str, float], integer: Sequence[str] | None
) -> list[dict[str, Any]]:
    """``layers`` of the document: what became of each layer of a plan."""
    if plan is None:
        return []
    return [
        {
            "name": layer.name,
            "op": layer.op,
            "quantized": layer.quantized,
            "reason": layer.reason or None,
            "sqnr_db": json_number(closeness.get(layer.key)),
            "runs": None
            if integer is None or not layer.quantized
            else ("int8" if layer.key in integer else "float"),
        }
        for layer in plan.layers
    ]
