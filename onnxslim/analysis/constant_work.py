"""What a model computes from constants alone, before anything is run.

A file of a few hundred bytes can ask a runtime for gigabytes or hours: ``ConstantOfShape``,
``Tile`` or ``Range`` of a huge constant size, a ``Loop`` of 2**62 trips, chains of large constant
products. None of it depends on the caller's inputs, so it can be bounded from shapes and constants.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import onnx_ir as ir

from onnxslim.analysis.cost import node_macs
from onnxslim.graph import edit

MAX_BYTES = 640 << 20
"""More than any real model was seen to build from constants (weights in ``ConstantOfShape``)."""

MAX_MACS = 50_000_000_000
MAX_TRIPS = 10_000_000
_STRING_BYTES = 40


def excessive_work(model: ir.Model) -> str | None:
    """Why running the model would be refused, in words; None for a model that may be run.

    Args:
        model: Shapes inferred.
    """
    fixed: set[ir.Value] = set()
    size = macs = 0
    for node in _nodes(model):
        if edit.is_op(node, "Constant") or not _is_fixed(node, fixed):
            continue
        fixed.update(node.outputs)
        trips = _trips(node)
        if trips > MAX_TRIPS:
            return f"{_label(node)} makes {trips} trips on constants alone"
        size += sum(_bytes(node, value) for value in node.outputs)
        cost = node_macs(node)
        macs += cost if isinstance(cost, int) else 0
        if size > MAX_BYTES:
            return (
                f"it builds more than {MAX_BYTES >> 20} MiB from constants alone, at {_label(node)}"
            )
        if macs > MAX_MACS:
            return (
                f"it multiplies constants {macs} times before any input is used, at {_label(node)}"
            )
    return None


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    for graph in edit.all_graphs(model):
        yield from graph


def _is_fixed(node: ir.Node, fixed: set[ir.Value]) -> bool:
    return all(v is None or v in fixed or edit.is_constant(v) for v in node.inputs)


def _trips(node: ir.Node) -> int:
    if not edit.is_op(node, "Loop"):
        return 0
    trips = edit.scalar(edit.get_input(node, 0))
    return trips if isinstance(trips, int) else 0


def _bytes(node: ir.Node, value: ir.Value) -> int:
    if edit.is_op(node, "Range"):
        elements = _range_length(node)
    else:
        shape = edit.static_shape(value)
        elements = 0 if shape is None else prod(shape)
    dtype = value.dtype
    if dtype is None or dtype == ir.DataType.UNDEFINED:
        return elements
    if dtype == ir.DataType.STRING:
        return elements * _STRING_BYTES
    return int(elements * dtype.itemsize)


def _range_length(node: ir.Node) -> int:
    start, limit, delta = (edit.scalar(edit.get_input(node, i)) for i in range(3))
    if start is None or limit is None or not delta:
        return 0
    steps = (limit - start) / delta
    return int(steps) if 0 < steps < float("inf") else 0


def _label(node: ir.Node) -> str:
    return f"node {node.name!r} ({node.op_type})" if node.name else f"a {node.op_type} node"
