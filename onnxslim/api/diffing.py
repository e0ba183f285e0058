"""What differs between two models, told as a person would tell it."""

from __future__ import annotations

import os
from collections.abc import Sequence

import onnx_ir as ir

from onnxslim.api.sources import ModelLike, open_model, path_of
from onnxslim.errors import UsageError
from onnxslim.graph.signature import SIGNATURE
from onnxslim.report.diff.delta import IGNORABLE, WEIGHTS, Delta, difference

CLOSE = (1e-5, 1e-3)
"""Absolute and relative tolerance of ``weights="close"`` without numbers."""


def diff(
    a: ModelLike,
    b: ModelLike,
    *,
    ignore: Sequence[str] = (),
    weights: str = "exact",
    names: tuple[str, str] | None = None,
    allow_external_dir: str | None = None,
) -> Delta:
    """Compare two models by structure; names of tensors and nodes, order and storage do not count.

    Args:
        a: The one before.
        b: The one after.
        ignore: What else does not count: ``names`` and ``order`` of inputs and outputs, their
            ``shapes``, ``opset``, ``metadata`` (with IR and model version). ``storage`` and
            ``doc`` never count.
        weights: ``exact``, ``close`` or ``close:ATOL,RTOL``, ``shape`` (only types and shapes
            count), ``ignore``.
        names: What the models are called; their paths by default.
        allow_external_dir: Another folder that external weights may be read from.

    Raises:
        UnsupportedModelError: When a model cannot be read.
        UsageError: For an option that does not exist.
    """
    unknown = [word for word in ignore if word not in IGNORABLE]
    if unknown:
        raise UsageError(f"{unknown[0]!r} cannot be ignored: expected {', '.join(IGNORABLE)}")
    mode, tolerance = parse_weights(weights)
    first, second = (_opened(m, allow_external_dir) for m in (a, b))
    labels = names or (_label(a, "a"), _label(b, "b"))
    return difference(first, second, names=labels, ignore=ignore, weights=mode, tolerance=tolerance)


def parse_weights(text: str) -> tuple[str, tuple[float, float] | None]:
    """``close:1e-6,1e-3`` as mode and ``(atol, rtol)``.

    Raises:
        UsageError: For an unknown mode or numbers that are none.
    """
    mode, colon, numbers = text.partition(":")
    if mode not in WEIGHTS or (colon and mode != "close"):
        raise UsageError(f"weights {text!r}: expected {', '.join(WEIGHTS)} or close:ATOL,RTOL")
    if mode != "close":
        return mode, None
    if not colon:
        return mode, CLOSE
    try:
        atol, rtol = (float(part) for part in numbers.split(","))
    except ValueError:
        raise UsageError(f"weights {text!r}: expected two numbers as in close:1e-6,1e-3") from None
    if not (atol >= 0 and rtol >= 0):
        raise UsageError(f"weights {text!r}: expected tolerances of 0 or more")
    return mode, (atol, rtol)


def _opened(model: ModelLike, allow_external_dir: str | None) -> ir.Model:
    """The model itself where it may be read as it is: nothing is changed here."""
    if isinstance(model, ir.Model) and (SIGNATURE in model.meta or SIGNATURE in model.graph.meta):
        return model
    return open_model(model, allow_external_dir=allow_external_dir)


def _label(model: ModelLike, default: str) -> str:
    path = path_of(model)
    return default if path is None else os.fspath(path)
