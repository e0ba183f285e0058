"""Prune by a criterion of one's own; a package gives it a name for the command line (plugin/)."""

from __future__ import annotations

import sys
from pathlib import Path

import onnxslim
from onnxslim import demo

try:
    result = onnxslim.prune(demo.model_path(), macs=0.5, criterion="largest", scope="local")
except onnxslim.errors.UsageError as error:  # the package is not installed
    plugin = Path(__file__).with_name("plugin")
    sys.exit(f"{error}; first: pip install {plugin}")
print(result.headline)
