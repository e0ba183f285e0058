"""Quantize with an ONNX Runtime ``CalibrationDataReader``, as written for ``quantize_static``."""

from __future__ import annotations

import numpy as np

import onnxslim
from onnxslim import demo


class Reader:
    """Anything with ``get_next`` that gives a feed, then None."""

    def __init__(self) -> None:
        images = np.load(demo.calibration_path())["input"][:128]
        self._feeds = iter([{"input": image[None].astype(np.float32)} for image in images])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next feed."""
        return next(self._feeds, None)


result = onnxslim.quantize(demo.model_path(), data=Reader())
onnxslim.save(result.model, "int8.onnx")
report = onnxslim.validate(demo.model_path(), "int8.onnx", data=demo.labelled_path(), labels="y")
print(f"accuracy: {report.score.reference} -> {report.score.candidate} points")
