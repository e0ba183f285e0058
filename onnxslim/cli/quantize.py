"""``onnxslim quantize``: 8-bit integers or float16, checked in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnxslim.cli import common, reports
from onnxslim.cli.console import note, print_json, print_table, progress, size_text

if TYPE_CHECKING:
    from onnxslim.api.quantized import QuantizeResult


@common.with_run_options(before=common.spare_threads)
def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The .onnx file to read.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="OUT", help="File to write.")
    ] = None,
    mode: Annotated[
        str, typer.Option("--mode", help="static (needs --data), dynamic or float16.")
    ] = "static",
    target: common.Target = "cpu",
    format: Annotated[str, typer.Option("--format", help="qdq or qoperator.")] = "qdq",
    calibrator: Annotated[
        str, typer.Option("--calibrator", help="auto, minmax, percentile, mse or entropy.")
    ] = "auto",
    include: Annotated[
        list[str] | None,
        typer.Option("--include", metavar="GLOB", help="Quantize only layers that match."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="GLOB", help="Keep layers that match float."),
    ] = None,
    min_sqnr: Annotated[
        float | None,
        typer.Option("--min-sqnr", metavar="DB", help="Keep layers float to reach this."),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option("--max-drop", metavar="P", help="Keep layers float to lose at most P points."),
    ] = None,
    labels: common.Labels = None,
    metric: common.Metric = "top1",
    keep_io_types: Annotated[
        bool, typer.Option("--keep-io-types", help="float16: inputs and outputs stay float32.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 when slower than float or below 15 dB.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan; write nothing.")
    ] = False,
    allow_random: common.AllowRandom = False,
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Keep what was observed for the next run.")
    ] = True,
    improve: Annotated[
        bool,
        typer.Option(
            "--improve/--no-improve", help="Fit integers layer by layer where that comes closer."
        ),
    ] = True,
    report: common.Report = None,
    options: common.Options = None,
    allow_external_dir: common.ExternalDir = None,
    no_verify: common.NoVerify = False,
    force: common.Force = False,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> int:
    """Quantize a model so that it runs faster, and say how close it stays."""
    from onnxslim.api.quantizing import quantize
    from onnxslim.errors import OnnxSlimError, UsageError

    common.set_up_logging(verbose)
    if output is None and not dry_run:
        raise UsageError("no -o OUT: expected the file to write (or --dry-run)")
    reports.check(report, model, output)
    with progress(str(model), show=not (json or quiet)) as update:
        try:
            result = quantize(
                model, output=output, options=options, dry_run=dry_run, force=force,
                verify=not no_verify, allow_external_dir=allow_external_dir, on_step=update,
                mode=mode, target=target, format=format, calibrator=calibrator,
                include=tuple(include or ()), exclude=tuple(exclude or ()), min_sqnr=min_sqnr,
                max_drop=max_drop, labels=labels, metric=metric, keep_io_types=keep_io_types,
                strict=strict, allow_random=allow_random, cache=cache, improve=improve,
            )  # fmt: skip
        except OnnxSlimError as error:
            failed: Any = getattr(error, "result", None)
            reports.write(report, failed, model, quiet=quiet)
            if json and failed is not None:
                print_json(failed.to_json())
            raise
    reports.write(report, result, model, result.model, quiet=quiet)
    if json:
        print_json(result.to_json())
    elif not quiet:
        show(result, dry_run)
    return 0


def show(result: QuantizeResult, dry_run: bool = False) -> None:
    """Print a result as a person reads it: what became integers, how close, how fast."""
    if dry_run:
        for line in result.plan:
            typer.echo(line)
        return
    done = sum(layer["quantized"] for layer in result.layers)
    rows: list[tuple[str, Any]] = []
    if result.layers:
        rows.append(("layers quantized", f"{done} of {len(result.layers)}"))
    if result.method:
        rows.append(("calibrator", f"{result.method} on {result.samples} samples"))
    judged = result.judgement
    rows += [
        ("output SQNR", f"{judged.sqnr_db:.1f} dB"),
        ("output cosine", f"{judged.cosine:.5f}"),
        ("speed against float", f"{judged.speedup:.2f}x"),
        ("size", f"{size_text(result.before.bytes)} -> {size_text(result.after.bytes)}"),
    ]
    print_table((str(result.output or "model"), result.mode), rows)
    kept = [x for x in result.layers if not x["quantized"]]
    if kept:
        print_table(
            ("layer kept float", "operator", "because"),
            [(x["name"], x["op"], x["reason"]) for x in kept],
        )
    worst = sorted(
        (x for x in result.layers if x["sqnr_db"] is not None), key=lambda x: x["sqnr_db"]
    )[:5]
    if worst and done:
        print_table(
            ("worst layers", "operator", "SQNR dB"),
            [(x["name"], x["op"], f"{x['sqnr_db']:.1f}") for x in worst],
        )
    note(result.verification.explain() if result.verification.failure else "result runs")
    for warning in result.warnings:
        note(f"warning: {warning}")
