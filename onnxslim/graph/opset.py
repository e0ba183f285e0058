"""Raise a model's opset in memory: nodes whose operator changed are adapted, weights untouched.

An operator that changed between two versions is kept as it is when its new schema has the old one's
attributes (with the same defaults) and inputs, and no change of meaning is known; it is rewritten
when there is an adapter below; else the conversion is refused with its name.

Source: the operator changelogs of ONNX (docs/Changelog.md of onnx), opsets 7 to 24.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnx.defs
import onnx_ir as ir

from onnxslim.errors import UnsupportedModelError, UsageError
from onnxslim.graph import edit
from onnxslim.graph.schema import Schema, get_schema

Adapter = Callable[[ir.Node, int], bool]
"""Rewrites a node in place for a target opset; False when this node cannot be converted."""

_CHANGED_MEANING = frozenset(
    {"Resize", "Upsample", "GroupNormalization", "GridSample", "DFT", "RoiAlign", "Scan", "Loop"}
)


def latest_opset() -> int:
    """The newest opset of the installed onnx package."""
    return int(onnx.defs.onnx_opset_version())


def raise_opset(model: ir.Model, version: int) -> None:
    """Convert a model in place to a newer version of the standard operator set.

    Raises:
        UsageError: When ``version`` is unknown or older than the model's.
        UnsupportedModelError: Naming a node that cannot be converted.
    """
    now = model.graph.opset_imports.get("", 1)
    if version > latest_opset():
        raise UsageError(f"--opset {version}: the newest known is {latest_opset()}")
    if version < now:
        raise UsageError(f"--opset {version}: the model has opset {now}, and it is only raised")
    graphs = list(edit.all_graphs(model))
    jobs = [(node, _adapter(node, now, version)) for graph in graphs for node in graph]
    for node, adapter in jobs:
        if adapter is not None and not adapter(node, version):
            raise _refusal(node, now, version)
    for graph in graphs:
        if "" in graph.opset_imports or graph is model.graph:
            graph.opset_imports[""] = version
    import onnx.helper

    needed = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", version)])
    model.ir_version = max(model.ir_version, needed)


def _refusal(node: ir.Node, now: int, version: int) -> UnsupportedModelError:
    label = f"node {node.name!r} ({node.op_type})" if node.name else f"a {node.op_type} node"
    return UnsupportedModelError(
        f"{label} cannot be converted from opset {now} to {version}; ask for a lower one"
    )


def _adapter(node: ir.Node, now: int, version: int) -> Adapter | None:
    """How to convert a node; None when it may stay as it is."""
    if node.domain:
        return None
    old = get_schema("", node.op_type, now)
    new = get_schema("", node.op_type, version)
    if old is None:
        return None
    if new is not None and old.since == new.since:
        return None
    for low, high, ops, adapter in _ADAPTERS:
        if node.op_type in ops and now < high <= version and now >= low:
            return adapter
    if new is None or node.op_type in _CHANGED_MEANING or not _extends(old, new):
        return lambda _node, _version: False
    return None


def _extends(old: Schema, new: Schema) -> bool:
    """True when the new schema takes every node of the old one, with the same defaults."""
    defaults = dict(new.defaults)
    same_attributes = old.attributes <= new.attributes and all(
        defaults.get(name) == value for name, value in old.defaults
    )
    return (
        same_attributes
        and new.required <= old.required
        and new.min_inputs <= old.min_inputs
        and new.max_inputs >= old.max_inputs
        and new.max_outputs >= old.max_outputs
    )


def _constant(node: ir.Node, name: str, array: np.ndarray) -> ir.Value:
    """A new initializer beside a node, named after its first output."""
    graph = node.graph
    assert graph is not None
    stem, count = f"{node.outputs[0].name}_{name}", 0
    while stem in graph.initializers:
        count += 1
        stem = f"{node.outputs[0].name}_{name}{count}"
    tensor = ir.tensor(array, name=stem)
    shape = ir.Shape(array.shape)
    value = ir.Value(name=stem, type=ir.TensorType(tensor.dtype), shape=shape, const_value=tensor)
    graph.register_initializer(value)
    return value


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
    """Before 13 the input is flattened at ``axis`` (default 1): the same only for the last axis."""
    rank = edit.rank_of(node.inputs[0])
    axis = edit.attr(node, "axis", 1)
    if rank is None or axis % max(rank, 1) != rank - 1:
        return False
    node.attributes["axis"] = ir.AttrInt64("axis", -1)
    return True


def _clip(node: ir.Node, version: int) -> bool:
    dtype = node.inputs[0].dtype if node.inputs[0] is not None else None
    if dtype is None:
        return False
    _to_input(node, "min", 1, dtype.numpy().type)
    _to_input(node, "max", 2, dtype.numpy().type)
    return True


def _pad(node: ir.Node, version: int) -> bool:
    dtype = node.inputs[0].dtype if node.inputs[0] is not None else None
    if dtype is None:
        return False
    _to_input(node, "pads", 1)
    if edit.attr(node, "mode", "constant") == "constant":
        _to_input(node, "value", 2, dtype.numpy().type)
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
    dtype = node.inputs[0].dtype if node.inputs[0] is not None else None
    if dtype is None:
        return False
    _to_input(node, "ratio", 1, dtype.numpy().type)
    return True


def _batch_norm(node: ir.Node, version: int) -> bool:
    if edit.attr(node, "spatial", 1) != 1 or len(node.outputs) > 1:
        return False
    node.attributes.pop("spatial", None)
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

_ADAPTERS: Sequence[tuple[int, int, tuple[str, ...], Adapter]] = (
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
    (11, 18, ("Resize",), _keep),
    (18, 25, ("Resize",), _keep),
    (9, 25, ("Loop", "Scan"), _keep),
    (16, 25, ("RoiAlign",), _keep),
)
"""``(from opset, changed at opset, operators, adapter)``; the first that applies is taken."""
