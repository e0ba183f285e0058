"""The largest part of the arithmetic within a latency: predicted by a table, then measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from onnxslim.api.latency_search import LatencySearch
from onnxslim.api.prune_options import Goal
from onnxslim.errors import TargetError

HALF = Goal("latency", 0.5, False)
LEAST = 0.1
"""The least part that widths can keep."""


class Machine:
    """Passes and models are the parts kept, in hundredths; the table says 10 ms for all of it.

    Args:
        time: Milliseconds that a part really takes; None cannot be measured.
    """

    def __init__(self, time: Callable[[float], float] | None) -> None:
        self.time, self.measured = time, [0.0][:0]

    def search(self) -> LatencySearch:
        measure: Any = None if self.time is None else self._measure
        return LatencySearch(self._make, self._cut, self._predict, 10.0, measure)

    def _make(self, part: float) -> Any:
        return round(part, 2)

    def _predict(self, part: Any) -> Any:
        return 10 * part

    def _cut(self, part: Any) -> Any:
        if part < LEAST:
            raise TargetError("too little")
        return part

    def _measure(self, part: Any) -> tuple[float, float]:
        assert self.time is not None
        self.measured.append(part)
        return 10.0, self.time(part)


@pytest.mark.parametrize(
    "time",
    [
        lambda part: 10 * part,
        lambda part: 6 * part,
        lambda part: 18 * part,
        lambda part: 4 + 4 * part,
        lambda part: 10 * part**2,
        lambda part: 10 * part**0.5,
        lambda part: 5.2 if part > 0.7 else 3.0,
    ],
)
def test_what_is_asked_for_is_met(time: Callable[[float], float]) -> None:
    machine = Machine(time)
    found, note = machine.search().find(HALF)
    part: Any = found
    assert 0.95 * 5 <= time(part) <= 1.05 * 5
    assert note == f"measured: {time(part):.3g} of 10 ms"
    assert len(machine.measured) == len(set(machine.measured)) <= 8


def test_a_prediction_that_is_met_is_measured_once() -> None:
    machine = Machine(lambda part: 10.2 * part)
    machine.search().find(HALF)
    assert machine.measured == [0.5]


def test_of_widths_far_apart_the_larger_one_that_fits() -> None:
    """Nothing lies between 0.3 and 0.7 of the time."""
    machine = Machine(lambda part: 7.0 if part > 0.4 else 3.0)
    found, note = machine.search().find(HALF)
    assert 0.35 <= float(str(found)) <= 0.4
    assert note.startswith("measured: 3 of 10 ms")


def test_a_prediction_out_of_reach_is_measured_all_the_same() -> None:
    """The table says 1 ms for the least that can be kept; in truth it takes 0.5."""
    found, _ = Machine(lambda part: 5 * part).search().find(Goal("latency", 0.05, False))
    assert float(str(found)) == LEAST


def test_milliseconds_can_be_asked_for() -> None:
    found, _ = Machine(lambda part: 12 * part).search().find(Goal("latency", 3.0, True))
    assert 0.95 * 3 <= 12 * float(str(found)) <= 1.05 * 3


def test_a_table_of_another_machine_is_believed() -> None:
    found, note = Machine(None).search().find(HALF)
    assert (float(str(found)), note) == (0.5, "predicted from the table: 5 ms of 10 ms")


def test_what_cannot_be_measured_is_predicted() -> None:
    search = Machine(None).search()
    search.measure = lambda cut: None
    assert search.find(HALF)[1] == "predicted from the table: 5 ms of 10 ms"


def test_out_of_reach_of_predictions() -> None:
    with pytest.raises(TargetError, match="asks for 0.1 ms of 10 ms; .* predicted to take 1 ms"):
        Machine(None).search().find(Goal("latency", 0.01, False))


def test_out_of_reach_when_run() -> None:
    machine = Machine(lambda part: 8.0 + part)
    with pytest.raises(TargetError, match="asks for 0.5; the fastest that .* takes 8.1 of 10 ms"):
        machine.search().find(HALF)
    assert LEAST in machine.measured


def test_nothing_to_remove() -> None:
    search = Machine(None).search()

    def refuse(made_by: Any) -> Any:
        raise TargetError("no width")

    search.cut = refuse
    with pytest.raises(TargetError, match="nothing can be removed"):
        search.find(HALF)
