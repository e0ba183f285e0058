"""Run two models on the same inputs and judge the difference."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from onnxslim.analysis.constant_work import excessive_work
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.api.options import RunOptions
from onnxslim.api.samples import open_samples
from onnxslim.api.sources import ModelLike, open_model, path_of
from onnxslim.errors import UnsupportedModelError, UsageError
from onnxslim.graph.save import stage
from onnxslim.graph.signature import signature
from onnxslim.runtime.data import DataSource
from onnxslim.runtime.specs import output_names
from onnxslim.runtime.worker import Worker
from onnxslim.verify.report import ValidationReport
from onnxslim.verify.structure import verify_structure
from onnxslim.verify.validation import Pair, shared_specs
from onnxslim.verify.validation import validate as _validate


def validate(
    reference: ModelLike,
    candidate: ModelLike,
    *,
    gates: Mapping[str, float] | None = None,
    labels: str | None = None,
    metric: str = "top1",
    layers: bool = False,
    data: Any = None,
    options: RunOptions | None = None,
    allow_external_dir: str | None = None,
) -> ValidationReport:
    """Run two models on the same inputs; without gates: are they equal but for rounding?

    Args:
        reference: The model to trust.
        candidate: The model to judge.
        gates: ``rtol``, ``atol``, ``min_cosine``, ``min_sqnr`` (dB), ``min_agreement`` (percent),
            ``max_drop`` (points; needs ``labels``).
        labels: Key of the array of labels in the data.
        metric: How outputs and labels become a score in points.
        layers: Compare inner tensors too, and find the first that diverges.
        data: Samples in any form of ``--data``; None draws random inputs.
        options: How the models are run.
        allow_external_dir: Another folder that external weights may be read from.

    Raises:
        UnsupportedModelError: When a model cannot be read or run.
        DataError: When the data does not fit.
        UsageError: For gates or options that make no sense.
    """
    options = options or RunOptions()
    if data is not None:
        options = replace(options, data=data)
    if labels is not None and options.data is None:
        raise UsageError("labels need data: give --data the .npz that holds them")
    with ExitStack() as stack:
        worker = stack.enter_context(Worker())
        worker.start()
        pairs = [_pair(m, allow_external_dir, stack) for m in (reference, candidate)]
        specs = shared_specs(pairs[0].model, pairs[1].model)
        description = options.describe(specs, output_names(pairs[0].model))
        source: DataSource | None = None
        if options.data is not None:
            source = open_samples(options, specs, description, pairs[0].model, labels=labels)
        return _validate(
            pairs[0],
            pairs[1],
            worker=worker,
            data=source,
            labelled=labels is not None,
            gates=gates,
            metric=metric,
            layers=layers,
            description=description,
            seed=options.seed,
            provider=options.provider,
            custom_ops=options.custom_ops,
            samples=options.samples,
        )


def _pair(source: ModelLike, allow_external_dir: str | None, stack: ExitStack) -> Pair:
    """A model in memory and as a file that ONNX Runtime may load."""
    model = open_model(source, allow_external_dir=allow_external_dir)
    path = path_of(source)
    label = str(path or "the model")
    problems = verify_structure(model)
    if problems:
        raise UnsupportedModelError(f"{label} is not a valid model: {problems[0]}")
    infer_shapes(model)
    excess = excessive_work(model)
    if excess is not None:
        raise UnsupportedModelError(f"{label} is not run: {excess}")
    if path is None or signature(model).rewritten:
        path = stack.enter_context(stage(model)).model_path
    return Pair(path, model)
