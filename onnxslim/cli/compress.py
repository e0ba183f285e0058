"""``onnxslim compress``: simplify, prune if asked, quantize where it pays, validate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnxslim.cli import common, reports
from onnxslim.cli.console import count_text, note, print_json, print_table, progress, size_text

if TYPE_CHECKING:
    from onnxslim.api.compressing import CompressResult


@common.with_run_options(before=common.spare_threads)
def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The .onnx file to read.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="File to write.")],
    ratio: Annotated[
        str | None, typer.Option("--ratio", metavar="R", help="Remove this part of the channels.")
    ] = None,
    macs: Annotated[
        str | None, typer.Option("--macs", metavar="R", help="Keep at most so many MACs.")
    ] = None,
    params: Annotated[
        str | None, typer.Option("--params", metavar="R", help="Keep at most so many parameters.")
    ] = None,
    latency: Annotated[
        str | None, typer.Option("--latency", metavar="R", help="Keep at most this latency.")
    ] = None,
    target: common.Target = "cpu",
    min_sqnr: Annotated[
        float | None, typer.Option("--min-sqnr", metavar="DB", help="Gate of every lossy stage.")
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option("--max-drop", metavar="P", help="Gate of every lossy stage.")
    ] = None,
    labels: common.Labels = None,
    metric: common.Metric = "top1",
    allow_random: common.AllowRandom = False,
    report: common.Report = None,
    options: common.Options = None,
    allow_external_dir: common.ExternalDir = None,
    no_verify: common.NoVerify = False,
    force: common.Force = False,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> int:
    """Simplify, prune if a budget is given, quantize where it pays, validate."""
    from onnxslim.api.compressing import compress

    common.set_up_logging(verbose)
    reports.check(report, model, output)
    with progress(str(model), show=not (json or quiet)) as update:
        result = compress(
            model, ratio=ratio, macs=macs, params=params, latency=latency, target=target,
            min_sqnr=min_sqnr, max_drop=max_drop, labels=labels, metric=metric, output=output,
            force=force, verify=not no_verify, allow_random=allow_random, options=options,
            allow_external_dir=allow_external_dir, on_step=update,
        )  # fmt: skip
    reports.write(report, result, model, result.model, quiet=quiet)
    if json:
        print_json(result.to_json())
    elif not quiet:
        show(result)
    return 0


def show(result: CompressResult) -> None:
    """Print a result: stages, counts, how good the result is."""
    rows = [(s["name"], "kept" if s["kept"] else "rolled back", s["reason"]) for s in result.stages]
    print_table(("stage", "", "because"), rows)
    before, after = result.before, result.after
    print_table(
        (str(result.output or "model"), "before", "after"),
        [
            ("nodes", before.nodes, after.nodes),
            ("parameters", count_text(before.parameters), count_text(after.parameters)),
            ("MACs", count_text(before.macs), count_text(after.macs)),
            ("size", size_text(before.bytes), size_text(after.bytes)),
        ],
    )
    score = None if result.quality is None else result.quality.score
    if score is not None:
        note(f"{score.metric}: {score.reference:.2f} -> {score.candidate:.2f} points")
    for warning in result.warnings:
        note(f"warning: {warning}")
