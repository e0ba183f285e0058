"""The constants behind the sites of a group, as rows per position of the pruned axis.

Where the result of a filter goes through a BatchNormalization, it is scaled as folding would scale
it, so that models with and without folded BatchNormalization rank alike::

    W[m] *= scale[m] / sqrt(var[m] + epsilon)

Source: ONNX operator BatchNormalization-15.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.dependency.groups import Kept, Site
from onnxslim.graph import edit

Array = npt.NDArray[np.float64]


class Weights:
    """Reads constants when they are asked for; keeps none of them.

    Args:
        kept: What is left of the tensors after earlier steps; what is gone counts as zero.
    """

    def __init__(self, kept: Kept | None = None) -> None:
        self._kept = kept

    @property
    def dense(self) -> bool:
        """Whether nothing is gone."""
        return self._kept is None

    def rows(self, site: Site) -> Array:
        """(n, D) float64: the constant of a site with the pruned axis first, the rest flat."""
        array = self.folded(site.node, site.value)
        moved = np.moveaxis(array, site.axis, 0)
        return moved.reshape(moved.shape[0], -1)

    def folded(self, node: ir.Node, value: ir.Value) -> Array:
        """The constant that a node reads, with a BatchNormalization behind the node folded in."""
        tensor = value.const_value
        assert tensor is not None, "a constant"
        array = self._left(value.name or "", tensor.numpy()).astype(np.float64)
        axis, factor = _output_axis(node, value), normalization(node)
        if axis is None or factor is None or array.shape[axis] != len(factor):
            return array
        return array * factor.reshape([-1 if a == axis else 1 for a in range(array.ndim)])

    def _left(self, name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        axes = {} if self._kept is None else self._kept.axes.get(name, {})
        for axis, index in axes.items():
            stays = np.zeros(array.shape[axis], array.dtype)
            stays[index] = 1
            array = array * stays.reshape([-1 if a == axis else 1 for a in range(array.ndim)])
        return array


def _output_axis(node: ir.Node, value: ir.Value) -> int | None:
    """The axis of a weight or bias that makes the channels of a node's output."""
    if value is edit.get_input(node, 2):
        return 0 if len(value.shape or ()) == 1 else None
    if value is not edit.get_input(node, 1):
        return None
    if edit.is_op(node, "Conv"):
        return 0
    if edit.is_op(node, "ConvTranspose") and edit.attr(node, "group", 1) == 1:
        return 1
    if edit.is_op(node, "Gemm"):
        return 0 if edit.attr(node, "transB", 0) else 1
    return None


def normalization(node: ir.Node) -> Array | None:
    """(M,) what the BatchNormalization that alone reads a node's output multiplies it by."""
    after = edit.sole_consumer(node.outputs[0]) if node.outputs else None
    if after is None or not edit.is_op(after, "BatchNormalization"):
        return None
    scale, var = (edit.constant_array(edit.get_input(after, i)) for i in (1, 4))
    if scale is None or var is None:
        return None
    spread = var.astype(np.float64) + edit.attr(after, "epsilon", 1e-5)
    found: Array = np.abs(scale.astype(np.float64)) / np.sqrt(np.maximum(spread, 1e-30))
    return found


def batchnorm_scale(site: Site) -> Array | None:
    """(n,) absolute scale of a BatchNormalization, for the site of its scale; else None."""
    node: ir.Node = site.node
    if not edit.is_op(node, "BatchNormalization") or site.value is not edit.get_input(node, 1):
        return None
    array = edit.constant_array(site.value)
    return None if array is None else np.abs(array.astype(np.float64))
