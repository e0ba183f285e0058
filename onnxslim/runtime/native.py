"""What onnx's own C++ answers in the worker child: inference, checker, version converter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxslim.runtime.protocol import Answer, Value


def infer_shapes(head: Mapping[str, Any], values: list[Value]) -> Answer:
    """The model with what onnx infers, strict about nothing."""
    import onnx

    given = values[0] if values else onnx.load(head["path"], load_external_data=False)
    done = onnx.shape_inference.infer_shapes(given, data_prop=True)
    return {}, [done.SerializeToString()]


def check(head: Mapping[str, Any], values: list[Value]) -> Answer:
    """Raise what the checker finds."""
    import onnx

    onnx.checker.check_model(values[0] if values else head["path"], full_check=head["full"])
    return {}, []


def convert(head: Mapping[str, Any], values: list[Value]) -> Answer:
    """The model in another opset version."""
    import onnx
    from onnx import version_converter

    model = onnx.load_model_from_string(values[0])
    converted = version_converter.convert_version(model, head["version"])
    return {}, [converted.SerializeToString()]
