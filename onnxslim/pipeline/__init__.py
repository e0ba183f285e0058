"""Passes as values, the context they work with, recipes, and the manager that runs them."""

from __future__ import annotations

from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

__all__ = ["Numerics", "Pass", "PassContext", "register"]
