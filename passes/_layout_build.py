"""Build the node that works on transposed tensors: axes, pads and constants change with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._layout import (
    BROADCASTING,
    REDUCING,
    Perms,
    pads_of,
    reduced_axes,
    slice_axes,
)
from onnxslim.passes._transposes import Perm, inverse
from onnxslim.passes._views import axes_of
from onnxslim.pipeline.context import PassContext

Attributes = dict[str, Any]


def build(
    node: ir.Node, perms: Perms, moved: Callable[[ir.Value], ir.Value], ctx: PassContext
) -> ir.Node:
    """The node that works in the other layout.

    Args:
        node: The node as it is.
        perms: Permutations of its tensors.
        moved: Gives a tensor in the other layout.
        ctx: For constants.
    """
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    inputs = list(node.inputs)
    attributes: Attributes = dict(node.attributes)
    perm = next(iter(perms.values()))
    for index, value in enumerate(inputs):
        if value is not None and value in perms:
            inputs[index] = moved(value)
        elif node.op_type in BROADCASTING or node.op_type == "Concat":
            inputs[index] = _constant(value, perm, graph, ctx)
    change = _CHANGES.get(node.op_type)
    if change is not None:
        change(node, perms, inputs, attributes, ctx)
    return edit.new_node(node.op_type, inputs, attributes, num_outputs=len(node.outputs))


def _constant(
    value: ir.Value | None, perm: Perm, graph: ir.Graph, ctx: PassContext
) -> ir.Value | None:
    """A constant in the other layout; single numbers stay."""
    tensor = edit.constant_tensor(value)
    if value is None or tensor is None or tensor.size == 1:
        return value
    array = tensor.numpy()
    full = array.reshape((1,) * (len(perm) - array.ndim) + array.shape)
    turned = full.transpose(inverse(perm))
    shape = turned.shape
    while array.ndim < len(perm) and len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    turned = np.ascontiguousarray(turned.reshape(shape))
    return ctx.constant(graph, value.name, ir.Tensor(turned, dtype=tensor.dtype))


def _ints(numbers: Sequence[int], node: ir.Node, name: str, ctx: PassContext) -> ir.Value:
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    return ctx.constant(graph, name, np.array(numbers, np.int64))


def _set(attributes: Attributes, name: str, value: int | Sequence[int]) -> None:
    attributes[name] = ir.convenience.convert_attribute(name, value)


Inputs = list["ir.Value | None"]


def _change_axis(
    node: ir.Node, perms: Perms, inputs: Inputs, attributes: Attributes, ctx: PassContext
) -> None:
    defaults = {"Split": 0, "Softmax": -1, "LogSoftmax": -1, "Concat": 0}
    perm = next(iter(perms.values()))
    axis = edit.attr(node, "axis", defaults.get(node.op_type, 1))
    if "axis" in attributes or node.op_type in defaults or len(perm) > 1:
        _set(attributes, "axis", perm[axis % len(perm)])


def _change_quantize(
    node: ir.Node, perms: Perms, inputs: Inputs, attributes: Attributes, ctx: PassContext
) -> None:
    scale = edit.constant_tensor(node.inputs[1])
    if scale is not None and len(scale.shape) == 1 and ctx.opset >= 13:
        _change_axis(node, perms, inputs, attributes, ctx)


def _change_slice(
    node: ir.Node, perms: Perms, inputs: Inputs, attributes: Attributes, ctx: PassContext
) -> None:
    axes, perm = slice_axes(node, ctx.opset), next(iter(perms.values()))
    assert axes is not None
    new = [perm[axis] for axis in axes]
    if ctx.opset < 10:
        _set(attributes, "axes", new)
    else:
        inputs[3] = _ints(new, node, "axes", ctx)


def _change_pad(
    node: ir.Node, perms: Perms, inputs: Inputs, attributes: Attributes, ctx: PassContext
) -> None:
    pads, back = pads_of(node, ctx.opset), inverse(next(iter(perms.values())))
    assert pads is not None
    new = [pads[axis] for axis in back] + [pads[axis + len(back)] for axis in back]
    if ctx.opset < 11:
        _set(attributes, "pads", new)
    else:
        inputs[1] = _ints(new, node, "pads", ctx)


def _change_axes(
    node: ir.Node, perms: Perms, inputs: Inputs, attributes: Attributes, ctx: PassContext
) -> None:
    """Reductions and Squeeze name axes of the input, Unsqueeze of the output."""
    if node.op_type == "Unsqueeze":
        rank = edit.rank_of(node.inputs[0])
        axes = None if rank is None else axes_of(node, ctx.opset, rank)
        perm = perms[node.outputs[0]]
    else:
        axes = reduced_axes(node, ctx.opset)
        assert node.inputs[0] is not None
        perm = perms[node.inputs[0]]
    assert axes is not None
    new = sorted(perm[axis] for axis in axes)
    if "axes" in attributes:
        _set(attributes, "axes", new)
    elif len(inputs) > 1:
        inputs[1] = _ints(new, node, "axes", ctx)
    elif ctx.opset < 13:
        _set(attributes, "axes", new)
    else:
        inputs.append(_ints(new, node, "axes", ctx))


_CHANGES = {
    **dict.fromkeys(sorted(REDUCING), _change_axes),
    **dict.fromkeys(("Concat", "Split", "Softmax", "LogSoftmax"), _change_axis),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _change_quantize),
    "Slice": _change_slice,
    "Pad": _change_pad,
    "Squeeze": _change_axes,
    "Unsqueeze": _change_axes,
}
