"""Scale and zero point of every tensor that a plan quantizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxslim.analysis.quantization.plan import Plan
from onnxslim.analysis.quantization.ranges import choose_range
from onnxslim.analysis.quantization.scales import Affine, affine


def edge_scales(
    plan: Plan, facts: Mapping[str, Mapping[str, Any]], method: str
) -> dict[str, Affine]:
    """Scale and zero point of every edge.

    Args:
        plan: Read only.
        facts: Histograms by tensor name; constants and fixed edges need none.
        method: The calibrator.
    """
    ranges: dict[str, tuple[float, float]] = {}
    for name, edge in plan.edges.items():
        if edge.fixed:
            ranges[name] = (edge.low or 0.0, edge.high or 0.0)
        elif edge.like == name and name in facts:
            low, high = choose_range(facts[name], method)
            low = low if edge.low is None else max(low, edge.low)
            high = high if edge.high is None else min(high, edge.high)
            ranges[name] = low, high
    limits, symmetric = plan.target.limits, plan.target.symmetric
    return {
        name: affine(*ranges[edge.like], limits, symmetric=symmetric)
        for name, edge in plan.edges.items()
        if edge.like in ranges
    }
