"""Compare int8 quantization with the others, on the same models and data in one run.

Ours beside ``onnxruntime.quantization`` in several configurations, AMD Quark and NNCF, each in an
environment of its own under ``--envs``::

    .venv/bin/python benchmarks/quantize.py MODELS --data FOLDER [--only NAME,...] [--json OUT]

A model is calibrated with ``FOLDER/NAME.calib.npz`` and judged on ``NAME.test.npz`` (labels ``y``);
without these, pictures of text or random feeds are drawn, which is said. SQNR is that of the
worst float output; time is at batch 1 on one thread, over the float model's (10th percentile of
interleaved runs); CPU seconds and peak memory are of the whole command. Not run in CI: downloads
the other tools.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _accuracy import Bench, Quality
from _data import Data, data_for
from _launch import launch
from _peers import ROOT, prepare
from _peers import Tool as Installed

from onnxslim.errors import OnnxSlimError
from onnxslim.runtime.worker import Worker

_RUNTIME, _ONNX = "onnxruntime==1.31.1", "onnx==1.23.2"
FLOAT = 100.0
"""dB beyond which nothing was quantized."""
NOISE = 1.10
"""A latency this much above the best one is still as good."""


@dataclass(frozen=True)
class Tool:
    """One tool in one configuration.

    Attributes:
        family: Name of the tool.
        config: Name of the configuration.
        env: Its environment; empty for this checkout.
        packages: What pip installs there.
    """

    family: str
    config: str
    env: str = ""
    packages: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """In the tables."""
        return f"{self.family} {self.config}"

    def words(self, envs: Path, model: Path, data: Path, target: Path) -> list[str]:
        """The command line."""
        if not self.env:
            formats = {"static": [], "qoperator": ["--format", "qoperator"]}
            mode = formats.get(self.config, ["--mode", self.config])
            given = [] if self.config == "dynamic" else ["--data", str(data)]
            own = ["-m", "onnxslim", "quantize", str(model), "-o", str(target), "--force", "-q"]
            return [sys.executable, *own, *mode, *given]
        script = ROOT / "benchmarks" / f"_quantize_{self.family}.py"
        python = envs / self.env / "bin" / "python"
        return [str(python), str(script), str(model), str(data), str(target), self.config]


_ORT: dict[str, Any] = {"env": "ort_quantize", "packages": (_RUNTIME, _ONNX, "sympy==1.14.0")}
_QUARK: dict[str, Any] = {"env": "quark", "packages": ("amd-quark==0.13", "torch", _RUNTIME, _ONNX)}
_NNCF: dict[str, Any] = {"env": "nncf", "packages": ("nncf==3.4.0", _RUNTIME, _ONNX)}
TOOLS = (
    Tool("ours", "static"),
    Tool("ours", "qoperator"),
    Tool("ours", "dynamic"),
    *(Tool("ort", c, **_ORT) for c in ("minmax", "percentile", "qoperator")),
    *(Tool("ort", c, **_ORT) for c in ("matmul", "matmul-percentile", "dynamic")),
    *(Tool("quark", c, **_QUARK) for c in ("minmax", "percentile", "cle", "bias")),
    *(Tool("nncf", c, **_NNCF) for c in ("cnn", "transformer")),
)


@dataclass
class Row:
    """One tool on one model."""

    tool: str
    quality: Quality | None = None
    ratio: float = math.nan
    bytes: int = 0
    cpu: float = math.nan
    wall: float = math.nan
    peak_bytes: int = 0
    problem: str = ""


def run(words: list[str], target: Path, row: Row, limit: float) -> None:
    """Run a command once and note what it took."""
    ran = launch(words, limit, {"PYTHONPATH": str(ROOT)})
    row.cpu, row.wall, row.peak_bytes = ran.cpu, ran.wall, ran.peak_bytes
    row.problem = ran.problem or ("" if target.exists() else "wrote nothing")


def compare(model: Path, tools: list[Tool], args: argparse.Namespace) -> tuple[list[Row], Data]:
    """All tools on one model."""
    data = data_for(model, args.data, args.samples)
    rows = {tool.name: Row(tool.name) for tool in tools}
    with tempfile.TemporaryDirectory(prefix="bench_") as folder, Worker() as worker:
        calibration = Path(folder, "calibration.npz")
        np.savez(calibration, **data.calibration)
        written: dict[str, Path] = {}
        for tool in tools:
            target = Path(folder, tool.name.replace(" ", "_"), "out.onnx")
            target.parent.mkdir()
            run(
                tool.words(args.envs, model, calibration, target),
                target,
                rows[tool.name],
                args.limit,
            )
            if not rows[tool.name].problem:
                written[tool.name] = target
        bench = Bench(worker, model, data)
        for name, path in list(written.items()):
            found = bench.quality(path)
            rows[name].bytes = sum(f.stat().st_size for f in path.parent.iterdir())
            if isinstance(found, str):
                rows[name].problem = found
                del written[name]
            else:
                rows[name].quality = found
        for name, ratio in bench.ratios(written, args.seconds).items():
            rows[name].ratio = ratio
    return list(rows.values()), data


def table(model: Path, rows: list[Row], data: Data) -> str:
    """Text of one model."""
    size = model.stat().st_size
    kind = "drawn data" if data.drawn else "its own data"
    samples = len(next(iter(data.calibration.values())))
    lines = [f"\n{model.stem}: {size:,} bytes, {samples} samples of {kind}"]
    lines.append(
        f"  {'tool':22} {'SQNR dB':>8} {'points':>7} {'loss':>6} {'time':>6} {'size':>5} "
        f"{'cpu s':>6} {'peak MB':>8}"
    )
    for row in rows:
        took = f"{row.cpu:6.1f} {row.peak_bytes / 1e6:8.0f}"
        if row.quality is None:
            lines.append(f"  {row.tool:22} {'-':>8} {'':>27} {took}  {row.problem}")
            continue
        q = row.quality
        lines.append(
            f"  {row.tool:22} {q.sqnr_db:8.1f} {q.points:7.2f} {q.difference:6.2f} "
            f"{row.ratio:6.2f} {row.bytes / size:5.2f} {took}"
        )
    return "\n".join([*lines, *(f"  BEHIND: {text}" for text in behind(rows))])


MARKDOWN = """| model | tool | SQNR dB | points | loss | time | size | CPU s | peak MB |
|---|---|---:|---:|---:|---:|---:|---:|---:|"""


def markdown(model: Path, rows: list[Row], data: Data) -> str:
    """Lines of one model in the table of the guide."""
    lines = []
    for number, row in enumerate(rows):
        name = "" if number else model.stem + (" (drawn)" if data.drawn else "")
        took = f"{row.cpu:.1f} | {row.peak_bytes / 1e6:.0f}"
        cells = f"fails | | | | | {took}"
        if row.quality is not None:
            q, size = row.quality, row.bytes / model.stat().st_size
            sqnr = "float" if q.sqnr_db > FLOAT else f"{q.sqnr_db:.1f}"
            cells = f"{sqnr} | {q.points:.2f} | {q.difference:.2f} | {row.ratio:.2f}"
            cells += f" | {size:.2f} | {took}"
        lines.append(f"| {name} | {row.tool} | {cells} |")
    return "\n".join(lines)


def behind(rows: list[Row]) -> list[str]:
    """Where our static result is worse than some configuration of onnxruntime.quantization.

    One that is closer to the float model counts when it is as fast: some leave most layers float.
    """
    ours = next((r for r in rows if r.tool == "ours static"), None)
    peers = [r for r in rows if r.tool.startswith("ort ") and r.quality is not None]
    if ours is None or not peers:
        return []
    if ours.quality is None:
        return [f"ours: {ours.problem}"]
    found = []
    fast = min(peers, key=lambda r: r.ratio)
    if ours.ratio > NOISE * fast.ratio:
        found.append(f"time {ours.ratio:.2f}, {fast.tool} {fast.ratio:.2f}")
    for row in peers:
        closer = row.quality is not None and row.quality.sqnr_db > ours.quality.sqnr_db
        if closer and row.quality is not None and row.ratio <= NOISE * ours.ratio:
            found.append(
                f"SQNR {ours.quality.sqnr_db:.1f} dB, {row.tool} {row.quality.sqnr_db:.1f}"
            )
    if ours.quality.difference > 0.5:
        found.append(f"{ours.quality.difference:.2f} points below float")
    return found


def main() -> int:
    """Print a table per model; the exit code says whether ours is behind somewhere."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("models", type=Path, help="folder of models, or one model")
    parser.add_argument("--data", type=Path, required=True, help="folder of NAME.calib.npz")
    parser.add_argument("--only", default="", help="names of models, comma separated")
    parser.add_argument("--tools", default="", help="beginnings of tool names, comma separated")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=6.0, help="of timing, per model")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds per command")
    parser.add_argument("--envs", type=Path, default=Path.home() / ".cache" / "onnxslim-bench")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path, help="also write the guide's table here")
    args = parser.parse_args()
    names, chosen = args.only.split(","), args.tools.split(",")
    tools = [t for t in TOOLS if any(t.name.startswith(c) for c in chosen)]
    prepare(tuple(Installed(t.name, t.env, (), t.packages) for t in tools if t.env), args.envs)
    files = [args.models] if args.models.is_file() else sorted(args.models.glob("*.onnx"))
    document, bad = {}, 0
    lines = [MARKDOWN]
    for model in files:
        if args.only and model.stem not in names:
            continue
        try:
            rows, data = compare(model, tools, args)
        except OnnxSlimError as error:
            print(f"\n{model.stem}: {error}", flush=True)
            continue
        print(table(model, rows, data), flush=True)
        document[model.stem] = [asdict(row) for row in rows]
        bad += bool(behind(rows))
        lines.append(markdown(model, rows, data))
        if args.json is not None:
            args.json.write_text(json.dumps(document, indent=1, default=np.ndarray.tolist))
        if args.markdown is not None:
            args.markdown.write_text("\n".join([*lines, ""]))
    print(f"\nbehind on {bad} of {len(document)} models")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
