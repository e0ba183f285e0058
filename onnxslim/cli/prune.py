"""``onnxslim prune``: remove channels until a budget is met, and repair what is left."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnxslim.cli import common, reports
from onnxslim.cli.console import note, plain, print_json, print_table, progress
from onnxslim.errors import TargetError, UsageError, VerificationError

if TYPE_CHECKING:
    from onnxslim.api.options import RunOptions
    from onnxslim.api.pruned import PruneResult

_PART = "0.7, 70% or an amount such as 120M"
_DRAWN = (".dot", ".gv", ".svg")


@common.with_run_options(before=common.spare_threads)
def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The .onnx file to read.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="OUT", help="File to write.")
    ] = None,
    ratio: Annotated[
        str | None, typer.Option("--ratio", metavar="R", help="Remove this part of the channels.")
    ] = None,
    macs: Annotated[
        str | None, typer.Option("--macs", metavar="R", help=f"Keep at most so many MACs: {_PART}.")
    ] = None,
    params: Annotated[
        str | None,
        typer.Option("--params", metavar="R", help=f"Keep at most so many parameters: {_PART}."),
    ] = None,
    latency: Annotated[
        str | None,
        typer.Option("--latency", metavar="R", help="Keep at most this latency: 0.6, 60% or 8ms."),
    ] = None,
    max_drop: Annotated[
        str | None,
        typer.Option("--max-drop", metavar="P", help="The smallest model within P points."),
    ] = None,
    latency_table: Annotated[
        Path | None,
        typer.Option("--latency-table", metavar="FILE", help="Made by `bench --table`."),
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option("--time-limit", metavar="S", help="Start no further try after S seconds."),
    ] = None,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Only measure what pruning each group costs.")
    ] = False,
    criterion: Annotated[
        str,
        typer.Option(
            "--criterion",
            help="auto, l1, l2, bn-scale, fpgm, lamp, cosine, random, mean-activation, apoz, "
            "wanda, obs or a plug-in's.",
        ),
    ] = "auto",
    scope: Annotated[
        str,
        typer.Option("--scope", help="Where channels compete: auto, local, global, isomorphic."),
    ] = "auto",
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", metavar="GLOB", help="Never touch these layers (name or op:TYPE)."),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", metavar="GLOB=R", help="Remove this part of these layers."),
    ] = None,
    round_to: Annotated[
        str,
        typer.Option("--round-to", metavar="auto|N", help="Keep multiples of N channels (8)."),
    ] = "auto",
    min_channels: Annotated[
        int | None,
        typer.Option("--min-channels", min=1, metavar="N", help="Keep N channels (8 or 12 %)."),
    ] = None,
    steps: Annotated[
        int, typer.Option("--steps", min=1, metavar="N", help="Approach the budget in N steps.")
    ] = 1,
    schedule: Annotated[
        str, typer.Option("--schedule", help="How far each step goes: linear or polynomial.")
    ] = "linear",
    labels: common.Labels = None,
    metric: common.Metric = "top1",
    require_data: Annotated[
        bool, typer.Option("--require-data", help="Fail when there is no --data.")
    ] = False,
    allow_random: common.AllowRandom = False,
    recover: Annotated[
        bool, typer.Option("--recover/--no-recover", help="Bring accuracy back after the cut.")
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be removed; write nothing.")
    ] = False,
    graph: Annotated[
        Path | None,
        typer.Option("--graph", metavar="FILE", help="Draw the groups: .dot, .gv or .svg."),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            "--executor",
            metavar="E",
            help="Where to measure groups: processes:N or dask://HOST:PORT.",
        ),
    ] = None,
    report: common.Report = None,
    options: common.Options = None,
    allow_external_dir: common.ExternalDir = None,
    force: common.Force = False,
    no_verify: common.NoVerify = False,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> int:
    """Remove channels, hidden units and heads across all layers they connect."""
    common.set_up_logging(verbose)
    if output is None and not dry_run and not sensitivity:
        raise UsageError(
            "prune needs -o OUT to write to, or --dry-run or --sensitivity to only look"
        )
    if latency_table is not None and latency is None:
        raise UsageError("--latency-table is for a budget in time: give --latency R, too")
    if graph is not None and graph.suffix.lower() not in _DRAWN:
        raise UsageError(f"--graph {graph}: expected a name ending in {', '.join(_DRAWN)}")
    wishes = {
        "criterion": criterion, "scope": scope, "keep": tuple(keep or ()),
        "layers": tuple(layer or ()), "round_to": _round_to(round_to),
        "min_channels": min_channels, "steps": steps, "schedule": schedule, "labels": labels,
        "metric": metric, "require_data": require_data, "allow_random": allow_random,
        "recover": recover, "latency": latency, "max_drop": max_drop,
        "latency_table": latency_table, "time_limit": time_limit,
    }  # fmt: skip
    if sensitivity:
        reports.check(report, model)
        return _sensitivity(model, options, report, executor, json=json, quiet=quiet)
    return execute(
        model, output, graph, report, json=json, quiet=quiet, ratio=ratio, macs=macs, params=params,
        dry_run=dry_run, verify=not no_verify, force=force, options=options,
        allow_external_dir=allow_external_dir, executor=executor, **wishes,
    )  # fmt: skip


def _sensitivity(
    model: Path,
    options: RunOptions | None,
    report: Path | None,
    executor: str | None,
    *,
    json: bool,
    quiet: bool,
) -> int:
    from onnxslim.api.sensitivities import sensitivity

    with progress(str(model), show=not (json or quiet)) as update:
        found = sensitivity(model, options=options, executor=executor, on_step=update)
    reports.write(report, found, model, quiet=quiet)
    if json:
        print_json(found.to_json())
        return 0
    if quiet:
        return 0
    rows = [
        (", ".join(found.layers[p.group][:2]), f"{100 * p.ratio:.0f} %", p.removed,
         found.sizes[p.group], f"{p.sqnr_db:.1f}")
        for p in found.points
    ]  # fmt: skip
    print_table(("layers", "ratio", "removed", "of", "SQNR dB"), rows)
    return 0


def _round_to(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"--round-to is {text!r}: expected auto or a number above 0")
    return int(text)


def execute(
    model: Path,
    output: Path | None,
    graph: Path | None,
    report: Path | None = None,
    *,
    json: bool,
    quiet: bool,
    **asked: Any,
) -> int:
    """Prune and print; returns the exit code."""
    reports.check(report, model, output)
    from onnxslim.api.pruning import prune

    with ExitStack() as stack:
        update = stack.enter_context(progress(str(model), show=not (json or quiet)))
        try:
            result = prune(
                model, output=None if asked["dry_run"] else output, on_step=update, **asked
            )
        except (TargetError, VerificationError) as error:
            failed = getattr(error, "result", None)
            reports.write(report, failed, model, quiet=quiet)
            if json and failed is not None:
                print_json(failed.to_json())
            raise
    reports.write(report, result, model, result.model, quiet=quiet)
    if graph is not None and result.decision is not None:
        from onnxslim.report.groups import draw

        draw(result.decision, graph)
    if json:
        print_json(result.to_json())
    elif not quiet:
        show(result, groups=asked["dry_run"])
    return 0


def show(result: PruneResult, *, groups: bool) -> None:
    """Print a result: the headline, what was decided, what was gained and lost, warnings."""
    typer.echo(result.headline)
    if groups:
        _show_groups(result)
    else:
        from onnxslim.cli.job import show as show_counts

        show_counts(result)
        _show_quality(result)
        typer.echo(f"recovery: {result.recovery}")
        return
    for warning in result.warnings:
        note(f"warning: {warning}")


def _show_groups(result: PruneResult) -> None:
    rows = [
        (f"{g['id']} {g['kind']}", *g["units"], _names(g["layers"]), _names(_between(g)))
        for g in result.groups
    ]
    print_table(("group", "units", "kept", "layers", "coupled through"), rows)
    if result.frozen:
        print_table(("stays whole", "reason"), [(f["layer"], f["reason"]) for f in result.frozen])


def _between(group: dict[str, Any]) -> list[str]:
    """The nodes that couple a group's layers, without these."""
    paths = (name for pair in group["coupled"] for name in pair["through"])
    return [name for name in dict.fromkeys(paths) if name not in group["layers"]]


def _names(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _show_quality(result: PruneResult) -> None:
    quality = result.quality
    if quality is None:
        return
    rows = [
        (name, _cell(o["sqnr_db"]), _cell(o["cosine"]), _cell(o["max_rel"]))
        for name, o in quality["outputs"].items()
    ]
    where = (
        f"{quality['samples']} {'random inputs' if quality['inputs'] == 'random' else 'samples'}"
    )
    print_table((f"output, on {where}", "SQNR dB", "cosine", "max rel"), rows)
    score, latency = quality["score"], quality["latency"]
    if score is not None:
        low, high = score["interval"]
        typer.echo(
            f"{plain(score['metric'])}: {score['reference']:.2f} -> {score['candidate']:.2f} "
            f"(difference {low:+.2f} to {high:+.2f} at 95 %, n={score['n']})"
        )
    elif quality["agreement"] is not None and quality["inputs"] == "data":
        typer.echo(f"agreement with the model given: {quality['agreement']:.2f} %")
    if latency is not None:
        typer.echo(
            f"latency, one thread: {latency['before_ms']:.3f} -> {latency['after_ms']:.3f} ms "
            f"({latency['ratio']:.2f} of the model given)"
        )


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
