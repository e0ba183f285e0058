"""What ``prune.py`` measured, as tables and in words."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

UNIFORM = "l2-uniform"
"""What selection and allocation are measured against, of the same family."""

Case = tuple[str, str]
"""Name of a model, and a budget."""


@dataclass
class Row:
    """One tool on one model with one budget.

    Attributes:
        points: Accuracy of each draw in percent, on the test samples of the model.
        sqnr: Of the outputs of each draw, in dB.
        right: Part of the draws that find the label, per test sample.
        same: Part of the draws that give the dense model's class, per test sample.
        macs: Part of the multiply-accumulates left, the largest of the draws.
        params: Part of the parameters left, the largest of the draws.
        ratio: Latency over the dense model's.
        dense: The dense model's accuracy on the model's test samples, and on all.
        wall: Seconds of the command, of each draw.
        peak_bytes: The highest.
    """

    tool: str
    budget: str
    points: list[float] = field(default_factory=list)
    sqnr: list[float] = field(default_factory=list)
    right: list[float] = field(default_factory=list)
    same: list[float] = field(default_factory=list)
    macs: float = math.nan
    params: float = 0.0
    ratio: float = math.nan
    dense: tuple[float, float] = (math.nan, math.nan)
    wall: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    problem: str = ""


Results = Mapping[Case, Sequence[Row]]


def table(case: Case, rows: Sequence[Row]) -> str:
    """Text of one model and budget."""
    lines = [f"\n{case[0]}, {case[1]}: dense {_dense(rows)[0]:.2f} %, all {_dense(rows)[1]:.2f} %"]
    head = (
        f"  {'tool':26} {'mean %':>7} {'worst':>7} {'all %':>7} {'same %':>7} {'dB':>5} "
        f"{'macs':>6} {'params':>6} {'time':>6}"
    )
    lines.append(head + f" {'wall s':>7} {'peak MB':>8}")
    for row in rows:
        if not row.points:
            lines.append(f"  {row.tool:26} {row.problem}")
            continue
        lines.append(
            f"  {row.tool:26} {statistics.mean(row.points):7.2f} {min(row.points):7.2f} "
            f"{100 * statistics.mean(row.right):7.2f} {100 * statistics.mean(row.same):7.2f} "
            f"{statistics.mean(row.sqnr):5.1f} "
            f"{row.macs:6.3f} {row.params:6.3f} {row.ratio:6.2f} "
            f"{statistics.mean(row.wall):7.1f} {row.peak_bytes / 1e6:8.0f}  {row.problem}"
        )
    return "\n".join(lines)


@dataclass
class Gain:
    """One tool against :data:`UNIFORM` in one case or over several budgets of a model.

    Attributes:
        right: Points of accuracy gained, per test sample.
        same: Points of agreement with the dense model's classes, likewise.
        decibels: Of the outputs' SQNR.
        cases: Number of them.
    """

    right: npt.NDArray[np.float64]
    same: npt.NDArray[np.float64]
    decibels: float
    cases: int = 1


def summary(results: Results) -> str:
    """How selection and allocation do against equal widths by L2: by model, and in the mean.

    In points of accuracy, and of agreement with the dense model's classes, with standard errors:
    test samples and draws are paired, budgets of one model share the samples, models do not.
    """
    lines = [f"\nagainst {UNIFORM} of the same family, in points:"]
    models: dict[str, list[Sequence[Row]]] = {}
    for (name, _), rows in results.items():
        models.setdefault(name, []).append(rows)
    tools = list(dict.fromkeys(row.tool for rows in results.values() for row in rows))
    for tool in (tool for tool in tools if not tool.endswith(f" {UNIFORM}")):
        gains = {name: _pooled(tool, cases) for name, cases in models.items()}
        known = {name: gain for name, gain in gains.items() if gain is not None}
        for name, gain in known.items():
            budgets = f"{gain.cases} budget{'s' * (gain.cases > 1)}"
            lines.append(f"  {tool}, {name}, {budgets}: {_told([gain])}")
        if len(known) > 1:
            lines.append(f"  {tool}, mean of {len(known)} models: {_told(list(known.values()))}")
    return "\n".join(lines)


def _pooled(tool: str, cases: Iterable[Sequence[Row]]) -> Gain | None:
    """Over the budgets of one model; None where it or the other has no result."""
    found: list[Gain] = []
    for rows in cases:
        named = {row.tool: row for row in rows if row.points}
        other = f"{tool.split()[0]} {UNIFORM}"
        if tool not in named or other not in named:
            continue
        row, base = named[tool], named[other]
        found.append(
            Gain(
                100 * (np.asarray(row.right) - np.asarray(base.right)),
                100 * (np.asarray(row.same) - np.asarray(base.same)),
                statistics.mean(row.sqnr) - statistics.mean(base.sqnr),
            )
        )
    if not found:
        return None
    right, same = (np.mean([getattr(g, kind) for g in found], axis=0) for kind in ("right", "same"))
    return Gain(right, same, statistics.mean(g.decibels for g in found), len(found))


def _told(gains: Sequence[Gain]) -> str:
    """The mean of models."""
    texts = [
        f"{word} {statistics.mean(float(np.mean(part)) for part in parts):+.2f} "
        f"(standard error {math.hypot(*map(_error, parts)) / len(parts):.2f})"
        for word, parts in (
            ("accuracy", [gain.right for gain in gains]),
            ("agreement", [gain.same for gain in gains]),
        )
    ]
    return f"{', '.join(texts)}, outputs {statistics.mean(g.decibels for g in gains):+.1f} dB"


def _error(part: npt.NDArray[np.float64]) -> float:
    return float(part.std() / math.sqrt(len(part)))


def _dense(rows: Sequence[Row]) -> tuple[float, float]:
    """The dense model's accuracy, where a row has it."""
    known = (row.dense for row in rows if not math.isnan(row.dense[0]))
    one, other = next(known, (math.nan, math.nan))
    return one, other


def markdown(results: Results) -> str:
    """Accuracy, how close outputs are, then times: a line per case, a column per tool."""
    tools = list(dict.fromkeys(row.tool for rows in results.values() for row in rows))
    timed = any(not math.isnan(row.ratio) for rows in results.values() for row in rows)
    tables = []
    for cell in (_accuracy, _all, _closeness, _time)[: 4 if timed else 3]:
        lines = [f"| model | budget | dense | {' | '.join(tools)} |"]
        lines.append(f"|---|---|---:|{'---:|' * len(tools)}")
        for case, rows in results.items():
            found = {row.tool: row for row in rows}
            cells = [cell(found[tool]) if tool in found else "" for tool in tools]
            one, other = _dense(rows)
            first = {_accuracy: f"{one:.2f}", _all: f"{other:.2f}"}.get(cell, "")
            lines.append(f"| {' | '.join(case)} | {first} | {' | '.join(cells)} |")
        tables.append("\n".join(lines) + "\n")
    return "\n".join(tables)


def _accuracy(row: Row) -> str:
    """The mean of the draws, and the worst of several."""
    if not row.points:
        return "fails"
    worst = f" ({min(row.points):.1f})" if len(row.points) > 1 else ""
    return f"{statistics.mean(row.points):.2f}{worst}"


def _all(row: Row) -> str:
    """Accuracy on all test samples."""
    return f"{100 * statistics.mean(row.right):.2f}" if row.points else "fails"


def _closeness(row: Row) -> str:
    """Agreement with the dense model's classes in percent, and SQNR of the outputs."""
    if not row.points:
        return "fails"
    return f"{100 * statistics.mean(row.same):.2f}, {statistics.mean(row.sqnr):.1f} dB"


def _time(row: Row) -> str:
    return "fails" if math.isnan(row.ratio) else f"{row.ratio:.2f}"


def write(path: Path, results: Results) -> None:
    """Everything, for :func:`stored`."""
    rows = {" ".join(case): [asdict(row) for row in found] for case, found in results.items()}
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def stored(paths: Iterable[Path]) -> dict[Case, list[Row]]:
    """What :func:`write` wrote, of several files; of the same tool and case the last."""
    found: dict[Case, dict[str, Row]] = {}
    for path in paths:
        for key, rows in json.loads(path.read_text(encoding="utf-8")).items():
            name, budget = key.split(" ", 1)
            case = found.setdefault((name, budget), {})
            case |= {row["tool"]: Row(**row) for row in rows}
    return {case: list(rows.values()) for case, rows in found.items()}
