"""Quantize with calibration samples from a generator: any iterable of dicts of arrays will do.

The same function serves the command line: ``--data samples/calibrate_generator.py:samples``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import onnxslim
from onnxslim import demo


def samples() -> Iterator[dict[str, np.ndarray]]:
    """One image at a time, as the model takes it."""
    images = np.load(demo.calibration_path())["input"]
    for image in images[:128]:
        yield {"input": image[None].astype(np.float32)}


if __name__ == "__main__":
    result = onnxslim.quantize(demo.model_path(), data=list(samples()))
    onnxslim.save(result.model, "int8.onnx")
    print(f"{result.before.bytes} -> {result.after.bytes} bytes")
