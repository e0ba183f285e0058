"""The constants behind the sites of a group, as rows per position of the pruned axis.

Where the result of a filter goes through a BatchNormalization, its rows are scaled as folding would
scale them, so that models with and without folded BatchNormalization rank alike::

    row *= scale / sqrt(var + epsilon)

Source: ONNX operator BatchNormalization-15.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.dependency.groups import Kept, Role, Site
from onnxslim.graph import edit

Array = npt.NDArray[np.float64]


class Weights:
    """Reads constants when they are asked for; keeps none of them.

    Args:
        kept: What is left of the tensors after earlier steps; what is gone counts as zero.
    """

    def __init__(self, kept: Kept | None = None) -> None:
        self._kept = kept

    def rows(self, site: Site) -> Array:
        """(n, D) float64: the constant of a site with the pruned axis first, the rest flat."""
        tensor = site.value.const_value
        assert tensor is not None, "a constant site"
        array = self._left(site.value.name or "", tensor.numpy())
        moved = np.moveaxis(array, site.axis, 0)
        rows = moved.reshape(moved.shape[0], -1).astype(np.float64)
        factor = self.normalization(site)
        return rows if factor is None else rows * factor[:, None]

    def _left(self, name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        axes = {} if self._kept is None else self._kept.axes.get(name, {})
        for axis, index in axes.items():
            stays = np.zeros(array.shape[axis], array.dtype)
            stays[index] = 1
            array = array * stays.reshape([-1 if a == axis else 1 for a in range(array.ndim)])
        return array

    def normalization(self, site: Site) -> Array | None:
        """(n,) what the BatchNormalization behind a producing site multiplies each unit by."""
        if site.role is Role.CONSUME or not site.node.outputs:
            return None
        after = edit.sole_consumer(site.node.outputs[0])
        if not edit.is_op(after, "BatchNormalization"):
            return None
        assert after is not None
        scale, var = (edit.constant_array(edit.get_input(after, i)) for i in (1, 4))
        if scale is None or var is None or len(scale) != len(site.units):
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
