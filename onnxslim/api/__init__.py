"""The Python API: every command of the command line as a function with a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnxslim.api.optimizing import optimize
from onnxslim.api.options import RunOptions
from onnxslim.api.results import Result
from onnxslim.api.slim import slim
from onnxslim.api.sources import load, save
from onnxslim.graph.interface import InterfaceEdits

if TYPE_CHECKING:
    from onnxslim.api.validating import validate

__all__ = [
    "InterfaceEdits",
    "Result",
    "RunOptions",
    "load",
    "optimize",
    "save",
    "slim",
    "validate",
]


def __getattr__(name: str) -> Any:
    """``validate`` on first use: it reads data in many forms, which takes a while to import."""
    if name == "validate":
        from onnxslim.api.validating import validate

        return validate
    raise AttributeError(f"module 'onnxslim.api' has no attribute {name!r}")
