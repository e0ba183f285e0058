"""Finds the largest part of a model's arithmetic that runs within a latency."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxslim.api.prune_options import Goal
from onnxslim.errors import TargetError
from onnxslim.pipeline.base import Pass

Measure = Callable[[ir.Model], tuple[float, float] | None]
"""Milliseconds of the model given and of a cut one; None where it cannot be measured."""

_STEPS, _TRIES = 12, 6
"""Halvings of the range by predictions; models that are measured."""

_CLOSE, _MISSED = 0.05, 0.1
"""A latency this near to the one asked for is met, and this far above is not."""


@dataclass(frozen=True, eq=False)
class _Cut:
    part: float
    made_by: Pass
    model: ir.Model
    predicted: float


@dataclass
class LatencySearch:
    """One search.

    Attributes:
        make: The pass that keeps at most a part of the multiply-accumulates.
        cut: What a pass leaves; raises TargetError where it can leave no so small part.
        predict: Milliseconds of a cut model by the table.
        dense: Milliseconds of the dense model, by the table.
        measure: Times what predictions say; None where the table is of another machine.
    """

    make: Callable[[float], Pass]
    cut: Callable[[Pass], ir.Model]
    predict: Callable[[ir.Model], float]
    dense: float
    measure: Measure | None = None
    _offs: dict[float, float] = field(default_factory=dict)
    """By predicted milliseconds (other widths, other predictions): measured over asked for."""

    def find(self, goal: Goal) -> tuple[Pass, str]:
        """The pass, and what is known of its latency.

        Args:
            goal: A part of the dense model's latency, or milliseconds.

        Raises:
            TargetError: When no width is fast enough.
        """
        limit = goal.amount if goal.absolute else goal.amount * self.dense
        first = self._predicted(limit)
        if self.measure is not None:
            found = self._measured(goal, first, self.measure)
            if found is not None:
                return found
        if first.predicted > limit:
            raise TargetError(
                f"--latency asks for {limit:.3g} ms of {self.dense:.3g} ms; the fastest that "
                f"pruning reaches is predicted to take {first.predicted:.3g} ms"
            )
        note = f"predicted from the table: {first.predicted:.3g} ms of {self.dense:.3g} ms"
        return first.made_by, note

    def _at(self, part: float) -> _Cut | None:
        made_by = self.make(part)
        try:
            model = self.cut(made_by)
        except TargetError:
            return None
        return _Cut(part, made_by, model, self.predict(model))

    def _predicted(self, limit: float) -> _Cut:
        """The largest part that is predicted to be fast enough; else the smallest there is.

        Raises:
            TargetError: When nothing can be removed.
        """
        low, high = 0.0, 1.0
        best: _Cut | None = None
        for _ in range(_STEPS):
            part = (low + high) / 2
            found = self._at(part)
            if found is None:
                low = part
                continue
            if found.predicted <= limit:
                low = part
            else:
                high = part
            if best is None or found.predicted <= limit or best.predicted > limit:
                best = found
        if best is None:
            raise TargetError("--latency asks for less, but nothing can be removed")
        return best

    def _measured(self, goal: Goal, first: _Cut, measure: Measure) -> tuple[Pass, str] | None:
        """What comes closest when it is run; None where it cannot be.

        Raises:
            TargetError: When nothing tried is fast enough.
        """
        low, high, found = 0.0, 1.0, first
        tried: list[tuple[float, Pass, str]] = []
        for _ in range(_TRIES):
            times = measure(found.model)
            if times is None:
                return None
            whole, took = times
            off = took / (goal.amount if goal.absolute else goal.amount * whole)
            self._offs[found.predicted] = off
            tried.append((off, found.made_by, f"{took:.3g} of {whole:.3g} ms"))
            if abs(off - 1) <= _CLOSE:
                break
            low, high = (low, found.part) if off > 1 else (found.part, high)
            other = self._other(found.part / off, low, high)
            if other is None:
                break
            found = other
        fits = [t for t in tried if t[0] <= 1 + _CLOSE]
        off, made_by, text = max(fits, key=_off) if fits else min(tried, key=_off)
        if off > 1 + _MISSED:
            raise TargetError(
                f"--latency asks for {goal.amount:g}{' ms' if goal.absolute else ''}; the fastest "
                f"that pruning reaches takes {text}"
            )
        return made_by, f"measured before recovery: {text}"

    def _other(self, part: float, low: float, high: float) -> _Cut | None:
        """A cut near a part and between two whose widths were not measured yet, if there is one."""
        for _ in range(_TRIES):
            if not low < part < high:
                part = (low + high) / 2
            found = self._at(part)
            if found is not None and found.predicted not in self._offs:
                return found
            if found is not None and self._offs[found.predicted] > 1:
                high = part
            else:
                low = part
        return None


def _off(tried: tuple[float, Pass, str]) -> float:
    return tried[0]
