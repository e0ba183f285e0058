"""Does data look like what a model was trained on? Its first BatchNormalization knows.

The running mean and variance of a BatchNormalization are those of its input on the training data,
per channel. Data scaled in another way, or with channels in another order, gives others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxslim.graph import edit
from onnxslim.graph.save import stage
from onnxslim.runtime.reducers import Gram
from onnxslim.runtime.specs import Feed
from onnxslim.runtime.worker import Worker

Floats = NDArray[np.float64]

MOST_SHIFT = 1.0
"""Standard deviations by which the mean of the median channel may be off."""

MOST_SPREAD = 3.0
"""Factor by which the standard deviation of the median channel may be off."""

_ROWS = 4096


def first_norm(model: ir.Model) -> ir.Node | None:
    """The first BatchNormalization of the main graph with constant statistics, in graph order."""
    for node in model.graph:
        if edit.is_op(node, "BatchNormalization") and len(node.inputs) > 4:
            if all(edit.is_constant(v) for v in node.inputs[3:5]) and node.inputs[0] is not None:
                return node
    return None


def contradiction(
    model: ir.Model, worker: Worker, feeds: Iterable[Feed], custom_ops: Iterable[str] = ()
) -> str:
    """What the data contradicts; empty when nothing.

    Args:
        model: As given, BatchNormalization not folded.
        worker: Runs it.
        feeds: A few batches.
        custom_ops: Libraries of custom operators.
    """
    norm = first_norm(model)
    if norm is None or norm.inputs[0] is None or not norm.inputs[0].name:
        return ""
    name, moments = norm.inputs[0].name, Gram(axis=1, max_rows=_ROWS)
    with stage(model) as staged:
        with worker.session(staged.model_path, custom_ops=tuple(custom_ops)) as session:
            seen: dict[str, Any] = session.reduce(feeds, {name: moments})[name]
    if not seen["count"]:
        return ""
    mean = seen["sum"] / seen["count"]
    variance = np.maximum(np.diag(seen["gram"]) / seen["count"] - mean**2, 0)
    expected = [edit.constant_array(norm.inputs[i]) for i in (3, 4)]
    assert expected[0] is not None and expected[1] is not None
    found = _compare(
        mean, variance, expected[0], expected[1], float(edit.attr(norm, "epsilon", 1e-5))
    )
    if not found:
        return ""
    label = norm.name or norm.outputs[0].name
    return (
        f"the data contradicts the statistics of {label!r}, the first BatchNormalization: {found}; "
        "check scaling (--scale, --mean, --std) and --channel-order"
    )


def _compare(
    mean: Floats, variance: Floats, wanted_mean: Any, wanted_variance: Any, epsilon: float
) -> str:
    """What is wrong in the median channel; channels that are dead in the training data left out."""
    wanted = np.sqrt(np.asarray(wanted_variance, np.float64) + epsilon)
    alive = np.asarray(wanted_variance) > 1e-3 * float(np.max(wanted_variance))
    if not alive.any():
        return ""
    shift = float(np.median(np.abs(mean - wanted_mean)[alive] / wanted[alive]))
    ratio = float(np.median(np.sqrt(variance[alive] + epsilon) / wanted[alive]))
    if not 1 / MOST_SPREAD <= ratio <= MOST_SPREAD:
        return f"its input varies {ratio:.2g} times as much as in training"
    if shift > MOST_SHIFT:
        return f"its input is off by {shift:.1f} standard deviations"
    return ""
