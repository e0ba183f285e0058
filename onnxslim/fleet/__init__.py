"""Many models at once: one recipe over a folder of models, failures isolated, resumable."""

from __future__ import annotations

from onnxslim.fleet.batch import BatchResult, Entry, batch

__all__ = ["BatchResult", "Entry", "batch"]
