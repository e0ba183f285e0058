"""What the topologies are fed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper

SIZES = {"N": 2, "L": 6, "S": 5}
"""Sizes of the symbols in the inputs: batch, length, length of the other sequence."""


def feed_of(model: onnx.ModelProto, seed: int = 0, **sizes: int) -> dict[str, Any]:
    """Normal floats, small integers (they index tables), random flags."""
    rng = np.random.default_rng(seed)
    bound = {**SIZES, **sizes}
    feed: dict[str, Any] = {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        shape = [bound[d.dim_param] if d.dim_param else d.dim_value for d in kind.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if np.issubdtype(dtype, np.floating):
            feed[value.name] = rng.standard_normal(shape).astype(dtype)
        else:
            feed[value.name] = np.asarray(rng.integers(0, 2, shape)).astype(dtype)
    return feed
