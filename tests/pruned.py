"""A dense model and a pruned one, cut by hand: for tests of what repairs it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.analysis.dependency.groups import Kept
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from onnxslim.graph.serialize import to_proto
from onnxslim.pipeline.base import Pass
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.reference import Reference
from onnxslim.testing import shared_worker

Array = np.ndarray[Any, np.dtype[Any]]
Axes = Mapping[str, Mapping[int, Iterable[int]]]


def cut(model: onnx.ModelProto, axes: Axes) -> tuple[ir.Model, ir.Model, Kept]:
    """The model as it is, the model with these indices of its initializers alone, and the map.

    Args:
        model: Dense.
        axes: Per initializer or value and axis what stays; of values it is only written down.
    """
    kept = Kept({n: {a: np.asarray(list(i)) for a, i in of.items()} for n, of in axes.items()})
    dense, pruned = from_proto(model), from_proto(model)
    for name in axes:
        value = pruned.graph.initializers.get(name)
        if value is None:
            continue
        assert value.const_value is not None
        array = np.ascontiguousarray(kept.take(name, value.const_value.numpy()))
        value.const_value = ir.Tensor(array, name=name)
        value.shape = ir.Shape(array.shape)
    for node in pruned.graph:
        for output in node.outputs:
            if not output.is_graph_output():
                output.shape = None
    for loaded in (dense, pruned):
        infer_shapes(loaded, worker=shared_worker())
    return dense, pruned, kept


def repaired(
    pass_: Pass,
    model: onnx.ModelProto,
    axes: Axes,
    feeds: list[dict[str, Array]],
    others: list[dict[str, Array]] | None = None,
) -> tuple[PassContext, list[float]]:
    """Cut, repair; the context, and the relative error of the first output before and after.

    Measured on the samples of the repair, or on others.
    """
    dense, pruned, kept = cut(model, axes)
    ctx = PassContext(
        pruned, worker=shared_worker(), calibration=feeds, reference=Reference(dense, kept)
    )
    others = feeds if others is None else others
    errors = [distance(dense, pruned, others)]
    pass_.run(pruned, ctx)
    shared_worker().check(to_proto(pruned).SerializeToString(), full=True)
    return ctx, [*errors, distance(dense, pruned, others)]


def distance(a: ir.Model, b: ir.Model, feeds: list[dict[str, Array]]) -> float:
    """Root of the squared difference of the first outputs, relative to the first's spread."""
    ya, yb = outputs(a, feeds), outputs(b, feeds)
    return float(np.sqrt(((ya - yb) ** 2).mean() / ya.var()))


def outputs(model: ir.Model, feeds: list[dict[str, Array]]) -> Array:
    """First output over all feeds, float64."""
    data = to_proto(model).SerializeToString()
    with shared_worker().session(data) as session:
        found = [next(iter(session.run(feed).values())) for feed in feeds]
    return np.concatenate(found).astype(np.float64)


def draws(shape: tuple[int, ...], batches: int = 4, seed: int = 0) -> list[dict[str, Array]]:
    """Normal inputs ``x``."""
    rng = np.random.default_rng(seed)
    return [{"x": rng.standard_normal(shape).astype(np.float32)} for _ in range(batches)]
