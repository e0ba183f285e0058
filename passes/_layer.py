"""Layers: Conv, ConvTranspose, Gemm and MatMul as seen from the input that carries the data."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._affine import Axes

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Layer:
    """A layer as seen from its data input.

    Attributes:
        node: Conv, ConvTranspose, Gemm or MatMul.
        data: Index of the input that is not the weight.
        rank: Rank of the output.
        axes: Its channel axis; None when only one number for all outputs can be folded.
        channels: How many channels, 1 when there is no channel axis.
        add: The Add of a constant after a MatMul, or None.
    """

    node: ir.Node
    data: int
    rank: int | None
    axes: Axes | None
    channels: int
    add: ir.Node | None = None

    @property
    def op(self) -> str:
        """Operator type."""
        return self.node.op_type

    @property
    def weight(self) -> ir.Value:
        """The other factor."""
        value = self.node.inputs[1 - self.data]
        assert value is not None
        return value

    @property
    def in_axis(self) -> int:
        """Axis of a matrix weight that is summed over."""
        flag = edit.attr(self.node, "transB" if self.data == 0 else "transA", 0)
        return self.data ^ int(self.op == "Gemm" and bool(flag))

    @property
    def group(self) -> int:
        """Groups of a convolution."""
        return int(edit.attr(self.node, "group", 1))


def read_layer(node: ir.Node, data: int | None = None) -> Layer | None:
    """The layer, seen from input ``data`` or from the one that is not constant."""
    a, b = edit.get_input(node, 0), edit.get_input(node, 1)
    shape = edit.shape_of(node.outputs[0])
    if a is None or b is None or not edit.is_op(node, *LAYERS):
        return None
    rank = None if shape is None else len(shape)
    if data is None:
        left = node.op_type in ("Gemm", "MatMul") and edit.is_constant(a)
        data = 1 if left and not edit.is_constant(b) else 0
    if node.op_type in ("Conv", "ConvTranspose"):
        axis, rank = 1, edit.rank_of(b)
    else:
        axis = (rank or 0) - 1 - data
    if shape is None or rank is None or axis < 0 or (data == 1 and node.op_type == "Gemm"):
        return Layer(node, data, rank, None, 1)
    size = shape[axis]
    if not isinstance(size, int) or (data == 1 and (edit.rank_of(b) or 0) < 2):
        return Layer(node, data, rank, None, 1)
    return Layer(node, data, rank, ((axis, size),), size)
