"""``onnxslim inspect``: operators, parameters, MACs, memory and shapes of a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnxslim.cli import common, reports
from onnxslim.cli.console import count_text, note, plain, print_json, print_table, size_text

if TYPE_CHECKING:
    from onnxslim.report.inspection import Inspection, Port


_WIDTH = 22


def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The .onnx file to read.")],
    sort: Annotated[
        str,
        typer.Option("--sort", help="order, macs, parameters, memory, sparsity, name or op."),
    ] = "order",
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="GLOB", help="List what matches: a name, or op:Conv."),
    ] = None,
    top: Annotated[int | None, typer.Option("--top", min=0, help="List at most N layers.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Also list layers without parameters and arithmetic.")
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print the layers as CSV.")] = False,
    no_sparsity: Annotated[
        bool, typer.Option("--no-sparsity", help="Do not read the weights.")
    ] = False,
    report: common.Report = None,
    input_shape: common.InputShape = None,
    dim: common.Dim = None,
    allow_external_dir: common.ExternalDir = None,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> int:
    """Show what a model is made of and what costs what, without running it."""
    from onnxslim import api

    common.set_up_logging(verbose)
    reports.check(report, model)
    found = api.inspect(
        model, sort=sort, only=only or (), top=top, sparsity=not no_sparsity,
        costly=not (every or json or csv or only or report), allow_external_dir=allow_external_dir,
        options=common.run_options(input_shape=input_shape, dim=dim),
    )  # fmt: skip
    reports.write(report, found, model, quiet=quiet, allow_external_dir=allow_external_dir)
    if json:
        print_json(found.to_json())
    elif csv:
        sys.stdout.write(found.to_csv())
    elif not quiet:
        show(found)
    return 0


def show(found: Inspection) -> None:
    """Print what a model is, what its operators cost, and its layers."""
    document = found.to_json()
    model, totals = found.model, found.totals
    opsets = ", ".join(f"{k or 'ai.onnx'} {v}" for k, v in document["opsets"].items())
    peak = totals["peak_activation_bytes"]
    facts = [
        ("file", f"{size_text(model.bytes)}, IR {document['ir_version']}, opset {opsets}"),
        ("producer", plain(document["producer"]) or "-"),
        *(("input", _port(p)) for p in found.inputs),
        *(("output", _port(p)) for p in found.outputs),
        ("nodes", f"{model.nodes} ({len(model.operators)} operator types)"),
        ("parameters", f"{count_text(model.parameters)} in {size_text(totals['weight_bytes'])}"
                       f" ({', '.join(totals['weight_types']) or 'none'})"),
        ("zero weights", _percent(totals["sparsity"])),
        ("MACs", _macs(totals["macs"])),
        ("activations", "unknown" if peak is None else f"{size_text(peak)} at the peak"),
    ]  # fmt: skip
    for key, value in facts:
        typer.echo(f"{key:<13} {value}")
    typer.echo("")
    operators = [
        (op, entry["count"], count_text(entry["parameters"]), _macs(entry["macs"]),
         _percent(_share(entry["macs"], totals["macs"])))
        for op, entry in document["operators"].items()
    ]  # fmt: skip
    print_table(("operator", "nodes", "parameters", "MACs", "share"), operators)
    typer.echo("")
    _show_layers(document)
    for warning in found.warnings:
        note(f"warning: {warning}")


def _show_layers(document: dict[str, Any]) -> None:
    columns = ("layer", "operator", "output", "parameters", "zeros", "MACs", "share", "activation")
    rows = [
        (
            ". " * row["depth"] + row["name"],
            row["op"],
            shape(row["output_shape"]),
            count_text(row["parameters"]),
            _percent(row["sparsity"]),
            _macs(row["macs"] if row["macs"] is not None else row["macs_formula"]),
            _percent(row["macs_share"]),
            _bytes(row["activation_bytes"]),
        )
        for row in document["layers"]
    ]
    if rows:
        print_table(columns, rows)
    if document["hidden_layers"]:
        typer.echo(f"({document['hidden_layers']} more nodes; --all lists every node)")


def shape(dims: list[int | str] | None) -> str:
    """``[1, 64, h]``; ``?`` when the rank is unknown, ``~`` for a size that is a long formula."""
    if dims is None:
        return "?"
    return "[" + ", ".join(str(d) if len(str(d)) <= 16 else "~" for d in dims) + "]"


def _port(port: Port) -> str:
    dims = None if port.shape is None else list(port.shape)
    return f"{plain(port.name)}: {port.type} {plain(shape(dims))}"


def _macs(macs: int | str | None) -> str:
    return _short(macs) if isinstance(macs, str) else count_text(macs)


def _bytes(size: int | str | None) -> str:
    return "?" if size is None else _short(size) if isinstance(size, str) else size_text(size)


def _short(formula: str) -> str:
    """A formula that fits a column; the whole is in the JSON and CSV forms."""
    return plain(formula) if len(formula) <= _WIDTH else "symbolic"


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{100 * part:.1f}%"


def _share(part: int | None, total: int | str | None) -> float | None:
    known = isinstance(total, int) and total > 0 and part is not None
    return part / total if known and isinstance(total, int) and part is not None else None
