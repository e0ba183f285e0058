"""Which nodes of a model compute in float16: the facts behind ``convert-float16``.

A node is converted slot by slot, as its schema allows: Resize keeps its float32 ``scales`` when
its data becomes float16. Numbers that only come from integers (sizes, positions) stay float32:
float16 counts exactly to 2048 only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._half_slots import FLOAT, HALF, Slots, is_plain, slots_of

LARGEST, SMALLEST, NORMAL = 65504.0, 2.0**-24, 2.0**-14
"""Of float16: the largest number, the smallest one above zero, the smallest of full precision."""

BLOCKED = ("CumSum", "NonMaxSuppression", "QuantizeLinear", "Range", "RoiAlign", "TopK")
"""Kept by default: sums along an axis, ranks and boxes suffer, ranges count."""

_WEIGHTED = frozenset({"Conv", "ConvTranspose", "GRU", "Gemm", "LSTM", "RNN"})
_SCALING = _WEIGHTED | {"Div", "MatMul", "Mul", "Pow"}
_TABLES = frozenset({"Gather", "GatherElements", "GatherND"})
_MOVES = frozenset(
    "Concat Expand Flatten Gather Identity Neg Abs Pad Reshape Slice Split Squeeze Tile Transpose "
    "Unsqueeze Where".split()
)
_HUGE = _MOVES | {"Add", "Sub", "Mul"}
_TINY = _MOVES | {"Add", "Sub", "Max", "Sqrt", "Pow", "Reciprocal"}


@dataclass
class Plan:
    """What becomes float16.

    Attributes:
        slots: The nodes that are converted.
        kept: Nodes that could be converted and are not, with the reason.
    """

    slots: dict[ir.Node, Slots] = field(default_factory=dict)
    kept: dict[ir.Node, str] = field(default_factory=dict)


@dataclass
class _Facts:
    data: dict[ir.Value, bool] = field(default_factory=dict)
    huge: dict[ir.Value, str] = field(default_factory=dict)
    tiny: dict[ir.Value, str] = field(default_factory=dict)
    seen: set[ir.Value] = field(default_factory=set)
    counts: set[ir.Value] = field(default_factory=set)


def make_plan(
    model: ir.Model,
    said: Callable[[ir.Node], str],
    *,
    block: Collection[str] = BLOCKED,
    peaks: Mapping[str, float] | None = None,
    limit: float = LARGEST / 2,
) -> Plan:
    """Decide for every node, outer graphs before inner ones.

    Args:
        model: Types inferred; not changed.
        said: Gives ``exclude`` for a node that is to stay float32.
        block: Operators that stay float32.
        peaks: Largest magnitude of tensors on sample data, by name.
        limit: A tensor whose peak is above this stays float32.
    """
    plan, facts, opset = Plan(), _Facts(), model.graph.opset_imports.get("", 1)
    for name, peak in (peaks or {}).items():
        if peak > limit:
            facts_name = f"reaches {peak:.3g} on the samples"
            facts.huge.update((v, facts_name) for v in _named(model, name))
    for node in _in_order(model.graph):
        slots = slots_of(node, opset)
        _note_constants(node, facts)
        reason = None if slots is None else _reason(node, slots, facts, block, said)
        _note_outputs(node, facts)
        if slots is not None and reason is None:
            plan.slots[node] = slots
        elif slots is not None and reason:
            plan.kept[node] = reason
    return plan


def _named(model: ir.Model, name: str) -> Iterator[ir.Value]:
    values = [*model.graph.inputs, *(v for node in model.graph for v in node.outputs)]
    return (value for value in values if value.name == name)


def _in_order(graph: ir.Graph) -> Iterator[ir.Node]:
    """Every node after those it reads, also from inside its subgraphs."""
    stack = [iter(graph)]
    waiting: list[ir.Node | None] = [None]
    while stack:
        node = next(stack[-1], None)
        if node is None:
            stack.pop()
            owner = waiting.pop()
            if owner is not None:
                yield owner
            continue
        inner = edit.subgraphs(node)
        if not inner:
            yield node
            continue
        for position, one in enumerate(inner):
            stack.append(iter(one))
            waiting.append(node if position == 0 else None)


def _reason(
    node: ir.Node,
    slots: Slots,
    facts: _Facts,
    block: Collection[str],
    said: Callable[[ir.Node], str],
) -> str | None:
    """Why a node stays float32; empty when nothing need be said, None when it is converted."""
    if edit.is_op(node, "Cast"):
        source = node.inputs[0]
        if source is None or source.dtype != FLOAT:
            return ""
        return "" if slots.outputs == () and node.outputs[0].dtype == HALF else None
    if edit.op_id(node) in block:
        return "the operator is on the block list"
    if said(node) == "exclude":
        return "excluded"
    for value in (*node.inputs, *node.outputs):
        unfit = None if value is None else facts.huge.get(value) or facts.tiny.get(value)
        if value is not None and unfit is not None:
            return f"{value.name} {unfit}"
    if _is_quantized(node):
        return "it is part of a quantized layer"
    if any(_is_data(v, facts) for v in node.inputs) or _starts_data(node):
        return None
    return "it computes with integers only" if _counts(node, facts) else ""


def _is_quantized(node: ir.Node) -> bool:
    """True between a DequantizeLinear and a QuantizeLinear: runtimes fuse these into one node."""
    sources = [value.producer() for value in node.inputs if value is not None]
    readers = [use.node for value in node.outputs for use in value.uses()]
    return any(edit.is_op(n, "DequantizeLinear") for n in sources) or any(
        edit.is_op(n, "QuantizeLinear", "DynamicQuantizeLinear") for n in readers
    )


def _counts(node: ir.Node, facts: _Facts) -> bool:
    """True when something else than a constant is read."""
    return any(
        v is not None and v.producer() is not None and v in facts.counts for v in node.inputs
    )


def _is_data(value: ir.Value | None, facts: _Facts) -> bool:
    if value is None or value.dtype not in (FLOAT, HALF) or edit.is_constant(value):
        return False
    if value.producer() is None:
        return True  # an input of the graph, or of a body
    return facts.data.get(value, True)


def _starts_data(node: ir.Node) -> bool:
    """Embeddings and layers with weights: what they give is no count, whatever they read."""
    if node.op_type in _WEIGHTED or node.domain:
        return True
    first = edit.constant_tensor(edit.get_input(node, 0))
    if node.op_type in _TABLES:
        return first is not None and first.dtype == FLOAT
    second = edit.constant_tensor(edit.get_input(node, 1))
    shape = () if second is None else second.shape.numpy()
    return node.op_type == "MatMul" and len(shape) == 2 and min(shape) >= 8


def _note_constants(node: ir.Node, facts: _Facts) -> None:
    """Constants that float16 cannot hold, where it matters to this node."""
    for index, value in enumerate(node.inputs):
        tensor = edit.constant_tensor(value)
        if value is None or tensor is None or tensor.dtype != FLOAT or not tensor.size:
            continue
        if value in facts.seen:
            continue
        facts.seen.add(value)
        magnitude = np.abs(tensor.numpy())
        peak = float(np.max(magnitude, where=np.isfinite(magnitude), initial=0.0))
        scales = node.op_type in _SCALING and not (index >= 2 and node.op_type in _WEIGHTED)
        if peak > LARGEST:
            facts.huge[value] = f"holds {peak:.3g}, above the largest float16"
        elif 0.0 < peak < (NORMAL if scales and tensor.size > 1 else SMALLEST):
            if scales or tensor.size == 1:
                facts.tiny[value] = f"holds at most {peak:.3g}, too small for float16"


def _note_outputs(node: ir.Node, facts: _Facts) -> None:
    """Carry what is known of the inputs over to the outputs."""
    domain_known = not node.domain and not edit.subgraphs(node)
    data = not domain_known or _starts_data(node) or any(_is_data(v, facts) for v in node.inputs)
    integral = edit.is_op(node, "Cast", "ConstantOfShape", "Range", *edit.RANDOM_OPS)
    no_floats = not any(v is not None and v.dtype in (FLOAT, HALF) for v in node.inputs)
    plain = all(map(is_plain, node.inputs))
    counts = any(v is not None and not edit.is_constant(v) for v in node.inputs)
    if counts or edit.is_op(node, "Range", *edit.RANDOM_OPS):
        facts.counts.update(node.outputs)
    for value in node.outputs:
        facts.data[value] = data or (no_floats and not integral) or not plain
        for found, carriers, said in (
            (facts.huge, _HUGE, "may be above the largest float16"),
            (facts.tiny, _TINY, "may be too small for float16"),
        ):
            if node.op_type in carriers and any(v in found for v in node.inputs if v is not None):
                found.setdefault(value, said)
