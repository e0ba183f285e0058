"""One run of ``onnxslim diff``, however its options were read."""

from __future__ import annotations

import enum
import gc
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxslim.cli import reports
from onnxslim.errors import OnnxSlimError

if TYPE_CHECKING:
    from onnxslim.report.diff.delta import Delta


class Format(enum.StrEnum):
    """How the result is written."""

    text = "text"
    json = "json"
    markdown = "markdown"
    html = "html"


@dataclass(frozen=True)
class Comparison:
    """What was asked for; the fields are the options of the command."""

    a: Path
    b: Path
    format_: Format = Format.text
    output: Path | None = None
    ignore: tuple[str, ...] = ()
    weights: str = "exact"
    fail_on: str = "any"
    most: int = 20
    force: bool = False
    report: Path | None = None
    allow_external_dir: str | None = None
    json: bool = False
    quiet: bool = False


def execute(job: Comparison) -> int:
    """Compare two models and print what differs; returns the exit code."""
    reports.check(job.report, job.a, job.b)
    gc.disable()  # many small objects that live until the end
    try:
        from onnxslim.api.diffing import diff
        from onnxslim.graph.save import check_text_target

        if job.output is not None:
            check_text_target(job.output, job.a, job.b, force=job.force)
        delta = diff(
            job.a,
            job.b,
            ignore=[word for text in job.ignore for word in text.split(",") if word],
            weights=job.weights,
            allow_external_dir=job.allow_external_dir,
        )
        gc.freeze()  # they are not looked through while the result is written, either
    finally:
        gc.enable()
    try:
        _tell(job, delta)
    finally:
        gc.unfreeze()
    return 1 if delta.has(job.fail_on) else 0


def _tell(job: Comparison, delta: Delta) -> None:
    more = job.allow_external_dir
    reports.write(job.report, delta, job.a, job.b, quiet=job.quiet, allow_external_dir=more)
    if job.format_ is Format.html and not job.json:
        write(reports.text(delta, job.a, job.b, allow_external_dir=more), job.output)
    elif not job.quiet or job.output is not None:
        write(render(delta, Format.json if job.json else job.format_, job.most), job.output)


def render(delta: Delta, format_: Format, most: int) -> str:
    """A result in one of the formats."""
    if format_ is Format.json:
        return json.dumps(delta.to_json(), indent=2, ensure_ascii=True, allow_nan=False)
    if format_ is Format.markdown:
        return delta.to_markdown()
    return printable(delta.text(most or None))


def printable(text: str) -> str:
    """Lines without control characters: names of a model may hold escape sequences."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def write(text: str, output: Path | None) -> None:
    """Write a result to a file or to standard output, with one line end after it."""
    text = text.rstrip("\n") + "\n"
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, encoding="utf-8")


def as_driver(arguments: list[str]) -> int:
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
    write(printable(text) + "\n", None)
    return 0
