"""Slice the weights of a model and rewrite what says how wide its axes are.

Names stay: after this, a tensor's name stands for the part of the tensor that is left (see
:class:`onnxslim.analysis.dependency.groups.Kept`).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dependency.groups import Indices, Kept
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import PassError
from onnxslim.graph.edit import constant_array, constant_tensor, is_op, static_shape
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.surgery.patches import PATCHES
from onnxslim.pipeline.surgery.tools import Patch, Tools


def cut(ctx: PassContext, kept: Kept) -> int:
    """Remove everything that ``kept`` leaves out, in place.

    Args:
        ctx: Of the model that was analysed, unchanged since.
        kept: From :meth:`Dependency.kept`.

    Returns:
        The number of tensors that became smaller.

    Raises:
        PassError: When a shape that follows is not what the decision says; nothing else may use
            the model then.
    """
    tools = Tools(ctx, kept)
    for node in list(ctx.model.graph):
        patch: Patch | None = PATCHES.get((node.domain, node.op_type))
        if patch is not None:
            patch(node, tools)
    count = _cut_weights(ctx, kept)
    expected = _expected(ctx.model, kept)
    infer_shapes(ctx.model)
    ctx.reindex()
    _check(ctx.model, expected)
    return count


def _cut_weights(ctx: PassContext, kept: Kept) -> int:
    count, model = 0, ctx.model
    for value in list(model.graph.initializers.values()):
        if value.name in kept.axes or value.name in kept.grouped:
            count += _cut_value(value, kept)
            ctx.history.note(use.node for use in value.uses())
    for node in model.graph:
        if is_op(node, "Constant") and node.outputs[0].name in kept.axes:
            array = constant_array(node.outputs[0])
            assert array is not None
            tensor = ir.tensor(kept.take(node.outputs[0].name or "", array))
            node.attributes.clear()
            node.attributes["value"] = ir.AttrTensor("value", tensor)
            count += 1
    return count


def _cut_value(value: ir.Value, kept: Kept) -> int:
    tensor, name = constant_tensor(value), value.name or ""
    if tensor is None:
        raise PassError(f"{name!r} can be overridden by the caller and is not cut")
    array = _cut_array(tensor.numpy(), kept.axes.get(name, {}), kept.grouped.get(name))
    new = ir.Tensor(np.ascontiguousarray(array), dtype=tensor.dtype, name=name)
    value.const_value = new
    value.shape = ir.Shape(new.shape.numpy(), frozen=True)
    return 1


def _cut_array(
    array: np.ndarray, axes: dict[int, Indices] | object, grouped: Indices | None
) -> np.ndarray:
    assert isinstance(axes, dict)
    if grouped is None:
        for axis, index in axes.items():
            array = np.take(array, index, axis=axis)
        return array
    rows = axes.get(0)
    per_block = len(array) // len(grouped)
    blocks = []
    for number, inner in enumerate(grouped):
        block = np.arange(number * per_block, (number + 1) * per_block)
        if rows is not None:
            block = block[np.isin(block, rows)]
        blocks.append(array[block][:, inner])
    array = np.concatenate(blocks)
    for axis, index in axes.items():
        if axis > 1:
            array = np.take(array, index, axis=axis)
    return array


def _expected(model: ir.Model, kept: Kept) -> dict[ir.Value, dict[int, int]]:
    """Sizes that pruned axes of data tensors must have."""
    found: dict[ir.Value, dict[int, int]] = {}
    for node in model.graph:
        for value in node.outputs:
            axes = kept.axes.get(value.name or "")
            if axes:
                found[value] = {axis: len(index) for axis, index in axes.items()}
    return found


def _check(model: ir.Model, expected: dict[ir.Value, dict[int, int]]) -> None:
    for value, axes in expected.items():
        dims = static_shape(value) if value.shape is None else value.shape.dims
        for axis, size in axes.items():
            found = None if dims is None else dims[axis]
            if isinstance(found, int) and found != size:
                node = value.producer()
                raise PassError(
                    f"after pruning, axis {axis} of {value.name!r} "
                    f"({'' if node is None else node.op_type}) has size {found}, expected {size}"
                )
