"""Fit the weights of a compressed model so that every layer gives what it gave before.

For each layer, in order, on sampled inputs that come from the layers already fitted::

    min ||T - (X W^T + b)||^2 + mu ||W - W_S||^2        W_S: the sliced weights

with T from the reference: the kept channels of the layer's output, at a residual Add less what
the other branch gives by now, and where a Relu or Clip follows only as far as it lets pass.
See docs/reconstruction.md.

Source: He, Zhang, Sun 2017, arXiv:1707.06168; Zhang et al. 2015, arXiv:1505.06798.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.analysis.reconstruction.fit import EXACT, Fit, Options, fit
from onnxslim.passes._jobs import Job, write
from onnxslim.passes._repair import Repair
from onnxslim.passes._samples import Sampling, needs
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

logger = logging.getLogger(__name__)


@register
@dataclass(frozen=True)
class ReconstructWeights(Pass):
    """Bring a compressed model's layers back to what they gave, by least squares on samples.

    Conv, ConvTranspose, Gemm and MatMul with constant weights. A layer is left alone when
    the fit makes it worse on samples held back.

    Args:
        rows: Positions looked at per layer.
        rounds: Regressions that take a following Relu or Clip into account; 0 for none.
        seed: Of the choice of positions.
        priors: Pull to weights that follow from the dependence of channels, where that is better.
        widest: Layers with more inputs only get the better of both weights, and a new bias.
    """

    name: ClassVar[str] = "reconstruct-weights"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    rows: int = 20_000
    rounds: int = 12
    seed: int = 0
    priors: bool = True
    widest: int = 4608

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Fit every layer once."""
        reference, calibration = needs(ctx, self.name)
        repair = Repair(ctx, reference, calibration, Sampling(self.rows, self.seed, self.priors))
        done, few, constant = 0, [], []
        for job, problem in repair.run():
            found = fit(problem, Options(rounds=self.rounds, widest=self.widest))
            done += _apply(job, found, ctx)
            width = problem.weight.shape[2]
            if found.rows < width and not found.start:
                few.append(f"{job.name} ({found.rows} rows for {width} inputs)")
            if found.constant == width * problem.weight.shape[0]:
                constant.append(job.name)
        if few:
            ctx.warnings.append(
                f"{self.name}: too little calibration data for {_list(few)}; give more samples"
            )
        if constant:
            ctx.warnings.append(
                f"{self.name}: the calibration data never changes the input of {_list(constant)}"
            )
        return done


def _apply(job: Job, found: Fit, ctx: PassContext) -> bool:
    node = job.layers[0].node
    logger.debug(
        "%s: error %.4g -> %.4g, ridge %g to %d, %d rows",
        job.name, found.before, found.after, found.strength, found.start, found.rows,
    )  # fmt: skip
    if found.before <= EXACT:
        return False
    if found.after >= found.before:
        return ctx.skip(node, "the fit is no better on samples held back")
    refusal = write(job, found.weight, found.bias, ctx)
    return True if refusal is None else ctx.skip(node, refusal)


def _list(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
