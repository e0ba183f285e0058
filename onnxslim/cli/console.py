"""What is shown: tables and bars on standard error or output, safe against hostile names."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def plain(text: str) -> str:
    """One line without control characters: names of a model may hold escape sequences."""
    text = " ".join(str(text).split())
    return "".join(c if c.isprintable() else "?" for c in text)


def print_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n")


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None
) -> None:
    """Print a table; columns after the first are right-aligned."""
    if not sys.stdout.isatty():
        cells = [tuple(plain(str(cell)) for cell in row) for row in (columns, *rows)]
        _print_plainly(cells, title)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(str(cell))) for cell in row))
    Console(no_color=bool(os.environ.get("NO_COLOR")), highlight=False).print(table)


def _print_plainly(rows: Sequence[Sequence[str]], title: str | None) -> None:
    """The same table for a file or a pipe: lines are not folded, and rich stays unimported."""
    if title:
        sys.stdout.write(title + "\n")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def note(text: str, quiet: bool = False) -> None:
    """One line on standard error, unless quiet."""
    if not quiet:
        sys.stderr.write(plain(text) + "\n")


@contextmanager
def progress(label: str, *, show: bool) -> Iterator[Any]:
    """A spinner on a terminal's standard error; gives a function that changes its text."""
    if not (show and sys.stderr.isatty()):
        yield lambda text: None
        return
    from rich.console import Console
    from rich.status import Status

    with Status(label, console=Console(stderr=True)) as status:
        yield lambda text: status.update(f"{label}: {plain(text)}")


def size_text(count: float) -> str:
    """``1.2 MB``: bytes in decimal units."""
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def count_text(count: int | None) -> str:
    """``1.23 M``: a count in decimal units; ``unknown`` for None."""
    if count is None:
        return "unknown"
    value = float(count)
    for unit in ("", " k", " M", " G"):
        if abs(value) < 1000:
            return f"{count}" if not unit else f"{value:.2f}{unit}"
        value /= 1000
    return f"{value:.2f} T"
