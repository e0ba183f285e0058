"""Finds the largest part of a model's arithmetic that runs within a latency."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim.api.prune_options import Goal
from onnxslim.errors import TargetError
from onnxslim.pipeline.base import Pass

Measure = Callable[[Pass], tuple[float, float] | None]
"""Milliseconds of the model given and of what a pass leaves; None where it cannot be measured."""

_COARSE = (0.01, 0.03, *(round(k / 16, 4) for k in range(1, 16)))
_FINE = (-0.06, -0.04, -0.02, 0.02, 0.04, 0.06)
"""Parts of the arithmetic that are tried, and those near one that seems right."""

_TRIES = 8
"""Models that are measured."""

_CLOSE, _MISSED = 0.03, 0.1
"""A latency this far above the one asked for meets it, and this far above does not."""


@dataclass(eq=False)
class _Cut:
    part: float
    made_by: Pass
    predicted: float
    off: float | None = None
    """Measured milliseconds over those asked for."""
    text: str = ""


@dataclass
class LatencySearch:
    """One search.

    Latency does not simply rise with the arithmetic (a layer with half as many channels may leave
    ONNX Runtime's fast layout), so that widths all over the range are predicted, not a bracket.

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
    _cuts: list[_Cut] = field(default_factory=list)
    """Of different predictions, that is, of different widths."""
    _parts: set[float] = field(default_factory=set)

    def find(self, goal: Goal) -> tuple[Pass, str]:
        """The pass, and what is known of its latency.

        Args:
            goal: A part of the dense model's latency, or milliseconds.

        Raises:
            TargetError: When no width is fast enough.
        """
        limit = goal.amount if goal.absolute else goal.amount * self.dense
        self._add(_COARSE)
        if not self._cuts:
            raise TargetError("--latency asks for less, but nothing can be removed")
        first = self._predicted(limit)
        if self.measure is not None and self._measured(goal, first, limit, self.measure):
            return self._best_measured(goal)
        if first.predicted > limit:
            raise TargetError(
                f"--latency asks for {limit:.3g} ms of {self.dense:.3g} ms; the fastest that "
                f"pruning reaches is predicted to take {first.predicted:.3g} ms"
            )
        note = f"predicted from the table: {first.predicted:.3g} ms of {self.dense:.3g} ms"
        return first.made_by, note

    def _add(self, parts: Iterable[float]) -> None:
        """Cut to parts that were not cut to before."""
        for part in parts:
            if not 0 < part < 1 or part in self._parts:
                continue
            self._parts.add(part)
            made_by = self.make(part)
            try:
                model = self.cut(made_by)
            except TargetError:
                continue
            predicted = self.predict(model)
            if all(predicted != other.predicted for other in self._cuts):
                self._cuts.append(_Cut(part, made_by, predicted))

    def _near(self, cut: _Cut) -> None:
        self._add(round(cut.part + step, 4) for step in _FINE)

    def _predicted(self, limit: float) -> _Cut:
        """The largest part that is predicted to be fast enough; else the fastest there is."""

        def best() -> _Cut:
            fits = [cut for cut in self._cuts if cut.predicted <= limit]
            return max(fits, key=_part) if fits else min(self._cuts, key=_predicted)

        self._near(best())
        return best()

    def _measured(self, goal: Goal, first: _Cut, limit: float, measure: Measure) -> bool:
        """Measure until nothing better is expected; False where models cannot be measured."""
        cut: _Cut | None = first
        for _ in range(_TRIES):
            if cut is None:
                break
            times = measure(cut.made_by)
            if times is None:
                return False
            whole, took = times
            cut.off = took / (goal.amount if goal.absolute else goal.amount * whole)
            cut.text = f"{took:.3g} of {whole:.3g} ms"
            cut = self._next(limit)
            if cut is not None:
                self._near(cut)
                cut = self._next(limit)
        return True

    def _next(self, limit: float) -> _Cut | None:
        """What is expected to come closest of all not measured; larger parts, once it is met."""
        known = sorted((cut for cut in self._cuts if cut.off is not None), key=_part)
        parts = [cut.part for cut in known]
        errors = [math.log(_off(cut) * limit / cut.predicted) for cut in known]
        met = max((cut.part for cut in known if _meets(cut)), default=None)
        nearest = min(abs(math.log(_off(cut))) for cut in known)
        found: list[tuple[float, float, _Cut]] = []
        for cut in self._cuts:
            if cut.off is not None:
                continue
            log = math.log(cut.predicted / limit) + float(np.interp(cut.part, parts, errors))
            if met is None and abs(log) < nearest:
                found.append((abs(log), -cut.part, cut))
            elif met is not None and cut.part > met and -2 * _CLOSE <= log <= _CLOSE:
                found.append((-cut.part, abs(log), cut))
        return min(found, key=lambda item: item[:2])[2] if found else None

    def _best_measured(self, goal: Goal) -> tuple[Pass, str]:
        """The largest part that meets the goal; else what is nearest to it.

        Raises:
            TargetError: When nothing measured is fast enough.
        """
        known = [cut for cut in self._cuts if cut.off is not None]
        met = [cut for cut in known if _meets(cut)]
        near = [cut for cut in known if abs(_off(cut) - 1) <= _MISSED]
        fast = [cut for cut in known if _off(cut) < 1]
        if met:
            best = max(met, key=_part)
        elif near:
            best = min(near, key=lambda cut: abs(_off(cut) - 1))
        else:
            best = max(fast, key=_off) if fast else min(known, key=_off)
        if _off(best) > 1 + _MISSED:
            raise TargetError(
                f"--latency asks for {goal.amount:g}{' ms' if goal.absolute else ''}; the fastest "
                f"that pruning reaches takes {best.text}"
            )
        return best.made_by, f"measured: {best.text}"


def _part(cut: _Cut) -> float:
    return cut.part


def _predicted(cut: _Cut) -> float:
    return cut.predicted


def _meets(cut: _Cut) -> bool:
    return -2 * _CLOSE <= _off(cut) - 1 <= _CLOSE


def _off(cut: _Cut) -> float:
    return math.inf if cut.off is None else cut.off
