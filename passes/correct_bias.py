"""Give every layer of a compressed model the mean output that it had.

With samples, in order, each layer on inputs that come from the layers already corrected::

    b' = b + E[T] - E[X W^T + b]                        T: what the reference gives

Without samples, from what is known of the removed inputs: a channel behind a BatchNormalization
is taken as normally distributed with its shift and scale, and what follows up to the layer
(activations, poolings, sums) changes mean and spread accordingly::

    b' = b + W_R E[x_R]                                  W_R: the removed columns

Source: Nagel et al. 2019, arXiv:1906.04721, section 4.2 and appendix C.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.analysis.reconstruction.fit import EXACT, Options, fit
from onnxslim.errors import PreconditionError
from onnxslim.passes._expected import correct_from_statistics
from onnxslim.passes._jobs import write
from onnxslim.passes._repair import Repair
from onnxslim.passes._samples import Sampling, needs
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.reference import Reference


@register
@dataclass(frozen=True)
class CorrectBias(Pass):
    """Shift the biases of a compressed model's layers so that mean outputs stay what they were.

    With samples where there are some, else from the statistics that BatchNormalization keeps; a
    layer is left alone when nothing is known of its inputs.

    Args:
        rows: Positions looked at per layer.
        seed: Of the choice of positions.
    """

    name: ClassVar[str] = "correct-bias"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    rows: int = 20_000
    seed: int = 0

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Correct every layer once."""
        if ctx.calibration is None:
            if not isinstance(ctx.reference, Reference):
                raise PreconditionError(
                    f"{self.name} repairs a compressed model towards the one before, but there is "
                    "none; run it behind a pass that compresses, as `onnxslim prune` does"
                )
            return correct_from_statistics(ctx, ctx.reference)
        reference, calibration = needs(ctx, self.name)
        repair = Repair(ctx, reference, calibration, Sampling(self.rows, self.seed))
        done = 0
        for job, problem in repair.run():
            found = fit(problem, Options(strengths=(math.inf,), rounds=0))
            if found.after >= found.before or found.before <= EXACT:
                continue
            refusal = write(job, None, found.bias, ctx)
            done += True if refusal is None else ctx.skip(job.layers[0].node, refusal)
        return done
