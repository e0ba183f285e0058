"""The linear layers of a model as work to be timed, and models that do nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from onnxslim.analysis.latency import Work
from onnxslim.analysis.layers import layer_name
from onnxslim.graph.edit import attr, get_input, is_constant, is_op, static_shape

_CONV = ("auto_pad", "dilations", "pads", "strides", "output_padding", "output_shape")
_RECURRENT = {"LSTM": 4, "GRU": 3, "RNN": 1}
_OPSET = 17


@dataclass(frozen=True)
class LinearLayer:
    """A layer with constant weights.

    Args:
        name: Of the node.
        work: What it computes.
        c_in: Its input width.
        c_out: Its output width (hidden size of a recurrent layer).
        elements: Output elements per output channel.
    """

    name: str
    work: Work
    c_in: int
    c_out: int
    elements: int


def linear_layers(model: ir.Model) -> list[LinearLayer]:
    """Layers of the main graph whose sizes are all known.

    Args:
        model: With shapes inferred from fixed input sizes.
    """
    found = []
    for node in model.graph:
        layer = _layer(node) if not node.domain else None
        if layer is not None:
            found.append(layer)
    return found


def _layer(node: ir.Node) -> LinearLayer | None:
    x, w = get_input(node, 0), get_input(node, 1)
    shape, weight = static_shape(x), static_shape(w)
    out = static_shape(node.outputs[0]) if node.outputs else None
    dtype = None if w is None or w.dtype is None else w.dtype.name.lower()
    kinds = {"float": "float32", "float16": "float16"}
    if shape is None or weight is None or out is None or dtype not in kinds or not _fixed(w):
        return None
    bias = get_input(node, 3 if node.op_type in _RECURRENT else 2) is not None
    if is_op(node, "Conv", "ConvTranspose"):
        return _conv(node, shape, weight, out, bias, kinds[dtype])
    if is_op(node, "MatMul", "Gemm"):
        return _product(node, shape, weight, out, bias, kinds[dtype])
    if is_op(node, *_RECURRENT) and len(shape) == 3:
        return _recurrent(node, shape, weight, bias, kinds[dtype])
    return None


def _fixed(value: ir.Value | None) -> bool:
    """Constant, directly or computed from constants (a transposed, cast or made weight)."""
    stack, seen = [value], 0
    while stack and seen < 64:
        current = stack.pop()
        seen += 1
        if current is None or is_constant(current) or current.is_initializer():
            continue
        producer = current.producer()
        if producer is None:
            return False
        stack.extend(producer.inputs)
    return not stack


def _conv(
    node: ir.Node,
    shape: tuple[int, ...],
    weight: tuple[int, ...],
    out: tuple[int, ...],
    bias: bool,
    dtype: str,
) -> LinearLayer | None:
    if len(shape) < 3 or len(weight) != len(shape):
        return None
    groups = int(attr(node, "group", 1))
    tied = groups > 1 and groups == shape[1]
    values = ((name, attr(node, name)) for name in _CONV)
    attributes = tuple((k, tuple(v) if isinstance(v, Sequence) and not isinstance(v, str) else v)
                       for k, v in values if v is not None)  # fmt: skip
    work = Work(
        node.op_type, (shape[0], *shape[2:]), weight[2:], attributes, tied,
        None if tied else groups, bias, dtype,
    )  # fmt: skip
    elements = math.prod(out) // max(out[1], 1)
    return LinearLayer(layer_name(node), work, shape[1], out[1], elements)


def _product(
    node: ir.Node,
    shape: tuple[int, ...],
    weight: tuple[int, ...],
    out: tuple[int, ...],
    bias: bool,
    dtype: str,
) -> LinearLayer | None:
    if len(weight) != 2 or not shape or not out or attr(node, "transA", 0):
        return None
    rows = shape[:-1]
    work = Work(node.op_type, rows or (1,), bias=bias, dtype=dtype)
    elements = math.prod(out) // max(out[-1], 1)
    return LinearLayer(layer_name(node), work, shape[-1], out[-1], elements)


def _recurrent(
    node: ir.Node, shape: tuple[int, ...], weight: tuple[int, ...], bias: bool, dtype: str
) -> LinearLayer | None:
    gates = _RECURRENT[node.op_type]
    directions, hidden = weight[0], weight[1] // gates
    attributes = (("direction", attr(node, "direction", "forward")),)
    if attr(node, "layout", 0):
        return None
    work = Work(node.op_type, shape[:2], (), attributes, bias=bias, dtype=dtype)
    elements = shape[0] * shape[1] * directions
    return LinearLayer(layer_name(node), work, shape[2], hidden, elements)


# ------------------------------------------------------------------ models to be timed


@dataclass(frozen=True)
class Probe:
    """A model that does the same work at several widths, side by side.

    Args:
        model: Its bytes.
        names: Of the nodes, one per width.
        feeds: Arrays by input name.
    """

    model: bytes
    names: tuple[str, ...]
    feeds: dict[str, np.ndarray]


def weight_elements(work: Work, c_in: int, c_out: int) -> int:
    """How large the weight is at a width."""
    return sum(math.prod(array.shape) for array in _weights(work, c_in, c_out, shapes_only=True))


def probe(work: Work, widths: Sequence[tuple[int, int]]) -> Probe:
    """A model with one node per width; widths that read the same input share it."""
    rng = np.random.default_rng(0)
    nodes, initializers, inputs, outputs, feeds = [], [], {}, [], {}
    names = []
    for index, (c_in, c_out) in enumerate(widths):
        x, name = f"x{c_in}", f"p{index}"
        if x not in inputs:
            shape = _input_shape(work, c_in)
            feeds[x] = rng.standard_normal(shape).astype(work.dtype)
            inputs[x] = helper.make_tensor_value_info(x, _element(work), shape)
        read = [x]
        for k, array in enumerate(_weights(work, c_in, c_out)):
            initializers.append(numpy_helper.from_array(array, f"{name}w{k}"))
            read.append(f"{name}w{k}")
        attributes = {**dict(work.attributes), **_widths(work, c_in, c_out)}
        nodes.append(helper.make_node(work.op, read, [name], name=name, **attributes))
        outputs.append(helper.make_tensor_value_info(name, _element(work), None))
        names.append(name)
    graph = helper.make_graph(nodes, "probe", list(inputs.values()), outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    return Probe(model.SerializeToString(), tuple(names), feeds)


def _element(work: Work) -> int:
    return int(onnx.TensorProto.FLOAT16 if work.dtype == "float16" else onnx.TensorProto.FLOAT)


def _input_shape(work: Work, c_in: int) -> tuple[int, ...]:
    if work.op in ("Conv", "ConvTranspose"):
        return (work.rows[0], c_in, *work.rows[1:])
    return (*work.rows, c_in)


def _widths(work: Work, c_in: int, c_out: int) -> dict[str, Any]:
    if work.op in ("Conv", "ConvTranspose"):
        return {"group": c_in if work.groups is None else work.groups}
    return {"hidden_size": c_out} if work.op in _RECURRENT else {}


def _weights(
    work: Work, c_in: int, c_out: int, *, shapes_only: bool = False
) -> Iterator[np.ndarray]:
    """Weights and bias of a node; small random numbers."""
    rng = np.random.default_rng(1)
    for shape in _shapes(work, c_in, c_out):
        if shapes_only:
            yield np.broadcast_to(np.float32(0), shape)
        else:
            yield (rng.standard_normal(shape, dtype=np.float32) * 0.05).astype(work.dtype)


def _shapes(work: Work, c_in: int, c_out: int) -> list[tuple[int, ...]]:
    if work.op in ("Conv", "ConvTranspose"):
        groups = c_in if work.groups is None else work.groups
        first, second = (c_out, c_in) if work.op == "Conv" else (c_in, c_out)
        weight = (first, second // groups, *work.kernel)
        return [weight, (c_out,)] if work.bias else [weight]
    if work.op in _RECURRENT:
        directions = 2 if dict(work.attributes)["direction"] == "bidirectional" else 1
        gates = _RECURRENT[work.op] * c_out
        shapes: list[tuple[int, ...]] = [(directions, gates, c_in), (directions, gates, c_out)]
        return [*shapes, (directions, 2 * gates)] if work.bias else shapes
    if work.op == "Gemm" and work.bias:
        return [(c_in, c_out), (c_out,)]
    return [(c_in, c_out)]
