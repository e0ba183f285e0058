"""Types of sequences and optionals; the shape of a sequence is what all its elements have."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxslim.analysis.dims import Dims, known_equal
from onnxslim.analysis.shape_context import BodyInput, NodeContext, Rule

INT64, BOOL, FLOAT = ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.FLOAT


def _element(value: ir.Value | None) -> tuple[ir.TypeProtocol | None, ir.Shape | None]:
    if value is None or not isinstance(value.type, (ir.SequenceType, ir.OptionalType)):
        return None, None
    return value.type.elem_type, value.shape


def _set(ctx: NodeContext, kind: ir.TypeProtocol | None, shape: ir.Shape | None) -> None:
    ctx.outputs[0].type = kind
    ctx.outputs[0].shape = shape


def _common(a: ir.Shape | None, b: ir.Shape | None) -> ir.Shape | None:
    if a is None or b is None or len(a) != len(b):
        return None
    return a if all(map(known_equal, a.dims, b.dims)) else None


def sequence_construct(ctx: NodeContext) -> None:
    """SequenceConstruct: one element per input."""
    shape = ctx.inputs[0].shape if ctx.inputs and ctx.inputs[0] is not None else None
    for value in ctx.inputs[1:]:
        shape = _common(shape, None if value is None else value.shape)
    dtype = ctx.dtype(0)
    _set(ctx, None if dtype is None else ir.SequenceType(ir.TensorType(dtype)), shape)


def sequence_empty(ctx: NodeContext) -> None:
    """SequenceEmpty: of the chosen type."""
    dtype = ir.DataType(ctx.attr("dtype", FLOAT))
    _set(ctx, ir.SequenceType(ir.TensorType(dtype)), None)


def sequence_insert(ctx: NodeContext) -> None:
    """SequenceInsert: the new element may have another shape."""
    value = ctx.value(0)
    kind = None if value is None else value.type
    if kind is None and (dtype := ctx.dtype(1)) is not None:
        kind = ir.SequenceType(ir.TensorType(dtype))
    added = ctx.value(1)
    _set(ctx, kind, _common(_element(value)[1], None if added is None else added.shape))


def sequence_erase(ctx: NodeContext) -> None:
    """SequenceErase: the same kind of sequence."""
    value = ctx.value(0)
    _set(ctx, None if value is None else value.type, _element(value)[1])


def sequence_at(ctx: NodeContext) -> None:
    """SequenceAt and OptionalGetElement: one element."""
    _set(ctx, *_element(ctx.value(0)))


def optional_get(ctx: NodeContext) -> None:
    """OptionalGetElement: the element, or (from opset 18 on) the tensor itself."""
    value = ctx.value(0)
    if value is not None and isinstance(value.type, ir.OptionalType):
        return sequence_at(ctx)
    _set(ctx, None if value is None else value.type, None if value is None else value.shape)


def sequence_length(ctx: NodeContext) -> None:
    """SequenceLength: a scalar."""
    ctx.set(0, INT64, ())


def split_to_sequence(ctx: NodeContext) -> None:
    """SplitToSequence: parts along the axis; with axis dropped they all have one shape."""
    dims, dtype = ctx.dims(0), ctx.dtype(0)
    kind = None if dtype is None else ir.SequenceType(ir.TensorType(dtype))
    axis = None if dims is None else ctx.axis(ctx.attr("axis", 0), len(dims))
    shape: ir.Shape | None = None
    if dims is not None and axis is not None and not ctx.given(1):
        kept: Dims = (1,) if ctx.attr("keepdims", 1) else ()
        shape = ir.Shape((*dims[:axis], *kept, *dims[axis + 1 :]), frozen=True)
    _set(ctx, kind, shape)


def concat_from_sequence(ctx: NodeContext) -> None:
    """ConcatFromSequence: how many elements there are is not known."""
    kind, shape = _element(ctx.value(0))
    dims = None if shape is None else shape.dims
    stacked = bool(ctx.attr("new_axis", 0))
    axis = None
    if dims is not None:
        axis = ctx.axis(ctx.attr("axis", 0), len(dims) + int(stacked))
    result: Dims | None = None
    if dims is not None and axis is not None:
        result = (*dims[:axis], ctx.fresh(), *dims[axis + (0 if stacked else 1) :])
    _set(ctx, kind, None if result is None else ir.Shape(result, frozen=True))


def sequence_map(ctx: NodeContext) -> None:
    """SequenceMap: the types of the body's outputs, in sequences."""
    body = ctx.attr("body")
    if body is None or len(body.inputs) != len(ctx.inputs):
        return
    given: list[BodyInput] = []
    for value in ctx.inputs:
        if value is not None and isinstance(value.type, ir.SequenceType):
            given.append((value.type.elem_type, None))
        else:
            dims = None if value is None or value.shape is None else value.shape.dims
            given.append((None if value is None else value.type, dims))
    ctx.engine.infer_body(body, given)
    for out, inner in zip(ctx.outputs, body.outputs, strict=False):
        out.type = None if inner.type is None else ir.SequenceType(inner.type)
        out.shape = None


def optional(ctx: NodeContext) -> None:
    """Optional: the input's type, or the one in the attribute."""
    value = ctx.value(0)
    if value is None:
        declared = ctx.attr("type")
        kind = getattr(declared, "type", None)
        return _set(ctx, None if kind is None else ir.OptionalType(kind), None)
    _set(ctx, None if value.type is None else ir.OptionalType(value.type), value.shape)


def optional_has(ctx: NodeContext) -> None:
    """OptionalHasElement: a boolean scalar."""
    ctx.set(0, BOOL, ())


RULES: Mapping[str, Rule] = {
    "ConcatFromSequence": concat_from_sequence,
    "Optional": optional,
    "OptionalGetElement": optional_get,
    "OptionalHasElement": optional_has,
    "SequenceAt": sequence_at,
    "SequenceConstruct": sequence_construct,
    "SequenceEmpty": sequence_empty,
    "SequenceErase": sequence_erase,
    "SequenceInsert": sequence_insert,
    "SequenceLength": sequence_length,
    "SequenceMap": sequence_map,
    "SplitToSequence": split_to_sequence,
}
