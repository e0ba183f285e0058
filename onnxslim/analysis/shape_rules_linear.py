"""Shapes of matrix products and of contractions over named axes."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxslim.analysis.dims import Dim, Dims, known_different
from onnxslim.analysis.shape_context import NodeContext, Rule, text


def matmul_dims(ctx: NodeContext, a: Dims | None, b: Dims | None) -> Dims | None:
    """Dimensions of ``a @ b`` as numpy has them; None when unknown or (a problem) impossible."""
    if a is None or b is None:
        return None
    if not a or not b:
        ctx.problem("an operand is a scalar")
        return None
    left, right = (a if len(a) > 1 else (1, *a)), (b if len(b) > 1 else (*b, 1))
    if known_different(left[-1], right[-2]):
        ctx.problem(f"cannot multiply {text(a)} by {text(b)}")
        return None
    batch = ctx.broadcast([left[:-2], right[:-2]])
    if batch is None:
        return None
    rows: Dims = (left[-2],) if len(a) > 1 else ()
    columns: Dims = (right[-1],) if len(b) > 1 else ()
    return (*batch, *rows, *columns)


def matmul(ctx: NodeContext) -> None:
    """MatMul: both operands of one type."""
    ctx.same_types((0, 1))
    ctx.set(0, ctx.dtype(0), matmul_dims(ctx, ctx.dims(0), ctx.dims(1)))


def matmul_integer(ctx: NodeContext) -> None:
    """MatMulInteger: int32."""
    ctx.set(0, ir.DataType.INT32, matmul_dims(ctx, ctx.dims(0), ctx.dims(1)))


def qlinear_matmul(ctx: NodeContext) -> None:
    """QLinearMatMul: the type of the output's zero point."""
    ctx.set(0, ctx.dtype(7), matmul_dims(ctx, ctx.dims(0), ctx.dims(3)))


def gemm(ctx: NodeContext) -> None:
    """Gemm: ``(M,N)``; the third input is broadcast to it."""
    ctx.same_types((0, 1, 2))
    a, b, c = ctx.dims(0), ctx.dims(1), ctx.dims(2)
    if any(d is not None and len(d) != 2 for d in (a, b)):
        ctx.problem(f"operands are {_shape(a)} and {_shape(b)}, not matrices")
        return ctx.set(0, ctx.dtype(0), None)
    left = a if a is None or not ctx.attr("transA", 0) else a[::-1]
    right = b if b is None or not ctx.attr("transB", 0) else b[::-1]
    if left is not None and right is not None and known_different(left[1], right[0]):
        ctx.problem(f"cannot multiply {text(left)} by {text(right)}")
    result = (
        ctx.fresh() if left is None else left[0],
        ctx.fresh() if right is None else right[1],
    )
    if c is not None and ctx.opset >= 7:
        _check_bias(ctx, c, result)
    ctx.set(0, ctx.dtype(0), result)


def _shape(dims: Dims | None) -> str:
    return "unknown" if dims is None else text(dims)


def _check_bias(ctx: NodeContext, c: Dims, result: Dims) -> None:
    fits = len(c) <= 2 and all(
        not (known_different(size, 1) and known_different(size, wanted))
        for size, wanted in zip(reversed(c), reversed(result), strict=False)
    )
    if not fits:
        ctx.problem(f"cannot broadcast {text(c)} to {text(result)}")


def einsum(ctx: NodeContext) -> None:
    """Einsum: letters and one ellipsis per operand."""
    equation: str = ctx.attr("equation", "").replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    shapes = [ctx.dims(i) for i in range(len(ctx.inputs))]
    dtype = ctx.dtype(0)
    if len(terms) != len(shapes) or any(s is None for s in shapes):
        return ctx.set(0, dtype, None)
    sizes: dict[str, Dim] = {}
    extra: list[Dims | None] = []
    for term, dims in zip(terms, shapes, strict=True):
        if dims is not None and not _bind(ctx, term, dims, sizes, extra):
            return ctx.set(0, dtype, None)
    batch = ctx.broadcast(extra) if extra else ()
    if not arrow:
        letters = left.replace(",", "").replace("...", "")
        once = sorted(c for c in set(letters) if letters.count(c) == 1)
        right = ("..." if "..." in left else "") + "".join(once)
    if batch is None or any(c not in sizes for c in right.replace("...", "")):
        return ctx.set(0, dtype, None)
    head, dots, tail = right.partition("...")
    middle: Dims = batch if dots else ()
    ctx.set(0, dtype, (*(sizes[c] for c in head), *middle, *(sizes[c] for c in tail)))


def _bind(
    ctx: NodeContext, term: str, dims: Dims, sizes: dict[str, Dim], extra: list[Dims | None]
) -> bool:
    head, dots, tail = term.partition("...")
    named = len(head) + len(tail)
    if named > len(dims) or (not dots and named != len(dims)):
        ctx.problem(f"term '{term}' does not fit {text(dims)}")
        return False
    if dots:
        extra.append(dims[len(head) : len(dims) - len(tail)])
    ends = (*dims[: len(head)], *dims[len(dims) - len(tail) :])
    for letter, size in zip(head + tail, ends, strict=True):
        seen = sizes.get(letter, 1)
        # a dimension of 1 is broadcast against the letter's other dimensions
        joined = size if isinstance(seen, int) and seen == 1 else ctx.broadcast([(seen,), (size,)])
        if joined is None:
            return False
        sizes[letter] = joined[0] if isinstance(joined, tuple) else joined
    return True


def det(ctx: NodeContext) -> None:
    """Det: the last two axes go."""
    dims = ctx.dims(0)
    ctx.set(0, ctx.dtype(0), None if dims is None or len(dims) < 2 else dims[:-2])


RULES: Mapping[str, Rule] = {
    "Det": det,
    "Einsum": einsum,
    "Gemm": gemm,
    "MatMul": matmul,
    "MatMulInteger": matmul_integer,
    "QLinearMatMul": qlinear_matmul,
}
