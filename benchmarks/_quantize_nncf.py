"""Quantizes with NNCF; runs in that tool's own environment.

python _quantize_nncf.py MODEL CALIB.npz OUT CONFIG
"""

from __future__ import annotations

import sys
from typing import Any

import nncf
import numpy as np
import onnx


def main(source: str, data: str, target: str, name: str) -> None:
    """Run one configuration: ``cnn`` or ``transformer``."""
    model = onnx.load(source)
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset < 13:
        model = onnx.version_converter.convert_version(model, 13)
    with np.load(data) as archive:
        arrays = {key: archive[key] for key in archive.files}
    shape = model.graph.input[0].type.tensor_type.shape
    size = shape.dim[0].dim_value if shape.dim and shape.dim[0].dim_value > 0 else 1
    count = min(len(array) for array in arrays.values()) // size
    feeds = [
        {key: array[i * size : (i + 1) * size] for key, array in arrays.items()}
        for i in range(count)
    ]
    options: dict[str, Any] = {"preset": nncf.QuantizationPreset.MIXED}
    if name == "transformer":
        options["model_type"] = nncf.ModelType.TRANSFORMER
    quantized = nncf.quantize(model, nncf.Dataset(feeds), subset_size=count, **options)
    onnx.save(quantized, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
