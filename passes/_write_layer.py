"""Writes the nodes of a layer whose weight and bias were changed."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._gemm import graph_of, make_gemm, not_a_gemm
from onnxslim.passes._layer import Layer
from onnxslim.passes._linear import Array, narrow
from onnxslim.passes._rescale import Change
from onnxslim.pipeline.context import PassContext


def apply_change(
    layer: Layer, x: ir.Value, change: Change, ctx: PassContext
) -> list[ir.Node] | str:
    """The new layer reading ``x`` (with its Add), or why there is none; no edit before that."""
    dtype = layer.weight.dtype or x.dtype
    if dtype is None:
        return "the type is not known"
    weight = None if change.weight is None else narrow(change.weight, dtype.numpy())
    bias = None if change.bias is None else narrow(change.bias, dtype.numpy())
    if (weight is None) != (change.weight is None) or (bias is None) != (change.bias is None):
        return f"the folded weights do not fit {dtype}"
    gemm = layer.op == "Gemm"
    if layer.op == "MatMul" and (change.alpha != 1 or (bias is not None and layer.add is None)):
        reason = not_a_gemm(layer.node, ctx.opset)
        if reason is not None:
            return reason or "a MatMul of more than two dimensions has no bias"
        gemm = True
    w = layer.weight if weight is None else _weight_value(layer, weight, ctx)
    pair = (x, w) if layer.data == 0 else (w, x)
    if gemm:
        return [_write_gemm(layer, pair, change, bias, ctx)]
    if layer.op == "MatMul":
        return _write_matmul(layer, pair, bias, ctx)
    return [_write_conv(layer, pair, bias, ctx)]


def _weight_value(layer: Layer, weight: Array, ctx: PassContext) -> ir.Value:
    old = layer.weight
    if edit.use_count(old) > 1:
        name = layer.node.name or layer.op
        ctx.warnings.append(f"{name}: its shared weight was copied, {weight.nbytes} bytes")
    return ctx.constant(graph_of(layer.node), old.name, weight)


def _bias_value(layer: Layer, old: ir.Value | None, bias: Array, ctx: PassContext) -> ir.Value:
    stem = f"{layer.weight.name}_bias" if old is None else old.name
    if layer.op == "MatMul" and layer.data == 1 and bias.size > 1:
        bias = bias.reshape(-1, 1)
    return ctx.constant(graph_of(layer.node), stem, bias)


def _write_conv(
    layer: Layer, pair: tuple[ir.Value, ir.Value], bias: Array | None, ctx: PassContext
) -> ir.Node:
    old = edit.get_input(layer.node, 2)
    b = old if bias is None else _bias_value(layer, old, bias, ctx)
    values = [*pair] if b is None else [*pair, b]
    return edit.new_node(layer.op, values, dict(layer.node.attributes))


def _write_gemm(
    layer: Layer,
    pair: tuple[ir.Value, ir.Value],
    change: Change,
    bias: Array | None,
    ctx: PassContext,
) -> ir.Node:
    old = edit.get_input(layer.node, 2)
    attributes: dict[str, Any] = {n: item.value for n, item in layer.node.attributes.items()}
    attributes["alpha"] = attributes.get("alpha", 1.0) * change.alpha
    if bias is not None or old is None:
        attributes["beta"] = 1.0
    else:
        attributes["beta"] = attributes.get("beta", 1.0) * change.beta
    c = old if bias is None else _bias_value(layer, old, bias, ctx)
    return make_gemm(*pair, c, attributes, graph_of(layer.node), ctx)


def _write_matmul(
    layer: Layer, pair: tuple[ir.Value, ir.Value], bias: Array | None, ctx: PassContext
) -> list[ir.Node]:
    product = edit.new_node("MatMul", pair)
    if layer.add is None:
        return [product]
    product.outputs[0].type = layer.node.outputs[0].type
    product.outputs[0].shape = layer.node.outputs[0].shape
    old = next(v for v in layer.add.inputs if v is not layer.node.outputs[0])
    b = old if bias is None else _bias_value(layer, old, bias, ctx)
    return [product, edit.new_node("Add", [product.outputs[0], b])]
