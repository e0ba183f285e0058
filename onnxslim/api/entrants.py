"""Models in a race: read, loaded in the child and warm."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.constant_work import excessive_work
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.api.options import RunOptions
from onnxslim.api.sources import ModelLike, open_model, path_of
from onnxslim.errors import UnsupportedModelError, WorkerError
from onnxslim.graph.save import stage
from onnxslim.graph.signature import signature
from onnxslim.runtime.session import Session
from onnxslim.runtime.specs import Feed
from onnxslim.runtime.worker import Worker

if TYPE_CHECKING:
    from onnxslim.runtime.worker import Level

BLOCK_SECONDS = 0.02
"""Time of one turn, which a clock can measure."""


@dataclass(frozen=True)
class BenchOptions:
    """How models are timed.

    Attributes:
        threads: Inside an operator.
        runs: Timed runs per model; None takes what fits in :data:`SECONDS`.
        batch: Size of the first dimension where a model leaves it open.
        optimization: ONNX Runtime's graph optimizations.
        layers: Also profile, and map the times back to the nodes of the model.
        pin: Keep the runs on as many processors as there are threads.
    """

    threads: int = 1
    runs: int | None = None
    batch: int | None = None
    optimization: str = "all"
    layers: bool = False
    pin: bool = False


@dataclass
class Entrant:
    """A model in the race."""

    label: str
    path: Path
    model: ir.Model
    bytes: int
    session: Session | None = None
    load_ms: float = 0.0
    inner: int = 1
    seconds: float = 0.0


def enter(
    source: ModelLike, index: int, allow_external_dir: str | None, stack: ExitStack
) -> Entrant:
    """Read a model, and make it a file that ONNX Runtime may load."""
    path = path_of(source)
    label = str(path) if path is not None else f"model {index + 1}"
    model = open_model(source, allow_external_dir=allow_external_dir)
    infer_shapes(model)
    excess = excessive_work(model)
    if excess is not None:
        raise UnsupportedModelError(f"{label} is not run: {excess}")
    size = signature(model).bytes
    if path is None or signature(model).rewritten:
        staged = stack.enter_context(stage(model))
        path, size = staged.model_path, staged.bytes
    return Entrant(label, path, model, size)


def load(entrant: Entrant, worker: Worker, asked: BenchOptions, options: RunOptions) -> None:
    """Load a model in the child."""
    start = time.perf_counter()
    entrant.session = worker.session(
        entrant.path,
        provider=options.provider,
        optimization=cast("Level", asked.optimization),
        threads=asked.threads,
        custom_ops=options.custom_ops,
        label=entrant.label,
    )
    entrant.load_ms = (time.perf_counter() - start) * 1000


def session_of(entrant: Entrant) -> Session:
    """The loaded session."""
    assert entrant.session is not None
    return entrant.session


def warm_up(entrant: Entrant, feed: Feed) -> None:
    """Run until caches are warm, and see how many runs make a block that a clock can measure."""
    try:
        seconds = session_of(entrant).time(feed, runs=3, warmup=2)
    except WorkerError as error:
        if error.reason in ("crash", "timeout", "memory"):
            raise
        raise UnsupportedModelError(f"{entrant.label} does not run: {error}") from error
    entrant.seconds = max(min(seconds), 1e-7)
    entrant.inner = int(np.clip(round(BLOCK_SECONDS / entrant.seconds), 1, 200))
