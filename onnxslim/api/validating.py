"""Run two models on the same inputs and judge the difference."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from onnxslim.api.options import RunOptions
from onnxslim.api.samples import open_samples
from onnxslim.api.sources import ModelLike, open_model, path_of
from onnxslim.errors import UsageError
from onnxslim.graph.save import stage
from onnxslim.runtime.specs import output_names
from onnxslim.runtime.worker import Worker
from onnxslim.verify import validation

if TYPE_CHECKING:
    from onnxslim.verify.report import ValidationReport


def validate(
    reference: ModelLike,
    candidate: ModelLike,
    *,
    gates: Mapping[str, float] | None = None,
    labels: str | None = None,
    metric: str = "top1",
    layers: bool = False,
    data: object = None,
    options: RunOptions | None = None,
    allow_external_dir: str | None = None,
) -> ValidationReport:
    """Compare two models on the same inputs.

    Args:
        reference: The model that is right: a path, an ``onnx_ir.Model`` or a ``ModelProto``.
        candidate: The model that is judged.
        gates: ``rtol``, ``atol``, ``min_cosine``, ``min_sqnr``, ``min_agreement``, ``max_drop``;
            without any, the outputs must be equal within the reference's own noise.
        labels: Key of the labels in the data; gives a score.
        metric: How outputs and labels become a score in points.
        layers: Compare inner tensors too, and name the first that diverges.
        data: Sample data in any form of ``--data``; over ``options.data``.
        options: How the models are run; ``provider`` may be ``A,B``.
        allow_external_dir: Another folder that external weights may be read from.

    Returns:
        The report; ``ok`` says whether every gate holds.

    Raises:
        UnsupportedModelError: When a model cannot be read, or ONNX Runtime refuses the reference.
        DataError: When the data does not fit.
        UsageError: For gates or options that make no sense.
    """
    options = options or RunOptions()
    if data is not None:
        options = replace(options, data=data)
    if labels is not None and options.data is None:
        raise UsageError(f"--labels {labels!r} needs --data with an array of that name")
    with ExitStack() as stack:
        worker = stack.enter_context(Worker())
        worker.start()
        first, second = (_pair(m, stack, allow_external_dir) for m in (reference, candidate))
        specs = validation.shared_specs(first.model, second.model)
        description = options.describe(specs, output_names(first.model))
        samples = None
        if options.data is not None:
            samples = open_samples(options, specs, description, first.model, labels=labels)
        return validation.validate(
            first,
            second,
            worker=worker,
            data=samples,
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


def _pair(source: ModelLike, stack: ExitStack, allow_external_dir: str | None) -> validation.Pair:
    model = open_model(source, allow_external_dir=allow_external_dir)
    path = path_of(source)
    if path is None:
        path = stack.enter_context(stage(model)).model_path
    return validation.Pair(path, model)
