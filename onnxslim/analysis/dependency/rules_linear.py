"""Rules of operators that contract axes: convolutions, matrix products, Einsum, embeddings."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dependency.atoms import Labels
from onnxslim.analysis.dependency.builder import Axes, Builder, EqualCount
from onnxslim.analysis.dependency.groups import Role
from onnxslim.analysis.shape_context import describe
from onnxslim.graph.edit import attr, get_input, shape_of


def conv(b: Builder, node: ir.Node) -> None:
    """Conv: ``x.1`` is consumed with ``W.1``; ``W.0`` makes ``y.1``."""
    _conv(b, node, get_input(node, 0), get_input(node, 1), [get_input(node, 2)])


def conv_integer(b: Builder, node: ir.Node) -> None:
    """ConvInteger: a zero point per filter goes with ``W.0``."""
    _conv(b, node, get_input(node, 0), get_input(node, 1), [get_input(node, 3)])


def qlinear_conv(b: Builder, node: ir.Node) -> None:
    """QLinearConv: scale, zero point and bias per filter go with ``W.0``."""
    per_filter = [get_input(node, i) for i in (4, 5, 8)]
    _conv(b, node, get_input(node, 0), get_input(node, 3), per_filter)


def deform_conv(b: Builder, node: ir.Node) -> None:
    """DeformConv: as Conv; offsets and masks are places, which stay."""
    for index in (2, 4):
        b.freeze_value(get_input(node, index), f"{describe(node)} reads places from it")
    if int(attr(node, "offset_group", 1)) > 1:
        b.freeze_axis(get_input(node, 0), 1, f"{describe(node)} has offsets for blocks of it")
    _conv(b, node, get_input(node, 0), get_input(node, 1), [get_input(node, 3)])


def _conv(
    b: Builder,
    node: ir.Node,
    x: ir.Value | None,
    w: ir.Value | None,
    per_filter: list[ir.Value | None],
) -> None:
    data, weight, shape = b.axes(x), b.axes(w), shape_of(w)
    if data is None or weight is None or shape is None or not 3 <= len(data) == len(weight):
        b.fail(node, "its ranks are unknown")
        return
    group = int(attr(node, "group", 1))
    _whole_space(b, node, data[2:], weight[2:])
    if group == 1:
        made = weight[0]
        b.unite(data[1], weight[1], node)
        _consume(b, node, x, 1, w, 1)
        b.site(node, Role.PRODUCE, w, 0)
        role = Role.PRODUCE
    elif shape[1] == 1 and data[1] is not None and len(data[1]) == group:
        made, role = _depthwise(b, node, data[1], w, weight[0]), Role.SCALE
    else:
        made, role = _grouped(b, node, x, w, group), Role.PRODUCE
    for value in per_filter:
        own = b.axes(value)
        if own and own[0] is not None:
            b.unite(made, own[0], node)
            b.site(node, role, value, 0)
    b.set_axes(node.outputs[0], [data[0], made, *[None] * (len(data) - 2)])


def _whole_space(
    b: Builder, node: ir.Node, data: Axes, weight: Axes, reason: str = "slides over it"
) -> None:
    for labels in (*data, *weight):
        b.freeze(labels, f"{describe(node)} {reason}")


def _consume(
    b: Builder, node: ir.Node, x: ir.Value | None, i: int, w: ir.Value | None, j: int
) -> None:
    b.site(node, Role.CONSUME, x, i)
    b.site(node, Role.CONSUME, w, j)


def _depthwise(
    b: Builder, node: ir.Node, channels: Labels, w: ir.Value | None, filters: Labels | None
) -> Labels | None:
    """Every input channel has its own filters; all of them go with it."""
    if filters is None or len(filters) % len(channels):
        b.freeze(channels, f"{describe(node)} has an odd number of filters")
        return None
    b.unite(np.repeat(channels, len(filters) // len(channels)), filters, node)
    b.site(node, Role.SCALE, w, 0)
    return filters


def _grouped(
    b: Builder, node: ir.Node, x: ir.Value | None, w: ir.Value | None, group: int
) -> Labels | None:
    """Each block of channels has its own filters: as many must stay in every block."""
    data, weight = b.axes(x), b.axes(w)
    assert data is not None and weight is not None
    made, channels = weight[0], data[1]
    if w is None or w.producer() is not None or not b.is_constant(w):
        return _grouped_evenly(b, node, x, w, group)
    b.freeze(weight[1], f"{describe(node)} slices it by blocks")
    if made is not None and len(made) % group == 0:
        b.equal.append(EqualCount(node, made.reshape(group, -1)))
        b.site(node, Role.PRODUCE, w, 0)
    if channels is not None and len(channels) % group == 0:
        b.equal.append(EqualCount(node, channels.reshape(group, -1)))
        b.site(node, Role.CONSUME, x, 1)
        table = channels.reshape(group, -1)
        for _, other, earlier in b.grouped:
            if other is w and earlier.shape == table.shape:  # one filter, used twice
                b.atoms.unite(earlier.reshape(-1), channels)
        b.grouped.append((node, w, table))
    return made


def _grouped_evenly(
    b: Builder, node: ir.Node, x: ir.Value | None, w: ir.Value | None, group: int
) -> Labels | None:
    """A computed filter cannot be sliced block by block: the same places leave in each."""
    data, weight = b.axes(x), b.axes(w)
    assert data is not None and weight is not None
    made, channels = weight[0], data[1]
    inner = None if channels is None else weight[1]
    if channels is None:
        b.freeze(weight[1], f"{describe(node)} couples it with an axis that stays whole")
    elif inner is None or len(inner) * group != len(channels):
        b.freeze(channels, f"{describe(node)} has blocks that stay whole")
    else:
        b.unite(np.tile(inner, group), channels, node)
        b.site(node, Role.CONSUME, x, 1)
        b.site(node, Role.CONSUME, w, 1)
    if made is not None and len(made) % group == 0:
        b.equal.append(EqualCount(node, made.reshape(group, -1)))
        b.site(node, Role.PRODUCE, w, 0)
    return made


def conv_transpose(b: Builder, node: ir.Node) -> None:
    """ConvTranspose: ``W`` is (C, M/group, ...); ``x.1`` is consumed with ``W.0``."""
    x, w = get_input(node, 0), get_input(node, 1)
    data, weight, shape = b.axes(x), b.axes(w), shape_of(w)
    if data is None or weight is None or shape is None or not 3 <= len(data) == len(weight):
        b.fail(node, "its ranks are unknown")
        return
    group = int(attr(node, "group", 1))
    _whole_space(b, node, data[2:], weight[2:])
    role = Role.PRODUCE
    if group > 1 and shape[1] == 1 and data[1] is not None and len(data[1]) == group:
        b.unite(data[1], weight[0], node)
        b.site(node, Role.SCALE, w, 0)
        made, role = weight[0], Role.SCALE
    else:
        b.unite(data[1], weight[0], node)
        _consume(b, node, x, 1, w, 0)
        b.site(node, Role.PRODUCE, w, 1)
        made = weight[1]
        if group > 1:
            made = None if made is None else np.tile(made, group)
            if data[1] is not None:
                b.equal.append(EqualCount(node, data[1].reshape(group, -1)))
    bias = b.axes(get_input(node, 2))
    if bias and bias[0] is not None:
        b.unite(made, bias[0], node)
        b.site(node, role, get_input(node, 2), 0)
    b.set_axes(node.outputs[0], [data[0], made, *[None] * (len(data) - 2)])


def gemm(b: Builder, node: ir.Node) -> None:
    """Gemm: rows of A stay rows; C is broadcast over the result."""
    left, right = get_input(node, 0), get_input(node, 1)
    a, w = b.axes(left), b.axes(right)
    if a is None or w is None or len(a) != 2 or len(w) != 2:
        b.fail(node, "its ranks are unknown")
        return
    row, inner = (1, 0) if attr(node, "transA", 0) else (0, 1)
    made, summed = (0, 1) if attr(node, "transB", 0) else (1, 0)
    b.unite(a[inner], w[summed], node)
    _consume(b, node, left, inner, right, summed)
    b.site(node, Role.PRODUCE, right, made)
    if b.is_constant(left):
        b.site(node, Role.PRODUCE, left, row)
    _add_bias(b, node, get_input(node, 2), [a[row], w[made]])
    b.set_axes(node.outputs[0], [a[row], w[made]])


def _add_bias(b: Builder, node: ir.Node, bias: ir.Value | None, out: Axes) -> None:
    own, dims = b.axes(bias), shape_of(bias)
    if own is None or dims is None:
        return
    for offset in range(1, len(own) + 1):
        if dims[-offset] != 1:
            b.unite(out[-offset], own[-offset], node)
            b.site(node, Role.PRODUCE, bias, len(own) - offset)


def matmul(b: Builder, node: ir.Node) -> None:
    """MatMul as numpy's: the last axis of A is contracted with the last but one of B."""
    _matmul(b, node, get_input(node, 0), get_input(node, 1))


def qlinear_matmul(b: Builder, node: ir.Node) -> None:
    """QLinearMatMul: scale and zero point per column go with them."""
    right = get_input(node, 3)
    _matmul(b, node, get_input(node, 0), right)
    _per_column(b, node, right, [get_input(node, i) for i in (4, 5)])


def matmul_integer(b: Builder, node: ir.Node) -> None:
    """MatMulInteger: a zero point per column goes with it."""
    _matmul(b, node, get_input(node, 0), get_input(node, 1))
    _per_column(b, node, get_input(node, 1), [get_input(node, 3)])


def _per_column(
    b: Builder, node: ir.Node, right: ir.Value | None, values: list[ir.Value | None]
) -> None:
    columns = b.axes(right)
    for value in values:
        own = b.axes(value)
        if own and own[-1] is not None and columns:
            b.unite(columns[-1], own[-1], node)
            b.site(node, Role.SCALE, value, len(own) - 1)


def fused_matmul(b: Builder, node: ir.Node) -> None:
    """com.microsoft FusedMatMul: a MatMul of possibly transposed operands."""
    if any(attr(node, name, 0) for name in ("transBatchA", "transBatchB")):
        b.fail(node, "it transposes batch axes")
        return
    flips = (bool(attr(node, "transA", 0)), bool(attr(node, "transB", 0)))
    _matmul(b, node, get_input(node, 0), get_input(node, 1), flips)


def _matmul(
    b: Builder,
    node: ir.Node,
    left: ir.Value | None,
    right: ir.Value | None,
    flips: tuple[bool, bool] = (False, False),
) -> None:
    a, w = b.axes(left), b.axes(right)
    if not a or not w or left is None or right is None:
        b.fail(node, "its ranks are unknown")
        return
    inner = len(a) - (2 if flips[0] and len(a) > 1 else 1)
    summed = len(w) - (2 if not flips[1] and len(w) > 1 else 1)
    b.unite(a[inner], w[summed], node)
    _consume(b, node, left, inner, right, summed)
    out: Axes = _batch(b, node, left, right)
    if len(a) > 1:
        row = 2 * len(a) - 3 - inner
        out.append(a[row])
        b.site(node, Role.PRODUCE, left, row)
    if len(w) > 1:
        column = 2 * len(w) - 3 - summed
        out.append(w[column])
        b.site(node, Role.PRODUCE, right, column)
    b.set_axes(node.outputs[0], out)


def _batch(b: Builder, node: ir.Node, left: ir.Value, right: ir.Value) -> Axes:
    """The broadcast leading axes of a matrix product."""
    sides = []
    for value in (left, right):
        axes, dims = b.axes(value) or [], shape_of(value) or ()
        sides.append([(value, i, axes[i], dims[i]) for i in range(max(len(axes) - 2, 0))])
    rank = max(len(sides[0]), len(sides[1]))
    out: Axes = []
    for position in range(rank):
        met = [s[position - rank + len(s)] for s in sides if position - rank + len(s) >= 0]
        met = [m for m in met if m[3] != 1]
        labels = met[0][2] if met else None
        for _, _, other, _ in met[1:]:
            labels = b.unite(labels, other, node)
        for value, index, _, _ in met:
            b.site(node, Role.PRODUCE, value, index)
        out.append(labels)
    return out


def einsum(b: Builder, node: ir.Node) -> None:
    """Einsum: a letter is an axis; letters that the result lacks are contracted."""
    equation = str(attr(node, "equation", "")).replace(" ", "")
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    values = list(node.inputs)
    if not arrow or "." in equation or len(terms) != len(values):
        b.fail(node, f"its equation {equation!r} is not understood")
        return
    found: dict[str, Labels | None] = {}
    for term, value in zip(terms, values, strict=True):
        axes = b.axes(value)
        if axes is None or len(axes) != len(term) or len(set(term)) != len(term):
            b.fail(node, f"its equation {equation!r} is not understood")
            return
        for index, letter in enumerate(term):
            known = letter in found
            found[letter] = b.unite(found[letter], axes[index], node) if known else axes[index]
    for term, value in zip(terms, values, strict=True):
        for index, letter in enumerate(term):
            if letter not in result:
                b.site(node, Role.CONSUME, value, index)
            elif b.is_constant(value):
                b.site(node, Role.PRODUCE, value, index)
    b.set_axes(node.outputs[0], [found.get(letter) for letter in result])


RULES = {
    "Conv": conv,
    "ConvInteger": conv_integer,
    "ConvTranspose": conv_transpose,
    "DeformConv": deform_conv,
    "Einsum": einsum,
    "Gemm": gemm,
    "MatMul": matmul,
    "MatMulInteger": matmul_integer,
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
}

MICROSOFT = {"FusedMatMul": fused_matmul}
