"""Models in and out: a path, an ``onnx_ir.Model`` or an ``onnx.ModelProto``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

import onnx
import onnx_ir as ir

from onnxslim.errors import UsageError
from onnxslim.graph.duplicate import duplicate
from onnxslim.graph.load import from_proto, load
from onnxslim.graph.save import SavedModel
from onnxslim.graph.save import save as _save

ModelLike: TypeAlias = "str | os.PathLike[str] | ir.Model | onnx.ModelProto"

__all__ = ["ModelLike", "load", "open_model", "path_of", "save"]


def path_of(source: ModelLike) -> Path | None:
    """The path when the model was given as one."""
    return Path(source) if isinstance(source, (str, os.PathLike)) else None


def open_model(source: ModelLike, *, allow_external_dir: str | None = None) -> ir.Model:
    """A model of our own to edit; the argument is never changed.

    Raises:
        UnsupportedModelError: For anything that cannot be read safely.
        UsageError: For an object that is no model.
    """
    path = path_of(source)
    if path is not None:
        return load(path, allow_external_dir=allow_external_dir)
    if isinstance(source, ir.Model):
        return duplicate(source)
    if isinstance(source, onnx.ModelProto):
        return from_proto(source)
    raise UsageError(
        f"a {type(source).__name__} is no model: expected a path, onnx_ir.Model or onnx.ModelProto"
    )


def save(model: ModelLike, path: str | os.PathLike[str]) -> SavedModel:
    """Write a model atomically; weights above 2 GB go to a data file beside it.

    Raises:
        UsageError: When the target is a folder or a device.
    """
    return _save(open_model(model) if not isinstance(model, ir.Model) else model, path)
