"""What each node of a model costs: parameters, multiply-accumulates, memory of its results.

A node with subgraphs counts everything inside (of an ``If`` the arithmetic of the larger branch),
and the nodes inside are listed after it, one level deeper: the nodes of level 0 add up to the
model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.cost import node_macs
from onnxslim.analysis.dims import Dim, add, mul, product
from onnxslim.analysis.polynomial import OPAQUE
from onnxslim.analysis.symbols import substitute, symbols
from onnxslim.graph.edit import constant_tensor, is_op, op_id, shape_of, subgraphs

_NO_PARAMETERS = frozenset((ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.STRING))
_CHUNK = 1 << 22  # elements read at once when zeros are counted
_VIEWS = frozenset(("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"))


@dataclass(frozen=True)
class Layer:
    """One node.

    Args:
        name: Its name, or that of its first output.
        op: ``Conv``, ``com.microsoft:Gelu``.
        scope: The graph it is in: empty, or ``If_3.then_branch``, joined by ``/``.
        depth: How many subgraphs it is in.
        tensors: Names of the weights that it reads and of its outputs.
        output_shape: Of the first output; text for a symbolic size, ``?`` for an unknown one.
        output_type: ``float32``; None when unknown.
        weights: Shapes of the weights counted here.
        parameters: Elements of the weights that this node is the first to read, directly or through
            nodes that compute from constants alone.
        weight_bytes: Their size.
        zeros: How many of them are 0; None when not counted.
        macs: Multiply-accumulates; a formula when a size is symbolic, None when unknown.
        activation_bytes: Size of all its outputs; likewise.
    """

    name: str
    op: str
    scope: str
    depth: int
    tensors: tuple[str, ...]
    output_shape: tuple[int | str, ...] | None
    output_type: str | None
    weights: tuple[tuple[int, ...], ...]
    parameters: int
    weight_bytes: int
    zeros: int | None
    macs: int | str | None
    activation_bytes: int | str | None


def layers(
    model: ir.Model, bindings: Mapping[str, int] | None = None, *, count_zeros: bool = True
) -> list[Layer]:
    """Every node of the main graph and of subgraphs, ``Constant`` left out, in graph order.

    Args:
        model: With inferred shapes; calls of functions are listed as nodes of unknown cost.
        bindings: Sizes of symbols, put into the costs; shapes keep their symbols.
        count_zeros: Read the weights.
    """
    reader = _Reader(model, dict(bindings or {}), count_zeros)
    return reader.graph(model.graph, "", 0)


def peak_activation_bytes(model: ir.Model, bindings: Mapping[str, int] | None = None) -> int | None:
    """The most bytes alive at once when the main graph runs in order; None when unknown.

    A value is alive from its node to its last reader, a graph output to the end, a graph input from
    the start. Views share the memory of what they view. Subgraphs count by their outputs.
    """
    sizes: dict[str, Dim] = dict(bindings or {})
    order = [node for node in model.graph if not is_op(node, "Constant")]
    root, last = _lifetimes(model, order)
    fed = [v for v in model.graph.inputs if not v.is_initializer()]
    born: list[list[ir.Value]] = [fed, *([v for v in n.outputs if v in last] for n in order)]
    dying: dict[int, int] = {}
    alive = peak = 0
    for index, values in enumerate(born):
        for value in values:
            size = 0 if value in root else _bytes(value, sizes)
            if not isinstance(size, int):
                return None
            alive += size
            end = max(last.get(value, 0), index)
            dying[end] = dying.get(end, 0) + size
        peak = max(peak, alive)
        alive -= dying.get(index, 0)
    return peak


def _lifetimes(
    model: ir.Model, order: Sequence[ir.Node]
) -> tuple[dict[ir.Value, ir.Value], dict[ir.Value, int]]:
    """What each view is a view of, and the number (from 1) of the last node that reads a value."""
    root: dict[ir.Value, ir.Value] = {}
    last: dict[ir.Value, int] = {}
    for index, node in enumerate(order, 1):
        if node.op_type in _VIEWS and not node.domain and node.inputs[0] is not None:
            root[node.outputs[0]] = root.get(node.inputs[0], node.inputs[0])
        for value in _read_by(node):
            last[value] = last[root.get(value, value)] = index
    for value in model.graph.outputs:
        last[value] = last[root.get(value, value)] = len(order) + 1
    return root, last


def _read_by(node: ir.Node) -> Iterator[ir.Value]:
    """Values a node reads, those its subgraphs capture included."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield from (v for v in current.inputs if v is not None)
        for graph in subgraphs(current):
            yield from graph.outputs
            stack.extend(graph)


class _Reader:
    def __init__(self, model: ir.Model, bindings: dict[str, int], count_zeros: bool) -> None:
        self._bindings: dict[str, Dim] = dict(bindings)
        self._count_zeros = count_zeros
        self._carried: dict[ir.Value, list[ir.Value]] = {}
        self._taken: set[ir.Value] = set()

    def graph(self, graph: ir.Graph, scope: str, depth: int) -> list[Layer]:
        found: list[Layer] = []
        for node in graph:
            if not is_op(node, "Constant"):
                found += self.node(node, scope, depth)
        return found

    def node(self, node: ir.Node, scope: str, depth: int) -> list[Layer]:
        mine = self._weights(node)
        inner: list[Layer] = []
        label = layer_name(node)
        for name, body in _bodies(node):
            inner += self.graph(body, f"{scope}/{label}.{name}" if scope else f"{label}.{name}",
                                depth + 1)  # fmt: skip
        own = self._layer(node, scope, depth, mine)
        direct = [x for x in inner if x.depth == depth + 1]
        zeros = [x.zeros for x in direct] + [own.zeros]
        total = replace(
            own,
            parameters=own.parameters + sum(x.parameters for x in direct),
            weight_bytes=own.weight_bytes + sum(x.weight_bytes for x in direct),
            zeros=None if None in zeros else sum(z for z in zeros if z is not None),
        )
        return [total, *inner]

    def _weights(self, node: ir.Node) -> list[ir.Value]:
        """Weights that nobody before has read; handed on by a node that has only constants."""
        found: dict[ir.Value, None] = {}
        only_constants = True
        for value in node.inputs:
            if value is None:
                continue
            if value in self._carried:
                found.update(dict.fromkeys(self._carried.pop(value)))
            elif value in self._taken or _tensor(value) is not None:
                if value not in self._taken:
                    found[value] = None
            else:
                only_constants = False
        self._taken.update(found)
        out = node.outputs[0] if node.outputs else None
        read = out is not None and out.uses() and not out.is_graph_output()
        if out is None or not (found and only_constants and read) or subgraphs(node):
            return list(found)
        self._carried[out] = list(found)
        return []

    def _layer(self, node: ir.Node, scope: str, depth: int, weights: Sequence[ir.Value]) -> Layer:
        tensors = [t for t in map(_tensor, weights) if t is not None and is_parameter(t)]
        outputs = [v for v in node.outputs if v.name]
        sizes: Dim | None = 0
        for value in outputs:
            one = _bytes(value, self._bindings)
            sizes = None if sizes is None or one is None else add(sizes, one)
        first = outputs[0] if outputs else None
        read = [v for v in node.inputs if v is not None and _tensor(v) is not None]
        macs = node_macs(node)
        return Layer(
            name=layer_name(node),
            op=op_id(node),
            scope=scope,
            depth=depth,
            tensors=tuple(v.name for v in (*read, *node.outputs) if v.name),
            output_shape=shape_text(first),
            output_type=None if first is None or first.dtype is None else str(first.dtype).lower(),
            weights=tuple(tuple(t.shape.numpy()) for t in tensors),
            parameters=sum(t.size for t in tensors),
            weight_bytes=sum(t.nbytes for t in tensors),
            zeros=sum(map(_zeros, tensors)) if self._count_zeros else None,
            macs=cost_text(None if macs is None else _bound(macs, self._bindings)),
            activation_bytes=cost_text(sizes),
        )


def is_parameter(tensor: ir.TensorProtocol) -> bool:
    """Whether a constant counts as parameters: numbers of rank 1 or more that are no indices."""
    return len(tensor.shape) > 0 and tensor.dtype not in _NO_PARAMETERS


def layer_name(node: ir.Node) -> str:
    """The name that a user knows a node by: its own, or its first output's."""
    return node.name or next((v.name for v in node.outputs if v.name), "") or op_id(node)


def shape_text(value: ir.Value | None) -> tuple[int | str, ...] | None:
    """Sizes, symbols and formulas; ``?`` for what has no name."""
    dims = shape_of(value)
    return None if dims is None else tuple(d if isinstance(d, int) else _text(d) for d in dims)


def _text(dim: ir.SymbolicDim) -> str:
    """A symbol or formula a person can read; ``?`` when it rests on a size without a name."""
    if dim.value is None or OPAQUE in dim.value:
        return "?"
    return "?" if any(_is_fresh(name) for name in symbols(dim)) else dim.value


def _is_fresh(name: str) -> bool:
    return name.startswith("_d") and name[2:].isdigit()


def cost_text(dim: Dim | None) -> int | str | None:
    """A number, a formula, or None for what is unknown or rests on sizes without a name."""
    if dim is None or isinstance(dim, int):
        return dim
    text = _text(dim)
    return None if text == "?" else text


def _bodies(node: ir.Node) -> Iterator[tuple[str, ir.Graph]]:
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.name, attribute.value
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from ((f"{attribute.name}[{i}]", g) for i, g in enumerate(attribute.value))


def _tensor(value: ir.Value) -> ir.TensorProtocol | None:
    """The content of a constant, or of an initializer that the caller may override."""
    if value.producer() is None and value.is_initializer():
        return value.const_value
    return constant_tensor(value)


def _bound(dim: Dim, bindings: Mapping[str, Dim]) -> Dim | None:
    try:
        return substitute(dim, bindings)
    except ValueError:  # sizes that cannot be
        return None


def _bytes(value: ir.Value, bindings: Mapping[str, Dim]) -> Dim | None:
    dims = shape_of(value)
    if dims is None or value.dtype is None or value.dtype == ir.DataType.STRING:
        return None
    if not isinstance(value.type, ir.TensorType):
        return None
    count = _bound(product(dims), bindings)
    if count is None:
        return None
    bits = value.dtype.bitwidth
    if bits % 8 == 0:
        return mul(count, bits // 8)
    return -(-count * bits // 8) if isinstance(count, int) else None


def _zeros(tensor: ir.TensorProtocol) -> int:
    """How many elements are 0; read piece by piece: a mapped file stays on disk."""
    flat = tensor.numpy().reshape(-1)
    total = 0
    for start in range(0, flat.size, _CHUNK):
        total += int(np.count_nonzero(flat[start : start + _CHUNK]))
    return int(flat.size) - total
