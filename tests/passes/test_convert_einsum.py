"""An Einsum that is one standard operator becomes that operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("convert-einsum")()
AB, BA = "y = MatMul(x, w)", "y = MatMul(w, x)"


@pytest.mark.parametrize(
    ("equation", "x", "w", "line"),
    [
        ("ij,jk->ik", "float[N,5]", (5, 4), AB),
        ("jk,ij->ik", "float[5,N]", (3, 5), BA),
        ("bij,jk->bik", "float[B,S,5]", (5, 4), AB),
        (" b i j , j k -> b i k ", "float[B,S,5]", (5, 4), AB),
        ("aXj,jk->aXk", "float[B,S,5]", (5, 4), AB),
        ("bij,bjk->bik", "float[B,S,5]", "float[B,5,K]", AB),
        ("bhij,bhjk->bhik", "float[B,2,S,5]", "float[B,2,5,4]", AB),
        ("bhij,hjk->bhik", "float[B,2,S,5]", (2, 5, 4), AB),
        ("ij,bjk->bik", "float[S,5]", (2, 5, 4), AB),
        ("...ij,jk->...ik", "float[B,C,S,5]", (5, 4), AB),
        ("...ij,...jk->...ik", "float[2,3,S,5]", (2, 3, 5, 4), AB),
        ("...j,jk->...k", "float[B,S,5]", (5, 4), AB),
        ("bi,ij->bj", "float[B,5]", (5, 4), AB),
        ("i,ij->j", "float[5]", (5, 4), AB),
        ("ij,j->i", "float[N,5]", (5,), AB),
        ("bij,j->bi", "float[B,N,5]", (5,), AB),
        ("j,bjk->bk", "float[5]", (2, 5, 4), AB),
        ("i,i->", "float[5]", (5,), AB),
        ("ij,jk", "float[N,5]", (5, 4), AB),
        ("...ij,jk", "float[B,N,5]", (5, 4), AB),
        ("ij,kj->ik", "float[N,5]", (4, 5), "y = Gemm(x, w) transB=1"),
        ("ji,jk->ik", "float[5,N]", (5, 4), "y = Gemm(x, w) transA=1"),
        ("ji,kj->ik", "float[5,N]", (4, 5), "y = Gemm(x, w) transA=1 transB=1"),
        ("jk,ji->ik", "float[5,N]", (5, 3), "y = Gemm(w, x) transA=1"),
        ("bij,kj->bik", "float[B,S,5]", (4, 5), "y = MatMul(x, w_s1)"),
        ("ji,bjk->bik", (5, 3), "float[B,5,K]", "y = MatMul(x_s1, w)"),
        ("bij,bjk->bik", "float[B,S,5]", "float[1,5,4]", AB),
        ("ij,ij->ij", "float[N,5]", "float[N,5]", "y = Mul(x, w)"),
    ],
)
def test_converts_two_operands(equation: str, x: Any, w: Any, line: str) -> None:
    text = f'y = Einsum<equation = "{equation}">(x, w)'
    outputs = {"y": "float[2,3,S,4]"} if equation.count(".") == 9 else None
    assert_pass(PASS, net(text, x=x, w=w, outputs=outputs), [line])


@pytest.mark.parametrize(
    ("equation", "line"),
    [
        ("ijkl->ijkl", "y = Identity(x)"),
        ("...->...", "y = Identity(x)"),
        ("ijkl->iklj", "y = Transpose(x) perm=(0, 2, 3, 1)"),
        ("a...b->b...a", "y = Transpose(x) perm=(3, 1, 2, 0)"),
        ("dcba", "y = Transpose(x) perm=(3, 2, 1, 0)"),
        ("iikl->ikl", None),
        ("ijkl->ij", None),
    ],
)
def test_converts_one_operand(equation: str, line: str | None) -> None:
    model = net(f'y = Einsum<equation = "{equation}">(x)', x="float[2,2,3,4]")
    assert_pass(PASS, model, None if line is None else [line])


@pytest.mark.parametrize("dtype", ["float16", "double"])
def test_converts_other_types(dtype: str) -> None:
    text = 'y = Einsum<equation = "bij,jk->bik">(x, w)'
    assert_pass(PASS, net(text, x="float[B,S,5]", w=(5, 4), dtype=dtype), [AB])


def test_converts_integers_to_matmul_only() -> None:
    weight = np.arange(20, dtype=np.int32).reshape(5, 4)
    model = net('y = Einsum<equation = "ij,jk->ik">(x, w)', x="int32[N,5]", w=weight)
    assert_pass(PASS, model, [AB])
    model = net('y = Einsum<equation = "ij,kj->ik">(x, w)', x="int32[N,5]", w="int32[4,5]")
    assert_pass(PASS, model, None)


@pytest.mark.parametrize(
    ("equation", "x", "w"),
    [
        ("bid,bjd->bij", "float[B,S,5]", "float[B,T,5]"),
        ("bij,jkl->bikl", "float[B,S,5]", (5, 2, 3)),
        ("bij,bjk->bki", "float[2,3,5]", (2, 5, 4)),
        ("ij,jk->ijk", "float[2,5]", (5, 4)),
        ("ij,jk->i", "float[2,5]", (5, 4)),
        ("i,j->ij", "float[2]", (5,)),
        ("bij,jk->bik", "float[2,3,K]", "float[J,4]"),
        ("ij,jk->ik", "float[2,K]", "float[J,4]"),
        ("jk,bij->bik", "float[J,4]", "float[2,3,K]"),
    ],
)
def test_skips_what_no_single_operator_does(equation: str, x: Any, w: Any) -> None:
    model = net(f'y = Einsum<equation = "{equation}">(x, w)', x=x, w=w)
    ctx = assert_pass(PASS, model, None, run=False)
    assert "no single operator" in ctx.skipped[0][1]


def test_skips_a_shared_weight_that_would_be_copied() -> None:
    text = 'y = Einsum<equation = "bij,kj->bik">(x, w)  z = Relu(w)'
    ctx = assert_pass(PASS, net(text, x="float[B,S,5]", w=(4, 5)), None)
    assert "no single operator" in ctx.skipped[0][1]


def test_skips_three_operands() -> None:
    text = 'y = Einsum<equation = "ij,jk,kl->il">(x, w, v)'
    ctx = assert_pass(PASS, net(text, x="float[N,5]", w=(5, 4), v=(4, 3)), None)
    assert "no single operator" in ctx.skipped[0][1]
