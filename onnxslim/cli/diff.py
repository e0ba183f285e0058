"""``onnxslim diff``: what differs between two models."""

from __future__ import annotations

import enum
import gc
import json as _json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnxslim.cli import common, reports
from onnxslim.errors import OnnxSlimError, UsageError

if TYPE_CHECKING:
    from onnxslim.report.diff.delta import Delta


class Format(enum.StrEnum):
    """How the result is written."""

    text = "text"
    json = "json"
    markdown = "markdown"
    html = "html"


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
        return _as_driver([str(p) for p in given])
    if len(given) != _SIDES:
        word = "model" if len(given) == 1 else "models"
        raise UsageError(
            f"{len(given) or 'no'} {word} given: expected two, onnxslim diff A.onnx B.onnx"
        )
    reports.check(report, *given)
    gc.disable()  # many small objects that live until the end
    try:
        from onnxslim.api.diffing import diff
        from onnxslim.graph.save import check_text_target

        if output is not None:
            check_text_target(output, *given, force=force)
        delta = diff(
            given[0],
            given[1],
            ignore=[word for text in ignore or [] for word in text.split(",") if word],
            weights=weights,
            allow_external_dir=allow_external_dir,
        )
        gc.freeze()  # they are not looked through while the result is written, either
    finally:
        gc.enable()
    try:
        reports.write(report, delta, *given, quiet=quiet, allow_external_dir=allow_external_dir)
        if format_ is Format.html and not json:
            _write(reports.text(delta, *given, allow_external_dir=allow_external_dir), output)
        elif not quiet or output is not None:
            _write(render(delta, Format.json if json else format_, most), output)
    finally:
        gc.unfreeze()
    return 1 if delta.has(fail_on.value) else 0


def render(delta: Delta, format_: Format, most: int) -> str:
    """A result in one of the formats."""
    if format_ is Format.json:
        return _json.dumps(delta.to_json(), indent=2, ensure_ascii=True, allow_nan=False)
    if format_ is Format.markdown:
        return delta.to_markdown()
    return printable(delta.text(most or None))


def printable(text: str) -> str:
    """Lines without control characters: names of a model may hold escape sequences."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def _write(text: str, output: Path | None) -> None:
    text = text.rstrip("\n") + "\n"
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, encoding="utf-8")


def _as_driver(arguments: list[str]) -> int:
    """Show one changed file to git; a model that cannot be read must not end its whole output."""
    from onnxslim.api.diffing import diff

    path, old, _, _, new = arguments[:5]
    names = (f"a/{path}", f"b/{path}")
    try:
        if "/dev/null" in (old, new):
            word = "new" if old == "/dev/null" else "deleted"
            text = f"{word} model {path}"
        else:
            text = diff(old, new, names=names).text()
    except OnnxSlimError as error:
        text = f"{names[0]} and {names[1]} differ; not compared: {error}"
    _write(printable(text) + "\n", None)
    return 0
