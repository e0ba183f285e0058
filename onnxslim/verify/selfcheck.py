"""Is a pruned model the masked original? That holds before any weight is changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import onnx_ir as ir

from onnxslim.analysis.dependency import Dependency, Kept
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.save import stage
from onnxslim.runtime.dims import Description
from onnxslim.runtime.specs import Feed
from onnxslim.verify.masked import masked_original
from onnxslim.verify.numerics import Verifier
from onnxslim.verify.sessions import Source, WorkerLike
from onnxslim.verify.verification import Verification

TOLERANCE: Final = 1e-4
"""Part of an output's peak: sums of the same numbers in another order."""


def self_check(
    dependency: Dependency,
    kept: Kept,
    pruned: Source,
    model: ir.Model,
    worker: WorkerLike,
    *,
    feeds: Iterable[Feed] | None = None,
    description: Description | None = None,
    seed: int = 0,
    provider: str = "cpu",
    custom_ops: Iterable[str] = (),
) -> Verification:
    """Compare a pruned model, whose weights were only sliced, with the masked original.

    Args:
        dependency: Of the dense model.
        kept: What stays.
        pruned: File or bytes of the pruned model.
        model: The same in memory.
        worker: Runs models.
        feeds: Sample data to use instead of random feeds.
        description: What the user said of the inputs.
        seed: Of all random draws.
        provider: Execution provider of both.
        custom_ops: Libraries with operators of the user.
    """
    masked = masked_original(dependency, kept)
    infer_shapes(masked)
    with (
        stage(masked) as staged,
        Verifier(
            staged.model_path,
            masked,
            worker,
            feeds=feeds,
            description=description,
            seed=seed,
            provider=provider,
            custom_ops=custom_ops,
        ) as verifier,
    ):
        verifier.reference.tolerance = TOLERANCE
        found = verifier.verify(pruned, model)
    return replace(found, level="masked") if found.level == "full" else found
