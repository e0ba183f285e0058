"""How long models take, side by side and interleaved."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxslim.analysis.attribution import attribute
from onnxslim.analysis.timing import compare
from onnxslim.api.bench_inputs import find_inputs
from onnxslim.api.entrants import BenchOptions, Entrant, enter, load, session_of, warm_up
from onnxslim.api.options import RunOptions
from onnxslim.api.sources import ModelLike
from onnxslim.errors import UsageError
from onnxslim.report.benchmark import Benched, BenchReport
from onnxslim.runtime.specs import Feed
from onnxslim.runtime.worker import Worker

LEVELS = ("disable", "basic", "extended", "all")
SECONDS = 2.0
"""Time per model that is spent on timed runs unless their number is given."""
MIN_RUNS, MAX_RUNS = 20, 2000
PROFILED_RUNS = 10


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
        options: How they are run and on what: ``samples`` of ``data`` (the first one by default),
            else random input.
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
        feeds = find_inputs(entrants, asked, options)
        for entrant in entrants:
            warm_up(entrant, feeds[0])
        rounds = race(entrants, feeds, asked.runs, options.seed, say)
        timings = compare(rounds, options.seed)
        found = []
        for entrant, timing in zip(entrants, timings, strict=True):
            one = Benched(entrant.label, timing, entrant.load_ms, entrant.bytes)
            found.append(_profiled(entrant, one, feeds[0]) if asked.layers else one)
        return BenchReport(
            provider=options.provider,
            threads=asked.threads,
            optimization=asked.optimization,
            models=tuple(found),
            inputs={k: {"type": str(v.dtype), "shape": list(v.shape)} for k, v in feeds[0].items()},
            samples=len(feeds),
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


def race(
    entrants: Sequence[Entrant],
    feeds: Sequence[Feed],
    runs: int | None,
    seed: int,
    say: Callable[[str], None],
) -> list[list[list[float]]]:
    """Seconds per round, model and run; in every round each model has its turn, in random order.

    The feeds have their turns, too: one per round, the same for all models.
    """
    rng = np.random.default_rng(seed)
    counts = [runs or int(np.clip(SECONDS / e.seconds, MIN_RUNS, MAX_RUNS)) for e in entrants]
    turns = max(10, len(feeds))
    inner = [min(e.inner, max(1, n // turns)) for e, n in zip(entrants, counts, strict=True)]
    total = max(-(-n // k) for n, k in zip(counts, inner, strict=True))
    rounds: list[list[list[float]]] = []
    for number in range(total):
        say(f"round {number + 1} of {total}")
        feed = feeds[number % len(feeds)]
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
