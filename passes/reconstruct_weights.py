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
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.reconstruction.fit import EXACT, Fit, Options, fit
from onnxslim.graph import edit
from onnxslim.passes._jobs import Job, write
from onnxslim.passes._linear import constant
from onnxslim.passes._repair import Repair
from onnxslim.passes._samples import Sampling, needs
from onnxslim.passes._targets import batchnorm
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

Array = npt.NDArray[Any]

# Of five trained networks, 16 samples of the right kind stay below 0.2 deviations and a factor of
# 1.4 in the median channel of the median layer; noise, shuffled pixels and wrong scaling do not.
_OFF, _FACTOR = 0.35, 1.9

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
        options = Options(rounds=self.rounds, widest=self.widest)
        done, data = 0, _Data()
        for job, problem in repair.run():
            found = fit(problem, options)
            data.look(job, found, ctx)
            done += _apply(job, found, ctx)
        ctx.warnings += [f"{self.name}: {text}" for text in data.complaints()]
        return done


@dataclass
class _Data:
    """What the layers say about the calibration data."""

    few: list[str] = field(default_factory=list)
    constant: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    normalized: int = 0

    def look(self, job: Job, found: Fit, ctx: PassContext) -> None:
        """Note what is wrong for one layer."""
        groups, _, width = found.weight.shape
        if found.rows < width and not found.start:
            self.few.append(f"{job.name} ({found.rows} rows for {width} inputs)")
        if found.constant == width * groups:
            self.constant.append(job.name)
        known = _statistics(job, ctx)
        if known is not None and found.wanted is not None:
            self.normalized += 1
            if _contradicts(found.wanted, known):
                self.strange.append(job.name)

    def complaints(self) -> list[str]:
        """One line for each thing that is wrong."""
        said = []
        if self.few:
            said.append(f"too little calibration data for {_list(self.few)}; give more samples")
        if self.constant:
            said.append(f"the calibration data never changes the input of {_list(self.constant)}")
        if 2 * len(self.strange) > self.normalized:
            said.append(
                f"the calibration data contradicts the statistics of BatchNormalization behind "
                f"{_list(self.strange)}; is it real data, prepared as it was for training?"
            )
        return said


def _statistics(job: Job, ctx: PassContext) -> tuple[Array, Array] | None:
    """Mean and variance that the BatchNormalization directly behind a layer expects."""
    target = job.targets[0]
    reader = edit.sole_consumer(job.layers[0].y)
    if target.other is not None or not edit.is_op(reader, "BatchNormalization"):
        return None
    if reader is None or batchnorm(reader, ctx.opset) is None:
        return None
    mean, var = constant(reader.inputs[3]), constant(reader.inputs[4])
    return None if mean is None or var is None else (mean, var)


def _contradicts(found: tuple[Array, Array], known: tuple[Array, Array]) -> bool:
    """True when most channels lie elsewhere than they should, or spread otherwise."""
    mean, var = (a.astype(np.float64) for a in known)
    given, spread = (a.reshape(-1) for a in found)
    if mean.shape != given.shape:
        return False
    deviation = np.sqrt(np.maximum(var, 1e-12))
    off = np.median(np.abs(given - mean) / deviation)
    factor = np.median(np.abs(np.log(np.maximum(spread, 1e-12) / np.maximum(var, 1e-12))))
    return bool(off > _OFF or factor > np.log(_FACTOR))


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
