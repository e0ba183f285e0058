"""Layers whose weights can be fitted: how their inputs, weights and outputs are matrices.

G groups, each with D inputs and O outputs: Conv and ConvTranspose (any group, stride, dilation and
padding), Gemm, and MatMul with a constant matrix on the right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.reconstruction.unfold import unfold, window_of
from onnxslim.graph import edit
from onnxslim.passes._linear import constant

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
NOT_CONSTANT = "the weight is not constant"


@dataclass(frozen=True, eq=False)
class Layer:
    """One node with constant weights.

    Attributes:
        node: Its node.
        weight: As stored: Conv (M, C/G, *kernel), ConvTranspose (C, M/G, *kernel), Gemm (K, N) or
            (N, K), MatMul (K, N).
        bias: (M,) float64, zeros when there is none.
        groups: G.
    """

    node: ir.Node
    weight: Array
    bias: Array
    groups: int

    @property
    def x(self) -> ir.Value:
        """The data input."""
        value = self.node.inputs[0]
        assert value is not None
        return value

    @property
    def y(self) -> ir.Value:
        """The output."""
        return self.node.outputs[0]

    @property
    def weight_at(self) -> int:
        """Index of the input that is the weight."""
        return 1

    @property
    def behind(self) -> int:
        """Axes behind that of the output channels."""
        return self.weight.ndim - 2 if self.spatial else 0

    @property
    def bias_shape(self) -> tuple[int, ...]:
        """That of a bias that is added to the output of a MatMul."""
        return self.bias.shape

    @property
    def spatial(self) -> bool:
        """True for convolutions: channels are axis 1; for the rest they are the last."""
        return self.node.op_type in ("Conv", "ConvTranspose")

    @property
    def _flipped(self) -> bool:
        return self.node.op_type == "Gemm" and bool(edit.attr(self.node, "transB", 0))

    def matrix(self, weight: Array) -> Array:
        """Stored weight as (G, O, D) float64; D is taps times channels."""
        w = weight.astype(np.float64)
        if self.node.op_type == "Conv":
            m, c = w.shape[:2]
            split = w.reshape(self.groups, m // self.groups, c, -1)  # (G, O, C, T)
            return split.transpose(0, 1, 3, 2).reshape(self.groups, m // self.groups, -1)
        if self.node.op_type == "ConvTranspose":
            c, o = w.shape[:2]
            split = w.reshape(self.groups, c // self.groups, o, -1)  # (G, C, O, T)
            return split.transpose(0, 2, 3, 1).reshape(self.groups, o, -1)
        alpha = float(edit.attr(self.node, "alpha", 1.0)) if self.node.op_type == "Gemm" else 1.0
        return np.asarray((w if self._flipped else w.T)[None] * alpha)

    def stored(self, matrix: Array) -> Array:
        """The inverse of :meth:`matrix`."""
        shape = self.weight.shape
        g, o, _ = matrix.shape
        if self.node.op_type == "Conv":
            split = matrix.reshape(g, o, -1, shape[1]).transpose(0, 1, 3, 2)
            return split.reshape(shape)
        if self.node.op_type == "ConvTranspose":
            split = matrix.reshape(g, o, -1, shape[0] // g).transpose(0, 3, 1, 2)
            return split.reshape(shape)
        alpha = float(edit.attr(self.node, "alpha", 1.0)) if self.node.op_type == "Gemm" else 1.0
        w = matrix[0] / alpha
        return np.asarray(w if self._flipped else w.T)

    def sample(self, x: Array, point: Array, take: Callable[[Array], Array]) -> tuple[Array, Array]:
        """Input, and what the output is to be, of one batch.

        Args:
            x: The input in the compressed model.
            point: The value compared, in the reference.
            take: Gives the part of the latter that is left.
        """
        return x, take(point)

    def inputs_at(self, x: Array, y_shape: tuple[int, ...], at: Indices) -> Array:
        """Rows (G, R, D) that the output positions ``at`` (flat over all but channels) see."""
        if not self.spatial:
            return np.asarray(x.reshape(-1, x.shape[-1])[at])[None]
        outputs = y_shape[2:]
        each = int(np.prod(outputs))
        window = window_of(self.node, self.weight.shape[2:], x.shape[2:], outputs)
        rows = unfold(np.asarray(x), window, outputs, at // each, at % each)  # (R, T, C)
        r, t, c = rows.shape
        split = rows.reshape(r, t, self.groups, c // self.groups).transpose(2, 0, 1, 3)
        return split.reshape(self.groups, r, -1)

    def outputs_at(self, y: Array, at: Indices) -> Array:
        """Rows (G, R, O) of a tensor shaped like the output."""
        if not self.spatial:
            return np.asarray(y.reshape(-1, y.shape[-1])[at])[None]
        flat = y.reshape(*y.shape[:2], -1)
        rows = flat[at // flat.shape[2], :, at % flat.shape[2]]
        split = np.asarray(rows).reshape(len(at), self.groups, -1).transpose(1, 0, 2)
        return np.ascontiguousarray(split)

    def positions(self, y_shape: tuple[int, ...]) -> int:
        """Output positions in all."""
        if self.spatial:
            return int(y_shape[0] * np.prod(y_shape[2:]))
        return int(np.prod(y_shape[:-1]))


def read_layer(node: ir.Node) -> Layer | str:
    """The layer of a node of :data:`OPS`, or why it cannot be fitted."""
    weight = constant(edit.get_input(node, 1))
    if weight is None or edit.is_constant(node.inputs[0]):
        return NOT_CONSTANT
    if weight.dtype.kind != "f" and weight.dtype.name != "bfloat16":
        return "the weight is not floating point"
    if not weight.size:
        return "the weight is empty"
    if node.op_type in ("Gemm", "MatMul") and weight.ndim != 2:
        return "the weight is not a matrix"
    if node.op_type == "Gemm" and (edit.attr(node, "transA", 0) or not edit.attr(node, "alpha", 1)):
        return "the Gemm transposes its input or multiplies it by zero"
    groups = int(edit.attr(node, "group", 1)) if node.op_type in ("Conv", "ConvTranspose") else 1
    layer = Layer(node, weight, np.zeros(0), groups)
    outputs = int(np.prod(layer.matrix(weight).shape[:2]))
    bias = _bias(node, outputs)
    if isinstance(bias, str):
        return bias
    return Layer(node, weight, bias, groups)


def _bias(node: ir.Node, outputs: int) -> Array | str:
    given = edit.get_input(node, 2)
    if given is None:
        return np.zeros(outputs)
    bias = constant(given)
    if bias is None:
        return "the bias is not constant"
    added = bias.astype(np.float64)
    if node.op_type == "Gemm":
        added = added * float(edit.attr(node, "beta", 1.0))
    if added.size == 1:
        return np.full(outputs, float(added.reshape(-1)[0]))
    if added.size != outputs or added.shape[-1] != outputs:
        return "the bias does not have one number per channel"
    return added.reshape(outputs)
