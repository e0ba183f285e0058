"""``onnxslim bench``: how long models take, side by side and interleaved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnxslim.cli import common, reports
from onnxslim.cli.console import note, plain, print_json, print_table, progress, size_text
from onnxslim.errors import UsageError

if TYPE_CHECKING:
    from onnxslim.report.benchmark import Benched, BenchReport


@common.with_run_options()
def command(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL...", help="The first is the yardstick.")
    ],
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="Threads inside an operator.")
    ] = 1,
    runs: Annotated[
        int | None, typer.Option("--runs", min=1, help="Timed runs per model (default: 2 seconds).")
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Size of an open first dimension.")
    ] = None,
    optimization: Annotated[
        str, typer.Option("--optimization", help="ONNX Runtime's: disable, basic, extended, all.")
    ] = "all",
    layers: Annotated[
        bool, typer.Option("--layers", help="Also time every node, as ONNX Runtime runs it.")
    ] = False,
    top: Annotated[int, typer.Option("--top", min=1, help="Show at most N layers.")] = 20,
    pin: Annotated[
        bool, typer.Option("--pin", help="Keep the runs on as many processors as threads.")
    ] = False,
    table: Annotated[
        Path | None,
        typer.Option("--table", metavar="FILE", help="Write latencies of the layers by width."),
    ] = None,
    report_to: common.Report = None,
    options: common.Options = None,
    allow_external_dir: common.ExternalDir = None,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> int:
    """Time models on the same input, in turns."""
    from onnxslim import api
    from onnxslim.graph.save import check_text_target

    common.set_up_logging(verbose)
    reports.check(report_to, *models)
    if table is not None:
        if len(models) > 1:
            raise UsageError(f"--table measures one model, {len(models)} were given")
        check_text_target(table, *models)
    asked = api.BenchOptions(threads, runs, batch, optimization, layers, pin)
    with progress("timing", show=not (json or quiet)) as update:
        report = api.bench(
            models, bench_options=asked, options=options, on_step=update,
            allow_external_dir=allow_external_dir,
        )  # fmt: skip
        if table is not None:
            measured = api.latency_table(
                models[0], bench_options=asked, options=options, on_step=update,
                allow_external_dir=allow_external_dir,
            )  # fmt: skip
            measured.save(table)
    reports.write(report_to, report, models[0], quiet=quiet, allow_external_dir=allow_external_dir)
    if table is not None:
        note(f"{table}: {len(measured.layers)} layers at up to 25 widths each", quiet)
    if json:
        print_json(report.to_json())
    elif not quiet:
        show(report, top)
    return 0


def show(report: BenchReport, top: int = 20) -> None:
    """Print the times, and those of the layers."""
    fed = ", ".join(f"{plain(k)} {v['type']}{v['shape']}" for k, v in report.inputs.items())
    where = f"{report.provider}, {report.threads} thread" + "s" * (report.threads > 1)
    typer.echo(f"input: {fed or 'none'}" + f", {report.samples} samples" * (report.samples > 1))
    typer.echo(f"on: {where}, ONNX Runtime {report.machine.get('onnxruntime')}, "
               f"{plain(report.machine.get('cpu', ''))}")  # fmt: skip
    rows = [
        (
            model.path,
            size_text(model.bytes),
            f"{model.timing.median_ms:.3f}",
            f"{model.timing.p10_ms:.3f}",
            f"{model.timing.p90_ms:.3f}",
            f"{model.timing.ratio:.3f}",
            "" if index == 0 else f"{model.timing.low:.3f} to {model.timing.high:.3f}",
        )
        for index, model in enumerate(report.models)
    ]
    columns = ("model", "size", "median ms", "p10", "p90", "ratio", "95 %")
    print_table(columns, rows)
    for model in report.models:
        if model.layers is not None:
            typer.echo("")
            _show_layers(model, top)
    for warning in report.warnings:
        note(f"warning: {warning}")


def _show_layers(model: Benched, top: int) -> None:
    layers = sorted(model.layers or (), key=lambda x: -x.ms)
    total = sum(x.ms for x in layers) or 1.0
    rows = [
        (x.name, x.op, f"{x.ms:.4f}", f"{100 * x.ms / total:.1f}%",
         " + ".join(dict.fromkeys(op for _, op, _ in x.executed)), len(x.sources))
        for x in layers[:top]
    ]  # fmt: skip
    columns = ("layer", "operator", "ms", "share", "runs as", "nodes")
    print_table(columns, rows, title=plain(model.path))
    if len(layers) > top:
        typer.echo(f"({len(layers) - top} more; --top N shows them)")
