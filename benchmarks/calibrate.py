"""What calibration costs: time over a plain pass over the same samples, memory by their number.

    .venv/bin/python benchmarks/calibrate.py MODELS --data FOLDER [--only NAME,...] [--few 16]

Per model: processor seconds that observing takes (parent and worker, the tapped model loaded anew)
over those of ONNX Runtime alone on the same feeds in the same batches (ENABLE_ALL, one thread, in
one process). `ratio` counts the loading of the model on both sides; `to runs` leaves it out of the
plain pass alone, and its first run, too. Times are the least of interleaved rounds, ratios the
median of the ratios of each round. And the peak memory (largest process) of the whole command with
few and with many samples. Not run in CI.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from _data import Arrays, data_for
from _launch import launch
from _peers import ROOT

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.api.lab import Lab
from onnxslim.api.optimizing import optimize
from onnxslim.api.options import RunOptions
from onnxslim.api.split import split
from onnxslim.pipeline.registry import get_pass
from onnxslim.runtime.data import DataOptions, open_data
from onnxslim.runtime.specs import specs_of
from onnxslim.runtime.worker import Worker


@dataclass
class Cost:
    """What was measured on one model.

    Attributes:
        tensors: How many were observed.
        batch: Samples at once.
        rounds: Of each, processor seconds of loading the model, of a plain pass, of observing.
        few: Peak bytes of the command with few samples.
        many: With many.
    """

    tensors: int
    batch: int
    rounds: list[tuple[float, float, float]]
    few: int = 0
    many: int = 0

    @property
    def plain(self) -> float:
        """Least seconds of loading and running the model."""
        return min((load + run for load, run, _ in self.rounds), default=0.0)

    @property
    def observing(self) -> float:
        """Least seconds of observing."""
        return min((seen for _, _, seen in self.rounds), default=0.0)

    @property
    def ratio(self) -> float:
        """Observing over a plain pass, the model loaded by both."""
        return _median([seen / (load + run) for load, run, seen in self.rounds])

    @property
    def to_runs(self) -> float:
        """Observing, the model loaded, over the runs of a warm plain pass alone."""
        return _median([seen / run for _, run, seen in self.rounds])


def _median(values: list[float]) -> float:
    return statistics.median(values) if values else 0.0


def processor_seconds() -> float:
    """Of this process and its running children."""
    own = time.process_time()
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            for thread in Path(f"/proc/{pid}/task").iterdir():
                own += int((thread / "schedstat").read_text().split()[0]) / 1e9
    return own


def plain_pass(model: Path, feeds: list[dict[str, Any]]) -> tuple[float, float]:
    """Processor seconds of ONNX Runtime alone: to load the model, to run it once warm."""
    import onnxruntime as ort

    begin = time.process_time()
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    loaded = time.process_time()
    session.run(None, feeds[0])
    warm = time.process_time()
    for feed in feeds:
        session.run(None, feed)
    return loaded - begin, time.process_time() - warm


def cost(model: Path, arrays: Arrays, rounds: int, include: tuple[str, ...]) -> Cost:
    """Time of both passes, alternately."""
    with ExitStack() as stack:
        worker = stack.enter_context(Worker())
        base = optimize(model, verify=False, worker=worker).model
        infer_shapes(base, worker=worker)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench_"))
        data = Path(folder, "data.npz")
        np.savez(data, **arrays)
        samples = split(open_data(str(data), specs_of(base), DataOptions(), model=base), base)
        lab = Lab(base, worker, samples, RunOptions(), stack, lambda text: None)
        item: Any = get_pass("quantize-static")
        plan = lab.plan(item(include=include))
        feeds = list(samples.source.feeds())
        found = []
        for _ in range(rounds):
            begin = processor_seconds()
            fresh = replace(lab.observations, histograms={})
            fresh.see(lab.session, plan.observed, feeds, batches=samples.batches)
            observing = processor_seconds() - begin
            found.append((*plain_pass(lab.path, feeds), observing))
        return Cost(len(plan.observed), samples.source.batch_size, found)


def peak(model: Path, arrays: Arrays, count: int, rounds: int, more: list[str]) -> int:
    """Peak bytes of the command on so many samples, repeated when there are fewer."""
    with tempfile.TemporaryDirectory(prefix="bench_") as folder:
        data, out = Path(folder, "data.npz"), Path(folder, "out.onnx")
        rows = {n: np.resize(a, (count, *a.shape[1:])) for n, a in arrays.items()}
        np.savez(data, **rows)
        words = [sys.executable, "-m", "onnxslim", "quantize", str(model), "-o", str(out)]
        words += ["--data", str(data), "--samples", str(count), "--no-cache", "-q", *more]
        peaks = []
        for _ in range(rounds):
            ran = launch(words, 600.0, {"PYTHONPATH": str(ROOT)})
            if ran.problem:
                sys.exit(f"{model.stem}: {ran.problem}")
            peaks.append(ran.peak_bytes)
            out.unlink()
        return int(statistics.median(peaks))


def main() -> int:
    """Print a line per model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", type=Path, help="folder of models, or one model")
    parser.add_argument("--data", type=Path, required=True, help="folder of NAME.calib.npz")
    parser.add_argument("--only", default="", help="names of models, comma separated")
    parser.add_argument("--few", type=int, default=16)
    parser.add_argument("--many", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement")
    parser.add_argument("--what", default="time,memory", help="time, memory or both")
    parser.add_argument("--include", action="append", default=[], help="layers, also unpaying ones")
    parser.add_argument("--options", default="", help="more options of the command")
    args = parser.parse_args()
    files = [args.models] if args.models.is_file() else sorted(args.models.glob("*.onnx"))
    print(
        f"{'model':24} {'tensors':>7} {'batch':>5} {'plain s':>8} {'observe s':>9} {'ratio':>6} "
        f"{'to runs':>7} "
        f"{args.few:>5} MB {args.many:>5} MB {'growth':>7}"
    )
    for model in files:
        if args.only and model.stem not in args.only.split(","):
            continue
        arrays = data_for(model, args.data, args.many).calibration
        found = (
            cost(model, arrays, args.rounds, tuple(args.include))
            if "time" in args.what
            else Cost(0, 0, [])
        )
        if "memory" in args.what:
            more = args.options.split()
            found.few, found.many = (
                peak(model, arrays, n, args.rounds, more) for n in (args.few, args.many)
            )
        growth = found.many / found.few - 1 if found.few else 0.0
        print(
            f"{model.stem:24} {found.tensors:7} {found.batch:5} {found.plain:8.3f} "
            f"{found.observing:9.3f} {found.ratio:6.2f} {found.to_runs:7.2f} "
            f"{found.few / 1e6:8.0f} {found.many / 1e6:8.0f} {growth:7.1%}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
