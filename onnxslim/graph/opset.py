"""Raise a model's opset in memory: nodes whose operator changed are adapted, weights untouched.

An operator that changed between two versions is kept as it is when its new schema has the old one's
attributes (with the same defaults) and inputs, and no change of meaning is known; it is rewritten
when there is an adapter; else the conversion is refused with its name.

Source: the operator changelogs of ONNX (docs/Changelog.md of onnx), opsets 7 to 24.
"""

from __future__ import annotations

import onnx
import onnx.defs
import onnx_ir as ir

from onnxslim.errors import UnsupportedModelError, UsageError
from onnxslim.graph import edit
from onnxslim.graph.opset_adapters import ADAPTERS, Adapter
from onnxslim.graph.schema import Schema, get_schema

_CHANGED_MEANING = frozenset({"DFT", "GroupNormalization", "GridSample", "RoiAlign"})


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
    for low, high, ops, adapter in ADAPTERS:
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
