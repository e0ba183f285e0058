"""How much arithmetic a latency amounts to, and by which way channels are chosen for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import pytest

from onnxslim.analysis.budget import Budget
from onnxslim.analysis.latency import Grid, LatencyTable, LayerEntry, Work
from onnxslim.api.latency_goal import LatencyFinder, fixed_layers, predict, table_names
from onnxslim.api.prune_goals import FAST, Chooser, Way
from onnxslim.api.prune_options import Goal, PruneOptions
from onnxslim.api.prune_search import Search
from onnxslim.errors import DataError, TargetError
from onnxslim.passes.distill_weights import DistillWeights
from onnxslim.passes.prune_channels import PruneChannels
from onnxslim.pipeline.base import Pass
from onnxslim.pipeline.context import PassContext
from tests.nets import net

HALF = Goal("latency", 0.5, False)
WIDTHS = (8, 16, 32, 64)


def model() -> ir.Model:
    """Two products without biases, around a Relu."""
    body = "h = MatMul(x, w)  r = Relu(h)  y = MatMul(r, v)"
    return ir.from_proto(net(body, x="float[4,16]", w=(16, 64), v=(64, 8)))


def table(ms: float = 10.0) -> LatencyTable:
    """Layers take a millisecond per 16 x 16 weights."""
    cells = tuple(tuple(a * b / 256 for b in WIDTHS) for a in WIDTHS)
    layers = {layer.name: LayerEntry(0, layer.c_in, layer.c_out) for layer in fixed_layers(model())}
    return LatencyTable((Grid(Work("MatMul", (4,)), WIDTHS, WIDTHS, cells),), layers, ms)


def cut_to(part: float) -> Pass:
    return PruneChannels(macs=part, criterion="l2")


def times(found: list[Counter[str]]) -> Callable[[ir.Model], tuple[float, float]]:
    """A clock that counts weights: as many milliseconds as the dense model has, and as are left."""

    def run(cut: ir.Model) -> tuple[float, float]:
        found.append(Counter(node.op_type for node in cut.graph))
        products = [node for node in cut.graph if node.op_type == "MatMul"]
        weights = [node.inputs[1].const_value for node in products if node.inputs[1]]
        return 1536.0, float(sum(weight.size for weight in weights if weight))

    return run


@pytest.mark.parametrize("recovery", [(), ("merge-channels",)])
def test_what_is_timed_is_recovered(recovery: tuple[str, ...]) -> None:
    dense, timed = model(), list[Counter[str]]()
    finder = LatencyFinder(dense, table(), PassContext(dense), times(timed), recovery)
    made_by, note = finder.find(HALF, cut_to)
    assert timed and all(found["Add"] == len(recovery) for found in timed)
    assert note == "measured: 768 of 1.54e+03 ms"
    assert made_by == cut_to(0.5)
    assert len(dense.graph) == 3


def test_without_a_clock_the_table_is_believed() -> None:
    dense = model()
    made_by, note = LatencyFinder(dense, table(6.0), PassContext(dense)).find(HALF, cut_to)
    assert (made_by, note) == (cut_to(0.5), "predicted from the table: 3 ms of 6 ms")


def test_a_table_of_another_model() -> None:
    other = LatencyTable(table().grids, {"elsewhere": LayerEntry(0, 8, 8)}, 10.0)
    with pytest.raises(DataError, match="no layer of this model: make one with"):
        table_names(model(), other)


def test_the_prediction_is_of_the_widths_left() -> None:
    names = table_names(model(), table())
    assert len(names) == 2
    assert predict(model(), table(6.0), names) == pytest.approx(6.0)


# ------------------------------------------------------------------ ways


class Finder(LatencyFinder):
    """Ways reach the latency with a known part of the arithmetic, or not at all (None)."""

    parts: Any

    def find(self, goal: Goal, make: Callable[[float], Pass]) -> tuple[Pass, str]:
        way: Any = make(1.0)
        part = self.parts[way[1:3]]
        if part is None:
            raise TargetError(f"{way[1]} {way[2]} is not fast enough")
        return make(part), f"measured: {part:g}"


class Judged(Search):
    """A search that takes the try that comes last, and remembers all."""

    seen: Any

    def deals(self) -> bool:
        return True

    def best(self, variants: Any) -> Any:
        self.seen = list(variants)
        return variants[-1]


def chooser(until: float = float("inf"), *, data: bool = True) -> Chooser:
    nothing: Any = None
    recovery = (DistillWeights(),)
    search = Judged(nothing, nothing, nothing, recovery, lambda text: None, until)

    def make(budget: Budget, way: Way) -> Any:
        return (budget.amount, *way)

    return Chooser(nothing, make, search if data else None)


def finder(**parts: float | None) -> LatencyFinder:
    nothing: Any = None
    made = Finder(nothing, nothing, nothing)
    found = {tuple(name.split("_")): part for name, part in parts.items()}
    object.__setattr__(made, "parts", found)
    return made


def test_each_way_keeps_as_much_as_is_fast_enough() -> None:
    made = chooser()
    ways = finder(obs_auto=0.2, obs_local=0.4, l2_local=0.5)
    made_by = made.latency(HALF, PruneOptions(), 1e6, 64, ways)
    search: Any = made.search
    assert search.seen == [
        (0.2, "obs", "auto", 1.0),
        (0.4, "obs", "local", 1.0),
        (0.5, "l2", "local", 1.0),
    ]
    assert [way[1:] for way in search.seen] == list(FAST)
    assert made_by == search.seen[-1]
    assert made.notes == ["latency measured: 0.5"]


def test_a_way_that_is_never_fast_enough_is_left_out() -> None:
    made = chooser()
    ways = finder(obs_auto=None, obs_local=0.4, l2_local=None)
    found: Any = made.latency(HALF, PruneOptions(), 1e6, 64, ways)
    assert found == (0.4, "obs", "local", 1.0)
    with pytest.raises(TargetError, match="obs auto is not fast enough"):
        made.latency(
            HALF, PruneOptions(), 1e6, 64, finder(obs_auto=None, obs_local=None, l2_local=None)
        )


@pytest.mark.parametrize(
    ("asked", "macs", "samples", "data"),
    [
        (PruneOptions(criterion="obs", scope="local"), 1e6, 64, True),
        (PruneOptions(steps=2), 1e6, 64, True),
        (PruneOptions(search=False), 1e6, 64, True),
        (PruneOptions(recover=False), 1e6, 64, True),
        (PruneOptions(), 1e12, 64, True),
        (PruneOptions(), 1e6, 8, True),
        (PruneOptions(), None, 64, True),
        (PruneOptions(), 1e6, 64, False),
    ],
)
def test_one_way_where_there_is_nothing_to_try(
    asked: PruneOptions, macs: float | None, samples: int, data: bool
) -> None:
    made = chooser(data=data)
    found: Any = made.latency(HALF, asked, macs, samples, finder(auto_auto=0.3))
    assert found == (0.3, "auto", "auto", 1.0)
    assert made.notes == ["latency measured: 0.3"]


def test_no_more_ways_behind_the_deadline() -> None:
    made = chooser(until=0.0)
    ways = finder(obs_auto=0.2, obs_local=0.4, l2_local=0.5)
    found: Any = made.latency(HALF, PruneOptions(), 1e6, 64, ways)
    assert found == (0.2, "obs", "auto", 1.0)
