"""How good a quantized model is: outputs, layers, what fused, how fast; gates and alarms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnxslim.analysis.quantization.plan import Plan
from onnxslim.api.lab import Attempt, Lab
from onnxslim.graph import edit
from onnxslim.runtime.items import Batch
from onnxslim.verify.compare import Stats, json_number
from onnxslim.verify.metrics import get_metric
from onnxslim.verify.quantized import Census, census, layer_sqnr, speedup, stored_weights
from onnxslim.verify.scores import Agreement, Score, Scorer

ALARM_DB = 15.0
_LAYER_FEEDS = 2


@dataclass
class Judgement:
    """What was measured.

    Attributes:
        sqnr_db: Of the outputs.
        cosine: Smallest of the outputs.
        speedup: Median latency of float over that of the result, one thread.
        outputs: Differences per output.
        layers: SQNR per layer key, in dB.
        census: What runs on integers.
    """

    sqnr_db: float = math.nan
    cosine: float = math.nan
    speedup: float = math.nan
    outputs: Mapping[str, Stats] = field(default_factory=dict)
    layers: Mapping[str, float] = field(default_factory=dict)
    census: Census | None = None

    def alarms(self) -> list[str]:
        """What makes the result useless, with what to do about it."""
        found = []
        if self.sqnr_db < ALARM_DB:
            found.append(
                f"the outputs have {self.sqnr_db:.1f} dB only: keep layers float with --min-sqnr "
                "20, give more or better samples, or use --mode dynamic or float16"
            )
        integers = self.census is None or self.census.integer
        if self.speedup < 0.98 and integers:
            found.append(
                f"the quantized model is slower than the float one ({self.speedup:.2f}x): ship the "
                "float model, or quantize large layers only (--exclude)"
            )
        return found

    def warnings(self, mode: str) -> list[str]:
        """One line each."""
        found = self.alarms() if mode == "static" else self.alarms()[: self.sqnr_db < ALARM_DB]
        if self.census is not None and self.census.float:
            names = ", ".join(self.census.float[:5])
            more = f" and {len(self.census.float) - 5} more" if len(self.census.float) > 5 else ""
            found.append(f"ONNX Runtime runs these quantized layers on floats: {names}{more}")
        if self.census is not None and self.census.surplus:
            names = ", ".join(self.census.surplus[:5])
            found.append(f"ONNX Runtime quantized layers that were to stay float: {names}")
        return found

    def to_json(self) -> dict[str, Any]:
        """The measured part of the document."""
        return {
            "sqnr_db": json_number(self.sqnr_db),
            "cosine": json_number(self.cosine),
            "speedup": json_number(self.speedup),
            "operators": {} if self.census is None else dict(self.census.operators),
        }


@dataclass(frozen=True)
class Check:
    """Judges results against the float model of a lab."""

    lab: Lab
    samples: int

    @staticmethod
    def of_lab(lab: Lab) -> Check:
        """On the lab's held-back samples."""
        return Check(lab, len(lab.judged.feeds))

    def judge(self, path: Path, model: ir.Model, plan: Plan | None) -> Judgement:
        """Measure a quantized model.

        Args:
            path: Its file.
            model: The same in memory.
            plan: What it was made by; None when it was made without.
        """
        lab = self.lab
        with lab.open(path) as session:
            stats = lab.judged.stats(session)
            times = speedup(lab.session, session, _one(lab))
            judgement = Judgement(
                sqnr_db=lab.judged.sqnr(stats),
                cosine=min((s.cosine for s in stats.values()), default=math.nan),
                speedup=times[0] / times[1],
                outputs=stats,
            )
            if plan is not None:
                keys = [layer.key for layer in plan.quantized]
                nodes = lab.worker.optimized(
                    path, provider=lab.options.provider, custom_ops=lab.options.custom_ops
                )
                given = stored_weights(lab.model, [layer.key for layer in plan.layers]).values()
                judgement.census = census(nodes, stored_weights(model, keys), given)
                pairs = tensor_pairs(model, plan)
                feeds = lab.judged.feeds[:_LAYER_FEEDS]
                judgement.layers = layer_sqnr(lab.session, session, pairs, feeds)
        return judgement


def _one(lab: Lab) -> Mapping[str, Any]:
    """One sample, as the model would be called with."""
    return next(lab.samples.source.rebatched(1).feeds())


def tensor_pairs(model: ir.Model, plan: Plan) -> dict[str, tuple[str, str]]:
    """By layer key, its result's name in the float model and in the quantized one."""
    values = {v.name: v for node in model.graph for v in node.outputs}
    found = {}
    for layer in plan.layers:
        name = layer.result
        value = values.get(name)
        if value is None or not value.name:  # an output may be left out
            continue
        found[layer.key] = (name, _dequantized(value))
    return found


def _dequantized(value: ir.Value) -> str:
    """The tensor that readers see: behind QuantizeLinear and DequantizeLinear, if they exist."""
    for use in value.uses():
        if edit.is_op(use.node, "QuantizeLinear"):
            for after in use.node.outputs[0].uses():
                if edit.is_op(after.node, "DequantizeLinear") and after.idx == 0:
                    return after.node.outputs[0].name or ""
    return value.name or ""


@dataclass(frozen=True)
class Gates:
    """What a result must reach.

    Attributes:
        min_sqnr: dB.
        max_drop: Points.
        metric: Of the points.
    """

    min_sqnr: float | None
    max_drop: float | None
    metric: str

    @property
    def asked(self) -> bool:
        """Whether there is any."""
        return self.min_sqnr is not None or self.max_drop is not None

    def judge(self, lab: Lab, data: Iterable[Batch] | None) -> Callable[[Attempt], bool]:
        """A function that says whether a try is good enough."""

        def enough(tried: Attempt) -> bool:
            if self.min_sqnr is not None and tried.sqnr < self.min_sqnr:
                return False
            if self.max_drop is None or data is None:
                return True
            return points_lost(lab, tried, data, self.metric) <= self.max_drop

        return enough


def points_lost(lab: Lab, tried: Attempt, data: Iterable[Batch], metric: str) -> float:
    """Points that a try loses: of the metric with labels, of agreement without."""
    scorer, agreement = Scorer(get_metric(metric), lab.options.seed), Agreement()
    with (
        lab.file(tried) as staged,
        lab.open(staged.model_path) as session,
    ):
        for batch in data:
            a = {k: v[: batch.count] for k, v in lab.session.run(batch.feeds).items()}
            b = {k: v[: batch.count] for k, v in session.run(batch.feeds).items()}
            agreement.add(a, b)
            if batch.labels is not None:
                scorer.add(a, b, batch.labels)
    score: Score | None = scorer.score(agreement.percent)
    return 100 - agreement.percent if score is None else score.drop
