"""Quantize with a folder of images; needs ``onnxslim-toolkit[images]``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import onnxslim
from onnxslim import RunOptions, demo

with tempfile.TemporaryDirectory() as folder:
    for number, image in enumerate(np.load(demo.calibration_path())["input"][:64]):
        Image.fromarray(image[0]).save(Path(folder) / f"{number:03}.png")
    options = RunOptions(
        data=folder, data_options={"image_size": "28,28", "resize": "stretch", "scale": 1.0}
    )
    result = onnxslim.quantize(demo.model_path(), options=options)
print(f"{result.before.bytes} -> {result.after.bytes} bytes")
