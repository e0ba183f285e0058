"""The gates of ``validate``: what the user says is close enough."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxslim.errors import UsageError
from onnxslim.verify.compare import Stats, Value, json_number, leaves, skeleton
from onnxslim.verify.scores import Score
from onnxslim.verify.verification import OutputResult

NAMES = ("rtol", "atol", "min_cosine", "min_sqnr", "min_agreement", "max_drop")


@dataclass(frozen=True)
class Gate:
    """One condition and what was found.

    Args:
        name: As in the option; ``noise`` for the limits that hold when no gate is given.
        limit: What was asked.
        value: What was found; None where nothing could be measured.
        ok: Whether it holds.
        output: The output it is about, for ``noise``.
    """

    name: str
    limit: float | None
    value: float | None
    ok: bool
    output: str = ""

    def to_json(self) -> dict[str, Any]:
        """The entry of the contract; null stands for infinite."""
        entry: dict[str, Any] = {
            "name": self.name,
            "limit": json_number(self.limit),
            "value": json_number(self.value),
            "ok": self.ok,
        }
        return {**entry, "output": self.output} if self.output else entry


def check_gates(gates: Mapping[str, float], *, labelled: bool) -> dict[str, float]:
    """The gates that were given, in their order.

    Raises:
        UsageError: An unknown gate, or one that needs labels without any.
    """
    for name in gates:
        if name not in NAMES:
            raise UsageError(f"there is no gate {name!r}; expected one of {', '.join(NAMES)}")
    if "max_drop" in gates and not labelled:
        raise UsageError("--max-drop needs labels: give --data and --labels KEY")
    return {name: float(gates[name]) for name in NAMES if name in gates}


class Closeness:
    """``|candidate - reference| <= atol + rtol |reference|`` for every element of every output."""

    def __init__(self, gates: Mapping[str, float]) -> None:
        self.active = "rtol" in gates or "atol" in gates
        self._rtol, self._atol = gates.get("rtol", 0.0), gates.get("atol", 0.0)
        self.needed_rtol = 0.0
        self.needed_atol = 0.0

    def add(self, reference: Value, candidate: Value) -> None:
        """Takes in one output on one feed."""
        if not self.active:
            return
        if skeleton(reference) != skeleton(candidate):
            self.needed_rtol = self.needed_atol = math.inf
            return
        for a, b in zip(leaves(reference), leaves(candidate), strict=True):
            self._leaf(a, b)

    def _leaf(self, a: Value, b: Value) -> None:
        if a.shape != b.shape or a.dtype.kind in "OUS" or b.dtype.kind in "OUS":
            if a.shape != b.shape or bool((a != b).any()):
                self.needed_rtol = self.needed_atol = math.inf
            return
        x, y = a.astype(np.float64), b.astype(np.float64)
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        x, y = x[~same], y[~same]
        if not x.size:
            return
        with np.errstate(all="ignore"):
            apart = np.abs(y - x)
            over = np.maximum(apart - self._atol, 0)
            relative = np.where(over > 0, over / np.abs(x), 0)
            absolute = apart - self._rtol * np.abs(x)
        self.needed_rtol = max(self.needed_rtol, _largest(relative))
        self.needed_atol = max(self.needed_atol, _largest(absolute))


def _largest(values: Value) -> float:
    return math.inf if not np.isfinite(values).all() else max(float(values.max()), 0.0)


def judge_gates(
    gates: Mapping[str, float],
    stats: Mapping[str, Stats],
    closeness: Closeness,
    agreement: float,
    score: Score | None,
) -> list[Gate]:
    """What each gate found."""
    numeric = [s for s in stats.values() if s.feeds]
    found: dict[str, float | None] = {
        "rtol": closeness.needed_rtol,
        "atol": closeness.needed_atol,
        "min_cosine": min((_cosine(s) for s in numeric), default=None),
        "min_sqnr": min((_sqnr(s) for s in numeric), default=None),
        "min_agreement": None if math.isnan(agreement) else agreement,
        "max_drop": None if score is None else score.drop,
    }
    return [Gate(n, limit, found[n], _holds(n, limit, found[n])) for n, limit in gates.items()]


def _holds(name: str, limit: float, value: float | None) -> bool:
    if value is None or math.isnan(value):
        return False
    return value >= limit if name.startswith("min_") else value <= limit


def _cosine(stats: Stats) -> float:
    if stats.problem or math.isnan(stats.cosine):
        return -1.0
    return stats.cosine


def _sqnr(stats: Stats) -> float:
    return -math.inf if stats.problem or (stats.unequal and not stats.peak) else stats.sqnr_db


def noise_gates(outputs: Mapping[str, OutputResult]) -> list[Gate]:
    """The gates that hold when none is given: equal within the reference's own noise."""
    return [
        Gate("noise", result.limit, result.stats.max_abs, result.ok, name)
        for name, result in outputs.items()
    ]
