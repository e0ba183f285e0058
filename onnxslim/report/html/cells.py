"""What sections are made of: cells, tables, cards and notes; text only, escaped by the template."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

MOST_ROWS = 500
"""Rows of a table in the page; the document below it holds all."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Args:
        text: What is read.
        value: What is sorted by; the text when None.
        part: 0 to 1: a bar behind the text; None for no bar.
        tone: ``good``, ``bad``, ``warn``, ``mute`` or empty.
        second: Another bar below the first, for after beside before.
    """

    text: str
    value: float | None = None
    part: float | None = None
    tone: str = ""
    second: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows of cells; those of one type are aligned alike."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    sortable: bool = True
    hidden: int = 0


@dataclass(frozen=True)
class Card:
    """A number worth reading first."""

    label: str
    text: str
    detail: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Line:
    """A line of text with a tone; ``items`` fold away below it."""

    text: str
    tone: str = ""
    items: Sequence[str] = ()
    key: str = ""


@dataclass(frozen=True)
class Curve:
    """A line chart: one value per step, on a shared axis.

    Args:
        title: What is shown.
        unit: Of the values.
        names: Of the steps.
        series: ``(label, values)``; None is a gap.
    """

    title: str
    unit: str
    names: Sequence[str]
    series: Sequence[tuple[str, Sequence[float | None]]]


@dataclass
class Section:
    """A heading with what is below it."""

    key: str
    title: str
    lines: list[Line] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], note: str = "") -> Table:
    """A table from cells, texts and numbers; of a long one the rows with the longest bars stay."""
    made = [[c if isinstance(c, Cell) else cell(c) for c in row] for row in rows]
    hidden = max(len(made) - MOST_ROWS, 0)
    if hidden:
        weights = [-max((c.part or 0.0) for c in row) for row in made]
        order = sorted(range(len(made)), key=lambda i: (weights[i], i))
        made = [made[i] for i in sorted(order[:MOST_ROWS])]
    return Table(columns, made, note, len(made) > 1, hidden)


def cell(value: Any) -> Cell:
    """Plain text or a number."""
    if value is None:
        return Cell("\u2013", None, tone="mute")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, (int, float)):
        return Cell(f"{value:,}" if isinstance(value, int) else f"{value:.4g}", float(value))
    return Cell(str(value))


def bar(value: float | None, top: float, text: str | None = None, tone: str = "") -> Cell:
    """A number with a bar as long as its part of ``top``."""
    if value is None:
        return Cell("\u2013", None, tone="mute")
    part = min(max(value / top, 0.0), 1.0) if top else 0.0
    return Cell(text if text is not None else f"{value:.4g}", float(value), part, tone)


def count(value: Any) -> str:
    """``1.23 M``."""
    if not isinstance(value, (int, float)):
        return "unknown" if value is None else str(value)
    size = float(value)
    for unit in ("", " k", " M", " G"):
        if abs(size) < 1000:
            return f"{value}" if not unit else f"{size:.2f}{unit}"
        size /= 1000
    return f"{size:.2f} T"


def bytes_text(value: Any) -> str:
    """``1.2 MB``."""
    if not isinstance(value, (int, float)):
        return "unknown" if value is None else str(value)
    size = float(value)
    for unit in ("B", "kB", "MB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


def change(before: Any, after: Any) -> str:
    """``-38 %``; empty when it cannot be said."""
    numbers = isinstance(before, (int, float)) and isinstance(after, (int, float))
    if not numbers or not before:
        return ""
    return f"{100 * (after - before) / before:+.1f} %"
