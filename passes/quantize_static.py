"""Quantize layers to 8-bit integers with ranges observed on calibration data.

    real = scale * (integer - zero)      uint8 activations, per tensor
    weight = scale[c] * integer          int8 weights, per output channel, symmetric
    bias = scale_x * scale_w[c] * integer                          int32

Source: Jacob et al. 2018, arXiv:1712.05877; ONNX operators QuantizeLinear-13 and
DequantizeLinear-13; placement as measured in ``docs/quantization.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import onnx_ir as ir

from onnxslim.analysis.quantization.observe import Observations, sample_sizes
from onnxslim.analysis.quantization.plan import Plan
from onnxslim.analysis.quantization.planner import make_plan
from onnxslim.analysis.quantization.select import Selection
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import CalibrationError
from onnxslim.graph.opset import raise_opset
from onnxslim.graph.save import stage
from onnxslim.passes._quantize_emit import Emitter
from onnxslim.passes._quantize_qoperator import convert
from onnxslim.passes._quantize_scales import edge_scales
from onnxslim.pipeline import Numerics, Pass, PassContext, register
from onnxslim.pipeline.targets import get_target

OPSET = 13
"""The first opset with a scale per channel."""


@register
@dataclass(frozen=True)
class QuantizeStatic(Pass):
    """Quantize Conv, MatMul and Gemm to 8-bit integers, with ranges from calibration data.

    Left alone: layers in subgraphs, recurrent ones, those that read or feed no integers with gain,
    and what is excluded.

    Args:
        target: What the model is to run on: cpu, cpu-avx2, cpu-arm, tensorrt or a plug-in's.
        format: qdq writes QuantizeLinear and DequantizeLinear, qoperator integer operators.
        calibrator: How ranges follow from what was seen: minmax, percentile, mse or entropy.
        include: Only layers that match one of these globs are quantized.
        exclude: Layers that match one of these globs stay float.
        caution: How much dearer than reckoned conversions are taken to be; inf quantizes nothing.
    """

    name: ClassVar[str] = "quantize-static"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    target: str = "cpu"
    format: Literal["qdq", "qoperator"] = "qdq"
    calibrator: Literal["minmax", "percentile", "mse", "entropy"] = "mse"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    caution: float = 1.0

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        observations = _observations(ctx)
        plan = observations.plan or self.plan(model, observations.sizes)
        nodes = {n.outputs[0].name: n for n in model.graph if n.outputs}
        for layer in plan.layers:
            if not layer.quantized and layer.key in nodes:
                ctx.skip(nodes[layer.key], layer.reason)
        if not plan.quantized:
            return 0
        self._observe(model, ctx, observations, plan)
        if ctx.opset < OPSET:
            raise_opset(model, OPSET)
            infer_shapes(model)
            ctx.reindex()
        count = Emitter(ctx, plan, edge_scales(plan, observations.facts, self.calibrator)).emit()
        if self.format == "qoperator":
            convert(ctx)
        return count

    def plan(self, model: ir.Model, sizes: Mapping[str, int] | None = None) -> Plan:
        """What this pass would do to a model.

        Args:
            model: With inferred shapes.
            sizes: Sizes of symbolic dimensions in one sample.
        """
        chosen = Selection(model, self.include, self.exclude)
        target = get_target(self.target)
        if target.costs is not None and self.caution != 1:
            target = replace(target, costs=target.costs.dearer(self.caution))
        return make_plan(model, target, chosen, sizes)

    def _observe(
        self, model: ir.Model, ctx: PassContext, observations: Observations, plan: Plan
    ) -> None:
        missing = observations.missing(plan.observed)
        if missing:
            with stage(model) as staged:
                with ctx.worker.session(staged.model_path, optimization="basic") as session:
                    observations.see(session, missing)


def _observations(ctx: PassContext) -> Observations:
    """What the caller has seen already, or an empty form over the caller's data."""
    found = ctx.calibration
    if found is None:
        raise CalibrationError(
            "quantize-static needs calibration data: give real samples with --data"
        )
    if isinstance(found, Observations):
        return found
    feeds: Any = _Feeds(found)
    return Observations(feeds=feeds, sizes=sample_sizes(ctx.model, next(iter(feeds), None)))


@dataclass(frozen=True)
class _Feeds:
    """The feeds of a DataSource (batches), or of an iterable of dictionaries."""

    source: Any

    def __iter__(self) -> Iterator[Any]:
        return (item.feeds if hasattr(item, "feeds") else item for item in self.source)
