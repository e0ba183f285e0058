"""What the first nodes behind an input say about it: its rank, sizes of axes, bounds of values.

Everything here is a guess that makes a first feed likely to run; a wrong one costs a retry.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir

# Nodes behind which the values of an integer input are still (about) the same.
_KEEPS_VALUES = frozenset(
    "Cast Clip Concat Expand Flatten Gather Identity Max Min Pad Reshape Slice Split Squeeze Tile"
    " Transpose Unsqueeze Where Mod Mul Add Sub CastLike ReverseSequence".split()
)
# Nodes behind which every axis still means the same.
_KEEPS_AXES = frozenset(
    "Abs Add Cast CastLike Clip DequantizeLinear Div Identity Max Min Mul QuantizeLinear Relu"
    " Sigmoid Sqrt Sub Tanh Neg Exp Log Pow".split()
)
_DEPTH = 12
_MAX_VISITS = 2000


@dataclass
class Hint:
    """What is known of one input.

    Args:
        rank: Its rank, where a consumer fixes it.
        sizes: Size by axis, where a consumer fixes it.
        bound: Values should be below this (the smallest table they index).
    """

    rank: int | None = None
    sizes: dict[int, int] = field(default_factory=dict)
    bound: int | None = None

    def limit(self, bound: int) -> None:
        """Keeps the smallest positive bound."""
        if bound > 0:
            self.bound = bound if self.bound is None else min(self.bound, bound)

    def axis(self, axis: int, size: int) -> None:
        """Keeps the first size seen."""
        if size > 0:
            self.sizes.setdefault(axis, size)

    def sizes_at(self, rank: int) -> dict[int, int]:
        """The sizes with axes counted from the front of that many axes."""
        return {a % rank: s for a, s in self.sizes.items() if -rank <= a < rank}


def hints_of(model: ir.Model) -> dict[str, Hint]:
    """Collects hints for every graph input."""
    found: dict[str, Hint] = {}
    for value in model.graph.inputs:
        hint = found[str(value.name)] = Hint()
        for node, index, offset in _reach(model, value, _KEEPS_VALUES):
            _bound(node, index, offset, hint)
        for node, index, _ in _reach(model, value, _KEEPS_AXES):
            rule = _AXES.get(node.op_type)
            if rule is not None:
                rule(node, index, hint)
    return found


def _reach(
    model: ir.Model, value: ir.Value, through: frozenset[str]
) -> Iterator[tuple[ir.Node, int, int]]:
    """Yields (node, input index, constant added on the way) for what the value reaches."""
    queue: list[tuple[ir.Value, int, int]] = [(value, 0, 0)]
    seen = {value}
    for _ in range(_MAX_VISITS):
        if not queue:
            return
        current, depth, offset = queue.pop(0)
        for use in current.uses():
            yield use.node, use.idx, offset
            if depth >= _DEPTH:
                continue
            moved = offset + _offset(use.node, use.idx)
            for ahead in _next(model, use.node, use.idx, through):
                if ahead not in seen:
                    seen.add(ahead)
                    queue.append((ahead, depth + 1, moved))


def _next(
    model: ir.Model, node: ir.Node, index: int, through: frozenset[str]
) -> Iterator[ir.Value]:
    """The values that carry on behind a node: outputs, or the inputs of its body or function."""
    if not node.domain and node.op_type in through:
        if not (node.op_type == "Gather" and index == 1):
            yield from node.outputs
        return
    function = model.functions.get(node.op_identifier())
    if function is not None and index < len(function.inputs):
        yield function.inputs[index]
    if not node.domain and node.op_type in ("Loop", "Scan"):
        body = node.attributes.get("body")
        if body is not None:
            inputs = body.as_graph().inputs
            if index < len(inputs):
                yield inputs[index]


def _offset(node: ir.Node, index: int) -> int:
    """What an Add or Sub with a scalar constant moves the values by."""
    if node.op_type not in ("Add", "Sub") or len(node.inputs) != 2:
        return 0
    constant = _small(node.inputs[1 - index])
    if constant is None or (node.op_type == "Sub" and index == 1):
        return 0
    return constant if node.op_type == "Add" else -constant


def _small(value: ir.Value | None) -> int | None:
    """The integer of a one-element constant."""
    tensor = None if value is None else _tensor(value)
    if tensor is None or tensor.size != 1 or not str(tensor.dtype).startswith(("INT", "UINT")):
        return None
    return int(np.asarray(tensor.numpy()).reshape(-1)[0])


def _tensor(value: ir.Value) -> ir.TensorProtocol | None:
    if value.const_value is not None and (value.is_initializer() or value.producer() is not None):
        return value.const_value
    node = value.producer()
    if node is not None and node.op_type == "Constant" and "value" in node.attributes:
        return node.attributes["value"].as_tensor()
    return None


def _static(value: ir.Value | None) -> tuple[int, ...]:
    """The shape of a constant, also behind a node that keeps it; () when unknown."""
    for _ in range(4):
        if value is None:
            return ()
        tensor = _tensor(value)
        if tensor is not None:
            return tuple(int(d) for d in tensor.shape if isinstance(d, int))
        node = value.producer()
        if node is None or node.op_type not in ("DequantizeLinear", "Identity", "Cast"):
            return ()
        value = node.inputs[0]
    return ()


def _int(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else int(attribute.as_int())


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _bound(node: ir.Node, index: int, offset: int, hint: Hint) -> None:
    """Bounds the values that index a table."""
    table: tuple[int, ...] = ()
    axis = 0
    if node.op_type in ("Gather", "GatherBlockQuantized") and index == 1:
        table, axis = _static(_input(node, 0)), _int(node, "axis", _int(node, "gather_axis", 0))
    elif node.op_type == "EmbedLayerNormalization" and index in (0, 1):
        table = _static(_input(node, 2 if index == 0 else 4))
    elif node.op_type == "OneHot" and index == 0:
        hint.limit((_small(_input(node, 1)) or 2) - offset)
    if table and -len(table) <= axis < len(table):
        hint.limit(table[axis] - offset)


def _conv(node: ir.Node, index: int, hint: Hint) -> None:
    weight = _static(_input(node, 1))
    if index == 0 and len(weight) > 2:
        hint.rank = len(weight)
        transposed = node.op_type == "ConvTranspose"
        hint.axis(1, weight[0] if transposed else weight[1] * _int(node, "group", 1))


def _matmul(node: ir.Node, index: int, hint: Hint) -> None:
    weight = _static(_input(node, 1))
    if index == 0 and len(weight) == 2:
        hint.axis(-1, weight[0])


def _gemm(node: ir.Node, index: int, hint: Hint) -> None:
    weight = _static(_input(node, 1))
    if index == 0 and len(weight) == 2 and not _int(node, "transA", 0):
        hint.rank = 2
        hint.axis(1, weight[1 if _int(node, "transB", 0) else 0])


def _recurrent(node: ir.Node, index: int, hint: Hint) -> None:
    weight = _static(_input(node, 1))
    if index == 0 and len(weight) == 3:
        hint.rank = 3
        hint.axis(2, weight[2])


def _norm(node: ir.Node, index: int, hint: Hint) -> None:
    weight = _static(_input(node, 1))
    if index == 0 and len(weight) == 1:
        hint.axis(1, weight[0])


def _trees(node: ir.Node, index: int, hint: Hint) -> None:
    for name in ("nodes_featureids",):
        attribute = node.attributes.get(name)
        if index == 0 and attribute is not None:
            hint.rank = 2
            hint.axis(1, max(attribute.as_ints(), default=0) + 1)


_AXES = {
    "Conv": _conv,
    "ConvTranspose": _conv,
    "FusedConv": _conv,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
    "BatchNormalization": _norm,
    "InstanceNormalization": _norm,
    "TreeEnsembleRegressor": _trees,
    "TreeEnsembleClassifier": _trees,
}
