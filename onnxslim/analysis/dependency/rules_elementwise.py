"""Rules of operators that work position by position, with broadcasting."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.analysis.dependency.atoms import Labels
from onnxslim.analysis.dependency.builder import Axes, Builder
from onnxslim.analysis.dependency.groups import Role
from onnxslim.analysis.shape_context import describe
from onnxslim.graph.edit import attr, get_input, scalar, shape_of

UNARY = (
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Cast", "CastLike",
    "Ceil", "Celu", "Clip", "Cos", "Cosh", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu",
    "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Neg",
    "Not", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh",
    "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu",
)  # fmt: skip
BINARY = (
    "Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater",
    "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu",
    "Pow", "Sub", "Sum", "Where", "Xor",
)  # fmt: skip


def unary(b: Builder, node: ir.Node) -> None:
    """Every axis goes through; further inputs (bounds of Clip) are scalars."""
    axes = b.axes(get_input(node, 0))
    for output in node.outputs:
        b.set_axes(output, axes)


def broadcast(b: Builder, node: ir.Node) -> None:
    """Aligned from the right, axes of equal size are the same; those of size 1 are repeated."""
    values = [v for v in node.inputs if v is not None]
    b.set_axes(node.outputs[0], broadcast_axes(b, node, values))


def broadcast_axes(b: Builder, node: ir.Node, values: list[ir.Value]) -> Axes | None:
    """Axes of the broadcast of several tensors, with the facts that it states."""
    known = [(v, b.axes(v), shape_of(v)) for v in values]
    if any(axes is None for _, axes, _ in known):
        for value in values:
            b.freeze_value(value, f"{describe(node)} has an operand of unknown rank")
        return None
    rank = max(len(axes or ()) for _, axes, _ in known)
    result: Axes = []
    for position in range(rank):
        met = []
        for value, axes, dims in known:
            index = position - rank + len(axes or ())
            if index < 0 or axes is None or (dims is not None and dims[index] == 1):
                continue
            met.append((value, index, axes[index]))
        result.append(_join(b, node, met))
    return result


def _join(
    b: Builder, node: ir.Node, met: list[tuple[ir.Value, int, Labels | None]]
) -> Labels | None:
    if not met:
        return None
    labels = met[0][2]
    for _, _, other in met[1:]:
        labels = b.unite(labels, other, node)
    for value, index, _ in met:
        if b.is_constant(value):
            b.site(node, Role.SCALE, value, index)
    return labels


def quantize(b: Builder, node: ir.Node) -> None:
    """QuantizeLinear and DequantizeLinear: scales and zero points per axis go with it."""
    axes = b.axes(get_input(node, 0))
    b.set_axes(node.outputs[0], axes)
    if axes is None:
        return
    axis = int(attr(node, "axis", 1))
    for index in (1, 2):
        value = get_input(node, index)
        own = b.axes(value)
        if not own:
            continue
        if len(own) == 1 and axis < len(axes) and not attr(node, "block_size", 0):
            if own[0] is not None:
                b.unite(axes[axis], own[0], node)
                b.site(node, Role.SCALE, value, 0)
        else:
            b.freeze_value(get_input(node, 0), f"{describe(node)} is quantized by blocks")


def cumulative(b: Builder, node: ir.Node) -> None:
    """CumSum: the axis that it runs along stays."""
    axes = b.axes(get_input(node, 0))
    axis = scalar(get_input(node, 1))
    if axes is None or axis is None:
        b.fail(node, "its axis is not constant")
        return
    b.freeze(axes[int(axis)], f"{describe(node)} runs along it")
    b.set_axes(node.outputs[0], axes)


RULES = {
    **dict.fromkeys(UNARY, unary),
    **dict.fromkeys(BINARY, broadcast),
    "CumSum": cumulative,
    "DequantizeLinear": quantize,
    "QuantizeLinear": quantize,
}

MICROSOFT = {
    "BiasGelu": broadcast,
    "FastGelu": broadcast,
    "Gelu": unary,
    "QuickGelu": unary,
}
