"""Write a channel shuffle as one Gather.

``Reshape (N, g, C/g, ...) -> Transpose (0, 2, 1, ...) -> Reshape (N, C, ...)`` permutes channels.
In three steps it needs as many channels in every one of the g rows; as a Gather of the permutation,
channels can leave one by one.

Source: Zhang et al. 2018 (ShuffleNet), arXiv:1707.01083, section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dims import Dims, known_equal
from onnxslim.graph.edit import attr, is_op, is_sole_consumer, shape_of
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext


@register
@dataclass(frozen=True)
class ConvertChannelShuffle(Pass):
    """Replace Reshape, Transpose, Reshape that only permute the channels by a Gather.

    Skipped when a tensor in between has another reader, or the sizes are not known.
    """

    name: ClassVar[str] = "convert-channel-shuffle"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Start from the Transpose in the middle."""
        return sum(_convert(node, ctx) for node in ctx.nodes("Transpose"))


def _convert(middle: ir.Node, ctx: PassContext) -> bool:
    inner, outer = middle.inputs[0], middle.outputs[0]
    first = None if inner is None else inner.producer()
    readers = [use.node for use in outer.uses()]
    if inner is None or first is None or not is_op(first, "Reshape") or len(readers) != 1:
        return False
    last = readers[0]
    data = first.inputs[0]
    if not is_op(last, "Reshape") or last.inputs[0] is not outer or data is None:
        return False
    before, split, after = shape_of(data), shape_of(inner), shape_of(last.outputs[0])
    if before is None or split is None or after is None:
        return False
    axis = _shuffled_axis(before, split, after, attr(middle, "perm"))
    if axis is None:
        return False
    if not (is_sole_consumer(inner, middle) and is_sole_consumer(outer, last)):
        return ctx.skip(middle, "a tensor inside the shuffle has another reader")
    rows, columns = split[axis], split[axis + 1]
    assert isinstance(rows, int) and isinstance(columns, int) and middle.graph is not None
    order = np.arange(rows * columns, dtype=np.int64).reshape(rows, columns).T.reshape(-1)
    index = ctx.constant(middle.graph, "shuffle", order)
    ctx.replace([first, middle, last], ir.node("Gather", [data, index], {"axis": axis}))
    return True


def _shuffled_axis(
    before: Dims, split: Dims, after: Dims, order: tuple[int, ...] | None
) -> int | None:
    """The axis that is split in two which are exchanged; None when it is something else."""
    if order is None or len(split) != len(before) + 1 or len(after) != len(before):
        return None
    moved = [i for i, source in enumerate(order) if i != source]
    if len(moved) != 2 or moved[1] != moved[0] + 1:
        return None
    axis = moved[0]
    rows, columns = split[axis], split[axis + 1]
    if not isinstance(rows, int) or not isinstance(columns, int):
        return None
    rest = [*split[:axis], rows * columns, *split[axis + 2 :]]
    same = all(known_equal(a, b) for a, b in zip(rest, before, strict=True)) and all(
        known_equal(a, b) for a, b in zip(rest, after, strict=True)
    )
    return axis if same else None
