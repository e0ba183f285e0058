"""Try quantization on the same model with its channels equalized."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.api.lab import Attempt, Lab
from onnxslim.api.stages import entries_of
from onnxslim.graph.duplicate import duplicate
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.manager import Manager
from onnxslim.pipeline.recipes import Recipe
from onnxslim.pipeline.spec import parse_pass
from onnxslim.report.entries import PassEntry

logger = logging.getLogger(__name__)

PASS = "equalize-channels{least=8.0}"
"""Channels that differ by less do not suffer from a common scale."""

SAME = 60.0
"""dB by which the equalized float model must agree with the original."""


def equalized(
    lab: Lab, best: Attempt, calibrators: Sequence[str]
) -> tuple[Lab, Attempt, list[PassEntry]]:
    """The best attempt on the equalized model where that comes closer, else what was given.

    Args:
        lab: Of the model as it is.
        best: The best attempt there.
        calibrators: Those to try.

    Returns:
        The lab to go on in, its best attempt, and what was done to the model.
    """
    if not best.plan.quantized:
        return lab, best, []
    copy = duplicate(lab.model)
    infer_shapes(copy, worker=lab.worker)
    manager = Manager(Recipe("equalize", (parse_pass(PASS),)))
    manager.run(copy, PassContext(copy, worker=lab.worker))
    if not any(record.rewrites for record in manager.records):
        return lab, best, []
    lab.on_step("equalizing channels")
    infer_shapes(copy, worker=lab.worker)
    other = replace(lab, model=copy)
    if lab.judged.sqnr(lab.judged.stats(other.session)) < SAME:
        logger.warning("equalized channels change the float model: left out")
        return lab, best, []
    other.judged = lab.judged
    plan = other.plan(best.item)
    other.observe(plan.observed)
    found = other.best_calibrator(best.item, plan, calibrators)
    logger.info("equalized channels: %.2f dB, %.2f before", found.closeness, best.closeness)
    if found.closeness <= best.closeness:
        return lab, best, []
    return other, found, entries_of(manager.records)
