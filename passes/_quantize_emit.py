"""Writes the QuantizeLinear and DequantizeLinear nodes that a plan asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.quantization.plan import Edge, Layer, Plan
from onnxslim.analysis.quantization.scales import (
    Affine,
    affine,
    least_weight_scales,
    round_bias,
    round_weight,
    weight_scales,
)
from onnxslim.graph import edit
from onnxslim.pipeline import PassContext
from onnxslim.verify.quantized import LAYER

_TYPES = {"uint8": np.uint8, "int8": np.int8}


class Emitter:
    """Edits one model.

    Args:
        ctx: Names and constants come from it.
        plan: What to write.
        scales: Of every edge that is not constant.
    """

    def __init__(
        self,
        ctx: PassContext,
        plan: Plan,
        scales: Mapping[str, Affine],
    ) -> None:
        self.ctx, self.plan, self.scales = ctx, plan, dict(scales)
        self.graph = ctx.model.graph
        self.values = _values(self.graph)
        self.nodes = {n.outputs[0].name or "": n for n in self.graph if n.outputs}
        self.weights: dict[tuple[Any, ...], ir.Value] = {}
        self.zeros: dict[Any, ir.Value] = {}
        self.type = _TYPES[plan.target.activation]

    def emit(self) -> int:
        """Write everything; returns the number of layers that became integers."""
        layers = [layer for layer in self.plan.quantized if layer.data in self.sources()]
        for layer in layers:
            self._weights(layer)
        for edge in self.plan.edges.values():
            self._edge(edge)
        for layer in self.plan.layers:
            if layer.guard:
                self._guard(layer)
        self.ctx.reindex()
        return len(layers)

    def sources(self) -> Mapping[str, Any]:
        """Tensors that are or become integers."""
        return {**self.scales, **{n: None for n, v in self.values.items() if _dequantized(v)}}

    # ------------------------------------------------------------------ activations

    def _edge(self, edge: Edge) -> None:
        value = self.values[edge.tensor]
        constant = edit.constant_array(value)
        if constant is not None:
            new = self._constant_edge(value, constant)
        elif edge.tensor in self.scales:
            new = self._activation(value, self.scales[edge.tensor], edge.readers is None)
        else:
            return
        for use in list(value.uses()):
            keys = {v.name for v in use.node.outputs}
            if use.node is self._quantizer or (
                edge.readers is not None and not keys & set(edge.readers)
            ):
                continue
            use.node.replace_input_with(use.idx, new)
        if edge.readers is None and value.is_graph_output():
            self._take_output(value, new)

    def _take_output(self, value: ir.Value, new: ir.Value) -> None:
        """The dequantized tensor becomes the graph output, under its name."""
        name = value.name
        for index, output in enumerate(self.graph.outputs):
            if output is value:
                self.graph.outputs[index] = new
        producer = value.producer()
        if producer is not None:
            producer.meta[LAYER] = name
        value.name = self.ctx.names.value(name or "output")
        new.name = name

    def _activation(self, value: ir.Value, scale: Affine, whole: bool) -> ir.Value:
        stem = value.name or "tensor"
        parameters = self._parameters(stem, np.float32(scale.scale), self.type(scale.zero))
        q = ir.node("QuantizeLinear", [value, *parameters])
        d = ir.node("DequantizeLinear", [q.outputs[0], *parameters])
        self._quantizer: ir.Node | None = q
        self._finish(value, [q, d])
        producer = value.producer()
        if producer is None:
            self.graph.insert_before(next(iter(self.graph)), [q, d])
        else:
            self.graph.insert_after(producer, [q, d])
        return d.outputs[0]

    def _finish(self, value: ir.Value, nodes: list[ir.Node]) -> None:
        """Names, types, shapes and provenance of new nodes that stand for one value."""
        producer = value.producer()
        for node, dtype in zip(nodes, (_ir(self.type), ir.DataType.FLOAT), strict=True):
            out = node.outputs[0]
            out.name = self.ctx.names.value(value.name or "tensor")
            out.type, out.shape = ir.TensorType(dtype), value.shape
            node.name = self.ctx.names.node(value.name, node.op_type)
            if producer is not None:
                node.meta[edit.SOURCE] = producer.meta.get(edit.SOURCE, ())

    def _constant_edge(self, value: ir.Value, array: Any) -> ir.Value:
        self._quantizer = None
        plan = self.plan.target
        scale = affine(array.min(), array.max(), plan.limits, symmetric=plan.symmetric)
        least, most = plan.limits
        codes = np.clip(np.rint(array / np.float64(scale.scale)) + scale.zero, least, most)
        parameters = self._parameters(
            value.name or "", np.float32(scale.scale), self.type(scale.zero)
        )
        return self._dequantize(value, codes.astype(self.type), parameters, None)

    def _parameters(self, stem: str, scale: Any, zero: Any) -> tuple[ir.Value, ir.Value]:
        scales = self.ctx.constant(self.graph, f"{stem}_scale", np.asarray(scale))
        zero = np.asarray(zero)
        key = (zero.dtype.str, zero.shape, zero.tobytes())
        if key not in self.zeros:
            self.zeros[key] = self.ctx.constant(self.graph, "zero_point", zero)
        return scales, self.zeros[key]

    # ------------------------------------------------------------------ weights

    def _weights(self, layer: Layer) -> None:
        node, weight = self.nodes[layer.key], self.values[layer.weight]
        array = edit.constant_array(weight)
        assert array is not None
        bias = edit.constant_array(self.values[layer.bias]) if layer.bias else None
        source = self.scales.get(layer.data) or _existing(self.values[layer.data])
        least = None
        if bias is not None and layer.integer_bias:
            least = least_weight_scales(bias, source.scale)
        scales = weight_scales(array, layer.axis, self.plan.target.weight_limit, least)
        codes = round_weight(array, scales, layer.axis, self.plan.target.weight_limit)
        node.replace_input_with(1, self._weight(weight, codes, scales, layer.axis))
        if bias is not None and layer.integer_bias:
            self._bias(layer, node, bias, source.scale, scales)

    def _weight(self, weight: ir.Value, codes: Any, scales: Any, axis: int | None) -> ir.Value:
        key = (weight.name, axis, scales.tobytes(), codes.tobytes())
        if key not in self.weights:
            parameters = self._parameters(
                weight.name or "weight", scales, np.zeros(scales.shape, np.int8)
            )
            self.weights[key] = self._dequantize(weight, codes, parameters, axis)
        return self.weights[key]

    def _dequantize(
        self, value: ir.Value, codes: Any, parameters: tuple[ir.Value, ...], axis: int | None
    ) -> ir.Value:
        stem = value.name or "weight"
        stored = self.ctx.constant(self.graph, f"{stem}_quantized", codes)
        attributes = {} if axis is None else {"axis": axis}
        node = ir.node("DequantizeLinear", [stored, *parameters], attributes)
        out = node.outputs[0]
        out.name = self.ctx.names.value(stem)
        out.type, out.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(codes.shape)
        node.name = self.ctx.names.node(stem, node.op_type)
        self.graph.insert_before(next(iter(self.graph)), node)
        return out

    def _bias(self, layer: Layer, node: ir.Node, bias: Any, source: float, scales: Any) -> None:
        codes, product = round_bias(bias, source, scales)
        value = self.values[layer.bias]
        parameters = self._parameters(layer.bias, product, np.zeros(product.shape, np.int32))
        new = self._dequantize(value, codes, parameters, 0)
        target = self.nodes[layer.bias_key] if layer.bias_key else node
        for index, given in enumerate(target.inputs):
            if given is value and (target is not node or index == 2):
                target.replace_input_with(index, new)

    # ------------------------------------------------------------------ guard

    def _guard(self, layer: Layer) -> None:
        """Feed a float layer from a DequantizeLinear per axis, all scales equal.

        ONNX Runtime (from 1.21) quantizes a float Conv, ConvTranspose or Gemm between a scalar
        DequantizeLinear and a QuantizeLinear by itself, per tensor; not behind one per axis.
        """
        node, edge = self.nodes[layer.guarded], self.plan.edges.get(layer.guard)
        if edge is None or edge.axis_size is None or edge.tensor not in self.scales:
            return
        dequantized = node.inputs[0]
        before = None if dequantized is None else dequantized.producer()
        if before is None or before.op_type != "DequantizeLinear" or before.attributes:
            return
        scale, size = self.scales[edge.tensor], edge.axis_size
        parameters = self._parameters(
            edge.tensor,
            np.full(size, scale.scale, np.float32),
            np.full(size, scale.zero, self.type),
        )
        guard = ir.node("DequantizeLinear", [before.inputs[0], *parameters], {"axis": 1})
        out = guard.outputs[0]
        out.name = self.ctx.names.value(edge.tensor)
        out.type, out.shape = before.outputs[0].type, before.outputs[0].shape
        guard.name = self.ctx.names.node(edge.tensor, guard.op_type)
        self.graph.insert_after(before, guard)
        node.replace_input_with(0, out)


def _values(graph: ir.Graph) -> dict[str, ir.Value]:
    found = {v.name or "": v for v in (*graph.inputs, *graph.initializers.values())}
    for node in graph:
        found.update({v.name or "": v for v in node.outputs})
    return found


def _dequantized(value: ir.Value) -> bool:
    return edit.is_op(value.producer(), "DequantizeLinear")


def _existing(value: ir.Value) -> Affine:
    """Scale and zero point of a DequantizeLinear that the model already has."""
    producer = value.producer()
    assert producer is not None
    zero = edit.scalar(edit.get_input(producer, 2))
    return Affine(float(edit.scalar(producer.inputs[1])), int(zero or 0))


def _ir(kind: type[Any]) -> ir.DataType:
    return ir.DataType.UINT8 if kind is np.uint8 else ir.DataType.INT8
