"""How much arithmetic a latency amounts to: by a table of layers, then by measured models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from onnxslim.analysis.copies import working_copy
from onnxslim.analysis.dims import Dim
from onnxslim.analysis.latency import LatencyTable
from onnxslim.analysis.linear_work import LinearLayer, linear_layers
from onnxslim.analysis.pruned_cost import bindings_of
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.analysis.symbols import symbols
from onnxslim.api.latency import latency_table
from onnxslim.api.latency_search import LatencySearch
from onnxslim.api.options import RunOptions
from onnxslim.api.prune_options import Goal, PruneOptions
from onnxslim.errors import DataError
from onnxslim.graph.duplicate import duplicate
from onnxslim.graph.save import stage
from onnxslim.pipeline.base import Pass
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.manager import Manager
from onnxslim.pipeline.recipes import Recipe
from onnxslim.pipeline.registry import get_pass
from onnxslim.pipeline.spec import make_pass

Timer = Callable[[ir.Model], tuple[float, float] | None]
"""Milliseconds of the model given and of a cut one; None where it cannot be measured."""


@dataclass(frozen=True)
class LatencyFinder:
    """Finds passes that make one model fast enough.

    Attributes:
        model: Prepared for pruning; never changed.
        table: Layer latencies by width.
        ctx: With calibration data, if there is any.
        timer: Times what predictions say; None where the table is of another machine.
        recovery: Passes behind the cut before it is timed, as recovery adds biases.
    """

    model: ir.Model
    table: LatencyTable
    ctx: PassContext
    timer: Timer | None = None
    recovery: tuple[str, ...] = ()

    def find(self, goal: Goal, make: Callable[[float], Pass]) -> tuple[Pass, str]:
        """The largest part of the arithmetic that is fast enough, and what is known of it.

        Args:
            goal: A part of the dense model's latency, or milliseconds.
            make: The pass that keeps at most a part of the multiply-accumulates.

        Raises:
            TargetError: When no width is fast enough.
            DataError: When the table is of another model.
        """
        names = table_names(self.model, self.table)
        search = LatencySearch(
            make,
            self._cut,
            lambda cut: predict(cut, self.table, names),
            self.table.median_ms,
            self._timed if self.timer else None,
        )
        return search.find(goal)

    def _timed(self, made_by: Pass) -> tuple[float, float] | None:
        assert self.timer is not None
        return self.timer(self._cut(made_by, *self.recovery))

    def _cut(self, made_by: Pass, *more: str) -> ir.Model:
        copy = working_copy(self.model)
        own = PassContext(copy, worker=self.ctx.worker, calibration=self.ctx.calibration)
        own.memory, own.spread = self.ctx.memory, self.ctx.spread
        passes = (made_by, *(make_pass(get_pass(name), {}) for name in more))
        Manager(Recipe("latency", passes)).run(copy, own)
        return copy


def table_names(model: ir.Model, table: LatencyTable) -> dict[str, str]:
    """Names in the table by names of the layers that stand for them now.

    Raises:
        DataError: When the table is of another model.
    """
    layers = {layer.name for layer in fixed_layers(model)}
    found = {name: name for name in layers if name in table.layers}
    if not found:
        raise DataError(
            "the latency table has no layer of this model: make one with "
            "`onnxslim bench MODEL --table FILE`"
        )
    return found


def predict(pruned: ir.Model, table: LatencyTable, names: dict[str, str]) -> float:
    """Milliseconds of a pruned model, from the widths of its layers."""
    widths = {
        names[layer.name]: (layer.c_in, layer.c_out)
        for layer in fixed_layers(pruned)
        if layer.name in names
    }
    return table.predict_model(widths)


def fixed_layers(model: ir.Model) -> list[LinearLayer]:
    """The linear layers with every dynamic size put to 1 for batches, else as costs assume it."""
    copy = duplicate(model)
    infer_shapes(copy)
    sizes = bindings_of(copy, {})
    for value in copy.graph.inputs:
        if value.shape is not None:
            value.shape = ir.Shape([_size(dim, sizes) for dim in value.shape])
    infer_shapes(copy)
    return linear_layers(copy)


def _size(dim: Dim, sizes: dict[str, int]) -> int:
    return dim if isinstance(dim, int) else sizes.get(next(iter(symbols(dim)), ""), 1)


def table_for(
    model: ir.Model,
    asked: PruneOptions,
    options: RunOptions,
    target: Path | None,
    on_step: Callable[[str], None],
) -> LatencyTable:
    """The latency table: the one given, or one measured here and saved beside the result."""
    if asked.latency_table is not None:
        return LatencyTable.load(asked.latency_table)
    on_step("measuring layers")
    with stage(model) as staged:
        table = latency_table(staged.model_path, options=options, on_step=on_step)
    if target is not None:
        table.save(target.with_name(f"{target.stem}.latency.json"))
    return table
