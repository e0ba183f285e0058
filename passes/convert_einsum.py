"""Write an Einsum that is one standard operator as that operator.

    bij,jk->bik    MatMul(A, B)             jk,bij->bik    MatMul(B, A)
    ij,kj->ik      Gemm(A, B, transB=1)     ij->ji         Transpose(A)
    ij,ij->ij      Mul(A, B)                ij->ij         Identity

Leading letters of a product are batch dimensions as MatMul broadcasts them; ``...`` may stand for
them. An Einsum that needs two operators stays.

Source: ONNX operators Einsum-12 and MatMul-13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.analysis import dims
from onnxslim.graph import edit
from onnxslim.passes._gemm import graph_of, make_gemm, not_a_gemm
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

_TYPES = frozenset(
    {
        ir.DataType.FLOAT,
        ir.DataType.DOUBLE,
        ir.DataType.FLOAT16,
        ir.DataType.BFLOAT16,
        ir.DataType.INT32,
        ir.DataType.INT64,
        ir.DataType.UINT32,
        ir.DataType.UINT64,
    }
)
"""Types of MatMul (ONNX Runtime's Einsum has no other integers either)."""


@register
@dataclass(frozen=True)
class ConvertEinsum(Pass):
    """Write an Einsum that is one MatMul, Gemm, Transpose or Mul as that operator.

    Skipped when no single standard operator does the same.
    """

    name: ClassVar[str] = "convert-einsum"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Convert every Einsum that can be."""
        return sum(_convert(node, ctx) for node in ctx.nodes("Einsum"))


def _convert(node: ir.Node, ctx: PassContext) -> bool:
    equation = str(edit.attr(node, "equation", "")).replace(" ", "")
    terms, arrow, result = equation.partition("->")
    names = terms.split(",")
    values = [value for value in node.inputs if value is not None]
    if len(names) != len(values) or len(values) != len(node.inputs):
        return False
    letters = [_letters(name, value) for name, value in zip(names, values, strict=True)]
    known = [term for term in letters if term is not None and len(set(term)) == len(term)]
    if len(known) < len(letters):
        return ctx.skip(node, "the Einsum takes a diagonal, or a rank is not known")
    if not arrow:
        result = _implicit(terms)
    hidden = max((sum(c.isdigit() for c in term) for term in known), default=0)
    new = _as_one(known, result.replace("...", _digits(hidden)), values, node, ctx)
    if new is None:
        return ctx.skip(node, "no single operator does the same")
    ctx.replace(node, new)
    return True


def _implicit(terms: str) -> str:
    """The result that an equation without an arrow means: what occurs once, in order."""
    once = sorted(c for c in set(terms) if c.isalpha() and terms.count(c) == 1)
    return ("..." if "..." in terms else "") + "".join(once)


def _letters(term: str, value: ir.Value) -> str | None:
    """One character per dimension: digits, counted from the right, stand for the ellipsis."""
    rank = edit.rank_of(value)
    if rank is None:
        return None
    if "..." not in term:
        return term if len(term) == rank else None
    hidden = rank - (len(term) - 3)
    return term.replace("...", _digits(hidden)) if 0 <= hidden <= 9 else None


def _digits(count: int) -> str:
    return "".join(str(i) for i in range(count - 1, -1, -1))


def _as_one(
    terms: list[str], wanted: str, values: list[ir.Value], node: ir.Node, ctx: PassContext
) -> ir.Node | None:
    if len(terms) == 1:
        return _move(terms[0], wanted, values[0])
    if len(terms) != 2:
        return None
    if terms[0] == terms[1] == wanted:
        return ir.node("Mul", values)
    if not _has_product(terms, values):
        return None
    for i, j in ((0, 1), (1, 0)):
        if _is_product(terms[i], terms[j], wanted):
            return ir.node("MatMul", [values[i], values[j]])
    gemm = _gemm(terms, wanted, values, node, ctx)
    return gemm or _with_transposed_weight(terms, wanted, values, node, ctx)


def _has_product(terms: list[str], values: list[ir.Value]) -> bool:
    """True for types of MatMul and when letters that are summed have one size for certain.

    An Einsum of ONNX Runtime broadcasts there, a MatMul does not.
    """
    if values[0].dtype not in _TYPES:
        return False
    sizes = [edit.shape_of(value) or () for value in values]
    return all(
        dims.known_equal(sizes[0][terms[0].index(c)], sizes[1][terms[1].index(c)])
        for c in terms[0][-2:]
        if c in terms[1]
    )


def _with_transposed_weight(
    terms: list[str], wanted: str, values: list[ir.Value], node: ir.Node, ctx: PassContext
) -> ir.Node | None:
    """MatMul with the transpose of a constant matrix that nothing else reads."""
    for i in (0, 1):
        if len(terms[i]) != 2 or edit.use_count(values[i]) > 1 or not values[i].is_initializer():
            continue
        flipped = terms[i][::-1]
        for left, right in ((terms[1 - i], flipped), (flipped, terms[1 - i])):
            if not _is_product(left, right, wanted):
                continue
            matrix = edit.constant_array(values[i])
            if matrix is None:
                return None
            weight = ctx.constant(graph_of(node), values[i].name, matrix.T)
            data = values[1 - i]
            return ir.node("MatMul", [data, weight] if right is flipped else [weight, data])
    return None


def _move(term: str, wanted: str, value: ir.Value) -> ir.Node | None:
    if term == wanted:
        return ir.node("Identity", [value])
    if sorted(term) != sorted(wanted):
        return None
    return ir.node("Transpose", [value], {"perm": [term.index(c) for c in wanted]})


def _is_product(left: str, right: str, wanted: str) -> bool:
    """True when ``left,right->wanted`` is MatMul: ``[batch]ij,[batch]jk->[batch]ik``.

    One side's batch may be a suffix of the other's. A vector on the left has no i, one on the
    right no k; then the other side gives all batch dimensions.
    """
    if not left or not right:
        return False
    vector_left, vector_right = len(left) == 1, len(right) == 1
    batch_a, row = (left[:0], "") if vector_left else (left[:-2], left[-2])
    batch_b, column = (right[:0], "") if vector_right else (right[:-2], right[-1])
    summed = left[-1]
    if summed != (right if vector_right else right[-2]) or summed in wanted or row == column != "":
        return False
    longer, shorter = sorted((batch_a, batch_b), key=len, reverse=True)
    return longer.endswith(shorter) and wanted == longer + row + column


def _gemm(
    terms: list[str], wanted: str, values: list[ir.Value], node: ir.Node, ctx: PassContext
) -> ir.Node | None:
    """``ab,cd->ef`` of matrices with one common letter that is summed."""
    if [len(t) for t in (*terms, wanted)] != [2, 2, 2] or not_a_gemm(node, ctx.opset) is not None:
        return None
    for i, j in ((0, 1), (1, 0)):
        a, b = terms[i], terms[j]
        common = set(a) & set(b)
        if len(common) != 1 or wanted != (a + b).replace(common.pop(), ""):
            continue
        flags = {"transA": int(a[0] in b), "transB": int(b[1] in a)}
        return make_gemm(values[i], values[j], None, flags, graph_of(node), ctx)
    return None
