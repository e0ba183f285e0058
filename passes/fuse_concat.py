"""Fuse Concat with the Concat, Split or constants around it.

    Concat(a, Concat(b, c))          ->  Concat(a, b, c)          one axis, 1 or -3 of rank 4
    Concat(a, empty)                 ->  a
    Concat(*Split(x))                ->  x                        all parts, in order
    Split(Concat(a, b))              ->  a, b                     equal boundaries
    Concat(a, 1, 2)                  ->  Concat(a, [1, 2])        small constants

Source: ONNX operators Concat-4/13, Split-13.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._splits import axis_of, split_sizes
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

_SMALL = 1024
_TINY = 16
"""Constants up to this number of elements are joined, the latter also when others read them."""


@register
@dataclass(frozen=True)
class FuseConcat(Pass):
    """Fuse Concat with a Concat, Split or constants that feed it; drop its empty inputs.

    Skipped when something else reads the inner Concat, and when a graph output needs the Split.
    """

    name: ClassVar[str] = "fuse-concat"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Simplify the inputs of every Concat; take Splits of a Concat apart."""
        rewrites = sum(_simplify(node, ctx) for node in ctx.nodes("Concat"))
        return rewrites + sum(_split_again(node, ctx) for node in ctx.nodes("Split"))


def _simplify(node: ir.Node, ctx: PassContext) -> bool:
    axis = axis_of(node)
    if axis is None or ctx.opset < 4:
        return False
    values = [value for value in node.inputs if value is not None]
    gone: list[ir.Node] = []
    count = 0
    for rule in _RULES:
        values, more = rule(node, values, axis, gone)
        count += more
    if not count and not _constants(values):
        return False
    if len(values) == 1:
        if not ctx.bypass(node, values[0]):  # a graph output needs a node
            ctx.replace([*gone, node], edit.new_node("Identity", values))
        for other in gone:
            ctx.remove(other)
        return True
    values = _join_constants(node, values, axis, ctx)
    ctx.replace([*gone, node], edit.new_node("Concat", values, {"axis": axis}))
    return True


Rule = Callable[[ir.Node, list[ir.Value], int, list[ir.Node]], tuple[list[ir.Value], int]]


def _flat(
    node: ir.Node, values: list[ir.Value], axis: int, gone: list[ir.Node]
) -> tuple[list[ir.Value], int]:
    """Inputs of a Concat that only ``node`` reads stand for its result."""
    result: list[ir.Value] = []
    count = 0
    for value in values:
        inner = value.producer()
        if (
            inner is not None
            and edit.is_op(inner, "Concat")
            and inner.graph is node.graph
            and axis_of(inner) == axis
            and edit.is_sole_consumer(value, node)
        ):
            result.extend(v for v in inner.inputs if v is not None)
            gone.append(inner)
            count += 1
        else:
            result.append(value)
    return result, count


def _full(
    node: ir.Node, values: list[ir.Value], axis: int, gone: list[ir.Node]
) -> tuple[list[ir.Value], int]:
    """Inputs without elements on the axis go, as long as one stays."""
    kept = [value for value in values if not _is_empty(value, axis)]
    kept = kept or values[:1]
    return kept, len(values) - len(kept)


def _is_empty(value: ir.Value, axis: int) -> bool:
    shape = edit.shape_of(value)
    return shape is not None and axis < len(shape) and shape[axis] == 0


def _whole(
    node: ir.Node, values: list[ir.Value], axis: int, gone: list[ir.Node]
) -> tuple[list[ir.Value], int]:
    """All parts of a Split in a row stand for what was split."""
    result: list[ir.Value] = []
    count = index = 0
    while index < len(values):
        split = values[index].producer()
        size = 0 if split is None else len(split.outputs)
        if (
            split is not None
            and edit.is_op(split, "Split")
            and axis_of(split, 0) == axis
            and split.inputs[0] is not None
            and values[index : index + size] == list(split.outputs)
        ):
            result.append(split.inputs[0])
            if split.graph is node.graph and split not in gone:
                gone.append(split)
            index, count = index + size, count + 1
        else:
            result.append(values[index])
            index += 1
    return result, count


_RULES: tuple[Rule, ...] = (_whole, _flat, _full, _whole)


# -------------------------------------------------------------------------- constants


def _constants(values: list[ir.Value]) -> bool:
    """True when two small constants stand side by side."""
    return any(_joins(a) and _joins(b) for a, b in zip(values, values[1:], strict=False))


def _joins(value: ir.Value) -> bool:
    tensor = edit.constant_tensor(value)
    if tensor is None or tensor.dtype == ir.DataType.STRING:
        return False
    return tensor.size <= (_SMALL if edit.use_count(value) == 1 else _TINY)


def _join_constants(
    node: ir.Node, values: list[ir.Value], axis: int, ctx: PassContext
) -> list[ir.Value]:
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    result: list[ir.Value] = []
    row: list[ir.Value] = []
    for value in [*values, None]:
        if value is not None and _joins(value):
            row.append(value)
            continue
        if len(row) > 1:
            arrays = [edit.constant_array(item) for item in row]
            joined = np.concatenate([a for a in arrays if a is not None], axis)
            row = [ctx.constant(graph, row[0].name, _tensor(joined, row[0]))]
        result += row if value is None else [*row, value]
        row = []
    return result


def _tensor(array: np.ndarray, like: ir.Value) -> ir.TensorProtocol:
    tensor = edit.constant_tensor(like)
    assert tensor is not None
    return ir.Tensor(np.ascontiguousarray(array), dtype=tensor.dtype)


# -------------------------------------------------------------------------- Split of a Concat


def _split_again(split: ir.Node, ctx: PassContext) -> bool:
    joined = split.inputs[0]
    concat = None if joined is None else joined.producer()
    if concat is None or not edit.is_op(concat, "Concat"):
        return False
    axis, values = axis_of(concat), [v for v in concat.inputs if v is not None]
    if axis is None or axis_of(split, 0) != axis or len(values) != len(split.outputs):
        return False
    sizes = split_sizes(split)
    shapes = [edit.shape_of(value) for value in values]
    if sizes is None or sizes != [None if s is None else s[axis] for s in shapes]:
        return False
    if any(value.is_graph_output() for value in split.outputs):
        return ctx.skip(split, "a graph output needs the Split")
    for index, value in enumerate(values):
        ctx.bypass(split, value, index)
    ctx.remove(concat)
    return True
