"""Quantizes with AMD Quark; runs in that tool's own environment.

python _quantize_quark.py MODEL CALIB.npz OUT CONFIG
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from quark.onnx import ModelQuantizer
from quark.onnx.quantization.config import Config
from quark.onnx.quantization.config.custom_config import get_default_config

CONFIGS: dict[str, dict[str, Any]] = {
    "minmax": {"calibrate_method": CalibrationMethod.MinMax, "include_cle": False},
    "percentile": {"include_cle": False},
    "cle": {"include_cle": True},
    "bias": {"include_cle": False, "extra_options": {"BiasCorrection": True}},
}


class Reader(CalibrationDataReader):
    """One sample after the other, again after a rewind."""

    def __init__(self, path: str, size: int) -> None:
        with np.load(path) as archive:
            self._arrays = {name: archive[name] for name in archive.files}
        self._size, self._next = size, 0

    def get_next(self) -> dict[str, Any] | None:
        """The next feed, or None at the end."""
        first, self._next = self._next, self._next + self._size
        feed = {name: array[first : self._next] for name, array in self._arrays.items()}
        return feed if all(len(array) == self._size for array in feed.values()) else None

    def reset_iter(self) -> None:
        """Start again."""
        self._next = 0


def main(source: str, data: str, target: str, name: str) -> None:
    """Run one configuration."""
    config = get_default_config("U8S8_AAWS")
    config.per_channel = True
    for key, value in CONFIGS[name].items():
        current = getattr(config, key)
        setattr(config, key, {**current, **value} if isinstance(current, dict) else value)
    shape = onnx.load(source, load_external_data=False).graph.input[0].type.tensor_type.shape
    size = shape.dim[0].dim_value if shape.dim and shape.dim[0].dim_value > 0 else 1
    model = onnx.load(source)
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset < 13:
        source = target + ".converted.onnx"
        onnx.save(onnx.version_converter.convert_version(model, 13), source)
    quantizer = ModelQuantizer(Config(global_quant_config=config))
    quantizer.quantize_model(source, target, Reader(data, size))


if __name__ == "__main__":
    *paths, name = sys.argv[1:]
    given = [str(Path(path).resolve()) for path in paths]
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
    ):  # it leaves files behind
        main(*given, name)
