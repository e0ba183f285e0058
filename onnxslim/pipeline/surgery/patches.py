"""What each operator says about the sizes of its axes: attributes, literals, bounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dependency.groups import Indices
from onnxslim.analysis.dependency.literals import shape_entries
from onnxslim.analysis.dependency.rules_movement import slice_ranges
from onnxslim.graph.edit import attr, get_input, ints, shape_of
from onnxslim.pipeline.surgery.tools import Patch, Tools


def conv(node: ir.Node, tools: Tools) -> None:
    """A depthwise convolution has as many groups as channels."""
    dims, size = shape_of(get_input(node, 1)), tools.size(get_input(node, 0), 1)
    group = int(attr(node, "group", 1))
    if group > 1 and dims is not None and dims[1] == 1 and size is not None:
        _depthwise(node, tools, group, size)


def qlinear_conv(node: ir.Node, tools: Tools) -> None:
    """As :func:`conv`; the weight is input 3."""
    dims, size = shape_of(get_input(node, 3)), tools.size(get_input(node, 0), 1)
    group = int(attr(node, "group", 1))
    if group > 1 and dims is not None and dims[1] == 1 and size is not None:
        _depthwise(node, tools, group, size)


def _depthwise(node: ir.Node, tools: Tools, group: int, size: int) -> None:
    channels = shape_of(get_input(node, 0))
    if channels is not None and channels[1] in (group, None) and size != group:
        tools.set_attributes(node, {"group": size})


def reshape(node: ir.Node, tools: Tools) -> None:
    """Literal sizes of axes that shrink; 0 and -1 follow by themselves where they still fit."""
    output, data = node.outputs[0], get_input(node, 0)
    entries = shape_entries(get_input(node, 1))
    sizes = {}
    for axis, index in tools.axes(output).items():
        assert entries is not None
        number = entries[axis].number
        if number == 0 and tools.size(data, axis) == len(index):
            continue
        if number != -1:
            sizes[axis] = len(index)
    tools.write_sizes(node, 1, sizes)


def expand(node: ir.Node, tools: Tools) -> None:
    """Literal sizes, aligned from the right."""
    output = node.outputs[0]
    entries = shape_entries(get_input(node, 1))
    rank = len(shape_of(output) or ())
    sizes = {}
    for axis, index in tools.axes(output).items():
        position = axis - rank + len(entries or ())
        if entries is not None and position >= 0 and entries[position].number not in (1, None):
            sizes[position] = len(index)
    tools.write_sizes(node, 1, sizes)


def constant_of_shape(node: ir.Node, tools: Tools) -> None:
    """Literal sizes."""
    sizes = {axis: len(index) for axis, index in tools.axes(node.outputs[0]).items()}
    tools.write_sizes(node, 0, sizes)


def resize(node: ir.Node, tools: Tools) -> None:
    """Literal sizes of axes that go through."""
    if get_input(node, 3) is not None:
        sizes = {axis: len(index) for axis, index in tools.axes(node.outputs[0]).items()}
        tools.write_sizes(node, 3, sizes)


def split(node: ir.Node, tools: Tools) -> None:
    """Explicit sizes of the parts."""
    rank = len(shape_of(get_input(node, 0)) or ())
    axis = int(attr(node, "axis", 0)) % rank
    if axis not in tools.axes(get_input(node, 0)):
        return
    sizes = [tools.size(output, axis) for output in node.outputs]
    assert all(size is not None for size in sizes)
    if tools.ctx.opset < 13:
        tools.set_attributes(node, {"split": sizes})
    else:
        tools.set_attributes(node, {"num_outputs": None})
        tools.set_ints(node, 1, [size for size in sizes if size is not None])


def slice_(node: ir.Node, tools: Tools) -> None:
    """Bounds in what is left; where that is no range any more, a Gather of the indices."""
    data = get_input(node, 0)
    dims = shape_of(data)
    pruned = tools.axes(data)
    if dims is None or not pruned:
        return
    ranges = slice_ranges(node, len(dims))
    if ranges is None or not any(axis in pruned for axis, *_ in ranges):
        return
    new, gathers = [], []
    for axis, start, end, step in ranges:
        if axis not in pruned:
            new.append((axis, start, end, step))
            continue
        size = dims[axis]
        assert isinstance(size, int)
        chosen = np.arange(size)[max(start, -size) : end : step]
        index = pruned[axis]
        left = np.searchsorted(index, chosen[np.isin(chosen, index)])
        bounds = _as_range(left)
        if bounds is None:
            gathers.append((axis, left))
        else:
            new.append((axis, *bounds))
    _write_ranges(node, tools, new)
    for axis, left in gathers:
        _gather_after(node, tools, axis, left)


def _as_range(positions: Indices) -> tuple[int, int, int] | None:
    """``start, end, step`` of positions in arithmetic progression."""
    if not len(positions):
        return (0, 0, 1)
    steps = np.diff(positions)
    step = int(steps[0]) if len(steps) else 1
    if not (steps == step).all():
        return None
    start, end = int(positions[0]), int(positions[-1]) + (1 if step > 0 else -1)
    return (start, end if end >= 0 else int(np.iinfo(np.int64).min) // 2, step)


def _write_ranges(node: ir.Node, tools: Tools, ranges: Sequence[tuple[int, ...]]) -> None:
    columns = [list(column) for column in zip(*ranges, strict=True)] or [[], [], [], []]
    axes, starts, ends, steps = columns
    if get_input(node, 1) is None:
        tools.set_attributes(node, {"starts": starts, "ends": ends, "axes": axes})
        return
    for index, numbers in ((1, starts), (2, ends), (3, axes), (4, steps)):
        tools.set_ints(node, index, numbers)


def _gather_after(node: ir.Node, tools: Tools, axis: int, positions: Indices) -> None:
    """Select positions of an axis behind a node; its output keeps its name at the Gather."""
    graph, output = node.graph, node.outputs[0]
    assert graph is not None
    index = tools.ctx.constant(graph, output.name, np.asarray(positions, np.int64))
    gather = ir.node("Gather", [output, index], {"axis": axis})
    gather.name = tools.ctx.names.node(node.name, "Gather")
    gather.meta.update(node.meta)
    new = gather.outputs[0]
    new.type, name = output.type, output.name
    output.replace_all_uses_with(new, replace_graph_outputs=True)
    gather.replace_input_with(0, output)
    output.name = tools.ctx.names.value(name or "value")
    new.name, new.shape = name, output.shape
    graph.insert_after(node, [gather])


def gather(node: ir.Node, tools: Tools) -> None:
    """Constant indices in what is left."""
    data, index = get_input(node, 0), get_input(node, 1)
    dims = shape_of(data)
    if dims is None:
        return
    axis = int(attr(node, "axis", 0)) % len(dims)
    kept = tools.axes(data).get(axis)
    numbers = ints(index)
    if kept is None or numbers is None or index is None:
        return
    size = dims[axis]
    assert isinstance(size, int)
    chosen = np.asarray(numbers) % size
    left = np.searchsorted(kept, chosen[np.isin(chosen, kept)])
    if len(shape_of(index) or ()) == 0:
        left = left.reshape(())
    dtype = np.int64 if index.dtype is None else index.dtype.numpy()
    graph = node.graph
    assert graph is not None
    tools.ctx.set_input(node, 1, tools.ctx.constant(graph, index.name, left.astype(dtype)))


def pad(node: ir.Node, tools: Tools) -> None:
    """How much of the padding is left before and after."""
    output, data = node.outputs[0], get_input(node, 0)
    pruned, dims = tools.axes(output), shape_of(output)
    pads = attr(node, "pads")
    numbers = list(pads) if pads is not None else ints(get_input(node, 1))
    if not pruned or numbers is None or dims is None:
        return
    chosen = ints(get_input(node, 3))
    chosen = list(range(len(dims))) if chosen is None else [a % len(dims) for a in chosen]
    for i, axis in enumerate(chosen):
        index, size = pruned.get(axis), dims[axis]
        if index is None or not isinstance(size, int) or data is None:
            continue
        before, after = numbers[i], numbers[i + len(chosen)]
        numbers[i] = int((index < before).sum())
        numbers[i + len(chosen)] = int((index >= size - after).sum())
    if pads is not None:
        tools.set_attributes(node, {"pads": numbers})
    else:
        tools.set_ints(node, 1, numbers)


def recurrent(node: ir.Node, tools: Tools) -> None:
    """The number of hidden units."""
    index = tools.axes(get_input(node, 2)).get(2)
    if index is not None:
        tools.set_attributes(node, {"hidden_size": len(index)})


def group_norm(node: ir.Node, tools: Tools) -> None:
    """The number of groups; they leave whole."""
    data = get_input(node, 0)
    dims, index = shape_of(data), tools.axes(data).get(1)
    groups = int(attr(node, "num_groups", 1))
    if index is not None and dims is not None and isinstance(dims[1], int) and groups > 1:
        tools.set_attributes(node, {"num_groups": len(index) * groups // dims[1]})


def attention(node: ir.Node, tools: Tools) -> None:
    """The numbers of heads of Attention and com.microsoft MultiHeadAttention."""
    changed = {}
    for name, operand in (("q_num_heads", 0), ("num_heads", 0), ("kv_num_heads", 1)):
        count, value = attr(node, name), get_input(node, operand)
        dims = shape_of(value)
        if count is None or dims is None or len(dims) != 3 or not isinstance(dims[-1], int):
            continue
        size = tools.size(value, -1)
        if size is not None and size != dims[-1]:
            changed[name] = int(count) * size // dims[-1]
    if changed:
        tools.set_attributes(node, changed)


def matmul_nbits(node: ir.Node, tools: Tools) -> None:
    """The sizes of com.microsoft MatMulNBits."""
    sizes = {"K": tools.size(get_input(node, 0), -1), "N": tools.size(get_input(node, 1), 0)}
    changed = {n: size for n, size in sizes.items() if size not in (None, attr(node, n))}
    if changed:
        tools.set_attributes(node, changed)


def packed_attention(node: ir.Node, tools: Tools) -> None:
    """The number of heads of com.microsoft Attention, and the widths of its parts."""
    weight = get_input(node, 1)
    dims, index = shape_of(weight), tools.axes(weight).get(1)
    if dims is None or index is None or not isinstance(dims[1], int):
        return
    changed: dict[str, object] = {
        "num_heads": int(attr(node, "num_heads", 1)) * len(index) // dims[1]
    }
    sizes = attr(node, "qkv_hidden_sizes")
    if sizes:
        changed["qkv_hidden_sizes"] = [s * len(index) // dims[1] for s in sizes]
    tools.set_attributes(node, changed)


PATCHES: dict[tuple[str, str], Patch] = {
    ("", "Attention"): attention,
    ("", "Conv"): conv,
    ("", "ConvInteger"): conv,
    ("", "ConvTranspose"): conv,
    ("", "ConstantOfShape"): constant_of_shape,
    ("", "DeformConv"): conv,
    ("", "Expand"): expand,
    ("", "GRU"): recurrent,
    ("", "Gather"): gather,
    ("", "GroupNormalization"): group_norm,
    ("", "LSTM"): recurrent,
    ("", "Pad"): pad,
    ("", "QLinearConv"): qlinear_conv,
    ("", "RNN"): recurrent,
    ("", "Reshape"): reshape,
    ("", "Resize"): resize,
    ("", "RotaryEmbedding"): attention,
    ("", "Slice"): slice_,
    ("", "Split"): split,
    ("com.microsoft", "Attention"): packed_attention,
    ("com.microsoft", "GroupQueryAttention"): attention,
    ("com.microsoft", "MatMulNBits"): matmul_nbits,
    ("com.microsoft", "MultiHeadAttention"): attention,
    ("com.microsoft", "RotaryEmbedding"): attention,
}
"""By domain and operator; an operator that says nothing about sizes has none."""
