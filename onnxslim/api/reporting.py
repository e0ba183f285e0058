"""Write the HTML report of a result."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnxslim.analysis.layers import layers
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.api.sources import ModelLike, open_model
from onnxslim.errors import UsageError
from onnxslim.graph.temporary import TemporaryFile
from onnxslim.report.diff.delta import Delta, difference
from onnxslim.report.html.drawing import Drawing, facts_of, merged, single
from onnxslim.report.html.page import render
from onnxslim.report.summary import batch_bindings

MOST_BOXES = 60_000
"""Models with more nodes get a report without a graph."""

_Facts = dict[str, dict[str, Any]]


def check_report(path: str | os.PathLike[str], *taken: str | os.PathLike[str] | None) -> Path:
    """Refuse a place that a report cannot or must not be written to, before anything is done.

    Args:
        path: Where the report goes; an older one is replaced.
        taken: Files that must stay.

    Raises:
        UsageError: Naming what is wrong with it.
    """
    target = Path(path)
    if target.is_dir() or (target.exists() and not target.is_file()):
        raise UsageError(
            f"--report {target}: it is no regular file; give the name of an .html file"
        )
    if not target.parent.is_dir():
        raise UsageError(f"--report {target}: the folder {target.parent} does not exist")
    for other in taken:
        if other is not None and target.resolve() == Path(other).resolve():
            raise UsageError(f"--report {target}: that is a model; give another name")
    return target


def write_report(
    path: str | os.PathLike[str],
    document: Mapping[str, Any],
    *,
    before: ModelLike | None = None,
    after: ModelLike | None = None,
    delta: Delta | None = None,
    allow_external_dir: str | None = None,
) -> Path:
    """Write one self-contained HTML file that opens offline.

    Args:
        path: Where to; an older report is replaced.
        document: The JSON document of any command.
        before: The model that is drawn.
        after: Another model, drawn as its difference to ``before``.
        delta: That difference, if it is known.
        allow_external_dir: Another folder that external weights may be read from.

    Raises:
        UsageError: When the file cannot be there.
    """
    target = check_report(path).resolve()
    text = report_text(
        document, before=before, after=after, delta=delta, allow_external_dir=allow_external_dir
    )
    with TemporaryFile(target.parent, target.name) as file:
        file.write(text.encode())
        file.like(target)
        file.rename(target)
    return target


def report_text(
    document: Mapping[str, Any],
    *,
    before: ModelLike | None = None,
    after: ModelLike | None = None,
    delta: Delta | None = None,
    allow_external_dir: str | None = None,
) -> str:
    """The page of :func:`write_report`."""
    from onnxslim import __version__

    found = dict(document)
    drawing = None
    models = [_opened(m, allow_external_dir) for m in (before, after) if m is not None]
    if len(models) > 1:
        delta = delta or difference(models[0], models[1], names=("before", "after"))
        if found.get("command") != "diff":
            found["delta"] = delta.to_json()
    if models:
        drawing = _drawing(models, delta if len(models) > 1 else None, found)
    return render(found, drawing, __version__)


def _opened(model: ModelLike, allow_external_dir: str | None) -> ir.Model:
    opened = open_model(model, allow_external_dir=allow_external_dir)
    infer_shapes(opened)
    return opened


def _drawing(
    models: list[ir.Model], delta: Delta | None, document: Mapping[str, Any]
) -> Drawing | None:
    if sum(1 for m in models for _ in m.graph.all_nodes()) > MOST_BOXES:
        return None
    facts = [_facts(m, document) for m in models]
    if delta is None:
        return single(models[0], facts[0])
    return merged(models[0], models[1], delta, (facts[0], facts[1]))


def _facts(model: ir.Model, document: Mapping[str, Any]) -> _Facts:
    """What layers cost, with what the document measured of them."""
    facts = facts_of(layers(model, batch_bindings(model), count_zeros=False))
    measured = document.get("layers")
    models = document.get("models")
    if document.get("command") == "bench" and models:
        measured = models[0].get("layers")
    for layer in measured if isinstance(measured, list) else ():
        entry = facts.setdefault(str(layer.get("name")), {})
        for key in ("ms", "sqnr_db", "runs", "reason"):
            if layer.get(key) not in (None, ""):
                entry[key] = layer[key]
    return facts
