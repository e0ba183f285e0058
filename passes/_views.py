"""Operators that keep the elements in order: Reshape, Flatten, Squeeze, Unsqueeze.

What they do to a shape, and how one shape is reached from another with a single such node.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeGuard

import numpy as np
import onnx_ir as ir

from onnxslim.analysis import dims
from onnxslim.graph import edit
from onnxslim.pipeline.context import PassContext

Dim = int | ir.SymbolicDim
VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def is_view(node: ir.Node | None, opset: int) -> TypeGuard[ir.Node]:
    """True for a node that only changes the shape (Reshape has it as an input from opset 5)."""
    return opset >= 5 and edit.is_op(node, *VIEWS)


def axes_of(node: ir.Node, opset: int, rank: int) -> list[int] | None:
    """Axes of a Squeeze or Unsqueeze, from 0 on and sorted; None when they are not known.

    Args:
        node: The node.
        opset: Version of the operator set: axes are an input from 13 on.
        rank: Rank of the input.
    """
    given = edit.ints(edit.get_input(node, 1)) if opset >= 13 else edit.attr(node, "axes")
    if given is None:
        absent = edit.get_input(node, 1) is None if opset >= 13 else "axes" not in node.attributes
        return _ones(node) if absent and node.op_type == "Squeeze" else None
    space = rank + len(given) if node.op_type == "Unsqueeze" else rank
    axes = sorted(axis + space if axis < 0 else axis for axis in given)
    valid = len(set(axes)) == len(axes) and all(0 <= axis < space for axis in axes)
    return axes if valid else None


def _ones(node: ir.Node) -> list[int] | None:
    """Axes that a Squeeze without axes removes: known for static shapes only."""
    shape = edit.static_shape(node.inputs[0])
    return None if shape is None else [i for i, size in enumerate(shape) if size == 1]


def reshape_target(
    source: Sequence[Dim], wanted: Sequence[Dim], replaced: Iterable[ir.Node] = ()
) -> list[int] | None:
    """Constant target of a Reshape (``allowzero`` 0) from one shape to another, or None.

    A -1 makes a Reshape fail when another dimension is 0: it is used only when those are certainly
    positive, or when one of the ``replaced`` nodes fails then, too.
    """
    target: list[int] = []
    for index, size in enumerate(wanted):
        same = index < len(source) and dims.known_equal(source[index], size)
        if isinstance(size, int) and (size or same):
            target.append(size)
        else:
            target.append(0 if same else -1)
    if target.count(-1) > 1:
        return None
    if -1 in target:
        rest = [size for index, size in enumerate(wanted) if target[index] != -1]
        if not all(map(dims.known_positive, rest)) and not _fails_alike(rest, replaced):
            return None
    return target


def _fails_alike(rest: Sequence[Dim], replaced: Iterable[ir.Node]) -> bool:
    """True when a replaced Reshape has a -1 next to dimensions of the same product."""
    for node in replaced:
        target = edit.ints(edit.get_input(node, 1)) if node.op_type == "Reshape" else None
        shape = edit.shape_of(node.outputs[0])
        if target is None or shape is None or -1 not in target or len(target) != len(shape):
            continue
        other = [size for size, given in zip(shape, target, strict=True) if given != -1]
        if dims.known_equal(dims.product(rest), dims.product(other)):
            return True
    return False


def flatten_axis(source: Sequence[Dim], wanted: Sequence[Dim]) -> int | None:
    """The axis of a Flatten from one shape to another, or None."""
    if len(wanted) != 2:
        return None
    for axis in range(len(source) + 1):
        left, right = dims.product(source[:axis]), dims.product(source[axis:])
        if dims.known_equal(left, wanted[0]) and dims.known_equal(right, wanted[1]):
            return axis
    return None


class View:
    """How to reach one shape from another with at most one node; falsy when there is no way.

    Args:
        source: Dimensions before.
        wanted: Dimensions after.
        replaced: Nodes that the view takes the place of.
    """

    def __init__(
        self, source: Sequence[Dim], wanted: Sequence[Dim], replaced: Iterable[ir.Node] = ()
    ) -> None:
        same = len(source) == len(wanted) and all(map(dims.known_equal, source, wanted))
        self.nodes = 0 if same else 1
        self._target = None if same else reshape_target(source, wanted, replaced)
        self._axis = None
        if not same and self._target is None:
            self._axis = flatten_axis(source, wanted)
        self._possible = same or self._target is not None or self._axis is not None

    def __bool__(self) -> bool:
        return self._possible

    def build(self, x: ir.Value, graph: ir.Graph, ctx: PassContext) -> list[ir.Node]:
        """The node (none when the shapes are equal) that reads ``x``."""
        if not self.nodes:
            return []
        if self._target is not None:
            return [make_reshape(x, self._target, graph, ctx)]
        return [edit.new_node("Flatten", [x], {"axis": self._axis})]


def make_reshape(x: ir.Value, target: Sequence[int], graph: ir.Graph, ctx: PassContext) -> ir.Node:
    """A Reshape to a constant target."""
    return edit.new_node("Reshape", [x, ctx.constant(graph, "shape", np.array(target, np.int64))])


def make_axes_node(
    op: str, x: ir.Value, axes: Sequence[int], graph: ir.Graph, ctx: PassContext
) -> ir.Node:
    """A Squeeze or Unsqueeze in the form of the opset."""
    if ctx.opset < 13:
        return edit.new_node(op, [x], {"axes": list(axes)})
    return edit.new_node(op, [x, ctx.constant(graph, "axes", np.array(axes, np.int64))])
