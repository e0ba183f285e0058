"""``onnxslim diff``: what differs between two models."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from onnxslim.cli import common
from onnxslim.cli.comparison import Comparison, Format, as_driver, execute
from onnxslim.errors import UsageError


class FailOn(enum.StrEnum):
    """Which differences make the exit code 1."""

    any = "any"
    io = "io"
    structure = "structure"
    weights = "weights"
    meta = "meta"
    none = "none"


_SIDES = 2
_DRIVER = 7
"""Arguments that git gives to a diff driver: path, then file, object and mode of either side."""


def command(
    models: Annotated[
        list[Path] | None, typer.Argument(metavar="A B", help="The models, before and after.")
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.text,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write it there.")
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            "--ignore",
            metavar="WHAT",
            help="names, order or shapes (of inputs and outputs), opset, metadata; repeatable.",
        ),
    ] = None,
    weights: Annotated[
        str,
        typer.Option("--weights", metavar="HOW", help="exact, close[:ATOL,RTOL], shape, ignore."),
    ] = "exact",
    fail_on: Annotated[
        FailOn, typer.Option("--fail-on", help="Differences that make the exit code 1.")
    ] = FailOn.any,
    most: Annotated[
        int, typer.Option("--max", min=0, help="Lines of detail per group in text; 0 is all.")
    ] = 20,
    git_setup: Annotated[
        bool, typer.Option("--git-setup", help="Make `git diff` show models in this repository.")
    ] = False,
    git_driver: Annotated[
        bool, typer.Option("--git-driver", hidden=True, help="As git calls a diff driver.")
    ] = False,
    force: common.Force = False,
    report: common.Report = None,
    allow_external_dir: common.ExternalDir = None,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> int:
    """Show what differs between two models; exit 0 when nothing does, 1 when something does."""
    common.set_up_logging(verbose)
    given = models or []
    if git_setup:
        from onnxslim.cli.gitsetup import set_up

        return set_up()
    if git_driver and len(given) >= _DRIVER:
        return as_driver([str(p) for p in given])
    if len(given) != _SIDES:
        word = "model" if len(given) == 1 else "models"
        raise UsageError(
            f"{len(given) or 'no'} {word} given: expected two, onnxslim diff A.onnx B.onnx"
        )
    return execute(
        Comparison(
            given[0], given[1], format_, output, ignore=tuple(ignore or ()), weights=weights,
            fail_on=fail_on.value, most=most, force=force, report=report,
            allow_external_dir=allow_external_dir, json=json, quiet=quiet,
        )
    )  # fmt: skip
