"""How long models take, side by side and interleaved."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.attribution import attribute
from onnxslim.analysis.constant_work import excessive_work
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.analysis.timing import compare
from onnxslim.api.options import RunOptions
from onnxslim.api.sources import ModelLike, open_model, path_of
from onnxslim.errors import DataError, UnsupportedModelError, UsageError, WorkerError
from onnxslim.graph.save import stage
from onnxslim.graph.signature import signature
from onnxslim.report.benchmark import Benched, BenchReport
from onnxslim.runtime.plans import find_feed
from onnxslim.runtime.session import Session
from onnxslim.runtime.specs import Feed, InputSpec, output_names, specs_of
from onnxslim.runtime.worker import Worker

if TYPE_CHECKING:
    from onnxslim.runtime.worker import Level

LEVELS = ("disable", "basic", "extended", "all")
SECONDS = 2.0
"""Time per model that is spent on timed runs unless their number is given."""
BLOCK_SECONDS = 0.02
MIN_RUNS, MAX_RUNS = 20, 2000
PROFILED_RUNS = 10


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


def bench(
    models: Sequence[ModelLike],
    *,
    bench_options: BenchOptions | None = None,
    options: RunOptions | None = None,
    allow_external_dir: str | None = None,
    on_step: Callable[[str], None] | None = None,
) -> BenchReport:
    """Time models on the same input, in turns: whatever disturbs one disturbs all.

    Args:
        models: The first is the yardstick.
        bench_options: How they are timed.
        options: How they are run and on what: the first sample of ``data``, else random input.
        allow_external_dir: Another folder that external weights may be read from.
        on_step: Called with what is being done.

    Raises:
        UnsupportedModelError: When a model cannot be read or run.
        DataError: When the data does not fit.
        UsageError: For options that make no sense.
    """
    asked, options = bench_options or BenchOptions(), options or RunOptions()
    _check(models, asked)
    say = on_step or (lambda text: None)
    with ExitStack() as stack:
        worker = stack.enter_context(Worker())
        worker.start()
        entrants = [enter(m, i, allow_external_dir, stack) for i, m in enumerate(models)]
        cpus = worker.pin(asked.threads) if asked.pin else []
        for entrant in entrants:
            say(f"loading {entrant.label}")
            load(entrant, worker, asked, options)
        feed = find_input(entrants, asked, options)
        for entrant in entrants:
            warm_up(entrant, feed)
        rounds = race(entrants, feed, asked.runs, options.seed, say)
        timings = compare(rounds, options.seed)
        found = []
        for entrant, timing in zip(entrants, timings, strict=True):
            one = Benched(entrant.label, timing, entrant.load_ms, entrant.bytes)
            found.append(_profiled(entrant, one, feed) if asked.layers else one)
        return BenchReport(
            provider=options.provider,
            threads=asked.threads,
            optimization=asked.optimization,
            models=tuple(found),
            inputs={k: {"type": str(v.dtype), "shape": list(v.shape)} for k, v in feed.items()},
            rounds=len(rounds),
            cpus=tuple(cpus),
            machine=machine(worker),
            warnings=tuple(_warnings(found)),
        )


def _check(models: Sequence[ModelLike], asked: BenchOptions) -> None:
    if not models:
        raise UsageError("no model was given: expected one or more")
    if asked.optimization not in LEVELS:
        raise UsageError(
            f"--optimization is {asked.optimization!r}: expected one of {', '.join(LEVELS)}"
        )
    for name, value in (("threads", asked.threads), ("runs", asked.runs), ("batch", asked.batch)):
        if value is not None and value < 1:
            raise UsageError(f"--{name} is {value}: expected 1 or more")


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


def find_input(entrants: Sequence[Entrant], asked: BenchOptions, options: RunOptions) -> Feed:
    """One feed that all of them run: the first sample of the data, or random numbers."""
    first = entrants[0]
    specs = shared_inputs(entrants)
    if asked.batch is not None:
        specs = batched(specs, asked.batch, first.label)
    description = options.describe(specs, output_names(first.model))
    if options.data is not None:
        from onnxslim.api.samples import open_samples

        source = open_samples(options, specs, description, first.model)
        feed: Feed | None = next(source.rebatched(asked.batch or 1).feeds(), None)
        if feed is None:
            raise DataError("the data holds no sample: expected one or more")
        return feed

    def try_run(candidate: Feed) -> str | None:
        try:
            for entrant in entrants:
                session_of(entrant).time(candidate, runs=1, warmup=0)
        except (WorkerError, DataError) as error:
            return str(error)
        return None

    plans = find_feed(specs, first.model, try_run, description=description, seed=options.seed)
    if not plans.feeds:
        raise UnsupportedModelError(
            f"no input was found that {' and '.join(e.label for e in entrants)} can run"
            f" ({plans.error}); describe it with --input-shape, --dim or --data"
        )
    return plans.feeds[0]


def shared_inputs(entrants: Sequence[Entrant]) -> list[InputSpec]:
    """The inputs of the first model, with sizes that any other one fixes.

    Raises:
        UsageError: When another model has other inputs.
    """
    specs = specs_of(entrants[0].model)
    for entrant in entrants[1:]:
        theirs = {spec.name: spec for spec in specs_of(entrant.model)}
        if [*theirs] != [spec.name for spec in specs] and {*theirs} != {s.name for s in specs}:
            raise UsageError(
                f"{entrant.label} has the inputs {', '.join(theirs)}, {entrants[0].label} has"
                f" {', '.join(s.name for s in specs)}: expected the same, to feed both alike"
            )
        specs = [_merged(spec, theirs[spec.name], entrant.label) for spec in specs]
    return specs


def _merged(mine: InputSpec, other: InputSpec, label: str) -> InputSpec:
    if mine.dtype != other.dtype:
        raise UsageError(f"{label} wants input {other}, the first model {mine}: expected one type")
    if mine.shape is None or other.shape is None or len(mine.shape) != len(other.shape):
        return mine if mine.shape is not None else other
    pairs = zip(mine.shape, other.shape, strict=True)
    return replace(mine, shape=tuple(b if isinstance(b, int) and not isinstance(a, int) else a
                                     for a, b in pairs))  # fmt: skip


def batched(specs: Sequence[InputSpec], batch: int, label: str) -> list[InputSpec]:
    """The inputs with their open first dimension set.

    Raises:
        UsageError: When no input has one, or one is fixed to another size.
    """
    firsts = [s.shape[0] for s in specs if s.shape]
    symbols = {d for d in firsts if isinstance(d, str)}
    if all(isinstance(d, int) for d in firsts) and batch not in firsts:
        raise UsageError(
            f"--batch {batch}: {label} fixes its first dimension to {firsts[0] if firsts else '-'};"
            " leave --batch out, or make it dynamic"
        )

    def sized(axis: int, dim: int | str | None) -> int | str | None:
        return batch if dim in symbols or (axis == 0 and dim is None) else dim

    def resized(spec: InputSpec) -> InputSpec:
        if spec.shape is None:
            return spec
        return replace(spec, shape=tuple(sized(i, d) for i, d in enumerate(spec.shape)))

    return [resized(spec) for spec in specs]


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


def race(
    entrants: Sequence[Entrant],
    feed: Feed,
    runs: int | None,
    seed: int,
    say: Callable[[str], None],
) -> list[list[list[float]]]:
    """Seconds per round, model and run; in every round each model has its turn, in random order."""
    rng = np.random.default_rng(seed)
    counts = [runs or int(np.clip(SECONDS / e.seconds, MIN_RUNS, MAX_RUNS)) for e in entrants]
    inner = [min(e.inner, max(1, n // 10)) for e, n in zip(entrants, counts, strict=True)]
    total = max(-(-n // k) for n, k in zip(counts, inner, strict=True))
    rounds: list[list[list[float]]] = []
    for number in range(total):
        say(f"round {number + 1} of {total}")
        blocks: list[list[float]] = [[] for _ in entrants]
        for index in rng.permutation(len(entrants)):
            session = session_of(entrants[index])
            blocks[index] = session.time(feed, runs=inner[index], warmup=1)
        rounds.append(blocks)
    return rounds


def _profiled(entrant: Entrant, benched: Benched, feed: Feed) -> Benched:
    profile = session_of(entrant).profile(feed, runs=PROFILED_RUNS, warmup=2)
    layers = tuple(attribute(entrant.model, profile))
    return replace(benched, layers=layers, kernel_ms=profile.kernel_ms)


def machine(worker: Worker) -> dict[str, Any]:
    """What the times were measured on."""
    return {
        "cpu": cpu_name(),
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "onnxruntime": worker.versions()["onnxruntime"],
    }


def cpu_name() -> str:
    """The processor's name, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _warnings(found: Sequence[Benched]) -> list[str]:
    said = []
    for model in found:
        t = model.timing
        if t.p90_ms > 1.5 * t.median_ms:
            said.append(
                f"{model.path}: a tenth of the runs took over {t.p90_ms:.3g} ms, the median"
                f" {t.median_ms:.3g} ms: the machine is busy, trust the ratio more than the times"
            )
    return said
