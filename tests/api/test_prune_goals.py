"""Budgets that are searched for: a latency by a table, corrected by what was measured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from onnxslim.api.prune_goals import Chooser
from onnxslim.api.prune_options import Goal
from onnxslim.errors import TargetError

TABLE: Any = SimpleNamespace(median_ms=10.0)
NOTHING: Any = None
HALF = Goal("latency", 0.5, False)


class Predicted(Chooser):
    """Passes are the limits that they were found for; below 1 ms there is none."""

    def _largest(self, limit: float, table: Any, ctx: Any) -> Any:
        if limit < 1:
            raise TargetError("too fast")
        return limit, limit, None


def choose(ratios: list[float] | None) -> tuple[Any, str]:
    """The limit chosen for 5 of 10 ms, and the note, with these measurements in turn."""
    measure = None if ratios is None else lambda cut: (10.0, 10 * ratios.pop(0))
    chooser = Predicted(NOTHING, NOTHING, None, measure)
    return chooser.latency(HALF, TABLE, NOTHING), chooser.notes[0]


@pytest.mark.parametrize(
    ("ratios", "limit", "took", "left"),
    [
        ([0.52, 0.1], 5.0, "5.2", 1),  # met at once
        ([0.25, 0.51], 10.0, "5.1", 0),  # the prediction was too slow
        ([0.80, 0.49], 3.125, "4.9", 0),  # and too fast
        ([0.30, 0.35, 0.40], pytest.approx(5 / 0.6 / 0.7), "4", 0),  # nearest of what was tried
        ([0.90, 0.80, 0.70], pytest.approx(5 / 1.8 / 1.6), "7", 0),
        ([9.0, 0.5], 5.0, "90", 1),  # no width is predicted to be that fast
    ],
)
def test_a_prediction_is_corrected(ratios: list[float], limit: Any, took: str, left: int) -> None:
    found, note = choose(ratios)
    assert found == limit and len(ratios) == left
    assert note == f"latency measured before recovery: {took} of 10 ms"


def test_a_table_of_another_machine_is_believed() -> None:
    assert choose(None) == (5.0, "latency predicted from the table: 5 ms of 10 ms")


def test_out_of_reach() -> None:
    with pytest.raises(TargetError, match="too fast"):
        Predicted(NOTHING, NOTHING, None).latency(Goal("latency", 0.01, False), TABLE, NOTHING)
