"""The Python API: every command of the command line as a function with a result."""

from __future__ import annotations

from onnxslim.api.optimizing import optimize
from onnxslim.api.options import RunOptions
from onnxslim.api.results import Result
from onnxslim.api.slim import slim
from onnxslim.api.sources import load, save
from onnxslim.api.validating import validate
from onnxslim.graph.interface import InterfaceEdits

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
