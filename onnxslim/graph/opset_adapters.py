"""How nodes are written in a newer opset, where their operators changed.

Source: the operator changelogs of ONNX (docs/Changelog.md of onnx), opsets 7 to 24; what a Resize
of opset 10 and an Upsample compute: ONNX Runtime, measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, count

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit

Adapter = Callable[[ir.Node, int], bool]
"""Rewrites a node in place for a target opset; False when this node cannot be converted."""


def _free(node: ir.Node, name: str) -> str:
    """A name that no value of the graph has, after the node's first output."""
    graph = node.graph
    assert graph is not None
    made = (v.name for other in graph for v in other.outputs)
    taken = {*graph.initializers, *(v.name for v in graph.inputs), *made}
    stem = f"{node.outputs[0].name}_{name}"
    names = chain([stem], (f"{stem}{number}" for number in count(1)))
    return next(n for n in names if n not in taken)


def _constant(node: ir.Node, name: str, array: np.ndarray) -> ir.Value:
    """A new initializer beside a node, named after its first output."""
    graph, stem = node.graph, _free(node, name)
    assert graph is not None
    tensor = ir.tensor(array, name=stem)
    shape = ir.Shape(array.shape)
    value = ir.Value(name=stem, type=ir.TensorType(tensor.dtype), shape=shape, const_value=tensor)
    graph.register_initializer(value)
    return value


def _beside(node: ir.Node, name: str) -> ir.Value:
    """A new value named after a node's first output."""
    return ir.Value(name=_free(node, name))


def _to_input(node: ir.Node, name: str, index: int, dtype: type = np.int64) -> None:
    """Move an attribute to an input."""
    if name not in node.attributes:
        return
    array: np.ndarray = np.asarray(edit.attr(node, name), dtype=dtype)
    node.attributes.pop(name)
    if len(node.inputs) <= index:
        node.resize_inputs(index + 1)
    node.replace_input_with(index, _constant(node, name, array))


def _axes_to_input(node: ir.Node, version: int) -> bool:
    _to_input(node, "axes", 1)
    return True


def _split(node: ir.Node, version: int) -> bool:
    _to_input(node, "split", 1)
    if version >= 18 and edit.get_input(node, 1) is None:
        node.attributes["num_outputs"] = ir.AttrInt64("num_outputs", len(node.outputs))
    return True


def _split_18(node: ir.Node, version: int) -> bool:
    if edit.get_input(node, 1) is None:
        node.attributes["num_outputs"] = ir.AttrInt64("num_outputs", len(node.outputs))
    return True


def _softmax(node: ir.Node, version: int) -> bool:
    """Before 13 the input is flattened at ``axis`` (default 1), and so it is by nodes since."""
    axis, shape = edit.attr(node, "axis", 1), edit.shape_of(node.inputs[0])
    if shape is not None:
        axis %= max(len(shape), 1)
        wide = [i for i in range(axis, len(shape)) if shape[i] != 1]
        if len(wide) <= 1:
            last = wide == [len(shape) - 1]
            node.attributes["axis"] = ir.AttrInt64("axis", -1 if last else (wide or [axis])[0])
            return True
    (x,) = node.inputs
    flat = ir.node("Flatten", [x], {"axis": axis}, outputs=[_beside(node, "flat")])
    shaped = ir.node("Shape", [x], outputs=[_beside(node, "shape")])
    soft = ir.node(node.op_type, flat.outputs, {"axis": -1}, outputs=[_beside(node, "soft")])
    assert node.graph is not None
    node.graph.insert_before(node, [flat, shaped, soft])
    node.attributes.clear()
    node.op_type = "Reshape"
    node.resize_inputs(2)
    node.replace_input_with(0, soft.outputs[0])
    node.replace_input_with(1, shaped.outputs[0])
    return True


def _kind(node: ir.Node) -> type | None:
    """The numpy type of a node's data."""
    data = node.inputs[0]
    return None if data is None or data.dtype is None else data.dtype.numpy().type


def _clip(node: ir.Node, version: int) -> bool:
    kind = _kind(node)
    if kind is None:
        return False
    _to_input(node, "min", 1, kind)
    _to_input(node, "max", 2, kind)
    return True


def _pad(node: ir.Node, version: int) -> bool:
    kind = _kind(node)
    if kind is None:
        return False
    _to_input(node, "pads", 1)
    if edit.attr(node, "mode", "constant") == "constant":
        _to_input(node, "value", 2, kind)
    node.attributes.pop("value", None)
    return True


def _slice(node: ir.Node, version: int) -> bool:
    for index, name in enumerate(("starts", "ends", "axes"), start=1):
        _to_input(node, name, index)
    return True


def _topk(node: ir.Node, version: int) -> bool:
    if "k" in node.attributes:
        k = np.asarray([edit.attr(node, "k")], dtype=np.int64)
        node.attributes.pop("k")
        node.resize_inputs(2)
        node.replace_input_with(1, _constant(node, "k", k))
    return True


def _dropout(node: ir.Node, version: int) -> bool:
    kind = _kind(node)
    if kind is None:
        return False
    _to_input(node, "ratio", 1, kind)
    return True


def _batch_norm(node: ir.Node, version: int) -> bool:
    if edit.attr(node, "spatial", 1) != 1 or len(node.outputs) > 1:
        return False
    node.attributes.pop("spatial", None)
    return True


def _upsample(node: ir.Node, version: int) -> bool:
    """As a Resize whose first element is the input's first, and that takes the one before."""
    if edit.attr(node, "mode", "nearest") not in ("nearest", "linear"):
        return False
    _to_input(node, "scales", 1, np.float32)
    return _to_resize(node, "floor")


def _resize_10(node: ir.Node, version: int) -> bool:
    """Until 10 there is one way of coordinates, and the nearest is another one to shrink."""
    if edit.attr(node, "mode", "nearest") == "linear":
        return _to_resize(node, "floor")
    scales = edit.constant_tensor(edit.get_input(node, 1))
    if scales is None:
        return False
    shrinks, grows = (scales.numpy() < 1).any(), (scales.numpy() > 1).any()
    return not (shrinks and grows) and _to_resize(node, "ceil" if shrinks else "floor")


def _to_resize(node: ir.Node, nearest: str) -> bool:
    """Inputs ``(x, scales)`` to ``(x, roi, scales)``."""
    scales = edit.get_input(node, 1)
    if scales is None:
        return False
    node.op_type = "Resize"
    node.resize_inputs(3)
    node.replace_input_with(1, _constant(node, "roi", np.zeros(0, np.float32)))
    node.replace_input_with(2, scales)
    way = ir.AttrString("coordinate_transformation_mode", "asymmetric")
    node.attributes[way.name] = way
    if edit.attr(node, "mode", "nearest") == "nearest":
        node.attributes["nearest_mode"] = ir.AttrString("nearest_mode", nearest)
    return True


def _resize_11(node: ir.Node, version: int) -> bool:
    way = edit.attr(node, "coordinate_transformation_mode", "half_pixel")
    return bool(way != "tf_half_pixel_for_nn")


def _roi_align(node: ir.Node, version: int) -> bool:
    """Until 15 coordinates are not shifted by half a pixel."""
    name = "coordinate_transformation_mode"
    node.attributes[name] = ir.AttrString(name, "output_half_pixel")
    return True


def _grid_sample(node: ir.Node, version: int) -> bool:
    """The modes have other names since 20."""
    mode = edit.attr(node, "mode", "bilinear")
    found = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    node.attributes["mode"] = ir.AttrString("mode", found)
    return True


def _keep(node: ir.Node, version: int) -> bool:
    return True


_REDUCTIONS = (
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSumSquare",
)

ADAPTERS: Sequence[tuple[int, int, tuple[str, ...], Adapter]] = (
    (7, 9, ("BatchNormalization",), _batch_norm),
    (7, 10, ("Slice",), _slice),
    (7, 10, ("TopK",), _topk),
    (7, 11, ("Clip",), _clip),
    (7, 11, ("Pad",), _pad),
    (7, 12, ("Dropout",), _dropout),
    (7, 13, ("Squeeze", "Unsqueeze", "ReduceSum"), _axes_to_input),
    (7, 13, ("Split",), _split),
    (13, 18, ("Split",), _split_18),
    (7, 13, ("Softmax", "LogSoftmax", "Hardmax"), _softmax),
    (9, 14, ("BatchNormalization",), _keep),
    (7, 18, _REDUCTIONS, _axes_to_input),
    (7, 10, ("Upsample",), _upsample),
    (10, 11, ("Resize",), _resize_10),
    (11, 13, ("Resize",), _resize_11),
    (10, 16, ("RoiAlign",), _roi_align),
    (16, 22, ("RoiAlign",), _keep),
    (16, 20, ("GridSample",), _grid_sample),
    (20, 22, ("GridSample",), _keep),
)
"""``(from opset, changed at opset, operators, adapter)``; the first that applies is taken."""
