"""Values of which every element is the same, known number."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit

_LIMIT = 1 << 22
_KEEPS = ("Expand", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Slice", "Tile")
_DEPTH = 16


def uniform(value: ir.Value | None) -> Any:
    """The number that fills ``value`` (also if its size is dynamic), or None.

    A tensor without elements counts as filled with anything, a zero of either sign as zero only
    for integers: of floats the sign is part of the number, and NaN is none.
    """
    for _ in range(_DEPTH):
        array = edit.constant_array(value, limit=_LIMIT)
        if array is not None:
            return _filling(array)
        producer = None if value is None else value.producer()
        if edit.is_op(producer, "ConstantOfShape"):
            assert producer is not None
            tensor = edit.attr(producer, "value")
            return np.float32(0) if tensor is None else _filling(tensor.numpy())
        if not edit.is_op(producer, *_KEEPS):
            return None
        assert producer is not None
        value = producer.inputs[0]
    return None


def _filling(array: np.ndarray) -> Any:
    if array.dtype.kind not in "biuf" or not array.size:
        return None
    first = array.reshape(-1)[0]
    if array.dtype.kind == "f" and not bool((np.signbit(array) == np.signbit(first)).all()):
        return None
    return first if bool((array == first).all()) else None
