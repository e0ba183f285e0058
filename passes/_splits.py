"""Axes and sizes of Split and Concat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.pipeline.context import PassContext


def axis_of(node: ir.Node, default: int | None = None) -> int | None:
    """The axis of a Concat or Split from 0 on; None when the rank that it needs is not known."""
    axis: int | None = edit.attr(node, "axis", default)
    if axis is None or axis >= 0:
        return axis
    values = [*node.inputs, *node.outputs]
    rank = next((r for v in values if (r := edit.rank_of(v)) is not None), None)
    return None if rank is None else axis + rank


def split_sizes(node: ir.Node) -> list[int] | None:
    """Sizes of the parts of a Split, or None."""
    axis, shapes = edit.attr(node, "axis", 0), [edit.shape_of(v) for v in node.outputs]
    sizes = [None if shape is None else shape[axis] for shape in shapes]
    known = [size for size in sizes if isinstance(size, int)]
    return known if len(known) == len(sizes) else None


def make_split(
    x: ir.Value, sizes: Sequence[int], axis: int, graph: ir.Graph, ctx: PassContext
) -> ir.Node:
    """A Split in the form of the opset; sizes that are equal are not written down."""
    if len(set(sizes)) == 1:
        parts = {"num_outputs": len(sizes)} if ctx.opset >= 18 else {}
        return edit.new_node("Split", [x], {"axis": axis, **parts}, num_outputs=len(sizes))
    if ctx.opset < 13:
        return edit.new_node("Split", [x], {"axis": axis, "split": sizes}, num_outputs=len(sizes))
    given = ctx.constant(graph, "split", np.array(sizes, np.int64))
    return edit.new_node("Split", [x, given], {"axis": axis}, num_outputs=len(sizes))
