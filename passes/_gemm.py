"""When a MatMul can be a Gemm: matrices of a floating point type, no quantized factor."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.pipeline.context import PassContext

_TYPES = {
    ir.DataType.FLOAT: 7,
    ir.DataType.DOUBLE: 7,
    ir.DataType.FLOAT16: 7,
    ir.DataType.BFLOAT16: 13,
}
"""Types that runtimes compute a Gemm in (ONNX Runtime has none for integers), and since when."""


def not_a_gemm(matmul: ir.Node, opset: int) -> str | None:
    """Why this MatMul (or Gemm) cannot be a Gemm; empty when it is simply not of that kind."""
    a, b = matmul.inputs[0], matmul.inputs[1]
    if a is None or b is None or edit.rank_of(a) != 2 or edit.rank_of(b) != 2:
        return ""
    dtype = a.dtype or b.dtype
    if dtype is None or opset < _TYPES.get(dtype, 1000):
        return f"there is no Gemm for {dtype} in opset {opset}"
    if reads_quantized(matmul):
        return "runtimes have integer kernels for a MatMul of a DequantizeLinear, not for a Gemm"
    return None


def reads_quantized(node: ir.Node) -> bool:
    """True when one of the first two inputs comes from a DequantizeLinear."""
    return any(
        value is not None and edit.is_op(value.producer(), "DequantizeLinear")
        for value in node.inputs[:2]
    )


def make_gemm(
    a: ir.Value,
    b: ir.Value,
    c: ir.Value | None,
    attributes: Mapping[str, int | float],
    graph: ir.Graph,
    ctx: PassContext,
) -> ir.Node:
    """A Gemm; attributes equal to their defaults are left out, and C only from opset 11 on."""
    defaults = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
    kept = {name: item for name, item in attributes.items() if item != defaults[name]}
    inputs = [a, b] if c is None else [a, b, c]
    if c is None and ctx.opset < 11:
        dtype = a.dtype or b.dtype
        assert dtype is not None
        inputs.append(ctx.constant(graph, "zero", np.zeros(1, dtype.numpy())))
    return edit.new_node("Gemm", inputs, kept)


def graph_of(node: ir.Node) -> ir.Graph:
    """The graph that holds a node of the worklist."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    return graph
