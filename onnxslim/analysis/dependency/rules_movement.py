"""Rules of operators that move data without computing: labels are moved the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dependency.atoms import Labels
from onnxslim.analysis.dependency.builder import Axes, Builder, stay
from onnxslim.analysis.dependency.groups import Role
from onnxslim.analysis.dependency.literals import shape_entries
from onnxslim.analysis.shape_context import describe
from onnxslim.graph.edit import attr, get_input, ints, shape_of


def known(
    rule: Callable[[Builder, ir.Node, Axes], Sequence[Labels | None] | None],
) -> Callable[[Builder, ir.Node], None]:
    """A rule for nodes whose first input has a known rank; it gives the output's axes or None."""

    def checked(b: Builder, node: ir.Node) -> None:
        axes = b.axes(get_input(node, 0))
        result = None if axes is None else rule(b, node, axes)
        if result is None:
            b.fail(node, "its shapes or constants are unknown")
        else:
            b.set_axes(node.outputs[0], result)

    return checked


@known
def transpose(b: Builder, node: ir.Node, axes: Axes) -> Axes:
    """Transpose: axes are permuted."""
    order = attr(node, "perm", range(len(axes) - 1, -1, -1))
    return [axes[i] for i in order]


def _axes_argument(node: ir.Node, rank: int) -> list[int] | None:
    given = attr(node, "axes")
    found = list(given) if given is not None else ints(get_input(node, 1))
    return None if found is None else [int(a) % rank for a in found]


@known
def squeeze(b: Builder, node: ir.Node, axes: Axes) -> Axes | None:
    """Squeeze: axes of size 1 go."""
    dims = shape_of(get_input(node, 0))
    dropped = _axes_argument(node, len(axes))
    if dropped is None:
        if attr(node, "axes") is None and get_input(node, 1) is None and dims is not None:
            dropped = [i for i, d in enumerate(dims) if d == 1]
        else:
            return None
    return [a for i, a in enumerate(axes) if i not in dropped]


@known
def unsqueeze(b: Builder, node: ir.Node, axes: Axes) -> Axes | None:
    """Unsqueeze: axes of size 1 come."""
    rank = None if node.outputs[0].shape is None else len(node.outputs[0].shape)
    new = None if rank is None else _axes_argument(node, rank)
    if new is None or rank is None:
        return None
    old = iter(axes)
    return [None if i in new else next(old) for i in range(rank)]


def concat(b: Builder, node: ir.Node) -> None:
    """Concat: labels one after the other on its axis, the same on every other axis."""
    parts = [(v, b.axes(v), shape_of(v)) for v in node.inputs]
    first = parts[0][1]
    if any(axes is None or dims is None for _, axes, dims in parts) or not first:
        b.fail(node, "an operand has an unknown rank")
        return
    axis = int(attr(node, "axis", 1)) % len(first)
    out: Axes = []
    for position in range(len(first)):
        if position == axis:
            out.append(_joined(b, node, parts, axis))
            continue
        labels = first[position]
        for _, axes, _ in parts[1:]:
            labels = b.unite(labels, axes[position] if axes else None, node)
        out.append(labels)
    for value, axes, _ in parts:
        for position, labels in enumerate(axes or ()):
            if labels is not None and b.is_constant(value):
                b.site(node, Role.SCALE, value, position)
    b.set_axes(node.outputs[0], out)


def _joined(
    b: Builder,
    node: ir.Node,
    parts: Sequence[tuple[ir.Value | None, Axes | None, Sequence[object] | None]],
    axis: int,
) -> Labels | None:
    if all(axes is None or axes[axis] is None for _, axes, _ in parts):
        return None
    found: list[Labels] = []
    for _, axes, dims in parts:
        assert axes is not None and dims is not None
        labels, size = axes[axis], dims[axis]
        if labels is None and not isinstance(size, int):
            for _, others, _ in parts:
                b.freeze(others[axis] if others else None, f"{describe(node)} joins a dynamic axis")
            return None
        found.append(labels if labels is not None else stay(int(size)))  # type: ignore[call-overload]
    return np.concatenate(found)


def split(b: Builder, node: ir.Node) -> None:
    """Split: consecutive ranges of its axis."""
    value = get_input(node, 0)
    axes = b.axes(value)
    if not axes:
        b.fail(node, "its rank is unknown")
        return
    axis = int(attr(node, "axis", 0)) % len(axes)
    labels = axes[axis]
    sizes = [None if v.shape is None else v.shape[axis] for v in node.outputs]
    if labels is not None and not all(isinstance(s, int) for s in sizes):
        b.freeze(labels, f"{describe(node)} splits it in parts of unknown size")
        labels = None
    start = 0
    for output, size in zip(node.outputs, sizes, strict=True):
        part = list(axes)
        if labels is not None and isinstance(size, int):
            part[axis] = labels[start : start + size]
            b.parts.append(labels[start : start + size])
            start += size
        else:
            part[axis] = None
        if isinstance(size, int) and size == 1 and labels is not None:
            b.freeze(labels[start - 1 : start], f"{describe(node)} takes it out alone")
        b.set_axes(output, part)


def slice_ranges(node: ir.Node, rank: int) -> list[tuple[int, int, int, int]] | None:
    """``(axis, start, end, step)`` of a Slice with constant bounds, else None."""
    if get_input(node, 1) is None:
        starts, ends = attr(node, "starts"), attr(node, "ends")
        axes, steps = attr(node, "axes"), None
    else:
        starts, ends = ints(get_input(node, 1)), ints(get_input(node, 2))
        axes, steps = ints(get_input(node, 3)), ints(get_input(node, 4))
        if axes is None and get_input(node, 3) is not None:
            return None
        if steps is None and get_input(node, 4) is not None:
            return None
    if starts is None or ends is None:
        return None
    axes = list(range(len(starts))) if axes is None else [a % rank for a in axes]
    steps = [1] * len(starts) if steps is None else steps
    return list(zip(axes, starts, ends, steps, strict=True))


@known
def slice_(b: Builder, node: ir.Node, axes: Axes) -> Axes | None:
    """Slice: a range of each sliced axis."""
    ranges = slice_ranges(node, len(axes))
    if ranges is None:
        sliced = ints(get_input(node, 3))
        if sliced is None:
            return None
        for axis in sliced:
            b.freeze(axes[axis], f"{describe(node)} cuts it at computed bounds")
        return [None if i in [a % len(axes) for a in sliced] else a for i, a in enumerate(axes)]
    out = list(axes)
    for axis, start, end, step in ranges:
        labels = out[axis]
        if labels is not None:
            part = labels[max(start, -len(labels)) : end : step]  # Python takes none before it
            if len(part) == 1:
                b.freeze(part, f"{describe(node)} takes it out alone")
            b.parts.append(part)
            out[axis] = part
    return out


def gather(b: Builder, node: ir.Node) -> None:
    """Gather: with constant indices a selection of its axis; else that axis stays."""
    data, index = get_input(node, 0), get_input(node, 1)
    axes, picked = b.axes(data), b.axes(index)
    if not axes or index is None:
        b.fail(node, "its rank is unknown")
        return
    axis = int(attr(node, "axis", 0)) % len(axes)
    labels = axes[axis]
    numbers = ints(index)
    if b.is_constant(data):
        for other in range(len(axes)):
            if other != axis:
                b.site(node, Role.PRODUCE, data, other)
    if numbers is None or shape_of(index) is None:
        b.freeze(labels, f"{describe(node)} looks it up by number")
        b.freeze_value(index, f"{describe(node)} counts by it")
        middle: Axes = list(picked or [None])
    elif len(shape_of(index) or ()) == 0:
        if labels is not None:
            b.freeze(labels[[numbers[0]]], f"{describe(node)} takes it out alone")
        middle = []
    else:
        middle = [None if labels is None else labels[numbers]]
        if labels is not None:
            b.parts.append(labels[numbers])
        if labels is not None and len(numbers) == 1:
            b.freeze(labels[numbers], f"{describe(node)} takes it out alone")
    b.set_axes(node.outputs[0], [*axes[:axis], *middle, *axes[axis + 1 :]])


@known
def pad(b: Builder, node: ir.Node, axes: Axes) -> Axes | None:
    """Pad: new coordinates come before and after; with zeros they may leave again."""
    pads = attr(node, "pads")
    numbers = list(pads) if pads is not None else ints(get_input(node, 1))
    chosen = ints(get_input(node, 3))
    if numbers is None or (chosen is None and get_input(node, 3) is not None):
        return None
    chosen = list(range(len(axes))) if chosen is None else [a % len(axes) for a in chosen]
    mode = attr(node, "mode", "constant")
    out = list(axes)
    for i, axis in enumerate(chosen):
        before, after = numbers[i], numbers[i + len(chosen)]
        labels = out[axis]
        if labels is None or (before, after) == (0, 0):
            continue
        if mode != "constant" or min(before, after) < 0:
            b.freeze(labels, f"{describe(node)} pads it by {mode} or cuts it")
            out[axis] = None
        else:
            out[axis] = np.concatenate([b.atoms.fresh(before), labels, b.atoms.fresh(after)])
    return out


@known
def expand(b: Builder, node: ir.Node, axes: Axes) -> Axes | None:
    """Expand: axes of size 1 are repeated; where the size can be rewritten it may shrink."""
    dims, before = shape_of(node.outputs[0]), shape_of(get_input(node, 0))
    if dims is None or before is None:
        return None
    entries = shape_entries(get_input(node, 1))
    offset = len(dims) - len(axes)
    out: Axes = []
    for position, size in enumerate(dims):
        own = axes[position - offset] if position >= offset else None
        number = _written(entries, len(dims), position)
        repeated = position < offset or before[position - offset] == 1
        if own is None and repeated and number == size and isinstance(size, int) and size > 1:
            own = b.atoms.fresh(size)
        elif own is not None and number not in (1, len(own)):
            b.freeze(own, f"{describe(node)} computes its size")
        out.append(own)
    return out


def _written(entries: Sequence[object] | None, rank: int, position: int) -> int | None:
    if entries is None:
        return None
    index = position - rank + len(entries)
    return 1 if index < 0 else getattr(entries[index], "number", None)


def constant_of_shape(b: Builder, node: ir.Node) -> None:
    """ConstantOfShape: every size that is written down may shrink."""
    dims, entries = shape_of(node.outputs[0]), shape_entries(get_input(node, 0))
    out: Axes = []
    for position, size in enumerate(dims or ()):
        number = _written(entries, len(dims or ()), position)
        out.append(b.atoms.fresh(size) if isinstance(size, int) and number == size else None)
    b.set_axes(node.outputs[0], out if dims is not None else None)


@known
def tile(b: Builder, node: ir.Node, axes: Axes) -> Axes | None:
    """Tile: an axis one after the other."""
    repeats = ints(get_input(node, 1))
    if repeats is None:
        return None
    return [None if a is None else np.tile(a, r) for a, r in zip(axes, repeats, strict=True)]


@known
def depth_to_space(b: Builder, node: ir.Node, axes: Axes) -> Axes | None:
    """DepthToSpace: b*b input channels make one output channel."""
    labels, block = axes[1], int(attr(node, "blocksize", 1))
    for spatial in axes[2:]:
        b.freeze(spatial, f"{describe(node)} interleaves it")
    if labels is None:
        return [axes[0], None, None, None]
    if attr(node, "mode", "DCR") == "DCR":
        table = labels.reshape(block * block, -1)
    else:
        table = labels.reshape(-1, block * block).T
    for row in table[1:]:
        b.atoms.unite(table[0], row)
    return [axes[0], table[0].copy(), None, None]


@known
def space_to_depth(b: Builder, node: ir.Node, axes: Axes) -> Axes | None:
    """SpaceToDepth: one input channel makes b*b output channels."""
    labels, block = axes[1], int(attr(node, "blocksize", 1))
    for spatial in axes[2:]:
        b.freeze(spatial, f"{describe(node)} interleaves it")
    return [axes[0], None if labels is None else np.tile(labels, block * block), None, None]


def shape_of_data(b: Builder, node: ir.Node) -> None:
    """Shape and Size follow the data by themselves."""
    b.set_axes(node.outputs[0], None)


@known
def trilu(b: Builder, node: ir.Node, axes: Axes) -> Axes:
    """Trilu: positions of the last two axes have a meaning."""
    for labels in axes[-2:]:
        b.freeze(labels, f"{describe(node)} cuts a triangle")
    return axes


@known
def reverse_sequence(b: Builder, node: ir.Node, axes: Axes) -> Axes:
    """ReverseSequence: batch and time axes have a meaning."""
    for name, default in (("batch_axis", 1), ("time_axis", 0)):
        b.freeze(axes[int(attr(node, name, default))], f"{describe(node)} reverses along it")
    return axes


def constant(b: Builder, node: ir.Node) -> None:
    """Constant: a weight; its labels are made when it is read."""
    b.axes(node.outputs[0])


RULES = {
    "Concat": concat,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "DepthToSpace": depth_to_space,
    "Expand": expand,
    "Gather": gather,
    "Pad": pad,
    "ReverseSequence": reverse_sequence,
    "Shape": shape_of_data,
    "Size": shape_of_data,
    "Slice": slice_,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Trilu": trilu,
    "Unsqueeze": unsqueeze,
}
