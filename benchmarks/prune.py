"""Compare structured pruning without retraining with the others, same models, data and budgets.

Ours, ours with parts of it left out, Torch-Pruning and onnxsim (with its fine-tuning), each in an
environment of its own under ``--envs``::

    .venv/bin/python benchmarks/prune.py MODELS --data FOLDER [--macs 0.5,0.25] [--params 0.5]

Models with ``FOLDER/NAME.calib.npz`` are taken, judged on ``NAME.test.npz`` (labels ``y``; without
labels agreement with the dense model). Accuracy is the mean of ``--draws`` draws of calibration
samples, the worst draw beside it; time is at batch 1 on one thread over the dense model's (10th
percentile of interleaved runs), of the first draw. ``--text`` takes models without data that read
pictures, and feeds them rendered text. Torch-Pruning is given the model with
BatchNormalization folded by ``optimize``: it fails on what onnx2torch makes of these exports
otherwise. Not run in CI: downloads the other tools.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _accuracy import Bench
from _data import Data, data_for
from _launch import launch
from _peers import ROOT, prepare
from _peers import Tool as Installed

import onnxslim
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import OnnxSlimError
from onnxslim.graph.load import load
from onnxslim.report.summary import summarize
from onnxslim.runtime.worker import Worker

_RUNTIME, _ONNX = "onnxruntime==1.31.1", "onnx==1.23.2"
UNIFORM = "l2-uniform"
"""What selection and allocation are measured against."""


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
        if not self.env:
            own = ["-m", "onnxslim", "prune", str(model), "-o", str(target), "--force", "-q"]
            amount = [f"--{budget.kind}", str(budget.part)]
            return [sys.executable, *own, *amount, "--data", str(data), *self.options]
        script = ROOT / "benchmarks" / f"_prune_{self.family.replace('-', '_')}.py"
        python = envs / self.env / "bin" / "python"
        words = [str(python), str(script), str(model), str(data), str(target), self.config]
        return [*words, str(budget.part)]


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
    Tool("ours", UNIFORM, ("--criterion", "l2", "--scope", "local")),
    Tool("ours", "obs-uniform", ("--criterion", "obs", "--scope", "local")),
    Tool("ours", "obs-allocated", ("--criterion", "obs", "--scope", "auto")),
    *(Tool("torch-pruning", c, **_TORCH) for c in ("l2", "lamp-global")),
    *(Tool("onnxsim", c, **_SIM) for c in ("local", "global")),
)


@dataclass
class Row:
    """One tool on one model with one budget.

    Attributes:
        points: Accuracy of each draw in percent.
        sqnr: Of the outputs of each draw, in dB.
        right: Part of the draws that find the label, per test sample.
        same: Part of the draws that give the dense model's class, per test sample.
        macs: Part of the multiply-accumulates left, the largest of the draws.
        params: Part of the parameters left, the largest of the draws.
        ratio: Latency over the dense model's.
        wall: Seconds of the command, of each draw.
        peak_bytes: The highest.
    """

    tool: str
    budget: str
    points: list[float] = field(default_factory=list)
    sqnr: list[float] = field(default_factory=list)
    right: list[float] = field(default_factory=list)
    same: list[float] = field(default_factory=list)
    macs: float = math.nan
    params: float = 0.0
    ratio: float = math.nan
    wall: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    problem: str = ""


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


def compare(model: Path, budget: Budget, args: argparse.Namespace) -> tuple[list[Row], float]:
    """All tools on one model; the dense model's accuracy."""
    data, dense = data_for(model, args.data, args.samples), costs(model)
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench_") as folder, Worker() as worker:
        bench, written = Bench(worker, model, data), {}
        folded = Path(folder, "folded.onnx")
        onnxslim.optimize(model, output=folded)
        for tool in args.tools:
            row = Row(tool.name, str(budget))
            rows.append(row)
            if tool.env and budget.kind != "macs":
                row.problem = "has no such budget"
                continue
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
                    _judge(row, bench, target, dense)
                if row.problem:
                    break
                written.setdefault(tool.name, target)
        if args.seconds:
            ratios = bench.ratios(written, args.seconds)
            rows = [replace(row, ratio=ratios.get(row.tool, math.nan)) for row in rows]
        return rows, bench.dense


def _judge(row: Row, bench: Bench, target: Path, dense: tuple[float, int]) -> None:
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
    row.points.append(found.points)
    row.sqnr.append(found.sqnr_db)
    row.macs = np.fmax(row.macs, macs / dense[0])
    row.params = max(row.params, params / dense[1])


def _joined(parts: list[float], found: npt.NDArray[np.bool_], before: int) -> list[float]:
    """The mean of one more draw and of those before, per sample."""
    return [float(p) for p in (np.asarray(parts or 0.0) * before + found) / (before + 1)]


def table(model: Path, budget: Budget, rows: list[Row], dense: float) -> str:
    """Text of one model and budget."""
    lines = [f"\n{model.stem}, {budget}: dense {dense:.2f} %"]
    head = (
        f"  {'tool':26} {'mean %':>7} {'worst':>7} {'same %':>7} {'dB':>5} {'macs':>6} "
        f"{'params':>6} {'time':>6}"
    )
    lines.append(head + f" {'wall s':>7} {'peak MB':>8}")
    for row in rows:
        if not row.points:
            lines.append(f"  {row.tool:26} {row.problem}")
            continue
        lines.append(
            f"  {row.tool:26} {statistics.mean(row.points):7.2f} {min(row.points):7.2f} "
            f"{100 * statistics.mean(row.same):7.2f} {statistics.mean(row.sqnr):5.1f} "
            f"{row.macs:6.3f} {row.params:6.3f} {row.ratio:6.2f} "
            f"{statistics.mean(row.wall):7.1f} {row.peak_bytes / 1e6:8.0f}  {row.problem}"
        )
    return "\n".join(lines)


def summary(results: dict[tuple[str, str], list[Row]]) -> str:
    """How selection and allocation do against equal widths by L2, and the means.

    In points of accuracy, and of agreement with the dense model's classes. A case is clearly worse
    where the difference is beyond two standard errors, test samples and draws paired.
    """
    lines = ["\nagainst ours " + UNIFORM + " (points, mean of draws):"]
    gains: dict[str, list[tuple[float, float]]] = {}
    nearer: dict[str, list[tuple[float, float]]] = {}
    closer: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    for rows in results.values():
        base = next((r for r in rows if r.tool == f"ours {UNIFORM}" and r.points), None)
        for row in rows:
            if row.points and base is not None:
                gains.setdefault(row.tool, []).append(_gain(row.right, base.right))
                nearer.setdefault(row.tool, []).append(_gain(row.same, base.same))
                closer.setdefault(row.tool, []).append(
                    statistics.mean(row.sqnr) - statistics.mean(base.sqnr)
                )
            if not math.isnan(row.ratio):
                ratios.setdefault(row.tool, []).append(row.ratio)
    for tool, found in gains.items():
        text = (
            f"  {tool:26} accuracy {_told(found)}; agreement {_told(nearer[tool])}; "
            f"outputs {statistics.mean(closer[tool]):+.1f} dB"
        )
        if tool in ratios:
            mean = statistics.geometric_mean(ratios[tool])
            text += f"; time {mean:.2f} geometric mean, {max(ratios[tool]):.2f} at worst"
        lines.append(text)
    return "\n".join(lines)


def _gain(parts: list[float], others: list[float]) -> tuple[float, float]:
    """Points above another tool, and their standard error."""
    gain = 100 * (np.asarray(parts) - np.asarray(others))
    return float(gain.mean()), float(gain.std() / math.sqrt(len(gain)))


def _told(found: list[tuple[float, float]]) -> str:
    low, error = min(found)
    clear = sum(gain < -2 * spread for gain, spread in found)
    return (
        f"{statistics.mean(g for g, _ in found):+.2f}, worst {low:+.2f} (standard error "
        f"{error:.2f}), clearly worse in {clear} of {len(found)}"
    )


def markdown(results: dict[tuple[str, str], list[Row]], dense: dict[tuple[str, str], float]) -> str:
    """Accuracy, then times: one line per model and budget, one column per tool."""
    tools = list(dict.fromkeys(row.tool for rows in results.values() for row in rows))
    times = any(not math.isnan(row.ratio) for rows in results.values() for row in rows)
    tables = []
    for cell in (_accuracy, _time) if times else (_accuracy,):
        lines = [f"| model | budget | dense | {' | '.join(tools)} |"]
        lines.append(f"|---|---|---:|{'---:|' * len(tools)}")
        for (name, budget), rows in results.items():
            found = {row.tool: row for row in rows}
            cells = [cell(found[tool]) for tool in tools]
            first = f"{dense[name, budget]:.1f}" if cell is _accuracy else "1"
            lines.append(f"| {name} | {budget} | {first} | {' | '.join(cells)} |")
        tables.append("\n".join(lines) + "\n")
    return "\n".join(tables)


def _accuracy(row: Row) -> str:
    """The mean of the draws, and the worst of several."""
    if not row.points:
        return "fails"
    worst = f" ({min(row.points):.1f})" if len(row.points) > 1 else ""
    return f"{statistics.mean(row.points):.2f}{worst}"


def _time(row: Row) -> str:
    return "fails" if math.isnan(row.ratio) else f"{row.ratio:.2f}"


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
    parser.add_argument("models", type=Path, help="folder of .onnx files")
    parser.add_argument("--data", type=Path, help="folder of .npz files; default MODELS/../data")
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
    args.data = args.data or args.models.parent / "data"
    wanted = [word for word in args.tools.split(",") if word]
    args.tools = [t for t in TOOLS if not wanted or any(t.name.startswith(w) for w in wanted)]
    prepare(tuple(Installed(t.name, t.env, (), t.packages) for t in args.tools if t.env), args.envs)
    results: dict[tuple[str, str], list[Row]] = {}
    dense: dict[tuple[str, str], float] = {}
    for model, budget in chosen(args):
        key = model.stem, str(budget)
        results[key], dense[key] = compare(model, budget, args)
        print(table(model, budget, results[key], dense[key]), flush=True)
    print(summary(results))
    if args.json:
        rows = {" ".join(key): [asdict(row) for row in found] for key, found in results.items()}
        args.json.write_text(json.dumps(rows, indent=1))
    if args.markdown:
        args.markdown.write_text(markdown(results, dense))


if __name__ == "__main__":
    main()
