"""Compare this simplifier with the others on a folder of models, side by side in one go.

Every tool is installed in its own environment (they clash by name) under ``--envs``; ours from a
wheel of this checkout. Whole commands are measured, start included, in turns::

    .venv/bin/python benchmarks/simplify.py MODELS [--only NAME,...] [--repeat 3] [--json OUT]
    .venv/bin/python benchmarks/simplify.py MODELS --latency    # ours against the original

Nodes leave Constant out and count every subgraph; the error is the largest difference from the
original in ONNX Runtime without optimizations, relative to the output's peak. Seconds are CPU time
of the command and its children unless a column says wall. Not run in CI: downloads the other tools.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import _report
from _judge import Judge, Size, Verdict, size_of
from _launch import launch
from _peers import TOOLS, Tool, prepare

from onnxslim.errors import OnnxSlimError
from onnxslim.runtime.worker import Worker

PER_MODEL, MEAN = 1.03, 1.01
"""Limits of ``--latency``: ours over the original."""


@dataclass
class Row:
    """One tool on one model."""

    tool: str
    size: Size | None = None
    verdict: Verdict = field(default_factory=Verdict)
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    problem: str = ""


def run(tool: Tool, envs: Path, source: Path, target: Path, row: Row, limit: float) -> None:
    """Run the command once; its times and peak memory are added to the row."""
    target.unlink(missing_ok=True)
    ran = launch(tool.words(envs, source, target), limit)
    row.problem = ran.problem or ("" if target.exists() else "wrote nothing")
    if not row.problem:
        row.wall.append(ran.wall)
        row.cpu.append(ran.cpu)
        row.peak_bytes = max(row.peak_bytes, ran.peak_bytes)


def compare(model: Path, tools: tuple[Tool, ...], args: argparse.Namespace) -> list[Row]:
    """All tools on one model: the commands in turns, then sizes and errors."""
    rows = [Row(tool.name) for tool in tools]
    with tempfile.TemporaryDirectory(prefix="bench_") as folder, Worker() as worker:
        targets = [Path(folder, tool.name.replace(" ", ""), model.name) for tool in tools]
        for turn in range(args.repeat):
            for i in range(len(tools)):
                k = (turn + i) % len(tools)
                targets[k].parent.mkdir(exist_ok=True)
                run(tools[k], args.envs, model, targets[k], rows[k], args.limit)
        judge = Judge(worker, model, args.seed)
        for row, target in zip(rows, targets, strict=True):
            if target.exists() and not row.problem:
                row.size, row.verdict = size_of(target), judge.verdict(target)
                row.problem = row.verdict.problem
    return rows


def latency(model: Path, tool: Tool, args: argparse.Namespace) -> dict[str, float]:
    """Ours over the original at ENABLE_ALL, and the original over itself as the noise."""
    with tempfile.TemporaryDirectory(prefix="bench_") as folder, Worker() as worker:
        target = Path(folder, model.name)
        row = Row(tool.name)
        run(tool, args.envs, model, target, row, args.limit)
        if row.problem:
            raise OnnxSlimError(f"{model.name}: {row.problem}")
        times = Judge(worker, model, args.seed).latencies(target, args.rounds, args.seconds)
    first, ours, again = (sorted(t) for t in times)
    both = sorted((*first, *again))
    return {
        "milliseconds": 1e3 * statistics.median(both),
        "ratio_min": ours[0] / both[0],
        "ratio_low": _low(ours) / _low(both),
        "ratio_median": statistics.median(ours) / statistics.median(both),
        "noise_low": _low(again) / _low(first),
        "noise_median": statistics.median(again) / statistics.median(first),
    }


def _low(times: list[float]) -> float:
    """The tenth percentile: as robust as the minimum on a loaded machine, less of an outlier."""
    return times[len(times) // 10]


def measure_latency(models: list[Path], tool: Tool, args: argparse.Namespace) -> int:
    """Print a line per model; a model above the limit is measured again, the best one counts."""
    found: dict[str, dict[str, float]] = {}
    for model in models:
        tries = [latency(model, tool, args)]
        while tries[-1]["ratio_low"] > PER_MODEL and len(tries) < args.retries:
            tries.append(latency(model, tool, args))
        found[model.stem] = min(tries, key=lambda t: t["ratio_low"]) | {"tries": len(tries)}
        print(_report.latency_line(model.stem, found[model.stem]), flush=True)
    means = {
        key: math.exp(statistics.fmean(math.log(f[key]) for f in found.values()))
        for key in ("ratio_min", "ratio_low", "ratio_median", "noise_low")
    }
    print("geometric means:", ", ".join(f"{k} {v:.4f}" for k, v in means.items()))
    slow = [m for m, f in found.items() if f["ratio_low"] > PER_MODEL]
    print(f"above {PER_MODEL}: {', '.join(slow) or 'none'}")
    _write(args.json, {"models": found, "geometric_means": means})
    return int(bool(slow) or means["ratio_low"] > MEAN)


def measure(models: list[Path], tools: tuple[Tool, ...], args: argparse.Namespace) -> int:
    """Print a table per model and a summary; write them where asked."""
    results: dict[str, list[Row]] = {}
    originals: dict[str, Size] = {}
    for model in models:
        originals[model.stem] = size_of(model)
        results[model.stem] = compare(model, tools, args)
        print(_report.table(model.stem, originals[model.stem], results[model.stem]), flush=True)
        _write(args.json, _document(originals, results))
    print(_report.summary(originals, results))
    if args.markdown:
        args.markdown.write_text(_report.markdown(originals, results))
    if args.against:
        print(_report.differences(json.loads(args.against.read_text()), results))
    return int(any(_report.worse(rows) for rows in results.values()))


def _document(originals: dict[str, Size], results: dict[str, list[Row]]) -> dict[str, object]:
    return {
        name: {"original": asdict(originals[name]), "rows": [asdict(row) for row in rows]}
        for name, rows in results.items()
    }


def _write(path: Path | None, document: object) -> None:
    if path:
        path.write_text(json.dumps(document, indent=1) + "\n")


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, help="folder of .onnx files")
    parser.add_argument("--only", help="names of models, a comma between")
    parser.add_argument("--tools", help="names of tools, a comma between")
    parser.add_argument("--envs", type=Path, default=Path("~/.cache/onnxslim-bench").expanduser())
    parser.add_argument("--repeat", type=int, default=1, help="runs of each command")
    parser.add_argument("--limit", type=float, default=300, help="seconds a command may take")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--markdown", type=Path, help="write the README's table here")
    parser.add_argument("--against", type=Path, help="peers.json: report other counts")
    parser.add_argument("--latency", action="store_true", help="ours against the original")
    parser.add_argument("--rounds", type=int, default=20, help="turns of --latency")
    parser.add_argument("--seconds", type=float, default=6, help="of --latency per model")
    parser.add_argument("--retries", type=int, default=3, help="of a slow model in --latency")
    args = parser.parse_args()
    models = sorted(args.models.glob("*.onnx"))
    if args.only:
        models = [m for m in models if m.stem in args.only.split(",")]
    tools = TOOLS[1:2] if args.latency else TOOLS
    if args.tools:
        tools = tuple(tool for tool in TOOLS if tool.name in args.tools.split(","))
    if not models or not tools:
        parser.error(f"nothing to do: {len(models)} models and {len(tools)} tools were chosen")
    args.envs = args.envs.resolve()
    args.envs.mkdir(parents=True, exist_ok=True)
    prepare(tools, args.envs)
    return measure_latency(models, tools[0], args) if args.latency else measure(models, tools, args)


if __name__ == "__main__":
    sys.exit(main())
