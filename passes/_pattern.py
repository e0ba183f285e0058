"""Recognize arithmetic however it is written: products, polynomials, closed groups of nodes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.pipeline.context import PassContext

_T = ir.DataType
_TOLERANCE = {_T.FLOAT: 1e-6, _T.FLOAT16: 2e-3, _T.DOUBLE: 1e-12}
_MOST_NODES = 8
OPENED = "something else reads a value inside"
"""Why a pattern is refused whose inner values are needed elsewhere."""


def is_close(number: float, wanted: float, dtype: ir.DataType | None) -> bool:
    """True when a constant is ``wanted`` up to the rounding of its type."""
    limit = _TOLERANCE.get(dtype, 0.0) if dtype is not None else 0.0
    return abs(number - wanted) <= limit * abs(wanted)


def scalar_beside(node: ir.Node, index: int) -> float | None:
    """The number that input ``index`` adds or multiplies to the other one without enlarging it."""
    other, value = edit.get_input(node, 1 - index), edit.get_input(node, index)
    array = edit.constant_array(value, limit=1)
    if array is None or array.size != 1 or other is None or edit.is_constant(other):
        return None
    if array.ndim and (edit.rank_of(other) or 0) < array.ndim:
        return None
    number = float(array.astype(np.float64).reshape(()))
    return number if np.isfinite(number) else None


@dataclass
class Product:
    """``constant * leaves[0] * leaves[1] ...``, and the nodes that compute it."""

    constant: float = 1.0
    leaves: list[ir.Value] = field(default_factory=list)
    nodes: list[ir.Node] = field(default_factory=list)


def read_product(node: ir.Node) -> Product:
    """The result of a node as a product: through Mul and Div with constants read only here."""
    found = Product()
    _multiply(node.outputs[0], node, found)
    return found


def _multiply(value: ir.Value, top: ir.Node, found: Product) -> None:
    node = value.producer()
    inside = node is not None and node.graph is top.graph and len(found.nodes) < _MOST_NODES
    if node is None or not inside or not (node is top or edit.sole_consumer(value) is not None):
        found.leaves.append(value)
        return
    for index in (1, 0) if edit.is_op(node, "Mul") else (1,) if edit.is_op(node, "Div") else ():
        number, other = scalar_beside(node, index), node.inputs[1 - index]
        if number is None or other is None or number == 0:
            continue
        found.constant *= number if node.op_type == "Mul" else 1.0 / number
        found.nodes.append(node)
        return _multiply(other, top, found)
    a, b = node.inputs if edit.is_op(node, "Mul") else (None, None)
    if a is None or b is None or edit.is_constant(a) or edit.is_constant(b):
        found.leaves.append(value)
        return None
    found.nodes.append(node)
    _multiply(a, top, found)
    _multiply(b, top, found)
    return None


Polynomial = dict[int, float]
"""Power of x to coefficient."""


def read_polynomial(
    value: ir.Value | None, x: ir.Value, graph: ir.Graph | ir.Function | None, nodes: list[ir.Node]
) -> Polynomial | None:
    """``value`` as a polynomial in ``x`` of at most degree 3; its nodes are added to ``nodes``."""
    if value is x:
        return {1: 1.0}
    node = None if value is None else value.producer()
    if node is None or node.graph is not graph or node.domain or len(nodes) > _MOST_NODES:
        return None
    nodes.append(node)
    if node.op_type == "Pow":
        return _power(node, x, nodes)
    if node.op_type not in ("Add", "Sub", "Mul", "Div"):
        return None
    sides: list[Polynomial | None] = []
    for index in (0, 1):
        number = scalar_beside(node, index)
        operand = node.inputs[index]
        constant = {0: number} if number is not None else None
        sides.append(constant or read_polynomial(operand, x, graph, nodes))
    left, right = sides
    return None if left is None or right is None else _combine(node.op_type, left, right)


def _power(node: ir.Node, x: ir.Value, nodes: list[ir.Node]) -> Polynomial | None:
    exponent = scalar_beside(node, 1)
    if exponent not in (2.0, 3.0):
        return None
    base = read_polynomial(node.inputs[0], x, node.graph, nodes)
    result = base
    for _ in range(int(exponent) - 1):
        result = None if base is None or result is None else _combine("Mul", result, base)
    return result


def _combine(op: str, left: Polynomial, right: Polynomial) -> Polynomial | None:
    if op == "Div":
        return (
            {p: c / right[0] for p, c in left.items()} if set(right) == {0} and right[0] else None
        )
    result: Polynomial = {}
    if op == "Mul":
        for p, c in left.items():
            for q, d in right.items():
                result[p + q] = result.get(p + q, 0.0) + c * d
        return result if max(result) <= 3 else None
    sign = 1.0 if op == "Add" else -1.0
    for p in sorted({*left, *right}):
        result[p] = left.get(p, 0.0) + sign * right.get(p, 0.0)
    return result


def is_polynomial(found: Polynomial | None, wanted: Polynomial, dtype: ir.DataType | None) -> bool:
    """True when all coefficients are the wanted ones up to a few roundings."""
    if found is None or set(found) != set(wanted):
        return False
    limit = 3 * _TOLERANCE.get(dtype, 0.0) if dtype is not None else 0.0
    return all(abs(found[p] - c) <= limit * abs(c) for p, c in wanted.items())


def is_closed(nodes: Iterable[ir.Node], last: ir.Node) -> bool:
    """True when nothing but these nodes reads what they compute, the last one's result aside."""
    group = set(nodes)
    inner = [v for node in group if node is not last for v in node.outputs]
    return not any(v.is_graph_output() or any(u.node not in group for u in v.uses()) for v in inner)


def in_order(nodes: Iterable[ir.Node], last: ir.Node) -> list[ir.Node]:
    """The nodes with every node after those it reads; ``last`` comes last."""
    group = set(nodes)
    done: dict[ir.Node, None] = {}

    def visit(node: ir.Node) -> None:
        if node in group and node not in done:
            for above in node.predecessors():
                visit(above)
            done[node] = None

    visit(last)
    return list(done)


def fuse(nodes: Iterable[ir.Node], last: ir.Node, new: list[ir.Node], ctx: PassContext) -> bool:
    """Put the new nodes in place of a closed group; True."""
    ctx.replace(in_order({*nodes, last}, last), new)
    return True
