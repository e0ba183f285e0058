"""Multiply-accumulates of Conv, Gemm and MatMul, by ONNX's own shape inference.

Used inside the other tools' environments, where this package is not installed.
"""

from __future__ import annotations

import math
from typing import Any

import onnx
from onnx import numpy_helper


def macs_of(model: onnx.ModelProto, feed: dict[str, Any]) -> float:
    """Of one sample: every input at the size of ``feed``, its first axis at 1."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        if value.name in feed:
            dims = value.type.tensor_type.shape.dim
            for dim, size in zip(dims, (1, *feed[value.name].shape[1:]), strict=True):
                dim.dim_value = size
    del copy.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(copy, data_prop=True).graph
    shapes = {i.name: tuple(i.dims) for i in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = tuple(d.dim_value for d in dims)
    constants = {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t).shape
        for node in graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    shapes |= constants
    total = 0.0
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            weight, out = shapes[node.input[1]], math.prod(shapes[node.output[0]])
            inner = math.prod(weight[1:]) if node.op_type == "Conv" else shapes[node.input[0]][-1]
            total += out * inner
    return total
