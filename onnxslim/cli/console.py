"""What is shown: tables and bars on standard error or output, safe against hostile names."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

_COUNTED = re.compile(r"(\d+) of (\d+)")


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
    """What is being done, on a terminal's standard error; gives a function that says it.

    Where a text counts (``recovering: layer 3 of 20``) a bar and the time left stand behind it.
    """
    if not (show and sys.stderr.isatty()):
        yield lambda text: None
        return
    from rich.console import Console

    with _bar(Console(stderr=True)) as shown:
        yield Told(label, shown)


def _bar(console: Any) -> Progress:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.table import Column

    flexible = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    text = TextColumn("{task.description}", markup=False, table_column=flexible)
    bar = BarColumn(bar_width=16, table_column=Column(min_width=16))
    left = TimeRemainingColumn(table_column=Column(min_width=7))
    return Progress(SpinnerColumn(), text, bar, left, console=console, transient=True, expand=True)


class Told:
    """One line that changes: a new bar where something else is counted.

    Args:
        label: Stands in front of every text.
        shown: Draws it.
    """

    def __init__(self, label: str, shown: Progress) -> None:
        self._label, self._shown = os.path.basename(label), shown
        self._task = shown.add_task(self._label, total=None)
        self._counted: tuple[str, str] | None = None

    def __call__(self, text: str) -> None:
        """Say what is being done."""
        found = _COUNTED.search(text)
        counted = None if found is None else (text[: found.start()], found[2])
        if counted != self._counted:
            self._shown.remove_task(self._task)
            total = None if found is None else int(found[2])
            self._task, self._counted = self._shown.add_task("", total=total), counted
        done = 0 if found is None else int(found[1]) - 1
        self._shown.update(self._task, description=f"{self._label}: {plain(text)}", completed=done)


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
