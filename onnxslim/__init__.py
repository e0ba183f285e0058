"""Make ONNX models smaller and faster, and prove that they still compute the same."""

from __future__ import annotations

from onnxslim import _checkout

__version__ = "1.0.0a1"  # read from here by pyproject.toml, without importing the package
__distribution__ = "onnxslim-toolkit"

_checkout.install()
