"""Cut a decision about channels into a model: weights, attributes and literal sizes."""

from __future__ import annotations

from onnxslim.pipeline.surgery.cut import cut

__all__ = ["cut"]
