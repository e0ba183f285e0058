"""What a model costs: multiply-accumulates and parameters.

Counted are the operators that multiply matrices (Conv, ConvTranspose, Gemm, MatMul and their
integer and fused variants, LSTM, GRU, RNN); every other operator counts as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import onnx_ir as ir

from onnxslim.analysis.dims import Dim, Dims, add, known_less, mul, product
from onnxslim.analysis.symbols import substitute
from onnxslim.graph.edit import all_graphs, attr, get_input, shape_of, subgraphs

_NO_PARAMETERS = frozenset((ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.STRING))


def _conv(node: ir.Node, weight: int = 1) -> Dim | None:
    """Every output element takes one product per weight of its filter."""
    out, w = shape_of(node.outputs[0]), shape_of(get_input(node, weight))
    return None if out is None or w is None else mul(product(out), product(w[1:]))


def _conv_transpose(node: ir.Node) -> Dim | None:
    """Every input element takes one product per weight of its filter."""
    x, w = shape_of(get_input(node, 0)), shape_of(get_input(node, 1))
    return None if x is None or w is None else mul(product(x), product(w[1:]))


def _gemm(node: ir.Node) -> Dim | None:
    out, a = shape_of(node.outputs[0]), shape_of(get_input(node, 0))
    if out is None or a is None or len(a) != 2:
        return None
    return mul(product(out), a[0] if attr(node, "transA", 0) else a[1])


def _matmul(node: ir.Node) -> Dim | None:
    out, a = shape_of(node.outputs[0]), shape_of(get_input(node, 0))
    if out is None or not a:
        return None
    inner = a[-2] if len(a) > 1 and attr(node, "transA", 0) else a[-1]
    return mul(product(out), inner)


def _recurrent(node: ir.Node) -> Dim | None:
    """Per step, batch entry and direction: gates * hidden * (input + hidden)."""
    x, w, r = (shape_of(get_input(node, i)) for i in range(3))
    if x is None or w is None or r is None or not len(x) == len(w) == len(r) == 3:
        return None
    per_step = add(product(w), product(r))
    return mul(mul(x[0], x[1]), per_step)


Counter = Callable[[ir.Node], Dim | None]

_COUNTERS: Mapping[tuple[str, str], Counter] = {
    ("", "Conv"): _conv,
    ("", "ConvInteger"): _conv,
    ("", "ConvTranspose"): _conv_transpose,
    ("", "DeformConv"): _conv,
    ("", "GRU"): _recurrent,
    ("", "Gemm"): _gemm,
    ("", "LSTM"): _recurrent,
    ("", "MatMul"): _matmul,
    ("", "MatMulInteger"): _matmul,
    ("", "QLinearConv"): lambda node: _conv(node, 3),
    ("", "QLinearMatMul"): _matmul,
    ("", "RNN"): _recurrent,
    ("com.microsoft", "DynamicQuantizeMatMul"): _matmul,
    ("com.microsoft", "FusedConv"): _conv,
    ("com.microsoft", "FusedGemm"): _gemm,
    ("com.microsoft", "FusedMatMul"): _matmul,
    ("com.microsoft", "MatMulIntegerToFloat"): _matmul,
    ("com.microsoft", "MatMulNBits"): _matmul,
    ("com.microsoft", "QLinearConv"): lambda node: _conv(node, 3),
}


def node_macs(node: ir.Node) -> Dim | None:
    """Multiply-accumulates of one node (shapes inferred before); None when shapes are unknown.

    A node with subgraphs counts them once, an ``If`` its larger branch.
    """
    counter = _COUNTERS.get((node.domain, node.op_type))
    if counter is not None:
        return counter(node)
    bodies = [_total(graph) for graph in subgraphs(node)]
    if not bodies:
        return 0
    if node.op_type == "If":
        return _larger(bodies)
    return _sum(bodies)


def _total(graph: Iterable[ir.Node]) -> Dim | None:
    return _sum(node_macs(node) for node in graph)


def _sum(parts: Iterable[Dim | None]) -> Dim | None:
    total: Dim = 0
    for part in parts:
        if part is None:
            return None
        total = add(total, part)
    return total


def _larger(parts: list[Dim | None]) -> Dim | None:
    best: Dim = 0
    for part in parts:
        if part is None:
            return None
        smaller = known_less(best, part, or_equal=True)
        if smaller is None:
            return None
        best = part if smaller else best
    return best


def model_macs(model: ir.Model, bindings: Mapping[str, int] | None = None) -> int | None:
    """Multiply-accumulates of one run; None when shapes stay unknown or symbols unbound.

    Args:
        model: With inferred shapes; functions inlined (a call counts as unknown).
        bindings: Sizes of symbols, for example :func:`batch_of_one`.
    """
    calls = {(function.domain, function.name) for function in model.functions.values()}
    if calls and any((n.domain, n.op_type) in calls for g in all_graphs(model) for n in g):
        return None
    sizes: dict[str, Dim] = dict(bindings or {})
    total: Dim = 0
    for node in model.graph:
        part = node_macs(node)
        if part is None:
            return None
        total = add(total, substitute(part, sizes))
    return total if isinstance(total, int) else None


def batch_of_one(model: ir.Model) -> dict[str, int]:
    """Size 1 for every symbol that is the first dimension of a graph input."""
    first: list[Dims] = [v.shape.dims[:1] for v in model.graph.inputs if v.shape is not None]
    return {d.value: 1 for dims in first for d in dims if isinstance(d, ir.SymbolicDim) and d.value}


def parameter_count(model: ir.Model) -> int:
    """Elements of all weights: initializers and ``Constant`` tensors of rank 1 or more.

    Tensors of int64, bool and string are left out: they hold shapes, indices and words. A tensor
    that several nodes read counts once.
    """
    graphs: list[Iterable[ir.Node]] = [*all_graphs(model), *model.functions.values()]
    total = 0
    for graph in graphs:
        if isinstance(graph, ir.Graph):
            total += sum(_elements(value.const_value) for value in graph.initializers.values())
        for node in graph:
            if node.op_type == "Constant" and not node.domain:
                value = attr(node, "value")
                total += len(attr(node, "value_floats", ())) if value is None else _elements(value)
    return total


def _elements(tensor: ir.TensorProtocol | None) -> int:
    if tensor is None or len(tensor.shape) == 0 or tensor.dtype in _NO_PARAMETERS:
        return 0
    return int(tensor.size)
