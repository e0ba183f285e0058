"""Shapes of operators that work element by element, and of those that keep their input's shape."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxslim.analysis.dims import Dims, known_different
from onnxslim.analysis.shape_context import NodeContext, Rule, text

BOOL = ir.DataType.BOOL
LEGACY_BROADCAST = 7
"""Before this opset the result of a binary operator has the shape of its first input."""


def same(ctx: NodeContext) -> None:
    """Type and shape of the first input."""
    ctx.copy()


def same_bool(ctx: NodeContext) -> None:
    """Shape of the first input, boolean."""
    ctx.copy(dtype=BOOL)


def identity(ctx: NodeContext) -> None:
    """Whatever the input is: tensor, sequence or optional."""
    value = ctx.value(0)
    if value is None or not isinstance(value.type, (ir.SequenceType, ir.OptionalType)):
        return ctx.copy()
    ctx.outputs[0].type = value.type
    ctx.outputs[0].shape = value.shape


def _broadcast(ctx: NodeContext, dtype: ir.DataType | None) -> None:
    inputs = ctx.inputs
    first = inputs[0].shape if inputs and inputs[0] is not None else None
    if len(inputs) == 2 and first is not None and inputs[1] is not None:
        if inputs[1].shape is first:
            return ctx.share(0, dtype, first)
    if ctx.opset < LEGACY_BROADCAST and len(inputs) == 2:
        return ctx.share(0, dtype, first)
    dims = ctx.broadcast([ctx.dims(i) for i in range(len(inputs))])
    for value in inputs:
        if value is not None and value.shape is not None and value.shape.dims == dims:
            return ctx.share(0, dtype, value.shape)
    ctx.set(0, dtype, dims)


def _first_dtype(ctx: NodeContext) -> ir.DataType | None:
    found = (ctx.dtype(i) for i in range(len(ctx.inputs)))
    return next((d for d in found if d is not None), None)


def broadcasting(ctx: NodeContext) -> None:
    """Inputs of one type, broadcast."""
    ctx.same_types(range(len(ctx.inputs)))
    _broadcast(ctx, _first_dtype(ctx))


def comparing(ctx: NodeContext) -> None:
    """Inputs of one type, broadcast to booleans."""
    ctx.same_types(range(len(ctx.inputs)))
    _broadcast(ctx, BOOL)


def power(ctx: NodeContext) -> None:
    """Pow: the type of the base."""
    _broadcast(ctx, ctx.dtype(0))


def prelu(ctx: NodeContext) -> None:
    """PRelu: the slope is broadcast to the input."""
    ctx.same_types((0, 1))
    ctx.copy()


def where(ctx: NodeContext) -> None:
    """Where: condition and both branches are broadcast."""
    ctx.same_types((1, 2))
    dtype = ctx.dtype(1) if ctx.dtype(1) is not None else ctx.dtype(2)
    _broadcast(ctx, dtype)


def cast(ctx: NodeContext) -> None:
    """Cast and BitCast: the type in ``to``."""
    to = ctx.attr("to")
    if isinstance(to, str):  # Cast-1
        to = ir.DataType[to] if to in ir.DataType.__members__ else None
    _retyped(ctx, to)


def cast_like(ctx: NodeContext) -> None:
    """CastLike: the type of the second input."""
    _retyped(ctx, ctx.dtype(1))


def _retyped(ctx: NodeContext, dtype: int | None) -> None:
    value = ctx.value(0)
    if dtype is not None and dtype not in ir.DataType.__members__.values():
        ctx.problem(f"type {dtype} does not exist")
        dtype = None
    kind = None if dtype is None else ir.DataType(dtype)
    ctx.share(0, kind, value.shape if value is not None else None)


def clip(ctx: NodeContext) -> None:
    """Clip: both limits have the input's type."""
    ctx.same_types((0, 1, 2))
    ctx.copy()


def dropout(ctx: NodeContext) -> None:
    """Dropout: the mask is boolean from opset 10 on."""
    ctx.copy()
    ctx.copy(0, 1, BOOL if ctx.opset >= 10 else None)


def bernoulli(ctx: NodeContext) -> None:
    """Bernoulli and the ``...Like`` generators: the type may be chosen."""
    dtype = ctx.attr("dtype")
    value = ctx.value(0)
    ctx.share(
        0,
        ctx.dtype(0) if dtype is None else ir.DataType(dtype),
        value.shape if value is not None else None,
    )


def batch_normalization(ctx: NodeContext) -> None:
    """BatchNormalization: every parameter has one element per channel."""
    ctx.copy()
    dims = ctx.dims(0)
    channels = dims[1] if dims is not None and len(dims) > 1 else None
    if channels is None and dims is not None and len(dims) == 1:
        channels = 1
    for index in range(1, 5):
        given = ctx.dims(index)
        if given is None or channels is None:
            continue
        if len(given) != 1 or known_different(given[0], channels):
            ctx.problem(f"parameter {index} has shape {text(given)} for {channels} channels")
            break
    for index in range(1, len(ctx.outputs)):
        param: Dims | None = None if channels is None else (channels,)
        ctx.set(index, ctx.dtype(min(index + 2, 4)), param)


def layer_normalization(ctx: NodeContext) -> None:
    """LayerNormalization: mean and deviation keep the axes as ones."""
    ctx.copy()
    dims = ctx.dims(0)
    reduced: Dims | None = None
    if dims is not None:
        axis = ctx.axis(ctx.attr("axis", -1), len(dims))
        if axis is not None:
            reduced = dims[:axis] + (1,) * (len(dims) - axis)
    for index in range(1, len(ctx.outputs)):
        ctx.set(index, ctx.attr("stash_type", 1), reduced)


def softmax(ctx: NodeContext) -> None:
    """Softmax family: the axis must exist."""
    rank = ctx.rank(0)
    axis = ctx.attr("axis")
    if rank and axis is not None and not (axis == rank and ctx.opset < 13):
        ctx.axis(axis, rank)
    ctx.copy()


_SAME = """Abs Acos Acosh Asin Asinh Atan Atanh Ceil Celu Cos Cosh CumProd CumSum Elu Erf Exp Floor
Gelu GroupNormalization HardSigmoid HardSwish InstanceNormalization LRN LeakyRelu Log
LpNormalization MeanVarianceNormalization Mish Neg RMSNormalization Reciprocal Relu ReverseSequence
RotaryEmbedding Round Scatter ScatterElements ScatterND Selu Shrink Sigmoid Sign Sin Sinh Softplus
Softsign Sqrt Swish SwiGLU Tan Tanh TensorScatter ThresholdedRelu Trilu BitwiseNot ImageScaler
ParametricSoftplus ScaledTanh""".split()
_BROADCASTING = """Add Sub Mul Div Mod BitShift BitwiseAnd BitwiseOr BitwiseXor And Or Xor Max Min
Mean Sum""".split()
_COMPARING = "Equal Greater GreaterOrEqual Less LessOrEqual".split()

RULES: Mapping[str, Rule] = {
    **{op: same for op in _SAME},
    **{op: broadcasting for op in _BROADCASTING},
    **{op: comparing for op in _COMPARING},
    **{op: softmax for op in ("Softmax", "LogSoftmax", "Hardmax")},
    **{op: bernoulli for op in ("Bernoulli", "RandomNormalLike", "RandomUniformLike")},
    "BatchNormalization": batch_normalization,
    "BitCast": cast,
    "Cast": cast,
    "CastLike": cast_like,
    "Clip": clip,
    "Dropout": dropout,
    "Identity": identity,
    "IsInf": same_bool,
    "IsNaN": same_bool,
    "LayerNormalization": layer_normalization,
    "Not": same_bool,
    "PRelu": prelu,
    "Pow": power,
    "RegexFullMatch": same_bool,
    "StringConcat": broadcasting,
    "Where": where,
}
