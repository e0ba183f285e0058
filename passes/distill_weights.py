"""Adjust all weights of a compressed model together, so that its outputs are those of before.

Least squares repairs one layer at a time and cannot know what later layers make of its errors.
Here the error of the outputs themselves goes down, by Adam with steps relative to the size of the
weights and a rate that follows a cosine to zero::

    L = sum over outputs of E ||y - t||^2 / E ||t - mean(t)||^2

t are the outputs of the reference; where a Softmax or Sigmoid gives them, what it reads.
The reference answers to any input: with mixtures of samples besides the samples themselves, what
is learned from a few hundred of them holds for others, the more steps the better.
ONNX Runtime runs the model, gradients come from onnxslim.analysis.gradient.

Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531 (distillation); Beyer et al. 2022,
arXiv:2106.05237 (mixtures, and many steps); Kingma, Ba 2015, arXiv:1412.6980 (Adam); Shazeer,
Stern 2018, arXiv:1804.04235, section 8 (relative steps).
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
_KEPT = 1 << 30  # bytes of all mixtures
_LOOKS = 5  # times that the error is looked at
_WARM = 0.05  # part of the steps in which the rate rises
_REUSED = 3  # steps that look at the same mixture: the reference's answer to it takes long, too

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
        work: Multiply-accumulates and what goes with them, at most; fewer epochs keep within it.
        least: Part of the epochs below which nothing is done.
        fewest: Samples below which nothing is done.
        mixed: Part of the steps that look at mixtures of samples.
        steps: Steps at least, by more epochs where there are few samples.
    """

    name: ClassVar[str] = "distill-weights"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    epochs: int = 20
    rate: float = 0.005
    seed: int = 0
    work: float = 2e11
    least: float = 0.2
    fewest: int = 32
    mixed: float = 0.0
    steps: int = 0

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Train, and write the weights."""
        reference, calibration = needs(ctx, self.name)
        tape = Tape(model, targets_of(model, reference))
        if not tape.weights:
            return 0
        with Lesson(tape, ctx, calibration) as lesson:
            refusal, epochs = self._plan(model, reference, lesson)
            if not refusal:
                refusal, found = self._distill(lesson, epochs, reference)
        if refusal:
            return int(ctx.skip(tape.nodes[0], refusal))
        return sum(_write(value, found[str(value.name)], ctx) for value in tape.weights)

    def _plan(self, model: ir.Model, reference: Reference, lesson: Lesson) -> tuple[str, int]:
        """Why nothing is done, or empty; and the number of epochs."""
        if lesson.samples < self.fewest:
            return f"fewer than {self.fewest} samples", 0
        macs, elements = model_macs(model, lesson.sizes()), lesson.elements()
        if macs is None or elements is None:
            return "its work is not known, because shapes stay unknown", 0
        if elements * 4 > _MEMORY:
            return "a batch takes too much memory", 0
        dense = model_macs(reference.model, lesson.sizes()) or macs
        step = 3 * (macs + _ELEMENT * elements) + _NODE * len(lesson.tape.nodes)
        step += round(self.mixed * dense / _REUSED)
        wanted = max(self.epochs, math.ceil(self.steps / lesson.batches))
        epochs = min(wanted, int(self.work // (step * lesson.batches)))
        few = epochs < max(1, self.least * wanted)
        return (f"more work than {self.work:g}" if few else ""), epochs

    def _distill(
        self, lesson: Lesson, epochs: int, reference: Reference
    ) -> tuple[str, dict[str, Array]]:
        """Why the weights are no better, or empty; and the weights."""
        try:
            with np.errstate(all="ignore"):  # what is not finite is no better
                lesson.begin(reference)
                before = self._error(lesson)
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
        total, step, mixed = epochs * lesson.batches, 0, 0
        held = lesson.batches  # mixtures that tell the error
        pool = max(1, min(round(total * self.mixed / _REUSED), _KEPT // lesson.bytes()))
        looks = {round(epochs * (look + 1) / _LOOKS) for look in range(_LOOKS)}
        for epoch in range(1, epochs + 1):
            reference.progress(epoch - 1, epochs, "epoch")
            for batch in rng.permutation(lesson.batches):
                if self.mixed and rng.random() < self.mixed:
                    example = lesson.mixture(held + mixed % pool, rng)
                    mixed += 1
                else:
                    example = lesson.sample(int(batch))
                adam.step(lesson.weights, lesson.gradients(example), self._rate(step / total))
                step += 1
            if epoch in looks:
                error = self._error(lesson)
                if error < best:
                    best = error
                    found = {name: weight.copy() for name, weight in lesson.weights.items()}
                elif not math.isfinite(error):
                    break
        return best, found

    def _rate(self, part: float) -> float:
        """The rate after a part of the steps; it rises first, as mixtures are far from samples."""
        warm = min(1.0, part / _WARM) if self.mixed else 1.0
        return self.rate * warm * 0.5 * (1 + math.cos(math.pi * part))

    def _error(self, lesson: Lesson) -> float:
        """Of the samples and of as many mixtures, the first ones, as they are looked at."""
        if not self.mixed:
            return lesson.error()
        rng = np.random.default_rng(self.seed + 1)
        mixtures = lesson.error(lesson.mixture(k, rng) for k in range(lesson.batches))
        return self.mixed * mixtures + (1 - self.mixed) * lesson.error()


def _write(value: ir.Value, new: Array, ctx: PassContext) -> bool:
    old = value.const_value
    graph = value.graph
    if old is None or graph is None or np.array_equal(old.numpy(), new):
        return False
    constant = ctx.constant(graph, value.name, new)
    for use in list(value.uses()):
        ctx.set_input(use.node, use.idx, constant)
    return True
