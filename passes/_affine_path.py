"""What stands between arithmetic with constants and the layer that can take it over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._affine import MOVES, OPS, Affine, find_constant, per_channel
from onnxslim.passes._layer import LAYERS, Layer, read_layer
from onnxslim.passes._linear import Array

MAX_MOVES = 8
"""How many operators may stand between the arithmetic and the layer."""

_TAILS = ("Erf", "Tanh", "Sqrt", "Reciprocal", "Pow")
"""Operators inside normalizations and activations that end with a Mul, Div or Add."""


def walk_back(node: ir.Node, value: ir.Value) -> tuple[Layer, list[ir.Node]] | None:
    """The layer that computes ``value`` and the moves between, in order."""
    moves: list[ir.Node] = []
    reader = node
    while len(moves) <= MAX_MOVES:
        producer = value.producer()
        if producer is None or producer.graph is not node.graph:
            return None
        if edit.is_op(producer, *LAYERS):
            layer = read_layer(producer)
            return None if layer is None else (layer, [*moves, node])
        if not edit.is_sole_consumer(value, reader):
            return None
        if edit.is_op(producer, "Add"):
            layer = _with_add(producer)
            return None if layer is None else (layer, [*moves, node])
        above = producer.inputs[0] if edit.is_op(producer, *MOVES) else None
        if above is None:
            return None
        moves.insert(0, producer)
        value, reader = above, producer
    return None


def _with_add(add: ir.Node) -> Layer | None:
    """A MatMul and the Add of a constant after it."""
    side = find_constant(add)
    value = None if side is None else add.inputs[1 - side]
    product = None if value is None else value.producer()
    if value is None or not edit.is_op(product, "MatMul") or product is None:
        return None
    layer = read_layer(product) if edit.is_sole_consumer(value, add) else None
    ranks = None if layer is None else (edit.rank_of(add.outputs[0]), layer.rank)
    return replace(layer, add=add) if layer and ranks and ranks[0] == ranks[1] else None


def walk_ahead(node: ir.Node) -> tuple[Layer, list[ir.Node]] | None:
    """The layer that alone reads the result as its data, and the moves between, in order."""
    moves: list[ir.Node] = []
    value = node.outputs[0]
    while len(moves) <= MAX_MOVES:
        uses = value.uses()
        if len(uses) != 1 or value.is_graph_output():
            return None
        use = next(iter(uses))
        if use.node.graph is not node.graph:
            return None
        if edit.is_op(use.node, *LAYERS):
            layer = read_layer(use.node, use.idx) if use.idx < 2 else None
            if layer is None or (use.idx == 1 and layer.op in ("Conv", "ConvTranspose")):
                return None
            return layer, moves
        if use.idx != 0 or not edit.is_op(use.node, *MOVES):
            return None
        moves.append(use.node)
        value = use.node.outputs[0]
    return None


def take_add(layer: Layer) -> Layer:
    """With the Add of a constant after the MatMul, if there is one, as its bias."""
    after = edit.sole_consumer(layer.node.outputs[0])
    if layer.op != "MatMul" or after is None or not edit.is_op(after, "Add"):
        return layer
    found = _with_add(after) if after.graph is layer.node.graph else None
    return layer if found is None or found.data != layer.data else found


def per_input(affine: Affine, array: Array, layer: Layer, moves: Sequence[ir.Node]) -> Array | None:
    """The constant as one number per input channel of the layer, (inputs,), or None.

    One number for all is given as (1,) where the inputs are not counted.
    """
    x = layer.node.inputs[layer.data]
    rank, shape = edit.rank_of(x), edit.shape_of(x)
    axis = 1
    if layer.op not in ("Conv", "ConvTranspose"):
        flag = edit.attr(layer.node, "transA" if layer.data == 0 else "transB", 0)
        turned = bool(flag) and layer.op == "Gemm"
        axis = (rank or 0) - 1 - (layer.data ^ int(turned))
    if rank is None or shape is None or axis < 0 or not isinstance(size := shape[axis], int):
        return per_channel(array, edit.rank_of(affine.data), None, 1)
    if not moves:
        return per_channel(array, rank, ((axis, size),), size)
    straight = not any(edit.is_op(move, "Transpose") for move in moves)
    if array.size > 1 and straight and axis == rank - 1 == 1:
        return _flattened(affine, array, size)
    return per_channel(array, edit.rank_of(affine.data), None, size)


def _flattened(affine: Affine, array: Array, size: int) -> Array | None:
    """For a move of (N, ...) to (N, K): the constant for each of the K elements of a sample."""
    shape = edit.shape_of(affine.data)
    inner = [] if shape is None else [n for n in shape[1:] if isinstance(n, int)]
    if shape is None or len(inner) + 1 != len(shape) or int(np.prod(inner)) != size:
        return None
    if array.ndim > len(inner) and array.shape[0] != 1:
        return None
    return np.array(np.broadcast_to(array, (1, *inner)).reshape(-1))


def is_padded(node: ir.Node) -> bool:
    if edit.attr(node, "auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER"):
        return True
    return any(edit.attr(node, "pads", ()))


def ends_a_pattern(value: ir.Value) -> bool:
    """True when ``value`` comes out of a decomposed normalization or activation.

    These end with a product of two computed factors, one of them a few operators after an Erf, a
    Tanh, a square root ...; the constants behind it belong to them.
    """
    node = value.producer()
    while node is not None and edit.is_op(node, *OPS) and find_constant(node) is not None:
        side = find_constant(node)
        above = node.inputs[0 if side is None or side < 0 else 1 - side]
        node = None if above is None else above.producer()
    if node is None or not edit.is_op(node, "Mul", "Div"):
        above = None if node is None else edit.get_input(node, 0)
        return (
            edit.is_op(node, "Clip") and above is not None and edit.is_op(above.producer(), "Add")
        )
    waiting, seen = [(value, 0) for value in node.inputs], 0
    while waiting and seen < 16:
        part, depth = waiting.pop(0)
        above_node = None if part is None else part.producer()
        seen += 1
        if above_node is None or depth > 3:
            continue
        if edit.is_op(above_node, *_TAILS):
            return True
        if edit.is_op(above_node, "Add", "Mul", "Div", "Cast", "Clip"):
            waiting.extend((value, depth + 1) for value in above_node.inputs)
    return False
