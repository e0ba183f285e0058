"""The largest magnitude of every float tensor of a model on sample data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from onnxslim.graph.save import stage
from onnxslim.runtime.reducers import MinMax
from onnxslim.runtime.worker import Worker


def measure_peaks(model: ir.Model, worker: Worker, samples: Any) -> dict[str, float]:
    """Run the model on samples; the largest magnitude of each float tensor of the main graph.

    Args:
        model: Types inferred; not changed.
        worker: The child process.
        samples: Feeds, or an object whose method ``feeds`` gives them; read more than once.

    Returns:
        By name; infinite when a value is not finite.
    """
    floats = (ir.DataType.FLOAT, ir.DataType.FLOAT16)
    values = [*model.graph.inputs, *(v for node in model.graph for v in node.outputs)]
    reducers = {v.name: MinMax() for v in values if v.name and v.dtype in floats}
    given = getattr(samples, "feeds", None)
    feeds = given() if callable(given) else samples
    with stage(model) as staged, worker.session(staged.model_path) as session:
        found: Mapping[str, dict[str, Any]] = session.reduce(feeds, reducers)
    return {name: _peak(facts) for name, facts in found.items()}


def _peak(facts: Mapping[str, Any]) -> float:
    if facts["nonfinite"]:
        return float("inf")
    if facts["min"] is None:
        return 0.0
    return max(abs(float(facts["min"])), abs(float(facts["max"])))
