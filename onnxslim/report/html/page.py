"""The page: template, style, script and data in one file, under a strict content policy."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2

from onnxslim.report.html.cells import Curve, Section
from onnxslim.report.html.drawing import Drawing
from onnxslim.report.html.sections import sections, title_of, verdict

_WIDTH, _HEIGHT, _LEFT, _EDGE = 1000, 200, 50, 14


def render(document: Mapping[str, Any], drawing: Drawing | None, version: str) -> str:
    """The whole file.

    Nothing is fetched: the policy allows the one script and the one style by their digests. Names
    are escaped by the template, and are only ever text for the script.

    Args:
        document: The JSON document of a command.
        drawing: The graph; None leaves it out.
        version: Of this package.
    """
    style, script = _file("report.css"), _file("report.js")
    graph = None if drawing is None else drawing.to_json()
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    found = [_drawn(section) for section in sections(document)]
    return environment.from_string(_file("report.html.j2")).render(
        title=title_of(document),
        verdict=verdict(document),
        sections=found,
        graph=graph is not None,
        about=_about(document),
        version=version,
        style=style,
        script=script,
        data=pack({"document": document, "graph": graph}),
        policy=f"default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src {_digest(style)}; script-src {_digest(script)}",
    )


def _file(name: str) -> str:
    return (resources.files("onnxslim.report.html") / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def pack(data: Any) -> str:
    """JSON, compressed, as letters; the same data gives the same text."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, default=str)
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _about(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    for key, label in (("input", "Model"), ("output", "Result"), ("provider", "Provider"),
                       ("samples", "Samples"), ("producer", "Producer"),
                       ("ir_version", "IR version")):  # fmt: skip
        if isinstance(document.get(key), (str, int)) and document[key] != "":
            found.append((label, str(document[key])))
    machine = document.get("machine")
    if isinstance(machine, Mapping):
        found += [(str(k), str(v)) for k, v in machine.items()]
    return found


# ------------------------------------------------------------------ charts


@dataclass(frozen=True)
class Chart:
    """A curve as the template draws it, in the units of its picture."""

    title: str
    unit: str
    width: int
    height: int
    ticks: list[tuple[float, str]]
    lines: list[str]
    dots: list[tuple[float, float, str, int]]


def _drawn(section: Section) -> Section:
    section.curves = [chart(c) for c in section.curves]  # type: ignore[misc]
    return section


def chart(curve: Curve) -> Chart:
    """Scale a curve; values are joined where they follow each other."""
    known = [v for _, values in curve.series for v in values if v is not None]
    low, high = min([0.0, *known]), max([*known, 0.0])
    step = nice((high - low) / 4) if high > low else 0.25
    low = math.floor(low / step + 1e-9) * step
    count = max(math.ceil((high - low) / step - 1e-9), 1)
    top = low + count * step
    steps = max(len(curve.names) - 1, 1)

    def at(index: int, value: float) -> tuple[float, float]:
        x = _LEFT + (_WIDTH - _LEFT - _EDGE) * index / steps
        y = _HEIGHT - _EDGE - (_HEIGHT - 2 * _EDGE) * (value - low) / (top - low)
        return round(x, 1), round(y, 1)

    ticks = [(at(0, low + k * step)[1], f"{low + k * step:.4g}") for k in range(count + 1)]
    lines, dots = [], []
    for number, (label, values) in enumerate(curve.series):
        lines.append(_path([None if v is None else at(i, v) for i, v in enumerate(values)]))
        for index, value in enumerate(values):
            if value is not None and len(curve.names) <= 400:
                text = f"{curve.names[index]}: {value:.4g} {curve.unit} {label}".strip()
                dots.append((*at(index, value), text, number))
    return Chart(curve.title, curve.unit, _WIDTH, _HEIGHT, ticks, lines, dots)


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    parts, pen_up = [], True
    for point in points:
        if point is None:
            pen_up = True
            continue
        parts.append(f"{'M' if pen_up else 'L'}{point[0]} {point[1]}")
        pen_up = False
    return " ".join(parts)


def nice(value: float) -> float:
    """The next of 1, 2, 4, 5, 8 or 10 times a power of ten that is not below ``value``."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(m * power for m in (1, 2, 4, 5, 8, 10) if m * power >= value * (1 - 1e-9))
