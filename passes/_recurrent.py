"""Projections inside LSTM, GRU and RNN, as layers that can be fitted.

Per direction, the gates get ``x W^T + Wb`` of the input and ``h R^T + Rb`` of the state before.
Neither is a tensor of the model; what is wanted follows from the reference's input and weights
(rows of the gates that are kept). The state's part is fitted on the reference's states: the kept
coordinates against all of them.

Source: ONNX operators LSTM-22, GRU-22, RNN-22.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._layers import Layer
from onnxslim.passes._linear import constant, narrow
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.reference import Reference

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@dataclass(frozen=True, eq=False)
class Gates(Layer):
    """``W`` (directions, gates * H, I) or ``R`` (directions, gates * H, H); groups are directions.

    Attributes:
        index: Which input of the node it is: 1 for W, 2 for R.
        whole: The reference's weight, kept rows alone: (directions, gates * H, I or H of it).
    """

    index: int = 1
    whole: Array = field(default_factory=lambda: np.zeros(0))

    @property
    def point(self) -> ir.Value:
        """What the reference is asked for."""
        return self.x if self.index == 1 else self.node.outputs[0]

    def matrix(self, weight: Array) -> Array:
        """As it is."""
        return weight.astype(np.float64)

    def stored(self, matrix: Array) -> Array:
        """As it is."""
        return matrix

    def sample(self, x: Array, point: Array, take: Callable[[Array], Array]) -> tuple[Array, Array]:
        """Inputs and what the gates are to get, samples first."""
        by_batch = bool(edit.attr(self.node, "layout", 0))
        bias = self.bias.reshape(self.groups, 1, 1, -1)
        if self.index == 1:
            ours, theirs = (a if by_batch else a.transpose(1, 0, 2) for a in (x, point))
            wanted = theirs[None] @ self.whole.transpose(0, 2, 1)[:, None] + bias
        else:
            order = (0, 1, 2, 3) if by_batch else (2, 0, 1, 3)
            ours, theirs = (a.transpose(order) for a in (take(point), point))
            wanted = theirs.transpose(2, 0, 1, 3) @ self.whole.transpose(0, 2, 1)[:, None] + bias
        moved = wanted.transpose(1, 2, 0, 3)  # (B, S, directions, gates * H)
        return ours, moved.reshape(*moved.shape[:2], -1)

    def inputs_at(self, x: Array, y_shape: tuple[int, ...], at: Indices) -> Array:
        """Rows (directions, R, D)."""
        if self.index == 1:
            rows = x.reshape(-1, x.shape[-1])[at]
            return np.repeat(rows[None], self.groups, axis=0)
        return np.ascontiguousarray(x.reshape(-1, *x.shape[2:])[at].transpose(1, 0, 2))

    def outputs_at(self, y: Array, at: Indices) -> Array:
        """Rows (directions, R, O)."""
        rows = y.reshape(-1, y.shape[-1])[at].reshape(len(at), self.groups, -1)
        return np.ascontiguousarray(rows.transpose(1, 0, 2))

    def write(self, weight: Array | None, bias: Array, ctx: PassContext) -> str | None:
        """Put weight and bias into the node; returns why not."""
        kind, graph = self.weight.dtype, self.node.graph
        half = bias.shape[1]
        old = constant(edit.get_input(self.node, 3))
        both = np.zeros((self.groups, 2 * half)) if old is None else old.astype(np.float64)
        at = 0 if self.index == 1 else half
        both[:, at : at + half] = bias
        new_bias = narrow(both, kind)
        new_weight = None if weight is None else narrow(weight, kind)
        if new_bias is None or (weight is not None and new_weight is None):
            return f"the new weights do not fit {kind}"
        assert graph is not None and not isinstance(graph, ir.Function)
        name = getattr(self.node.inputs[self.index], "name", None)
        if new_weight is not None:
            ctx.set_input(self.node, self.index, ctx.constant(graph, name, new_weight))
        if len(self.node.inputs) < 4:
            self.node.resize_inputs(4)
        ctx.set_input(self.node, 3, ctx.constant(graph, f"{name}_bias", new_bias))
        return None


def read_gates(node: ir.Node, dense: ir.Node, reference: Reference) -> list[Gates] | str:
    """Both projections of a node (the state's only where it lost coordinates), or why not."""
    count = GATES[node.op_type]
    found = [constant(n.inputs[i]) for n in (node, dense) for i in (1, 2)]
    arrays = [a for a in found if a is not None and a.dtype.kind == "f"]
    given = edit.get_input(node, 3)
    bias = constant(given)
    if len(arrays) < 4 or (given is not None and bias is None):
        return "a weight is not constant"
    w, r, whole_w, whole_r = arrays
    directions, rows = w.shape[:2]
    if bias is None:
        bias = np.zeros((directions, 2 * rows))
    kept = reference.kept.axes.get(str(getattr(dense.inputs[1], "name", "")), {})
    index = kept.get(1, np.arange(whole_w.shape[1]))
    if len(index) != rows or rows % count or bias.shape != (directions, 2 * rows):
        return "the reference has other gates"
    halves = [bias[:, :rows].astype(np.float64), bias[:, rows:].astype(np.float64)]
    layers = [
        Gates(node, w, halves[0].ravel(), directions, 1, whole_w[:, index].astype(np.float64))
    ]
    if r.shape[2] != whole_r.shape[2] and node.outputs[0].name:
        whole = whole_r[:, index].astype(np.float64)
        layers.append(Gates(node, r, halves[1].ravel(), directions, 2, whole))
    return layers
