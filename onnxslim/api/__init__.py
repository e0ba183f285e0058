"""The Python API: every command of the command line as a function with a result."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from onnxslim.api.optimizing import optimize
from onnxslim.api.options import RunOptions
from onnxslim.api.results import Result
from onnxslim.api.slim import slim
from onnxslim.api.sources import load, save
from onnxslim.graph.interface import InterfaceEdits

if TYPE_CHECKING:
    from onnxslim.api.benching import bench
    from onnxslim.api.compressing import compress
    from onnxslim.api.diffing import diff
    from onnxslim.api.entrants import BenchOptions
    from onnxslim.api.inspecting import inspect
    from onnxslim.api.latency import latency_table
    from onnxslim.api.pruning import prune
    from onnxslim.api.quantizing import quantize
    from onnxslim.api.reducing import reduce
    from onnxslim.api.sensitivities import sensitivity
    from onnxslim.api.validating import validate

__all__ = [
    "BenchOptions",
    "InterfaceEdits",
    "Result",
    "RunOptions",
    "bench",
    "compress",
    "diff",
    "inspect",
    "latency_table",
    "load",
    "optimize",
    "prune",
    "quantize",
    "reduce",
    "save",
    "sensitivity",
    "slim",
    "validate",
]


_LATER = {
    "compress": "compressing",
    "BenchOptions": "entrants",
    "bench": "benching",
    "diff": "diffing",
    "inspect": "inspecting",
    "latency_table": "latency",
    "prune": "pruning",
    "quantize": "quantizing",
    "reduce": "reducing",
    "sensitivity": "sensitivities",
    "validate": "validating",
}


def __getattr__(name: str) -> Any:
    """The rarer functions on first use: what they need takes a while to import."""
    if name in _LATER:
        return getattr(import_module(f"onnxslim.api.{_LATER[name]}"), name)
    raise AttributeError(f"module 'onnxslim.api' has no attribute {name!r}")
