"""Make ONNX models smaller and faster, and prove that they still compute the same."""

from __future__ import annotations

from typing import Any

from onnxslim import _checkout, _lazy_sympy

__version__ = "1.0.0a1"  # read from here by pyproject.toml, without importing the package
__distribution__ = "onnxslim-toolkit"

_checkout.install()
_lazy_sympy.install()

_API = (
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
)


def __getattr__(name: str) -> Any:
    """The Python API, imported on first use: ``import onnxslim`` itself stays light."""
    if name in _API:
        from onnxslim import api

        return getattr(api, name)
    if name == "batch":
        from onnxslim.fleet import batch

        return batch
    raise AttributeError(f"module 'onnxslim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_API, "batch"])
