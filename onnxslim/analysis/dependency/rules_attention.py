"""Rules of fused attention operators: whole heads leave, the width of a head stays.

Attention spelled out in MatMul, Softmax and Reshape needs no rule of its own.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dependency.atoms import Labels
from onnxslim.analysis.dependency.builder import Builder
from onnxslim.analysis.dependency.groups import Role
from onnxslim.analysis.shape_context import describe
from onnxslim.graph.edit import attr, get_input, shape_of


def _heads(b: Builder, labels: Labels | None, count: int) -> Labels | None:
    """(count,) one label per head of an axis of whole heads."""
    if labels is None or not count or len(labels) % count:
        return None
    table = labels.reshape(count, -1)
    for column in table.T[1:]:
        b.atoms.unite(table[:, 0], column)
    return table[:, 0].copy()


def attention(b: Builder, node: ir.Node) -> None:
    """Attention (opset 23): query, key and value of 3 or 4 axes."""
    values = [get_input(node, i) for i in range(3)]
    axes = [b.axes(v) for v in values]
    if any(a is None for a in axes) or any(v is not None for v in node.inputs[4:]):
        b.fail(node, "it has a past or operands of unknown rank")
        return
    q, k, v = (a or [] for a in axes)
    queries, keys = int(attr(node, "q_num_heads", 0)), int(attr(node, "kv_num_heads", 0))
    if len(q) == 4:
        heads = [x[1] for x in (q, k, v)]
        for x in (q, k, v):
            b.freeze(x[3], f"{describe(node)} takes products over it")
    else:
        counts = (queries, keys, keys)
        heads = [_heads(b, x[-1], n) for x, n in zip((q, k, v), counts, strict=True)]
    _keys(b, node, values[1:])
    out = _share(b, node, heads)
    _mask(b, node, get_input(node, 3), out)
    _results(b, node, values, q, v, out)


def _keys(b: Builder, node: ir.Node, values: list[ir.Value | None]) -> None:
    """A softmax runs over the positions of keys and values."""
    for value in values:
        b.freeze_axis(value, -2, f"{describe(node)} weighs its positions")


def _share(b: Builder, node: ir.Node, heads: list[Labels | None]) -> Labels | None:
    """Heads of queries with the key and value heads that they use."""
    q, k, v = heads
    if q is None or k is None or v is None or len(q) % len(k):
        for labels in heads:
            b.freeze(labels, f"{describe(node)} has heads that stay")
        return None
    b.unite(k, v, node)
    b.unite(q, np.repeat(k, len(q) // len(k)), node)
    return q


def _mask(b: Builder, node: ir.Node, mask: ir.Value | None, heads: Labels | None) -> None:
    axes = b.axes(mask)
    if axes is not None and len(axes) >= 3 and axes[-3] is not None:
        b.unite(heads, axes[-3], node)
        if b.is_constant(mask):
            b.site(node, Role.SCALE, mask, len(axes) - 3)


def _results(
    b: Builder,
    node: ir.Node,
    values: list[ir.Value | None],
    q: list[Labels | None],
    v: list[Labels | None],
    heads: Labels | None,
) -> None:
    for value, axes in zip(values, (q, None, v), strict=True):
        b.site(node, Role.CONSUME, value, 1 if axes is not None and len(axes) == 4 else -1)
    if len(q) == 4:
        out = [q[0], heads, q[2], None]
    else:
        shape = node.outputs[0].shape
        size = shape[-1] if shape is not None else None
        last = None
        if heads is not None and isinstance(size, int) and size % len(heads) == 0:
            last = np.repeat(heads, size // len(heads))
        if last is None:
            b.freeze(heads, f"{describe(node)} has a result of unknown width")
        out = [q[0], q[1], last]
    b.set_axes(node.outputs[0], out)
    for output in node.outputs[1:]:
        if output.name and (output.uses() or output.is_graph_output()):
            b.freeze(heads, f"{describe(node)} gives out its state")
        b.set_axes(output, None)


def multi_head(b: Builder, node: ir.Node) -> None:
    """com.microsoft MultiHeadAttention and GroupQueryAttention with separate 3-axis operands."""
    values = [get_input(node, i) for i in range(3)]
    axes = [b.axes(v) for v in values]
    queries = int(attr(node, "num_heads", 0))
    keys = int(attr(node, "kv_num_heads", queries))
    past = (3, 4) if node.op_type == "GroupQueryAttention" else (6, 7)
    if any(a is None or len(a) != 3 for a in axes) or any(get_input(node, i) for i in past):
        b.fail(node, "it has packed operands or a past")
        return
    q, k, v = (a or [] for a in axes)
    _keys(b, node, values[1:])
    if node.op_type == "MultiHeadAttention":
        _bias(b, node, get_input(node, 3), [q[-1], k[-1], v[-1]])
    counts = (queries, keys, keys)
    heads = [_heads(b, x[-1], n) for x, n in zip((q, k, v), counts, strict=True)]
    out = _share(b, node, heads)
    if node.op_type == "MultiHeadAttention":
        _mask(b, node, get_input(node, 5), out)
    _results(b, node, values, q, v, out)


def _bias(b: Builder, node: ir.Node, bias: ir.Value | None, parts: list[Labels | None]) -> None:
    """One vector is added to queries, keys and values."""
    own = b.axes(bias)
    if own is None or own[0] is None:
        return
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or sum(map(len, known)) != len(own[0]):
        for labels in (*parts, own[0]):
            b.freeze(labels, f"{describe(node)} adds a bias to it")
        return
    b.unite(np.concatenate(known), own[0], node)
    b.site(node, Role.PRODUCE, bias, 0)


def packed(b: Builder, node: ir.Node) -> None:
    """com.microsoft Attention: one weight (in, queries + keys + values) makes all operands."""
    x, w = get_input(node, 0), get_input(node, 1)
    data, weight, bias = b.axes(x), b.axes(w), b.axes(get_input(node, 2))
    count = int(attr(node, "num_heads", 0))
    extra = any(v is not None for v in node.inputs[4:])
    if data is None or weight is None or extra or not b.is_constant(w) or len(data) != 3:
        b.fail(node, "it has a past or operands of unknown rank")
        return
    _keys(b, node, [x])
    b.unite(data[2], weight[0], node)
    b.site(node, Role.CONSUME, x, 2)
    b.site(node, Role.CONSUME, w, 0)
    b.site(node, Role.PRODUCE, w, 1)
    made = weight[1]
    if bias and bias[0] is not None:
        b.unite(made, bias[0], node)
        b.site(node, Role.PRODUCE, get_input(node, 2), 0)
    out = None if made is None else _packed_heads(b, node, made, count)
    b.set_axes(node.outputs[0], [data[0], data[1], out])
    for output in node.outputs[1:]:
        b.set_axes(output, None)
        if output.uses() or output.is_graph_output():
            b.freeze(made, f"{describe(node)} gives out its state")


def _packed_heads(b: Builder, node: ir.Node, made: Labels, count: int) -> Labels | None:
    sizes = attr(node, "qkv_hidden_sizes") or [len(made) // 3] * 3
    bounds = np.cumsum([0, *sizes])
    parts = [made[start:end] for start, end in zip(bounds, bounds[1:], strict=False)]
    heads = [_heads(b, part, count) for part in parts]
    if bounds[-1] != len(made) or any(h is None for h in heads):
        b.freeze(made, f"{describe(node)} has heads of uneven width")
        return None
    shared = _share(b, node, heads)
    return None if shared is None else np.repeat(shared, len(parts[2]) // count)


def rotary(b: Builder, node: ir.Node) -> None:
    """RotaryEmbedding: pairs inside a head turn together; heads go through."""
    x = get_input(node, 0)
    axes, dims = b.axes(x), shape_of(x)
    for value in node.inputs[1:]:
        b.freeze_value(value, f"{describe(node)} turns by it")
    if axes is None or dims is None or len(axes) not in (3, 4):
        b.fail(node, "its rank is unknown")
        return
    out = list(axes)
    if len(axes) == 4:
        b.freeze(axes[3], f"{describe(node)} turns pairs of it")
        out[3] = None
    elif axes[2] is not None:
        heads = _heads(b, axes[2], _rotary_heads(node, len(axes[2])))
        if heads is None:
            b.freeze(axes[2], f"{describe(node)} has heads of unknown width")
            out[2] = None
    b.set_axes(node.outputs[0], out)


def _rotary_heads(node: ir.Node, width: int) -> int:
    """Heads of a 3-axis operand; without the attribute the cache's width is half a head's."""
    cache = next((shape_of(v) for v in reversed(node.inputs) if v is not None), None)
    half = cache[-1] if cache else None
    if count := int(attr(node, "num_heads", 0)):
        return count
    return width // (2 * half) if isinstance(half, int) and half else 0


RULES = {"Attention": attention, "RotaryEmbedding": rotary}
MICROSOFT = {
    "Attention": packed,
    "GroupQueryAttention": multi_head,
    "MultiHeadAttention": multi_head,
    "RotaryEmbedding": rotary,
}
