"""Data movements that change nothing: for each operator, the input that the node returns.

Each function takes the node and the opset and returns the value that the node certainly returns
unchanged, or None.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from onnxslim.analysis import dims
from onnxslim.graph import edit
from onnxslim.passes._facts import same_dims, same_shape

_LARGE = 2**31 - 1
"""Ends from here on mean "to the end": exporters write INT32_MAX or INT64_MAX."""


def same_shape_view(node: ir.Node, opset: int) -> ir.Value | None:
    """Operators that keep the elements in order do nothing when they keep the shape."""
    x = node.inputs[0]
    return x if same_shape(x, node.outputs[0]) else None


def transpose(node: ir.Node, opset: int) -> ir.Value | None:
    """An identity permutation, or one that only swaps axes of size 1."""
    x = node.inputs[0]
    shape = edit.shape_of(x)
    perm = edit.attr(node, "perm")
    if perm is not None and list(perm) == list(range(len(perm))):
        return x
    if shape is None:
        return None
    perm = list(perm) if perm is not None else list(range(len(shape)))[::-1]
    if sorted(perm) != list(range(len(shape))):
        return None
    moved = [axis for axis in perm if shape[axis] != 1]
    in_order = moved == sorted(moved)
    return x if in_order and same_dims(shape, [shape[axis] for axis in perm]) else None


def tile(node: ir.Node, opset: int) -> ir.Value | None:
    """Every axis repeated once."""
    if opset < 6:
        return None
    repeats = edit.ints(edit.get_input(node, 1))
    if repeats is not None and all(r == 1 for r in repeats):
        return node.inputs[0]
    return same_shape_view(node, opset)


def pad(node: ir.Node, opset: int) -> ir.Value | None:
    """No padding at all (a crop and a padding of the same size do not count)."""
    pads = edit.attr(node, "pads") if opset < 11 else edit.ints(edit.get_input(node, 1))
    return node.inputs[0] if pads is not None and not any(pads) else None


def slice_all(node: ir.Node, opset: int) -> ir.Value | None:
    """Whole axes, in order."""
    x = node.inputs[0]
    if opset < 10:
        starts, ends = edit.attr(node, "starts"), edit.attr(node, "ends")
        steps: list[int] | None = []
    else:
        starts, ends = (edit.ints(edit.get_input(node, i)) for i in (1, 2))
        given = edit.get_input(node, 4)
        steps = [] if given is None else edit.ints(given)
    if steps is None or any(step != 1 for step in steps):
        return None
    if same_shape(x, node.outputs[0]):
        return x
    if starts is None or ends is None:
        return None
    whole = all(s == 0 or s <= -_LARGE for s in starts) and all(e >= _LARGE for e in ends)
    return x if whole else None


def single(node: ir.Node, opset: int) -> ir.Value | None:
    """An operator on any number of tensors that has just one."""
    return node.inputs[0] if len(node.inputs) == 1 else None


def split(node: ir.Node, opset: int) -> ir.Value | None:
    """A Split into one part."""
    return node.inputs[0] if len(node.outputs) == 1 else None


def resize(node: ir.Node, opset: int) -> ir.Value | None:
    """A Resize or Upsample to the same size; ONNX Runtime copies the input then."""
    if edit.attr(node, "coordinate_transformation_mode") == "tf_crop_and_resize":
        return None
    x, shape = node.inputs[0], edit.static_shape(node.inputs[0])
    place = 1 if node.op_type == "Upsample" or opset < 11 else 2
    scales = edit.constant_array(edit.get_input(node, place), limit=64)
    if scales is not None and scales.size:
        return x if bool((scales == 1).all()) and same_shape(x, node.outputs[0]) else None
    return x if shape is not None and same_shape(x, node.outputs[0]) else None


def reduce(node: ir.Node, opset: int) -> ir.Value | None:
    """A reduction over no axis at all (``noop_with_empty_axes``)."""
    if not edit.attr(node, "noop_with_empty_axes", 0) or "axes" in node.attributes:
        return None
    axes = edit.get_input(node, 1)
    return node.inputs[0] if axes is None or edit.ints(axes) == [] else None


def expand(node: ir.Node, opset: int) -> ir.Value | None:
    """An Expand to the same shape, or to ones only."""
    target = edit.ints(edit.get_input(node, 1))
    rank = edit.rank_of(node.inputs[0])
    if target is not None and rank is not None and len(target) <= rank:
        if all(dims.known_equal(size, 1) for size in target):
            return node.inputs[0]
    return same_shape_view(node, opset)


RULES: dict[str, Callable[[ir.Node, int], ir.Value | None]] = {
    "Transpose": transpose,
    "Reshape": same_shape_view,
    "Flatten": same_shape_view,
    "Squeeze": same_shape_view,
    "Unsqueeze": same_shape_view,
    "CenterCropPad": same_shape_view,
    "Expand": expand,
    "Tile": tile,
    "Pad": pad,
    "Slice": slice_all,
    "Split": split,
    "Concat": single,
    "Sum": single,
    "Max": single,
    "Min": single,
    "Mean": single,
    "Resize": resize,
    "Upsample": resize,
    "ReduceSum": reduce,
    "ReduceMean": reduce,
    "ReduceMax": reduce,
    "ReduceMin": reduce,
    "ReduceProd": reduce,
}
