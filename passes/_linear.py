"""Convolutions and matrix products with constant weights, seen as one kind of layer.

A :class:`Linear` is ``y = W x + b`` per position: Conv, ConvTranspose, Gemm and MatMul with the
weight on the right. Passes that scale its output or input channels compute on float64 copies and
write new initializers; the layer's own are never touched, they may be shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.pipeline.context import PassContext

if TYPE_CHECKING:
    import numpy.typing as npt

OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")

MAX_COPY = 256 * 1024
"""A shared weight larger than this (in bytes) is not copied to change one of its uses."""

Array: TypeAlias = "npt.NDArray[Any]"

_SMALLEST_NORMAL = {"float16": 2.0**-14, "bfloat16": 2.0**-126, "float32": 2.0**-126}


@dataclass(frozen=True)
class Linear:
    """A layer with constant weight and bias.

    Attributes:
        node: Its node.
        weight: Conv (M, C/group, *kernel), ConvTranspose (C, M/group, *kernel), Gemm (K, N) or
            with transB (N, K), MatMul (K, N).
        bias: What is added, Gemm's beta applied, float64: (M,), or (rows, M) for a Gemm whose C
            has several rows.
        channels: Number of output channels M.
    """

    node: ir.Node
    weight: Array
    bias: Array
    channels: int

    @property
    def op(self) -> str:
        """Operator type."""
        return self.node.op_type

    @property
    def group(self) -> int:
        """Groups of a convolution; 1 for the rest."""
        return int(edit.attr(self.node, "group", 1))

    @property
    def inputs(self) -> int:
        """Number of input channels."""
        if self.op == "Conv":
            return int(self.weight.shape[1]) * self.group
        return int(self.weight.shape[1 if self._trans_b() else 0])

    def _trans_b(self) -> bool:
        return self.op == "Gemm" and bool(edit.attr(self.node, "transB", 0))

    def scale_outputs(self, k: Array) -> Array:
        """The weight that gives ``k[m]`` times output channel m; float64, same shape."""
        w: Array = self.weight.astype(np.float64)
        ones = [1] * (w.ndim - 2)
        if self.op == "Conv":
            return np.asarray(w * k.reshape(-1, 1, *ones))
        if self.op == "ConvTranspose":
            grouped = w.reshape(self.group, -1, *w.shape[1:])
            return np.asarray(grouped * k.reshape(self.group, 1, -1, *ones)).reshape(w.shape)
        return np.asarray(w * (k[:, None] if self._trans_b() else k[None, :]))

    def scale_inputs(self, k: Array) -> Array:
        """The weight for an input whose channel c comes divided by ``k[c]``; float64.

        Not for ConvTranspose.
        """
        w: Array = self.weight.astype(np.float64)
        if self.op != "Conv":
            return np.asarray(w * (k[None, :] if self._trans_b() else k[:, None]))
        grouped = w.reshape(self.group, -1, *w.shape[1:])
        per_group = k.reshape(self.group, 1, -1, *[1] * (w.ndim - 2))
        return np.asarray(grouped * per_group).reshape(w.shape)

    def respond(self, d: Array) -> Array:
        """Output (M,) for an input that is the constant ``d[c]`` in channel c at every position."""
        product = self.scale_inputs(d)
        if self.op == "Conv":
            return np.asarray(product.reshape(self.channels, -1).sum(axis=1))
        total = np.asarray(product.sum(axis=1 if self._trans_b() else 0))
        return total * float(edit.attr(self.node, "alpha", 1.0))


def read_linear(node: ir.Node) -> Linear | str:
    """The layer, or why it cannot be rewritten.

    Weights and biases may come through Identity nodes.
    """
    weight = constant(edit.get_input(node, 1))
    if weight is None:
        return "the weight is not constant"
    if weight.dtype.kind != "f" and weight.dtype.name != "bfloat16":
        return "the weight is not floating point"
    if node.op_type in ("Gemm", "MatMul") and weight.ndim != 2:
        return "the weight is not a matrix"
    given = edit.get_input(node, 2)
    bias = constant(given)
    if given is not None and bias is None:
        return "the bias is not constant"
    channels = _channels(node, weight)
    added = _bias(node, bias, channels)
    if added is None:
        return "the bias does not have one number per channel"
    return Linear(node, weight, added, channels)


def _channels(node: ir.Node, weight: Array) -> int:
    if node.op_type == "Conv":
        return int(weight.shape[0])
    if node.op_type == "ConvTranspose":
        return int(weight.shape[1]) * int(edit.attr(node, "group", 1))
    trans_b = node.op_type == "Gemm" and edit.attr(node, "transB", 0)
    return int(weight.shape[0 if trans_b else 1])


def _bias(node: ir.Node, bias: Array | None, channels: int) -> Array | None:
    if bias is None:
        return np.zeros(channels)
    if node.op_type != "Gemm":
        return bias.astype(np.float64) if bias.shape == (channels,) else None
    added = bias.astype(np.float64) * float(edit.attr(node, "beta", 1.0))
    if added.size == 1:
        return np.full(channels, added.reshape(())[()])
    if added.shape in ((channels,), (1, channels)):
        return added.reshape(channels)
    return added if added.ndim == 2 and added.shape[1] == channels else None


def constant(value: ir.Value | None) -> Array | None:
    """The array of a constant, also through Identity nodes; None for anything else."""
    while value is not None and edit.is_op(value.producer(), "Identity"):
        producer = value.producer()
        assert producer is not None
        value = producer.inputs[0]
    return edit.constant_array(value)


def narrow(array: Array, dtype: np.dtype[Any]) -> Array | None:
    """Cast float64 to the model's type once; None when it overflows or all of it underflows."""
    with np.errstate(all="ignore"):
        result = array.astype(dtype)
        peak = float(np.abs(array).max()) if array.size else 0.0
        finite = bool(np.isfinite(result.astype(np.float64)).all())
    lost = 0.0 < peak < _SMALLEST_NORMAL.get(dtype.name, 0.0)
    return result if finite and not lost else None


def copy_cost(layer: Linear) -> int:
    """Bytes that the file grows by when this layer gets a weight of its own."""
    value = layer.node.inputs[1]
    shared = value is not None and edit.use_count(value) > 1
    return int(layer.weight.nbytes) if shared else 0


def write_linear(
    layer: Linear, x: ir.Value, weight: Array, bias: Array, ctx: PassContext
) -> ir.Node | str:
    """A node for the layer with another weight and bias (float64), or why there is none.

    A MatMul with a bias becomes a Gemm, so its input must have rank 2. No edit before a refusal.
    """
    new_weight, new_bias = narrow(weight, layer.weight.dtype), narrow(bias, layer.weight.dtype)
    if new_weight is None or new_bias is None:
        return f"the folded weights do not fit {layer.weight.dtype}"
    cost = copy_cost(layer)
    if cost > MAX_COPY:
        return "the weight is shared and a copy of it would make the file larger"
    old = layer.node
    if cost:
        ctx.warnings.append(f"{old.name or layer.op}: its shared weight was copied, {cost} bytes")
    graph = old.graph
    assert graph is not None and not isinstance(graph, ir.Function)
    w, b = old.inputs[1], edit.get_input(old, 2)
    assert w is not None
    values: list[ir.Value | None] = [x, ctx.constant(graph, w.name, new_weight)]
    if layer.op == "MatMul" and not new_bias.any():
        return edit.new_node("MatMul", values)
    stem = b.name if b is not None else f"{w.name}_bias"
    values.append(ctx.constant(graph, stem, new_bias))
    attributes = {name: item for name, item in old.attributes.items() if name != "beta"}
    return edit.new_node("Gemm" if layer.op == "MatMul" else layer.op, values, attributes)
