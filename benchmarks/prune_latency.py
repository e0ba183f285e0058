"""How much faster a pruned model is: latency over the dense model's, for any models.

    python benchmarks/prune_latency.py MODEL.onnx ... [--macs 0.5 | --latency 0.6] [--markdown FILE]

Batch 1, random feeds, one thread, ONNX Runtime at ENABLE_ALL; the 10th percentile of interleaved
runs. Without calibration data, as accuracy is not looked at. Run it on a machine that does nothing
else.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import onnxslim
from onnxslim.errors import OnnxSlimError
from onnxslim.graph.load import load
from onnxslim.runtime.feeds import random_feed
from onnxslim.runtime.specs import specs_of
from onnxslim.runtime.worker import Worker

ROUNDS, SECONDS = 12, 0.25


def latencies(worker: Worker, paths: tuple[Path, Path]) -> tuple[float, float]:
    """Seconds of both at batch 1."""
    model = load(paths[0])
    feed = random_feed(specs_of(model), 0, model=model)
    sessions = [worker.session(path, optimization="all", threads=1) for path in paths]
    once = statistics.median(sessions[0].time(feed, runs=3, warmup=1))
    runs = max(3, min(50, int(SECONDS / max(once, 1e-5))))
    times: tuple[list[float], list[float]] = [], []
    for turn in range(ROUNDS):
        for side in (0, 1) if turn % 2 else (1, 0):
            times[side].extend(sessions[side].time(feed, runs=runs, warmup=1))
    for session in sessions:
        session.close()
    dense, pruned = (sorted(t)[len(t) // 10] for t in times)
    return dense, pruned


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--macs", type=float, default=0.5)
    parser.add_argument("--latency", help="in place of --macs")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    name = f"latency {options.latency}" if options.latency else f"macs {options.macs:g}"
    amount = {"latency": options.latency} if options.latency else {"macs": options.macs}
    lines = [f"| model | {name}: MACs left | dense ms | time |", "|---|---:|---:|---:|"]
    ratios = []
    with tempfile.TemporaryDirectory(prefix="bench_") as folder, Worker() as worker:
        target = Path(folder, "pruned.onnx")
        for path in options.models:
            try:
                result = onnxslim.prune(path, output=target, force=True, verify=False, **amount)
            except OnnxSlimError as error:
                print(f"{path.stem}: {error}", flush=True)
                continue
            dense, pruned = latencies(worker, (path, target))
            ratios.append(pruned / dense)
            before, after = result.before.macs, result.after.macs
            left = f"{after / before:.3f}" if before and after else ""
            lines.append(f"| {path.stem} | {left} | {1e3 * dense:.3f} | {ratios[-1]:.2f} |")
            print(lines[-1], flush=True)
    if ratios:
        lines.append(f"| geometric mean | | | {statistics.geometric_mean(ratios):.2f} |")
        lines.append(f"| worst | | | {max(ratios):.2f} |")
        print("\n".join(lines[-2:]))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
