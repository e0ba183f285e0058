"""Rules of normalization, pooling, reductions and operators that look along an axis."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from onnxslim.analysis.dependency.builder import Axes, Builder
from onnxslim.analysis.dependency.groups import Role
from onnxslim.analysis.dependency.literals import shape_entries
from onnxslim.analysis.shape_context import describe
from onnxslim.graph.edit import attr, get_input, ints, shape_of


def batch_norm(b: Builder, node: ir.Node) -> None:
    """BatchNormalization and InstanceNormalization: parameters per channel."""
    axes = b.axes(get_input(node, 0))
    if axes is None or len(axes) < 2:
        b.fail(node, "its rank is unknown")
        return
    _parameters(b, node, axes, 1, range(1, len(node.inputs)))
    b.set_axes(node.outputs[0], axes)
    if node.op_type == "InstanceNormalization":
        for axis in range(2, len(axes)):
            b.site(node, Role.STATISTIC, get_input(node, 0), axis)
    if attr(node, "training_mode", 0):
        b.freeze(axes[1], f"{describe(node)} is in training mode")


def _parameters(b: Builder, node: ir.Node, axes: Axes, axis: int, indices: range) -> None:
    for index in indices:
        own = b.axes(get_input(node, index))
        if own and own[0] is not None:
            b.unite(axes[axis], own[0], node)
            b.site(node, Role.SCALE, get_input(node, index), 0)


def group_norm(b: Builder, node: ir.Node) -> None:
    """GroupNormalization: whole groups leave, so that the others' statistics stay as they are."""
    axes = b.axes(get_input(node, 0))
    groups = int(attr(node, "num_groups", 1))
    if axes is None or len(axes) < 2:
        b.fail(node, "its rank is unknown")
        return
    labels = axes[1]
    for index in (1, 2):
        own = b.axes(get_input(node, index))
        if not own or own[0] is None:
            continue
        per_group = labels is not None and len(own[0]) == groups != len(labels)
        other = labels[:: len(labels) // groups] if per_group and labels is not None else labels
        b.unite(other, own[0], node)
        b.site(node, Role.SCALE, get_input(node, index), 0)
    if labels is not None:
        if groups == 1:
            b.site(node, Role.STATISTIC, get_input(node, 0), 1)
        else:
            table = labels.reshape(groups, -1)
            for column in table.T[1:]:
                b.atoms.unite(table[:, 0], column)
    for axis in range(2, len(axes)):
        b.site(node, Role.STATISTIC, get_input(node, 0), axis)
    b.set_axes(node.outputs[0], axes)


def layer_norm(b: Builder, node: ir.Node) -> None:
    """LayerNormalization and RMSNormalization: statistics over the last axes."""
    axes = b.axes(get_input(node, 0))
    if axes is None:
        b.fail(node, "its rank is unknown")
        return
    first = int(attr(node, "axis", -1)) % len(axes)
    for axis in range(first, len(axes)):
        b.site(node, Role.STATISTIC, get_input(node, 0), axis)
    _trailing(b, node, axes, range(1, len(node.inputs)))
    b.set_axes(node.outputs[0], axes)


def _trailing(b: Builder, node: ir.Node, axes: Axes, indices: range) -> None:
    for index in indices:
        value = get_input(node, index)
        own, dims = b.axes(value), shape_of(value)
        if own is None or dims is None:
            continue
        for offset in range(1, len(own) + 1):
            if dims[-offset] != 1:
                b.unite(axes[-offset], own[-offset], node)
                b.site(node, Role.SCALE, value, len(own) - offset)


def skip_layer_norm(b: Builder, node: ir.Node) -> None:
    """com.microsoft Skip(Simplified)LayerNormalization: the sum of two tensors, normalized."""
    x, skip = b.axes(get_input(node, 0)), b.axes(get_input(node, 1))
    if x is None or skip is None or len(x) != len(skip):
        b.fail(node, "its ranks are unknown")
        return
    axes: Axes = [
        None if a is None and c is None else b.unite(a, c, node)
        for a, c in zip(x, skip, strict=True)
    ]
    for index in (0, 1):
        b.site(node, Role.STATISTIC, get_input(node, index), len(axes) - 1)
    _trailing(b, node, axes, range(2, len(node.inputs)))
    for position, output in enumerate(node.outputs):
        b.set_axes(output, axes if position in (0, 3) else None)


def along(*, default: int = -1, flattens: bool = False) -> Callable[[Builder, ir.Node], None]:
    """A rule for operators that look along one axis, which stays whole."""

    def rule(b: Builder, node: ir.Node) -> None:
        axes = b.axes(get_input(node, 0))
        if axes is None:
            b.fail(node, "its rank is unknown")
            return
        old = flattens and b.model.graph.opset_imports.get("", 1) < 13
        axis = int(attr(node, "axis", 1 if old else default)) % len(axes)
        for labels in axes[axis:] if old else axes[axis : axis + 1]:
            b.freeze(labels, f"{describe(node)} looks along it")
        for output in node.outputs:
            b.set_axes(output, axes)

    return rule


def statistic_along(b: Builder, node: ir.Node) -> None:
    """LpNormalization: divides by a norm over its axis."""
    axes = b.axes(get_input(node, 0))
    if axes is None:
        b.fail(node, "its rank is unknown")
        return
    b.site(node, Role.STATISTIC, get_input(node, 0), int(attr(node, "axis", -1)) % len(axes))
    b.set_axes(node.outputs[0], axes)


def search(b: Builder, node: ir.Node) -> None:
    """ArgMax, ArgMin, TopK: the searched axis stays."""
    value = get_input(node, 0)
    axes = b.axes(value)
    if axes is None:
        b.fail(node, "its rank is unknown")
        return
    default = -1 if node.op_type == "TopK" else 0
    axis = int(attr(node, "axis", default)) % len(axes)
    b.freeze(axes[axis], f"{describe(node)} searches it")
    out: Axes = [None if i == axis else a for i, a in enumerate(axes)]
    if node.op_type != "TopK" and not attr(node, "keepdims", 1):
        del out[axis]
    for output in node.outputs:
        b.set_axes(output, out)


def reduce(b: Builder, node: ir.Node) -> None:
    """Reductions: over other axes exact; over a varying axis a statistic (a sum is consumed)."""
    value = get_input(node, 0)
    axes = b.axes(value)
    given = attr(node, "axes")
    chosen = list(given) if given is not None else ints(get_input(node, 1))
    if axes is None or (chosen is None and get_input(node, 1) is not None):
        b.fail(node, "its rank or axes are unknown")
        return
    if not chosen:
        if attr(node, "noop_with_empty_axes", 0):
            b.set_axes(node.outputs[0], axes)
            return
        chosen = list(range(len(axes)))
    reduced = {a % len(axes) for a in chosen}
    role = Role.CONSUME if node.op_type in ("ReduceSum", "ReduceSumSquare") else Role.STATISTIC
    for axis in sorted(reduced):
        b.site(node, role, value, axis)
    keep = bool(attr(node, "keepdims", 1))
    out = [None if i in reduced else a for i, a in enumerate(axes) if keep or i not in reduced]
    b.set_axes(node.outputs[0], out)


def spatial(b: Builder, node: ir.Node) -> None:
    """Pooling and sampling: channels go through, the geometry stays."""
    axes = b.axes(get_input(node, 0))
    rank = None if node.outputs[0].shape is None else len(node.outputs[0].shape)
    if axes is None or len(axes) < 3:
        b.fail(node, "its rank is unknown")
        return
    for labels in axes[2:]:
        b.freeze(labels, f"{describe(node)} slides over it")
    for index in range(1, len(node.inputs)):
        b.freeze_value(get_input(node, index), f"{describe(node)} samples by it")
    for output in node.outputs:
        b.set_axes(output, [*axes[:2], *[None] * ((rank or len(axes)) - 2)])


def unpool(b: Builder, node: ir.Node) -> None:
    """MaxUnpool: the indices count through all channels, so that those stay."""
    b.freeze_axis(get_input(node, 0), 1, f"{describe(node)} has indices that count channels")
    spatial(b, node)


def region(b: Builder, node: ir.Node) -> None:
    """RoiAlign and MaxRoiPool: one result per region, channels go through."""
    axes = b.axes(get_input(node, 0))
    if axes is None or len(axes) != 4:
        b.fail(node, "its rank is unknown")
        return
    for position in (0, 2, 3):
        b.freeze(axes[position], f"{describe(node)} cuts regions")
    b.set_axes(node.outputs[0], [None, axes[1], None, None])


def resize(b: Builder, node: ir.Node) -> None:
    """Resize and Upsample: axes that keep their size go through."""
    value, output = get_input(node, 0), node.outputs[0]
    axes, before, after = b.axes(value), shape_of(value), shape_of(output)
    if axes is None or before is None or after is None:
        b.fail(node, "its shapes are unknown")
        return
    sizes = shape_entries(get_input(node, 3))
    asks = get_input(node, 3) is not None
    out: Axes = []
    for axis, labels in enumerate(axes):
        same = isinstance(before[axis], int) and before[axis] == after[axis]
        written = not asks or (
            sizes is not None and len(sizes) == len(axes) and sizes[axis].number is not None
        )
        if labels is not None and not (same and written):
            b.freeze(labels, f"{describe(node)} resamples it")
            labels = None
        out.append(labels)
    b.set_axes(output, out)


def one_hot(b: Builder, node: ir.Node) -> None:
    """OneHot, NonZero and others whose result has no axis of the input."""
    for value in node.inputs:
        b.freeze_value(value, f"{describe(node)} counts positions")
    for output in node.outputs:
        b.set_axes(output, None)


def lrn(b: Builder, node: ir.Node) -> None:
    """LRN: a window over channels depends on their order."""
    axes = b.axes(get_input(node, 0))
    if axes is None or len(axes) < 2:
        b.fail(node, "its rank is unknown")
        return
    b.freeze(axes[1], f"{describe(node)} sums over neighbouring channels")
    b.set_axes(node.outputs[0], axes)


def mean_variance(b: Builder, node: ir.Node) -> None:
    """MeanVarianceNormalization: statistics over its axes, those of space by default."""
    axes = b.axes(get_input(node, 0))
    if axes is None:
        b.fail(node, "its rank is unknown")
        return
    for axis in attr(node, "axes", (0, 2, 3)):
        b.site(node, Role.STATISTIC, get_input(node, 0), int(axis) % len(axes))
    b.set_axes(node.outputs[0], axes)


_REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
_POOLS = (
    "AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "GridSample", "LpPool",
    "MaxPool",
)  # fmt: skip

RULES = {
    **dict.fromkeys(_REDUCTIONS, reduce),
    **dict.fromkeys(_POOLS, spatial),
    "ArgMax": search,
    "ArgMin": search,
    "BatchNormalization": batch_norm,
    "GroupNormalization": group_norm,
    "Hardmax": along(flattens=True),
    "InstanceNormalization": batch_norm,
    "LRN": lrn,
    "LayerNormalization": layer_norm,
    "LogSoftmax": along(flattens=True),
    "LpNormalization": statistic_along,
    "MaxRoiPool": region,
    "MaxUnpool": unpool,
    "MeanVarianceNormalization": mean_variance,
    "NonZero": one_hot,
    "OneHot": one_hot,
    "RMSNormalization": layer_norm,
    "Resize": resize,
    "RoiAlign": region,
    "Softmax": along(flattens=True),
    "TopK": search,
    "Upsample": resize,
}

MICROSOFT = {
    "SkipLayerNormalization": skip_layer_norm,
    "SkipSimplifiedLayerNormalization": skip_layer_norm,
}
STANDARD_ELSEWHERE = {"SimplifiedLayerNormalization": layer_norm}
"""Operators that ONNX Runtime puts into the standard domain."""
