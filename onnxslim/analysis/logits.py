"""What a final Softmax reads, from what it gives.

Probabilities of a sure model are all 0 and 1: how far two models are apart then hangs on the few
samples that lie between classes. Their logits, the logarithms less their mean, tell on every sample
(Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 2.1: matching logits).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.graph import edit

_LEAST = 1e-10
"""Probabilities below are alike."""


@dataclass(frozen=True)
class Softmax:
    """A Softmax that gives an output.

    Attributes:
        axis: Its attribute.
        flat: It runs over all axes from there on (opset 12 and below).
    """

    axis: int
    flat: bool

    def logits(self, probabilities: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Logarithms less their mean over the classes, of the same shape."""
        rank = probabilities.ndim
        first = self.axis % max(rank, 1)
        axes = tuple(range(first, rank)) if self.flat else (first,)
        found = np.log(np.maximum(probabilities.astype(np.float64), _LEAST))
        centred: npt.NDArray[np.float64] = found - found.mean(axis=axes, keepdims=True)
        return centred


def final_softmaxes(model: ir.Model) -> Mapping[str, Softmax]:
    """By name of the output that each gives."""
    flat = model.graph.opset_imports.get("", 1) < 13
    found = {}
    for value in model.graph.outputs:
        maker = value.producer()
        if value.name and maker is not None and edit.is_op(maker, "Softmax"):
            axis = maker.attributes.get_int("axis", 1 if flat else -1)
            found[value.name] = Softmax(axis, flat)
    return found
