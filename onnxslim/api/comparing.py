"""What a lossy rewriting cost and brought: outputs, score and latency beside the model given."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import onnx_ir as ir

from onnxslim.analysis.copies import working_copy
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.api.options import RunOptions
from onnxslim.api.samples import open_samples
from onnxslim.errors import WorkerError
from onnxslim.graph.save import stage
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.manager import Manager
from onnxslim.pipeline.recipes import get_recipe
from onnxslim.runtime.dims import Description
from onnxslim.runtime.specs import Feed, specs_of
from onnxslim.runtime.worker import Worker
from onnxslim.verify.compare import json_number
from onnxslim.verify.preparation import Preparation
from onnxslim.verify.quantized import speedup
from onnxslim.verify.report import ValidationReport
from onnxslim.verify.sessions import Runner
from onnxslim.verify.validation import Pair, validate

_NO_GATE = {"min_cosine": -2.0}
"""A gate that always holds: outputs are measured, not judged."""

_SESSIONS, _LOADING = 3, 2.0
"""Times a model is loaded to be timed, and seconds after which it is not loaded again."""


def compare(
    original: Pair,
    candidate: Pair,
    *,
    worker: Worker,
    options: RunOptions,
    description: Description,
    labels: str | None = None,
    metric: str = "top1",
) -> tuple[dict[str, Any] | None, list[str]]:
    """Measure a model against the one it was made from.

    Args:
        original: The model given, as a file.
        candidate: What became of it, as a file.
        worker: Runs models.
        options: How they are run, and on which data.
        description: What was said of the inputs.
        labels: Key of the labels in the data.
        metric: How outputs and labels become points.

    Returns:
        ``quality`` of the document (None when the candidate does not run), and warnings.
    """
    source = None
    if options.data is not None:
        source = open_samples(
            options, specs_of(original.model), description, original.model, labels=labels
        )
    report = validate(
        original,
        candidate,
        worker=worker,
        data=source,
        labelled=labels is not None,
        gates=_NO_GATE,
        metric=metric,
        description=description,
        seed=options.seed,
        provider=options.provider,
        custom_ops=options.custom_ops,
    )
    if report.failure:
        return None, [f"not compared with the model given: {report.failure}"]
    if source is None:
        feed = _random_feed(original, worker, options, description)
    else:
        feed = next(iter(source.rebatched(1).feeds()))
    seconds, problems = _latency(original, candidate, feed, worker, options)
    return _entry(report, seconds, "random" if source is None else "data"), problems


def _random_feed(
    original: Pair, worker: Worker, options: RunOptions, description: Description
) -> Feed:
    """An input that the original accepts."""
    runner = Runner(worker, options.provider, tuple(options.custom_ops))
    preparation = Preparation(
        runner, original.source, original.model, description=description, seed=options.seed,
        samples=1,
    )  # fmt: skip
    try:
        return preparation.result().feeds[0]
    finally:
        preparation.close()


def _latency(
    original: Pair, candidate: Pair, feed: Feed, worker: Worker, options: RunOptions
) -> tuple[tuple[float, float] | None, list[str]]:
    """Seconds of both on one sample, as applications run them: optimized, one thread.

    Small models are loaded several times and the middle ratio counts: where their memory comes to
    lie, and what else the machine does then, is part of it.
    """
    found: list[tuple[float, float]] = []
    until = time.monotonic() + _LOADING
    try:
        while len(found) < _SESSIONS and (not found or time.monotonic() < until):
            with ExitStack() as stack:
                first, second = [
                    stack.enter_context(
                        worker.session(
                            pair.source,
                            provider=options.provider,
                            optimization="all",
                            custom_ops=options.custom_ops,
                        )
                    )
                    for pair in (original, candidate)
                ]
                found.append(speedup(first, second, feed))
    except WorkerError as error:
        return None, [f"latency was not measured: {error}"]
    return sorted(found, key=_ratio)[len(found) // 2], []


def _ratio(times: tuple[float, float]) -> float:
    return times[1] / times[0]


def latencies(
    original: ir.Model,
    cut: ir.Model,
    *,
    worker: Worker,
    options: RunOptions,
    description: Description,
) -> tuple[float, float] | None:
    """Milliseconds of a model, and of what is cut from it when it is simplified as it will be.

    Returns:
        None where one of them cannot run.
    """
    copy = working_copy(cut)
    Manager(get_recipe("default")).run(copy, PassContext(copy, worker=worker))
    infer_shapes(original)
    with stage(original) as first, stage(copy) as second:
        pairs = Pair(first.model_path, original), Pair(second.model_path, copy)
        feed = _random_feed(pairs[0], worker, options, description)
        seconds, _ = _latency(*pairs, feed, worker, options)
    return None if seconds is None else (1e3 * seconds[0], 1e3 * seconds[1])


def _entry(
    report: ValidationReport, seconds: tuple[float, float] | None, inputs: str
) -> dict[str, Any]:
    latency = None
    if seconds is not None:
        before, after = (1000 * s for s in seconds)
        latency = {
            "before_ms": round(before, 4),
            "after_ms": round(after, 4),
            "ratio": round(after / before, 4) if before else None,
        }
    return {
        "inputs": inputs,
        "samples": report.samples,
        "outputs": {name: found.stats.to_json() for name, found in report.outputs.items()},
        "agreement": None if report.agreement is None else json_number(report.agreement),
        "score": None if report.score is None else report.score.to_json(),
        "latency": latency,
    }
