"""Layers with int8 weights in QDQ form: how their integers and biases are read and written.

    x -> QuantizeLinear -> DequantizeLinear -> layer(., DequantizeLinear(int8), bias)

The bias is the layer's own or that of an Add behind a MatMul; int32 behind a DequantizeLinear, or
float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._layers import Layer
from onnxslim.pipeline.context import PassContext

Array = npt.NDArray[Any]

OPS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class Constant:
    """A constant that a node reads, perhaps through a DequantizeLinear.

    Attributes:
        reader: The node that reads it, or its DequantizeLinear.
        index: Which input of it.
        data: As stored.
        scale: Of its integers; None for floats.
        axis: Of the scales.
    """

    reader: ir.Node
    index: int
    data: Array
    scale: Array | None = None
    axis: int = 0

    @property
    def real(self) -> Array:
        """The numbers it stands for, float64."""
        data = self.data.astype(np.float64)
        if self.scale is None:
            return data
        shape = [-1 if axis == self.axis else 1 for axis in range(data.ndim)]
        return np.asarray(data * self.scale.astype(np.float64).reshape(shape))

    def write(self, data: Array, ctx: PassContext) -> None:
        """Let the reader read other numbers of the same type and shape."""
        old, graph = self.reader.inputs[self.index], self.reader.graph
        assert old is not None and isinstance(graph, ir.Graph)
        new = ctx.constant(graph, old.name, data.reshape(self.data.shape).astype(self.data.dtype))
        ctx.set_input(self.reader, self.index, new)


@dataclass(frozen=True)
class IntegerLayer:
    """One layer.

    Attributes:
        layer: With the float weight that the integers stand for, and the bias.
        point: Its output, after the bias.
        weight: Where the integers are.
        bias: Where the bias is; None when there is none.
    """

    layer: Layer
    point: ir.Value
    weight: Constant
    bias: Constant | None

    @property
    def codes(self) -> Array:
        """Integers (G, O, D)."""
        return self.layer.matrix(self.weight.data)

    @property
    def scales(self) -> Array:
        """(G, O) float64."""
        assert self.weight.scale is not None
        outputs = self.codes.shape[:2]
        scale = self.weight.scale.astype(np.float64)
        if scale.size == 1:
            return np.full(outputs, float(scale.reshape(())))
        return np.asarray(scale.reshape(outputs))

    def write(self, codes: Array, bias: Array | None, ctx: PassContext) -> None:
        """New integers (G, O, D), and a new bias (G, O) where there is one."""
        self.weight.write(self.layer.stored(codes), ctx)
        if self.bias is None or bias is None:
            return
        flat = bias.reshape(-1)
        if self.bias.scale is None:
            self.bias.write(flat, ctx)
            return
        top = 2.0**31 - 1
        steps = np.rint(flat / self.bias.scale.astype(np.float64).reshape(-1))
        self.bias.write(np.clip(steps, -top, top), ctx)


def read_integer_layer(node: ir.Node) -> IntegerLayer | str:
    """The layer of a node; why it is left alone, empty when it is no quantized layer."""
    x, weight = edit.get_input(node, 0), _constant(node, 1)
    if not edit.is_op(node, *OPS) or x is None or weight is None or weight.scale is None:
        return ""
    if weight.data.dtype != np.int8 or not edit.is_op(x.producer(), "DequantizeLinear"):
        return ""
    if _has_zero(weight.reader):
        return "its weights have a zero point"
    if edit.use_count(weight.reader.outputs[0]) != 1:
        return "its weights are shared"
    attributes = [edit.attr(node, name, usual) for name, usual in _GEMM]
    if node.op_type == "Gemm" and attributes != [usual for _, usual in _GEMM]:
        return "it is a Gemm with alpha, beta or transA"
    if node.op_type != "Conv" and weight.data.ndim != 2:
        return "its weight is no matrix"
    return _with_bias(node, weight)


_GEMM = (("alpha", 1.0), ("beta", 1.0), ("transA", 0))


def _has_zero(dequantize: ir.Node) -> bool:
    """True when zero points are computed, or one is not 0."""
    given = edit.get_input(dequantize, 2)
    zero = edit.constant_array(given)
    return given is not None and (zero is None or bool(zero.any()))


def _with_bias(node: ir.Node, weight: Constant) -> IntegerLayer | str:
    groups = int(edit.attr(node, "group", 1)) if node.op_type == "Conv" else 1
    bare = Layer(node, weight.real, np.zeros(0), groups)
    outputs = int(np.prod(bare.matrix(weight.data).shape[:2]))
    axis = 0 if node.op_type == "Conv" or edit.attr(node, "transB", 0) else 1
    if weight.scale is not None and weight.scale.size > 1 and weight.axis != axis:
        return "its scales are not per output"
    bias, point = _constant(node, 2), node.outputs[0]
    if bias is None and edit.get_input(node, 2) is not None:
        return "its bias is computed"
    if node.op_type == "MatMul":
        bias, point = _added(node, outputs)
    if bias is not None and bias.data.size != outputs:
        return "its bias does not have one number per output"
    real = np.zeros(outputs) if bias is None else bias.real.reshape(-1)
    return IntegerLayer(Layer(node, weight.real, real, groups), point, weight, bias)


def _added(node: ir.Node, outputs: int) -> tuple[Constant | None, ir.Value]:
    """The bias of an Add that only follows a MatMul."""
    add = edit.sole_consumer(node.outputs[0])
    if edit.is_op(add, "Add") and add is not None:
        index = 1 if add.inputs[0] is node.outputs[0] else 0
        bias = _constant(add, index)
        if bias is not None and bias.data.shape[-1:] == (outputs,) and bias.data.size == outputs:
            return bias, add.outputs[0]
    return None, node.outputs[0]


def _constant(node: ir.Node, index: int) -> Constant | None:
    value = edit.get_input(node, index)
    array = edit.constant_array(value)
    if value is None or array is not None:
        return None if array is None else Constant(node, index, array)
    source = value.producer()
    if source is None or not edit.is_op(source, "DequantizeLinear"):
        return None
    codes, scale = (edit.constant_array(edit.get_input(source, i)) for i in (0, 1))
    if codes is None or scale is None or edit.attr(source, "block_size", 0):
        return None
    axis = int(edit.attr(source, "axis", 1))
    return Constant(source, 0, codes, scale, axis % max(codes.ndim, 1))
