"""Quantizes with onnxruntime.quantization; runs in that tool's own environment.

python _quantize_ort.py MODEL CALIB.npz OUT CONFIG
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import version_converter
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

MATMULS = {
    "op_types_to_quantize": ["MatMul", "Gemm"],
    "extra_options": {
        "MatMulConstBOnly": True,
        "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"],
    },
}
CONFIGS: dict[str, dict[str, Any]] = {
    "minmax": {},
    "percentile": {"calibrate_method": CalibrationMethod.Percentile},
    "qoperator": {"quant_format": QuantFormat.QOperator},
    "matmul": MATMULS,
    "matmul-percentile": {**MATMULS, "calibrate_method": CalibrationMethod.Percentile},
}


class Reader(CalibrationDataReader):
    """One sample after the other."""

    def __init__(self, path: str, size: int) -> None:
        with np.load(path) as archive:
            self._arrays = {name: archive[name] for name in archive.files}
        self._size, self._next = size, 0

    def get_next(self) -> dict[str, Any] | None:
        """The next feed, or None at the end."""
        first, self._next = self._next, self._next + self._size
        feed = {name: array[first : self._next] for name, array in self._arrays.items()}
        whole = all(len(array) == self._size for array in feed.values())
        return feed if whole else None


def prepared(source: str, folder: str) -> str:
    """The model preprocessed as recommended, at an opset that has scales per channel."""
    model = onnx.load(source)
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset < 13:
        source = str(Path(folder, "converted.onnx"))
        onnx.save(version_converter.convert_version(model, 13), source)
    target = str(Path(folder, "prepared.onnx"))
    for skip in (False, True):
        try:
            quant_pre_process(source, target, skip_symbolic_shape=skip)
            return target
        except Exception as error:  # a tool that is measured, with what it raises
            print(f"preprocessing failed: {error!r}", file=sys.stderr)
    return source


def batch_size(path: str) -> int:
    """The batch size that the first input fixes, else 1."""
    shape = onnx.load(path, load_external_data=False).graph.input[0].type.tensor_type.shape
    return shape.dim[0].dim_value if shape.dim and shape.dim[0].dim_value > 0 else 1


def main(source: str, data: str, target: str, name: str) -> None:
    """Run one configuration."""
    with tempfile.TemporaryDirectory() as folder:
        model = prepared(source, folder)
        if name == "dynamic":
            quantize_dynamic(
                model,
                target,
                per_channel=True,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=["MatMul", "Gemm", "LSTM"],
                extra_options={"MatMulConstBOnly": True},
            )
            return
        options = {"per_channel": True, "activation_type": QuantType.QUInt8, **CONFIGS[name]}
        reader = Reader(data, batch_size(source))
        quantize_static(model, target, reader, weight_type=QuantType.QInt8, **options)


if __name__ == "__main__":
    main(*sys.argv[1:])
