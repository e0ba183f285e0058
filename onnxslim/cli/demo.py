"""``onnxslim demo``: the whole job on the model that ships with the package."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from onnxslim.cli import common, reports
from onnxslim.cli.console import count_text, note, print_json, print_table, progress, size_text
from onnxslim.errors import UsageError


def command(
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Keep files and report in this folder."),
    ] = None,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> int:
    """Optimize, prune, quantize, validate, bench and diff the model that ships with the package."""
    common.set_up_logging(verbose)
    if output is not None and output.exists() and not output.is_dir():
        raise UsageError(f"-o {output} is a file: give the name of a folder")
    common.spare_threads()
    with tempfile.TemporaryDirectory(prefix="onnxslim-demo-") as temporary:
        folder = output or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with progress("demo", show=not (json or quiet)) as update:
            found = _run(folder, update)
        if json:
            print_json({"schema": 1, "command": "demo", **found["documents"]})
        elif not quiet:
            _show(found)
        if output is not None:
            note(
                f"written: {', '.join(sorted(p.name for p in folder.iterdir()))} in {folder}", quiet
            )
    return 0 if found["ok"] else 1


def _run(folder: Path, update: Any) -> dict[str, Any]:
    from onnxslim import api, demo

    original, test = demo.model_path(), str(demo.labelled_path())
    calibration = str(demo.calibration_path())
    slim = folder / "demo_optimized.onnx"
    optimized = api.optimize(original, output=slim, force=True, on_step=update)
    small = folder / "demo_compressed.onnx"
    compressed = api.compress(
        original, data=calibration, macs=0.5, search=False, output=small, force=True,
        options=api.RunOptions(samples=128), on_step=update,
    )  # fmt: skip
    update("validating")
    checks = [
        api.validate(original, path, gates=gates, data=test, labels="y")
        for path, gates in ((slim, None), (small, {"max_drop": 2.0}))
    ]
    update("timing")
    timed = api.bench([original, slim, small], bench_options=api.BenchOptions(runs=200))
    delta = api.diff(original, slim)
    report = folder / "demo_report.html"
    reports.write(report, compressed, original, small, quiet=True)
    documents = {
        "optimize": optimized.to_json(),
        "compress": compressed.to_json(),
        "validate": [check.to_json() for check in checks],
        "bench": timed.to_json(),
        "diff": delta.to_json(),
    }
    return {
        "ok": all(check.ok for check in checks),
        "documents": documents,
        "compressed": compressed,
        "delta": delta,
    }


def _show(found: dict[str, Any]) -> None:
    """The numbers on one screen."""
    documents = found["documents"]
    counts = [
        ("as exported", documents["optimize"]["before"]),
        ("optimize", documents["optimize"]["after"]),
        ("compress", documents["compress"]["after"]),
    ]
    scores = [check["score"] for check in documents["validate"]]
    points = [scores[0]["reference"], *(score["candidate"] for score in scores)]
    times = [entry["median_ms"] for entry in documents["bench"]["models"]]
    rows = [
        (
            name, s["nodes"], count_text(s["parameters"]), count_text(s["macs"]),
            size_text(s["bytes"]), f"{score:.1f}", f"{ms:.3f}", f"{ms / times[0]:.2f}",
        )
        for (name, s), score, ms in zip(counts, points, times, strict=True)
    ]  # fmt: skip
    titles = ("model", "nodes", "parameters", "MACs", "size", "accuracy", "ms", "ratio")
    typer.echo("A ResNet trained on MNIST, as PyTorch exported it; 128 unlabelled images.\n")
    print_table(titles, rows)
    stages = [(s["name"], "kept" if s["kept"] else "rolled back", s["reason"])
              for s in documents["compress"]["stages"]]  # fmt: skip
    print_table(("compress", "", "because"), stages)
    typer.echo("diff of the optimized model:\n" + found["delta"].text(3))
