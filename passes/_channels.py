"""Means and variances per channel over samples, and how deep in a model nodes lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.graph.reach import reads

Array = npt.NDArray[Any]


class Channels:
    """Sums over everything but the channels, about the first batch's mean for accuracy."""

    def __init__(self) -> None:
        self.count = 0
        self._offset: Array = np.zeros(0)
        self._first: Array = np.zeros(0)
        self._second: Array = np.zeros(0)

    def add(self, array: Array, axis: int) -> None:
        """See a batch; channels on this axis."""
        rows = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1).astype(np.float64)
        if not self.count:
            self._offset = rows.mean(axis=1) if rows.size else np.zeros(len(rows))
            self._first, self._second = np.zeros(len(rows)), np.zeros(len(rows))
        self.count += rows.shape[1]
        with np.errstate(invalid="ignore"):  # infinite samples: moments that are no number
            rows -= self._offset[:, None]
            self._first += rows.sum(axis=1)
            self._second += np.einsum("cr,cr->c", rows, rows)

    @property
    def mean(self) -> Array:
        """(C,)."""
        return self._offset + self._first / max(self.count, 1)

    @property
    def var(self) -> Array:
        """(C,)."""
        n = max(self.count, 1)
        return np.maximum(self._second / n - (self._first / n) ** 2, 0.0)


def depth_of(model: ir.Model, counted: frozenset[ir.Node]) -> dict[ir.Node, int]:
    """For every node of the main graph, how many counted nodes lie on the longest way to it."""
    found: dict[ir.Node, int] = {}
    for node in model.graph:
        depth = 0
        for value in reads(node):
            maker = value.producer()
            if maker is not None and maker in found:
                depth = max(depth, found[maker] + (maker in counted))
        found[node] = depth
    return found
