"""Compute the shape inputs of Reshape, Expand and Slice now, as far as they follow from the data.

A Reshape to sizes that are numbers, sizes of the data at the same position (written 0) and at most
one other size (written -1) needs no arithmetic on shapes. With the input's shape ``[N, S, 64]``::

    Reshape(x, Concat(N, S, 4, 16))      ->  Reshape(x, [0, 0, 4, 16])
    Reshape(x, Concat(N * S, 64))        ->  Reshape(x, [-1, 64])
    Expand(y, Concat(N, 4))              ->  Expand(y, [1, 4])         y of shape [N, 1]
    Slice(x, 1, S, axis 1)               ->  Slice(x, 1, INT64_MAX, axis 1)

The chain of Shape, Gather and Concat in front is then read by nothing. Tensors without elements:
0 copies a size of 0 too, but a -1 beside a size of 0 makes ONNX Runtime fail. So -1 is written only
when the other sizes cannot be 0, when the Reshape had a -1 before, or beside the first axis of a
graph input, the batch: an empty batch is given up there (as in ONNX Runtime's own fusion) unless
``empty_batch`` is set. Sizes that are often 0, as numbers of boxes or of cached positions, are not.

Source: ONNX operators Reshape-5/14, Expand-8, Slice-10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.analysis import dims
from onnxslim.analysis.shapes import known_values
from onnxslim.graph import edit
from onnxslim.passes._facts import drop_unread
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

Dim = int | ir.SymbolicDim
_END = np.iinfo(np.int64).max


@register
@dataclass(frozen=True)
class FoldShape(Pass):
    """Replace computed shape inputs of Reshape, Expand and Slice by constants.

    Skipped when two sizes of a Reshape are neither known nor the data's at that position, and
    when a -1 would fail on an empty tensor on which the model runs.

    Args:
        empty_batch: Write no -1 that would fail on an empty batch.

    Source: ONNX operators Reshape-5/14, Expand-8, Slice-10.
    """

    empty_batch: bool = False

    name: ClassVar[str] = "fold-shape"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """One visit per node that takes sizes as an input."""
        batch = set() if self.empty_batch else _batch_symbols(model.graph)
        rewrites = sum(_reshape(node, batch, ctx) for node in ctx.nodes("Reshape"))
        rewrites += sum(_expand(node, ctx) for node in ctx.nodes("Expand"))
        return rewrites + sum(_slice(node, ctx) for node in ctx.nodes("Slice"))


def _batch_symbols(graph: ir.Graph) -> set[str]:
    """Symbols of the first axes of the graph's inputs."""
    first = [shape[0] for value in graph.inputs if (shape := edit.shape_of(value))]
    return {size.value for size in first if not isinstance(size, int) and size.value}


def _reshape(node: ir.Node, batch: set[str], ctx: PassContext) -> bool:
    target = edit.get_input(node, 1)
    if target is None or edit.is_constant(target) or target.is_graph_input():
        return False
    source, wanted = edit.shape_of(node.inputs[0]), edit.shape_of(node.outputs[0])
    if wanted is None:
        return False
    sizes = _sizes(source or (), wanted)
    if sizes is None:
        return ctx.skip(node, "two sizes of the Reshape are not known, or one is 0")
    if -1 in sizes and not _may_infer(sizes, source or (), known_values(target), batch):
        return ctx.skip(node, "a -1 beside a dimension that may be 0 fails on empty tensors")
    if edit.attr(node, "allowzero", 0):
        ctx.set_attributes(node, {"allowzero": None})
    _write(node, 1, np.array(sizes, np.int64), ctx)
    return True


def _may_infer(
    sizes: Sequence[int],
    source: Sequence[Dim],
    before: Sequence[Dim | None] | None,
    batch: set[str],
) -> bool:
    """True when the -1 fails on no tensor without elements, or only where one failed before."""
    failed = before is not None and -1 in before
    for place, size in enumerate(sizes):
        copied = source[place] if size == 0 else 1
        if dims.known_positive(copied) or (failed and before is not None and before[place] != -1):
            continue
        if isinstance(copied, int) or copied.value not in batch:
            return False
    return True


def _sizes(source: Sequence[Dim], wanted: Sequence[Dim]) -> list[int] | None:
    """Numbers, 0 for a size of the data at that position, -1 for one other; None if impossible."""
    sizes: list[int] = []
    for place, size in enumerate(wanted):
        copied = place < len(source) and dims.known_equal(size, source[place])
        if isinstance(size, int) and size > 0:
            sizes.append(size)
        elif copied:
            sizes.append(0)
        elif isinstance(size, int):
            return None
        else:
            sizes.append(-1)
    return sizes if sizes.count(-1) <= 1 else None


def _expand(node: ir.Node, ctx: PassContext) -> bool:
    target = edit.get_input(node, 1)
    if target is None or edit.is_constant(target) or target.is_graph_input():
        return False
    source, wanted = edit.shape_of(node.inputs[0]), edit.shape_of(node.outputs[0])
    if source is None or wanted is None or len(wanted) < len(source):
        return False
    shift = len(wanted) - len(source)
    sizes: list[int] = []
    for place, size in enumerate(wanted):
        if place >= shift and dims.known_equal(size, source[place - shift]):
            sizes.append(1)
        elif isinstance(size, int):
            sizes.append(size)
        else:
            return False
    _write(node, 1, np.array(sizes, np.int64), ctx)
    return True


# -------------------------------------------------------------------- Slice


def _slice(node: ir.Node, ctx: PassContext) -> bool:
    source = edit.shape_of(node.inputs[0])
    if source is None:
        return False
    axes = _axes(node, len(source))
    if axes is None:
        return False
    changed = [_bound(node, place, axes, source, ctx) for place in (1, 2)]
    return any(changed)


def _axes(node: ir.Node, rank: int) -> list[int] | None:
    """The axis of each bound, when known and every step is 1."""
    steps = edit.get_input(node, 4)
    if steps is not None and any(s != 1 for s in edit.ints(steps) or (0,)):
        return None
    given = edit.get_input(node, 3)
    axes = list(range(rank)) if given is None else edit.ints(given)
    if axes is None or any(not -rank <= a < rank for a in axes):
        return None
    return [a % rank for a in axes]


def _bound(
    node: ir.Node, place: int, axes: Sequence[int], source: Sequence[Dim], ctx: PassContext
) -> bool:
    bound = edit.get_input(node, place)
    content = known_values(bound)
    if bound is None or content is None or edit.is_constant(bound) or bound.is_graph_input():
        return False
    if bound.dtype is None or len(content) > len(axes):
        return False
    found = [_place(v, source[a]) for v, a in zip(content, axes, strict=False)]
    if any(v is None for v in found):
        return False
    limits = np.iinfo(bound.dtype.numpy())
    _write(node, place, np.clip(np.array(found), limits.min, limits.max).astype(limits.dtype), ctx)
    return True


def _place(value: Dim | None, size: Dim) -> int | None:
    """A number that means ``value`` on an axis of ``size``: itself, from the end, or the end."""
    if value is None or isinstance(value, int):
        return value
    back = dims.sub(size, value)
    if not isinstance(back, int):
        return None
    if back <= 0:
        return _END
    return -back if dims.known_at_least(value, 0) else None


def _write(node: ir.Node, place: int, array: np.ndarray, ctx: PassContext) -> None:
    before = node.inputs[place]
    assert before is not None and isinstance(node.graph, ir.Graph)
    producer = before.producer()
    ctx.set_input(node, place, ctx.constant(node.graph, before.name, array))
    drop_unread([] if producer is None else [producer], ctx)
