"""Rules of Reshape and Flatten: which input axes an output axis is made of.

Sizes are matched from the left in minimal windows with equal products. Inside a window both sides
are refined to common factors; an axis that is split into several factors becomes a
:class:`~onnxslim.analysis.dependency.builder.Product`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dependency.atoms import Labels
from onnxslim.analysis.dependency.builder import Axes, Builder, Product
from onnxslim.analysis.dependency.literals import shape_entries
from onnxslim.analysis.shape_context import describe
from onnxslim.graph.edit import get_input, shape_of

_LARGE = 1_000_000
"""Labels are not spelled out for axes of more positions."""


@dataclass
class _Axis:
    size: int
    labels: Labels | None = None
    factors: list[_Factor] = field(default_factory=list)


@dataclass
class _Factor:
    size: int
    labels: Labels | None = None


def reshape(b: Builder, node: ir.Node) -> None:
    """Reshape: factor alignment; literal sizes must be rewritable."""
    _regroup(b, node)
    _check_literals(b, node)


def flatten(b: Builder, node: ir.Node) -> None:
    """Flatten: two axes, each the product of those it takes in."""
    _regroup(b, node)


def _regroup(b: Builder, node: ir.Node) -> None:
    value, output = get_input(node, 0), node.outputs[0]
    axes, before, after = b.axes(value), b.numbers(value), b.numbers(output)
    if axes is None or before is None or after is None:
        b.fail(node, "its shapes are unknown")
        return
    inputs = [_Axis(n, a) for n, a in zip(before, axes, strict=True)]
    outputs = [_Axis(n) for n in after]
    windows = _windows([a for a in inputs if a.size != 1], [a for a in outputs if a.size != 1])
    if windows is None:
        b.freeze_value(value, f"{describe(node)} mixes axes in a way that is not understood")
        b.set_axes(output, None)
        return
    for left, right in windows:
        _window(b, node, left, right)
    b.set_axes(output, [a.labels for a in outputs])


def _windows(
    inputs: list[_Axis], outputs: list[_Axis]
) -> list[tuple[list[_Axis], list[_Axis]]] | None:
    """Minimal runs of axes with equal products; None when the products never meet."""
    windows: list[tuple[list[_Axis], list[_Axis]]] = []
    i = j = 0
    while i < len(inputs) and j < len(outputs):
        left, right = [inputs[i]], [outputs[j]]
        p, q = inputs[i].size, outputs[j].size
        i, j = i + 1, j + 1
        while p != q:
            if p < q and i < len(inputs):
                p, left, i = p * inputs[i].size, [*left, inputs[i]], i + 1
            elif q < p and j < len(outputs):
                q, right, j = q * outputs[j].size, [*right, outputs[j]], j + 1
            else:
                return None
        windows.append((left, right))
    return windows if i == len(inputs) and j == len(outputs) else None


def _window(b: Builder, node: ir.Node, left: list[_Axis], right: list[_Axis]) -> None:
    if len(left) == len(right) == 1:
        right[0].labels = left[0].labels
        return
    if not _refine(left, right):
        for axis in left:
            b.freeze(axis.labels, f"{describe(node)} regroups it unevenly")
        return
    for axis in left:
        _split(b, node, axis)
    for axis in right:
        _merge(b, node, axis)


def _refine(left: list[_Axis], right: list[_Axis]) -> bool:
    """Give both sides of a window the same factors; False when they have none in common."""
    i = j = 0
    p, q = left[0].size, right[0].size
    while i < len(left) and j < len(right):
        size = p if q % p == 0 else q if p % q == 0 else 0
        if not size:
            return False
        factor = _Factor(size)
        left[i].factors.append(factor)
        right[j].factors.append(factor)
        p, q = p // size, q // size
        if p == 1:
            i += 1
            p = left[i].size if i < len(left) else 1
        if q == 1:
            j += 1
            q = right[j].size if j < len(right) else 1
    return True


def _split(b: Builder, node: ir.Node, axis: _Axis) -> None:
    if axis.labels is None:
        return
    if len(axis.factors) == 1:
        axis.factors[0].labels = axis.labels
        return
    for factor in axis.factors:
        factor.labels = b.atoms.fresh(factor.size)
    b.products.append(Product(node, axis.labels, _labels(axis)))


def _merge(b: Builder, node: ir.Node, axis: _Axis) -> None:
    """Labels of an output axis: those of its only factor that varies, repeated, or a product."""
    varying = [f for f in axis.factors if f.labels is not None]
    if not varying:
        return
    if len(axis.factors) == 1:
        axis.labels = axis.factors[0].labels
        return
    if len(varying) == 1 and varying[0].labels is not None:
        at = axis.factors.index(varying[0])
        outer = int(np.prod([f.size for f in axis.factors[:at]], dtype=np.int64))
        inner = int(np.prod([f.size for f in axis.factors[at + 1 :]], dtype=np.int64))
        if outer * inner < _LARGE:
            axis.labels = np.tile(np.repeat(varying[0].labels, inner), outer)
            return
    if axis.size > _LARGE:
        for factor in varying:
            b.freeze(factor.labels, f"{describe(node)} merges it with a dynamic axis")
        return
    axis.labels = b.atoms.fresh(axis.size)
    b.products.append(Product(node, axis.labels, _labels(axis)))


def _labels(axis: _Axis) -> tuple[Labels, ...]:
    stays = [
        np.zeros(f.size, dtype=np.int64) if f.labels is None else f.labels for f in axis.factors
    ]
    return tuple(stays)


def _check_literals(b: Builder, node: ir.Node) -> None:
    """An output axis that may shrink needs a size that can be rewritten (or is 0 or -1)."""
    axes: Axes = b.axes(node.outputs[0]) or []
    if all(labels is None for labels in axes) or shape_of(node.outputs[0]) is None:
        return
    entries = shape_entries(get_input(node, 1))
    for axis, labels in enumerate(axes):
        known = entries is not None and len(entries) == len(axes)
        if labels is not None and not (known and entries and entries[axis].number is not None):
            b.freeze(labels, f"{describe(node)} computes its size")


RULES = {"Flatten": flatten, "Reshape": reshape}
