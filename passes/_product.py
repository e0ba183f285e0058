"""Products with stacked matrices, or with a matrix on the left, as layers that can be fitted.

``x (..., E, S, K) @ W (E, K, N)`` is E layers beside each other, each with its own rows. With W on
the left, ``W (E, M, K) @ x (..., E, K, S)``, the channels are the last axis but one: both sides
transposed, it is the same.

Source: ONNX operator MatMul-13 (``numpy.matmul``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._layers import NOT_CONSTANT, Layer
from onnxslim.passes._linear import constant

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Product(Layer):
    """A MatMul; groups are the stacked matrices.

    Attributes:
        left: The weight (..., M, K) is the first operand; else it is (..., K, N).
    """

    left: bool = False

    @property
    def x(self) -> ir.Value:
        """The data input."""
        value = self.node.inputs[1 - self.weight_at]
        assert value is not None
        return value

    @property
    def weight_at(self) -> int:
        """Index of the input that is the weight."""
        return 0 if self.left else 1

    @property
    def behind(self) -> int:
        """Axes behind that of the output channels."""
        return 1 if self.left else 0

    @property
    def bias_shape(self) -> tuple[int, ...]:
        """That of a bias that is added to the output."""
        stacked = self.weight.shape[:-2] if self.groups > 1 else ()
        outputs = self.bias.size // self.groups
        return (*stacked, outputs, 1) if self.left else (*stacked, 1, outputs)

    def _turned(self, array: Array) -> Array:
        """Channels last."""
        return array.swapaxes(-1, -2) if self.left else array

    def matrix(self, weight: Array) -> Array:
        """(G, O, D) float64."""
        w = self._turned(weight.astype(np.float64)).swapaxes(-1, -2)
        return w.reshape(self.groups, *w.shape[-2:])

    def stored(self, matrix: Array) -> Array:
        """The inverse of :meth:`matrix`."""
        found = self._turned(matrix.swapaxes(-1, -2))
        return found.reshape(*self.weight.shape[:-2], *found.shape[-2:])

    def inputs_at(self, x: Array, y_shape: tuple[int, ...], at: Indices) -> Array:
        """Rows (G, R, D) behind the output positions ``at``, flat over all but stack, channels."""
        return self._rows(np.broadcast_to(x, (*y_shape[:-2], *x.shape[-2:])), at)

    def outputs_at(self, y: Array, at: Indices) -> Array:
        """Rows (G, R, O) of a tensor shaped like the output."""
        return self._rows(y, at)

    def _rows(self, array: Array, at: Indices) -> Array:
        turned = self._turned(array)
        each = turned.shape[-2]
        stacks = turned.reshape(-1, self.groups, *turned.shape[-2:])
        return np.ascontiguousarray(stacks[at // each, :, at % each].transpose(1, 0, 2))

    def positions(self, y_shape: tuple[int, ...]) -> int:
        """Output positions in all, of one matrix of the stack."""
        outputs = self.bias.size // self.groups
        return int(np.prod(y_shape)) // max(self.groups * outputs, 1)


def read_product(node: ir.Node) -> Product | str:
    """The product, or why it cannot be fitted."""
    found = [constant(edit.get_input(node, index)) for index in (0, 1)]
    left = found[0] is not None
    weight = found[0] if left else found[1]
    if weight is None or (left and found[1] is not None):
        return NOT_CONSTANT
    if weight.dtype.kind != "f" and weight.dtype.name != "bfloat16":
        return "the weight is not floating point"
    if not weight.size:
        return "the weight is empty"
    x, rank = node.inputs[1 if left else 0], weight.ndim
    shape = edit.shape_of(node.outputs[0])
    if rank < 2 or x is None or shape is None or (edit.rank_of(x) or 0) < 2:
        return "the weight is no matrix, or the ranks are not known"
    stack = weight.shape[:-2]
    groups = int(np.prod(stack))
    if groups > 1 and (1 in stack or tuple(shape)[len(shape) - rank : -2] != stack):
        return "its matrices do not stand for one part of the output each"
    outputs = weight.shape[-2 if left else -1]
    return Product(node, weight, np.zeros(groups * outputs), groups, left)
