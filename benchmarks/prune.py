"""Compare structured pruning without retraining with the others, same models, data and budgets.

Ours, ours with parts of it left out or recovered by least squares alone, Torch-Pruning and onnxsim
(with its fine-tuning), each in an environment of its own under ``--envs``::

    .venv/bin/python benchmarks/prune.py MODELS --data FOLDER [--macs 0.5,0.25] [--params 0.5]

Models with ``FOLDER/NAME.calib.npz`` are taken, judged on ``NAME.test.npz`` (labels ``y``; without
labels agreement with the dense model). Accuracy is the mean of ``--draws`` draws of calibration
samples, the worst draw beside it; with ``--more`` agreement, SQNR and what is won against equal
widths by L2 are of more test samples, and so is accuracy where it says *all*. Time is at batch 1 on
one thread over the dense model's (10th percentile of interleaved runs), of the first draw.
``--text`` takes models without data that read pictures, and feeds them rendered text. Torch-Pruning
is given the model with BatchNormalization folded by ``optimize``: it fails on what onnx2torch makes
of these exports otherwise. Not run in CI: downloads the other tools.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _accuracy import Bench
from _data import Data, data_for, more_for
from _launch import launch
from _peers import ROOT, prepare
from _peers import Tool as Installed
from _prune_table import Case, Row, markdown, stored, summary, table, write

import onnxslim
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import OnnxSlimError
from onnxslim.graph.load import load
from onnxslim.report.summary import summarize
from onnxslim.runtime.worker import Worker

_RUNTIME, _ONNX = "onnxruntime==1.31.1", "onnx==1.23.2"


@dataclass(frozen=True)
class Tool:
    """One tool in one configuration.

    Attributes:
        family: Name of the tool.
        config: Name of the configuration.
        options: More words for our command.
        env: Its environment; empty for this checkout.
        packages: What pip installs there.
        draws: Its result depends on calibration samples.
    """

    family: str
    config: str
    options: tuple[str, ...] = ()
    env: str = ""
    packages: tuple[str, ...] = ()
    draws: bool = True

    @property
    def name(self) -> str:
        """In the tables."""
        return f"{self.family} {self.config}"

    def words(self, envs: Path, model: Path, data: Path, target: Path, budget: Budget) -> list[str]:
        """The command line."""
        if not self.env and self.family == "ours":
            own = ["-m", "onnxslim", "prune", str(model), "-o", str(target), "--force", "-q"]
            amount = [f"--{budget.kind}", str(budget.part)]
            return [sys.executable, *own, *amount, "--data", str(data), *self.options]
        script = ROOT / "benchmarks" / f"_prune_{self.family.replace('-', '_')}.py"
        python = envs / self.env / "bin" / "python" if self.env else sys.executable
        words = [str(python), str(script), str(model), str(data), str(target), self.config]
        return [*words, budget.kind, str(budget.part)]


@dataclass(frozen=True)
class Budget:
    """A part of the dense model's cost."""

    kind: str
    part: float

    def __str__(self) -> str:
        return f"{self.kind} {self.part:g}"


_TORCH: dict[str, Any] = {
    "env": "torch",
    "packages": (
        "torch==2.13.0", "torchvision==0.28.0", "torch-pruning==1.6.1", "onnx2torch==1.5.15",
        "onnxscript==0.7.2", _RUNTIME, _ONNX,
    ),
    "draws": False,
}  # fmt: skip
_SIM: dict[str, Any] = {"env": "onnxsim", "packages": ("onnxsim==0.8.1", _RUNTIME, _ONNX)}
TOOLS = (
    Tool("ours", "default"),
    Tool("ours", "l2-uniform", ("--criterion", "l2", "--scope", "local")),
    Tool("ours", "uniform", ("--scope", "local")),
    Tool("ours", "obs-uniform", ("--criterion", "obs", "--scope", "local")),
    Tool("ours", "obs-allocated", ("--criterion", "obs", "--scope", "auto")),
    *(Tool("least-squares", c) for c in ("default", "uniform", "l2-uniform")),
    *(Tool("torch-pruning", c, **_TORCH) for c in ("l2", "lamp-global")),
    *(Tool("onnxsim", c, **_SIM) for c in ("local", "global")),
)


def draw(data: Data, seed: int, part: float) -> dict[str, Any]:
    """Some of the calibration samples in a random order."""
    count = len(next(iter(data.calibration.values())))
    chosen = np.random.default_rng(seed).permutation(count)[: max(8, round(part * count))]
    return {name: array[chosen] for name, array in data.calibration.items()}


def costs(path: Path) -> tuple[float, int]:
    """Multiply-accumulates and parameters."""
    model = load(path)
    infer_shapes(model)
    found = summarize(model, path.stat().st_size)
    return float(found.macs or math.nan), found.parameters


def compare(model: Path, budget: Budget, args: argparse.Namespace) -> list[Row]:
    """All tools on one model."""
    data, dense = data_for(model, args.data, args.samples), costs(model)
    judged = len(next(iter(data.test.values())))
    data, rows = more_for(model, args.more, data), []
    with tempfile.TemporaryDirectory(prefix="bench_") as folder, Worker() as worker:
        bench, written = Bench(worker, model, data), {}
        accuracy = 100 * float(np.mean(bench.right[:judged])), bench.dense
        folded = Path(folder, "folded.onnx")
        onnxslim.optimize(model, output=folded)
        for tool in args.tools:
            row = Row(tool.name, str(budget), dense=accuracy)
            rows.append(row)
            for seed in range(args.draws if tool.draws else 1):
                calibration = Path(folder, f"{seed}.npz")
                np.savez(calibration, **draw(data, seed, args.part))
                target = Path(folder, tool.name.replace(" ", "_"), str(seed), "out.onnx")
                target.parent.mkdir(parents=True)
                source = folded if tool.family == "torch-pruning" else model
                words = tool.words(args.envs, source, calibration, target, budget)
                ran = launch(words, args.limit, {"PYTHONPATH": str(ROOT)} if not tool.env else None)
                row.wall.append(ran.wall)
                row.peak_bytes = max(row.peak_bytes, ran.peak_bytes)
                row.problem = ran.problem or ("" if target.exists() else "wrote nothing")
                if not row.problem:
                    _judge(row, bench, target, dense, judged)
                if row.problem:
                    break
                written.setdefault(tool.name, target)
        if args.seconds:
            ratios = bench.ratios(written, args.seconds)
            rows = [replace(row, ratio=ratios.get(row.tool, math.nan)) for row in rows]
        return rows


def _judge(row: Row, bench: Bench, target: Path, dense: tuple[float, int], judged: int) -> None:
    try:
        macs, params = costs(target)
    except OnnxSlimError as error:
        row.problem = str(error)
        return
    found = bench.quality(target)
    if isinstance(found, str):
        row.problem = found
        return
    before = len(row.points)
    row.right = _joined(row.right, found.right, before)
    row.same = _joined(row.same, found.same, before)
    row.points.append(100 * float(np.mean(found.right[:judged])))
    row.sqnr.append(found.sqnr_db)
    row.macs = np.fmax(row.macs, macs / dense[0])
    row.params = max(row.params, params / dense[1])


def _joined(parts: list[float], found: npt.NDArray[np.bool_], before: int) -> list[float]:
    """The mean of one more draw and of those before, per sample."""
    return [float(p) for p in (np.asarray(parts or 0.0) * before + found) / (before + 1)]


def chosen(args: argparse.Namespace) -> Iterator[tuple[Path, Budget]]:
    """Models and budgets."""
    budgets = [Budget("macs", float(r)) for r in args.macs.split(",") if r]
    budgets += [Budget("params", float(r)) for r in args.params.split(",") if r]
    only = set(args.only.split(",")) - {""}
    for model in sorted(args.models.glob("*.onnx")):
        known = args.text or (args.data / f"{model.stem}.calib.npz").is_file()
        if (model.stem in only) if only else known:
            yield from ((model, budget) for budget in budgets)


def main() -> None:
    """Compare the tools on a folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="?", help="folder of .onnx files")
    parser.add_argument("--read", type=Path, nargs="+", help="files of --json: sum them up")
    parser.add_argument("--data", type=Path, help="folder of .npz files; default MODELS/../data")
    parser.add_argument("--more", type=Path, help="folder of more_tests.py: judge on them, too")
    parser.add_argument("--only", default="", help="names of models, a comma between")
    parser.add_argument("--tools", default="", help="beginnings of names, a comma between")
    parser.add_argument("--macs", default="0.5,0.25", help="parts, a comma between")
    parser.add_argument("--params", default="", help="parts, a comma between")
    parser.add_argument("--draws", type=int, default=3, help="of calibration samples")
    parser.add_argument("--part", type=float, default=1.0, help="of the samples in a draw")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--text", action="store_true", help="also models without data")
    parser.add_argument("--seconds", type=float, default=20.0, help="of timing; 0 is none")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds of a command")
    parser.add_argument("--envs", type=Path, default=Path.home() / ".cache" / "onnxslim-bench")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--markdown", type=Path, help="write the README's table here")
    args = parser.parse_args()
    if args.read:
        known = stored(args.read)
        print(summary(known))
        if args.markdown:
            args.markdown.write_text(markdown(known))
        return
    if not args.models:
        parser.error("give a folder of models")
    args.data = args.data or args.models.parent / "data"
    wanted = [word for word in args.tools.split(",") if word]
    args.tools = [t for t in TOOLS if not wanted or any(t.name.startswith(w) for w in wanted)]
    prepare(tuple(Installed(t.name, t.env, (), t.packages) for t in args.tools if t.env), args.envs)
    results: dict[Case, list[Row]] = {}
    for model, budget in chosen(args):
        key = model.stem, str(budget)
        results[key] = compare(model, budget, args)
        print(table(key, results[key]), flush=True)
    print(summary(results))
    if args.json:
        write(args.json, results)
    if args.markdown:
        args.markdown.write_text(markdown(results))


if __name__ == "__main__":
    main()
