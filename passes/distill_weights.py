"""Adjust all weights of a compressed model together, so that its outputs are those of before.

Least squares repairs one layer at a time and cannot know what later layers make of its errors.
Here the error of the outputs themselves goes down, by Adam with steps relative to the size of the
weights and a rate that follows a cosine to zero::

    L = sum over outputs of E ||y - t||^2 / E ||t - mean(t)||^2

t are the outputs of the reference; where a Softmax or Sigmoid gives them, what it reads.
ONNX Runtime runs the model, gradients come from onnxslim.analysis.gradient.

Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531 (distillation); Kingma, Ba 2015,
arXiv:1412.6980 (Adam); Shazeer, Stern 2018, arXiv:1804.04235, section 8 (relative steps).
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.cost import model_macs
from onnxslim.analysis.gradient.adam import Adam
from onnxslim.analysis.gradient.tape import Tape
from onnxslim.errors import WorkerError
from onnxslim.passes._lesson import Lesson, ShapeError, targets_of
from onnxslim.passes._samples import needs
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.reference import Reference

Array = npt.NDArray[Any]

_MEMORY = 1 << 30  # bytes of all values of a batch
_ELEMENT, _NODE = 30, 1_000_000  # multiply-accumulates in the time of an element, of a node
_LOOK = 4  # epochs after which the error is looked at

logger = logging.getLogger(__name__)


@register
@dataclass(frozen=True)
class DistillWeights(Pass):
    """Adjust all weights of a compressed model together by the error of its outputs.

    Weights are left alone where an operator between them and the outputs has no gradient rule.
    The result is kept only if the error on the samples is smaller.

    Args:
        epochs: Times that every sample is looked at.
        rate: Largest step, in parts of the root mean square of a tensor.
        seed: Of the order of the samples.
        work: Multiply-accumulates and what goes with them, at most; fewer epochs keep within it, at
            least a fifth of them.
        fewest: Samples below which nothing is done.
    """

    name: ClassVar[str] = "distill-weights"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    epochs: int = 20
    rate: float = 0.005
    seed: int = 0
    work: float = 2e11
    fewest: int = 32

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Train, and write the weights."""
        reference, calibration = needs(ctx, self.name)
        tape = Tape(model, targets_of(model, reference))
        if not tape.weights:
            return 0
        with Lesson(tape, ctx, calibration) as lesson:
            refusal, epochs = self._plan(model, lesson)
            if not refusal:
                refusal, found = self._distill(lesson, epochs, reference)
        if refusal:
            return int(ctx.skip(tape.nodes[0], refusal))
        return sum(_write(value, found[str(value.name)], ctx) for value in tape.weights)

    def _plan(self, model: ir.Model, lesson: Lesson) -> tuple[str, int]:
        """Why nothing is done, or empty; and the number of epochs."""
        if lesson.samples < self.fewest:
            return f"fewer than {self.fewest} samples", 0
        macs, elements = model_macs(model, lesson.sizes()), lesson.elements()
        if macs is None or elements is None:
            return "its work is not known, because shapes stay unknown", 0
        if elements * 4 > _MEMORY:
            return "a batch takes too much memory", 0
        step = 3 * (macs + _ELEMENT * elements) + _NODE * len(lesson.tape.nodes)
        epochs = min(self.epochs, int(self.work // (step * lesson.batches)))
        return (f"more work than {self.work:g}" if 5 * epochs < self.epochs else ""), epochs

    def _distill(
        self, lesson: Lesson, epochs: int, reference: Reference
    ) -> tuple[str, dict[str, Array]]:
        """Why the weights are no better, or empty; and the weights."""
        try:
            with np.errstate(all="ignore"):  # what is not finite is no better
                lesson.begin(reference)
                before = lesson.error()
                after, found = self._train(lesson, epochs, reference, before)
        except ShapeError as error:
            return f"the size of {error} follows from the data", {}
        except WorkerError as error:
            return f"the model cannot be run with its values laid open: {error}", {}
        logger.debug("error of the outputs %.4g -> %.4g in %d epochs", before, after, epochs)
        return ("" if after < before else "the outputs are no nearer to those of before"), found

    def _train(
        self, lesson: Lesson, epochs: int, reference: Reference, before: float
    ) -> tuple[float, dict[str, Array]]:
        """The least error met, and its weights."""
        best, found = before, lesson.weights
        if not math.isfinite(before):
            return best, found
        rng = np.random.default_rng(self.seed)
        adam = Adam(lesson.weights)
        total, step = epochs * lesson.batches, 0
        for epoch in range(epochs):
            reference.progress(epoch, epochs, "epoch")
            for batch in rng.permutation(lesson.batches):
                rate = self.rate * 0.5 * (1 + math.cos(math.pi * step / total))
                adam.step(lesson.weights, lesson.gradients(int(batch)), rate)
                step += 1
            if epoch % _LOOK == _LOOK - 1 or epoch == epochs - 1:
                error = lesson.error()
                if error < best:
                    best = error
                    found = {name: weight.copy() for name, weight in lesson.weights.items()}
                elif not math.isfinite(error):
                    break
        return best, found


def _write(value: ir.Value, new: Array, ctx: PassContext) -> bool:
    old = value.const_value
    graph = value.graph
    if old is None or graph is None or np.array_equal(old.numpy(), new):
        return False
    constant = ctx.constant(graph, value.name, new)
    for use in list(value.uses()):
        ctx.set_input(use.node, use.idx, constant)
    return True
