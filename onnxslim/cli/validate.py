"""``onnxslim validate``: run two models on the same inputs and judge the difference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnxslim.cli import common, reports
from onnxslim.cli.console import note, plain, print_json, print_table

if TYPE_CHECKING:
    from onnxslim.verify.report import ValidationReport


_Provider = Annotated[
    str, typer.Option("--provider", metavar="A[,B]", help="Provider of both, or of each.")
]


@common.with_run_options(provider=_Provider)
def command(
    reference: Annotated[Path, typer.Argument(metavar="REFERENCE", help="The model to trust.")],
    candidate: Annotated[Path, typer.Argument(metavar="CANDIDATE", help="The model to judge.")],
    rtol: Annotated[float | None, typer.Option("--rtol", min=0, help="Relative gate.")] = None,
    atol: Annotated[float | None, typer.Option("--atol", min=0, help="Absolute gate.")] = None,
    min_cosine: Annotated[
        float | None,
        typer.Option("--min-cosine", min=-1, max=1, help="Least cosine similarity of an output."),
    ] = None,
    min_sqnr: Annotated[
        float | None, typer.Option("--min-sqnr", metavar="DB", help="Least output SQNR in dB.")
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(
            "--min-agreement", metavar="P", min=0, max=100, help="Least top-1 agreement, %."
        ),
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option("--max-drop", metavar="P", help="Most points of score lost.")
    ] = None,
    labels: common.Labels = None,
    metric: common.Metric = "top1",
    layers: Annotated[
        bool, typer.Option("--layers", help="Compare inner tensors; find the first that diverges.")
    ] = False,
    report_to: common.Report = None,
    options: common.Options = None,
    allow_external_dir: common.ExternalDir = None,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> int:
    """Run two models on the same inputs; exit 1 when a gate does not hold."""
    from onnxslim import api

    common.set_up_logging(verbose)
    reports.check(report_to, reference, candidate)
    gates = {
        "rtol": rtol, "atol": atol, "min_cosine": min_cosine, "min_sqnr": min_sqnr,
        "min_agreement": min_agreement, "max_drop": max_drop,
    }  # fmt: skip
    report = api.validate(
        reference, candidate, gates={k: v for k, v in gates.items() if v is not None},
        labels=labels, metric=metric, layers=layers, options=options,
        allow_external_dir=allow_external_dir,
    )  # fmt: skip
    reports.write(
        report_to, report, reference, candidate, quiet=quiet, allow_external_dir=allow_external_dir
    )
    if json:
        print_json(report.to_json())
    elif not quiet:
        show(report)
    return 0 if report.ok else 1


def show(report: ValidationReport) -> None:
    """Print a report: outputs, gates, score, the first diverging tensor."""
    document = report.to_json()
    columns = ("max_abs", "max_rel", "cosine", "sqnr_db", "limit", "status")
    rows = [(name, *(_cell(o.get(c)) for c in columns)) for name, o in document["outputs"].items()]
    print_table(("output", *columns), rows)
    if document.get("layers"):
        layer_rows = [(x["name"], *(_cell(x.get(c)) for c in columns)) for x in document["layers"]]
        print_table(("tensor", *columns), layer_rows)
    if document["gates"]:
        gates = [
            (g["name"], _cell(g["limit"]), _cell(g["value"]), "holds" if g["ok"] else "fails")
            for g in document["gates"]
        ]
        print_table(("gate", "limit", "value", ""), gates)
    score = document.get("score")
    if score:
        low, high = score["interval"]
        typer.echo(
            f"{score['metric']}: {score['reference']:.2f} -> {score['candidate']:.2f} "
            f"(difference {low:+.2f} to {high:+.2f} at 95 %, n={score['n']}, "
            f"agreement {score['agreement']:.2f} %)"
        )
    if report.failure:
        typer.echo(plain(report.failure))
    typer.echo("equal within the gates" if report.ok else "NOT equal within the gates")
    for warning in document.get("warnings", []):
        note(f"warning: {warning}")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
