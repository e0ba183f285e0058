"""Let the channels that stay stand in for those that were removed, without data.

How channels depend on each other follows, nearly, from the weights that make them and from what
BatchNormalization knows of them (``_draws``). The removed channels of a layer's input are guessed
from those that stay, and the guess goes into the weights, at every tap::

    x_R ~ B x_S + c         B = Cov_RS (Cov_SS + ridge)^-1
    W' = W_S + W_R B        b' = b + W_R c

Where nothing says how channels depend, the bias makes up for the mean of those removed, as
``correct-bias`` does it.

Source: Kim et al. 2020 (Neuron Merging), arXiv:2010.13160, for merging without data, there by one
similar channel each; the regression as in He, Zhang, Sun 2017, arXiv:1707.06168.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.errors import PreconditionError
from onnxslim.passes._draws import draws
from onnxslim.passes._expected import Cut, correct, cut_layers, spreads
from onnxslim.passes._jobs import Job, write
from onnxslim.passes._targets import find_target
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.reference import Reference

Array = npt.NDArray[Any]

_RIDGE = 0.1
_WIDEST = 4096


@register
@dataclass(frozen=True)
class MergeChannels(Pass):
    """Add what removed channels did to the weights of those most like them, without data.

    Conv, ConvTranspose, Gemm and MatMul with constant weights that read what was cut. What it
    brings depends on how well the weights tell how channels depend; a few samples and
    ``reconstruct-weights`` bring more.

    Args:
        seed: Of the positions that are drawn.
    """

    name: ClassVar[str] = "merge-channels"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    seed: int = 0

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Repair every layer once; returns how many."""
        reference = ctx.reference
        if not isinstance(reference, Reference):
            raise PreconditionError(
                f"{self.name} repairs a compressed model towards the one before, but there is "
                "none; run it behind a pass that compresses, as `onnxslim prune` does"
            )
        waiting: dict[str, list[Cut]] = {}
        for cut in cut_layers(ctx, reference):
            waiting.setdefault(str(cut.whole.x.name), []).append(cut)
        done, left = 0, []
        for name, rows in draws(reference.model, self.seed):
            for cut in waiting.pop(name, ()):
                merged = _merge(cut, rows, ctx)
                done += merged
                left += [] if merged else [cut]
        known = spreads(reference.model)
        for cut in (*left, *(cut for cuts in waiting.values() for cut in cuts)):
            done += correct(cut, known, reference, ctx)
        return done


def _merge(cut: Cut, rows: Array, ctx: PassContext) -> bool:
    """Put the guess of the removed inputs into the weights of a layer.

    Args:
        cut: The layer.
        rows: (N, C) of its input in the reference.
        ctx: Edits go through it.
    """
    layer, whole = cut.layer, cut.whole
    groups, channels = whole.groups, rows.shape[1]
    if whole.node.op_type == "ConvTranspose":  # a position sees only some of the taps
        return False
    if layer.groups != groups or channels % groups or channels // groups > _WIDEST:
        return False
    each = channels // groups
    matrix = whole.matrix(whole.weight)  # (G, O, T * C/G)
    matrix = matrix.reshape(groups, matrix.shape[1], -1, each)
    weights, biases = [], []
    for block in range(groups):
        inside = cut.given[cut.given // each == block] - block * each
        guess, shift = _guess(rows[:, block * each : (block + 1) * each], inside)
        weights.append(matrix[block] @ guess)
        biases.append(matrix[block].sum(axis=1) @ shift)
    if len({w.shape[2] for w in weights}) > 1:
        return False
    weight, lost = np.stack(weights), np.stack(biases)  # (G, O, T, S), (G, O)
    if cut.stays is not None:
        weight = weight.reshape(-1, *weight.shape[2:])[cut.stays]
        lost = lost.reshape(-1)[cut.stays]
    bias = layer.bias + lost.reshape(-1)
    outputs = len(bias) // groups
    target = find_target(layer, lambda value: False, None, ctx.opset)
    found = weight.reshape(groups, outputs, -1), bias.reshape(groups, -1)
    return write(Job([layer], 0, [target]), *found, ctx) is None


def _guess(rows: Array, given: Array) -> tuple[Array, Array]:
    """``B`` (C, S) and ``c`` (C,) with ``x ~ B x_S + c``; the identity for what is given."""
    mean = rows.mean(axis=0, dtype=np.float64)
    centred = rows - mean
    gone = np.setdiff1d(np.arange(rows.shape[1]), given)
    left, out = centred[:, given], centred[:, gone]
    matrix = left.T @ left
    load = _RIDGE * float(np.trace(matrix)) / max(len(matrix), 1)
    solved = np.linalg.solve(matrix + max(load, 1e-12) * np.eye(len(matrix)), left.T @ out).T
    guess = np.zeros((rows.shape[1], len(given)))
    guess[given, np.arange(len(given))] = 1.0
    guess[gone] = solved
    shift = np.zeros(rows.shape[1])
    shift[gone] = mean[gone] - solved @ mean[given]
    return guess, shift
