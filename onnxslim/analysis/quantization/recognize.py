"""Layers with weights as a quantizer sees them: weight, bias, absorbed activation, refusals."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.layers import layer_name
from onnxslim.graph import edit

RECURRENT = ("LSTM", "GRU", "RNN")
INTEGER = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")
LINEAR = ("Gemm", "MatMul")
_GEMM_ACTIVATIONS = (
    "Elu",
    "HardSigmoid",
    "LeakyRelu",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Tanh",
    "ThresholdedRelu",
)


@dataclass(frozen=True)
class Found:
    """A layer.

    Attributes:
        node: The layer.
        refusal: Why it cannot run on integers; empty when it can.
        weight: Its constant.
        axis: The axis of its outputs.
        bias: Constant vector that it, or the Add behind it, adds.
        bias_node: That Add, or None.
        result: What comes out after bias and absorbed activation.
        low: Lower bound that the absorbed activation sets.
        high: Upper bound likewise.
        closed: It runs on integers only when its result is quantized as well.
    """

    node: ir.Node
    refusal: str = ""
    weight: ir.Value | None = None
    axis: int | None = None
    bias: ir.Value | None = None
    bias_node: ir.Node | None = None
    result: ir.Value | None = None
    low: float | None = None
    high: float | None = None
    closed: bool = False

    @property
    def data(self) -> ir.Value:
        """What the layer reads."""
        value = self.node.inputs[0]
        assert value is not None
        return value

    @property
    def out(self) -> ir.Value:
        """What it writes, its bias included."""
        return (self.bias_node or self.node).outputs[0]

    @property
    def key(self) -> str:
        """Name of its first output."""
        return self.node.outputs[0].name or ""


def find(node: ir.Node) -> Found | None:
    """What a node is to a quantizer; None when it is no layer.

    Args:
        node: Any node of the main graph.
    """
    if edit.op_id(node) in RECURRENT:
        return Found(node, "recurrent: only --mode dynamic quantizes it")
    if node.domain or not node.inputs or node.inputs[0] is None:
        return None
    if node.op_type in INTEGER:
        return Found(node, "it is quantized already")
    if node.op_type == "ConvTranspose":
        return Found(node, "no integer kernel for ConvTranspose", weight=edit.get_input(node, 1))
    if node.op_type == "Conv":
        return _absorb(_conv(node))
    if node.op_type in LINEAR:
        return _linear(node)
    return None


def _weight_refusal(weight: ir.Value | None) -> str:
    tensor = edit.constant_tensor(weight)
    if tensor is None:
        producer = None if weight is None else weight.producer()
        if producer is not None and producer.op_type == "DequantizeLinear":
            return "it is quantized already"
        return "its weight is no constant"
    if tensor.dtype != ir.DataType.FLOAT:
        return f"its weight is {tensor.dtype.name.lower()}, not float"
    return "" if tensor.size else "its weight is empty"


def _conv(node: ir.Node) -> Found:
    weight, bias = node.inputs[1], edit.get_input(node, 2)
    refusal = _weight_refusal(weight)
    if refusal:
        return Found(node, refusal, weight=weight)
    if bias is not None and not is_vector(bias):
        return Found(node, "its bias is no constant", weight=weight)
    return Found(node, weight=weight, axis=0, bias=bias, result=node.outputs[0], closed=True)


def _absorb(found: Found) -> Found:
    """Take in the Relu or Clip behind it, if nothing else reads the layer."""
    if found.result is None:
        return found
    after = edit.sole_consumer(found.result)
    bounds = rectifier(after)
    if after is None or bounds is None or after.graph is not found.node.graph:
        return found
    return replace(found, result=after.outputs[0], low=bounds[0], high=bounds[1])


def rectifier(node: ir.Node | None) -> tuple[float, float | None] | None:
    """``(0, high)`` of a Relu, or of a Clip from 0 to a constant or to infinity; else None."""
    if edit.is_op(node, "Relu"):
        return 0.0, None
    if node is None or not edit.is_op(node, "Clip") or edit.scalar(edit.get_input(node, 1)) != 0:
        return None
    upper = edit.get_input(node, 2)
    if upper is None:
        return 0.0, None
    high = edit.scalar(upper)
    return None if high is None or not 0 < high else (0.0, float(high))


def _linear(node: ir.Node) -> Found:
    weight = edit.get_input(node, 1)
    if edit.constant_tensor(weight) is None and not _dequantized(weight):
        if edit.constant_tensor(node.inputs[0]) is not None:
            return Found(node, "its constant is the first operand")
        return Found(node, "both operands are computed (an attention product)")
    refusal = _weight_refusal(weight) or _form(node)
    rank = edit.rank_of(weight)
    if not refusal and rank != 2:
        refusal = f"its weight has rank {rank}, expected 2"
    if refusal:
        return Found(node, refusal, weight=weight)
    assert weight is not None
    found = Found(node, weight=weight, axis=1, result=node.outputs[0])
    if node.op_type == "Gemm":
        found = replace(found, axis=0 if edit.attr(node, "transB", 0) else 1)
        found = replace(found, bias=edit.get_input(node, 2))
    else:
        found = _with_bias(found)
    return _with_activation(found)


def _with_activation(found: Found) -> Found:
    """ONNX Runtime fuses an activation into a float Gemm first: it must be parted from it."""
    assert found.result is not None
    becomes_gemm = found.node.op_type == "Gemm" or found.bias_node is not None
    if not becomes_gemm or not edit.is_op(edit.sole_consumer(found.result), *_GEMM_ACTIVATIONS):
        return found
    return _absorb(replace(found, closed=True))


def _dequantized(weight: ir.Value | None) -> bool:
    producer = None if weight is None else weight.producer()
    return edit.is_op(producer, "DequantizeLinear")


def _form(node: ir.Node) -> str:
    if node.op_type != "Gemm":
        return ""
    if edit.attr(node, "transA", 0) or edit.attr(node, "alpha", 1.0) != 1:
        return "Gemm with transA or alpha"
    bias = edit.get_input(node, 2)
    if bias is None:
        return ""
    if edit.attr(node, "beta", 1.0) != 1:
        return "Gemm with beta"
    return "" if is_vector(bias) else "its bias is no constant vector"


def _with_bias(found: Found) -> Found:
    """The MatMul with the constant vector that the Add behind it adds."""
    after = edit.sole_consumer(found.node.outputs[0])
    if after is None or not edit.is_op(after, "Add") or after.graph is not found.node.graph:
        return found
    other = after.inputs[1] if after.inputs[0] is found.node.outputs[0] else after.inputs[0]
    outputs = (edit.static_shape(found.weight) or ())[1:]
    if other is None or not is_vector(other) or edit.static_shape(other) != outputs:
        return found
    return replace(found, bias=other, bias_node=after, result=after.outputs[0])


def is_vector(value: ir.Value) -> bool:
    """A constant float32 that is a vector (leading sizes of 1 allowed)."""
    tensor = edit.constant_tensor(value)
    if tensor is None or tensor.dtype != ir.DataType.FLOAT or not len(tensor.shape):
        return False
    return math.prod(tensor.shape.numpy()[:-1]) == 1


def is_finite(value: ir.Value | None) -> bool:
    """Whether a constant holds numbers only."""
    array = edit.constant_array(value)
    return array is not None and bool(np.isfinite(array).all())


def describe(found: Found) -> str:
    """The name that a user knows a layer by."""
    return layer_name(found.node)
