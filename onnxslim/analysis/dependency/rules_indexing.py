"""Rules of operators that look elements up by computed places: these axes stay, others go through.

Gather, whose indices may be constant, is among the operators that move data.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.analysis.dependency.builder import Axes, Builder
from onnxslim.analysis.dependency.groups import Role
from onnxslim.analysis.shape_context import describe
from onnxslim.graph.edit import attr, get_input, shape_of


def _index_width(b: Builder, node: ir.Node) -> int | None:
    """How many axes one index of GatherND or ScatterND names."""
    dims = shape_of(get_input(node, 1))
    width = dims[-1] if dims else None
    return width if isinstance(width, int) else None


def _looked_up(b: Builder, node: ir.Node, value: ir.Value | None, axes: Axes, count: int) -> None:
    """The first axes of a tensor are named by number; weights make the others."""
    for labels in axes[:count]:
        b.freeze(labels, f"{describe(node)} looks it up by number")
    for axis in range(count, len(axes)):
        if b.is_constant(value):
            b.site(node, Role.PRODUCE, value, axis)


def gather_nd(b: Builder, node: ir.Node) -> None:
    """GatherND: axes behind those that an index names go through."""
    data, index = get_input(node, 0), get_input(node, 1)
    axes, width = b.axes(data), _index_width(b, node)
    rank = len(shape_of(index) or ())
    if axes is None or width is None:
        b.fail(node, "its ranks are unknown")
        return
    named = int(attr(node, "batch_dims", 0)) + width
    _looked_up(b, node, data, axes, named)
    b.freeze_value(index, f"{describe(node)} counts by it")
    b.set_axes(node.outputs[0], [*[None] * (rank - 1), *axes[named:]])


def scatter_nd(b: Builder, node: ir.Node) -> None:
    """ScatterND: updates replace slices of the axes behind those that an index names."""
    data, updates = get_input(node, 0), get_input(node, 2)
    axes, news, width = b.axes(data), b.axes(updates), _index_width(b, node)
    if axes is None or news is None or width is None:
        b.fail(node, "its ranks are unknown")
        return
    _looked_up(b, node, data, axes, width)
    b.freeze_value(get_input(node, 1), f"{describe(node)} counts by it")
    start = len(news) - (len(axes) - width)
    for labels in news[:start]:
        b.freeze(labels, f"{describe(node)} counts along it")
    out: Axes = [None] * width
    for axis in range(width, len(axes)):
        out.append(b.unite(axes[axis], news[start + axis - width], node))
        if b.is_constant(updates):
            b.site(node, Role.SCALE, updates, start + axis - width)
    b.set_axes(node.outputs[0], out)


def gather_elements(b: Builder, node: ir.Node) -> None:
    """GatherElements: one axis by number; along the others index and data go side by side."""
    _elements(b, node, [get_input(node, 0), get_input(node, 1)])


def scatter_elements(b: Builder, node: ir.Node) -> None:
    """ScatterElements and Scatter: one axis by number; along the others all go side by side."""
    _elements(b, node, [get_input(node, i) for i in range(3)])


def _elements(b: Builder, node: ir.Node, values: list[ir.Value | None]) -> None:
    operands = [b.axes(v) for v in values]
    shapes = [shape_of(v) for v in values]
    first = operands[0]
    if first is None or any(o is None for o in operands) or any(s is None for s in shapes):
        b.fail(node, "its ranks are unknown")
        return
    chosen = int(attr(node, "axis", 0)) % len(first)
    out: Axes = []
    for axis, labels in enumerate(first):
        others = [o[axis] for o in operands[1:] if o is not None]
        sizes = {str(s[axis]) for s in shapes if s is not None}
        if axis == chosen or len(sizes) > 1:
            for own in (labels, *others):
                b.freeze(own, f"{describe(node)} looks it up by number")
            out.append(None)
            continue
        shared = labels
        for own in others:
            shared = b.unite(shared, own, node)
        out.append(shared)
        for value in values:
            if b.is_constant(value):
                b.site(node, Role.SCALE, value, axis)
    b.set_axes(node.outputs[0], out)


RULES = {
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "Scatter": scatter_elements,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
}
