"""Counts of single operators where something is missing, odd, or only just there."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import pytest

from onnxslim.analysis.cost import node_macs

MS = "com.microsoft"
Shape = tuple[Any, ...] | None


def made(
    kind: str, *shapes: Shape, out: Shape = None, domain: str = "", **attributes: Any
) -> ir.Node:
    """A node whose inputs have these shapes; an omitted one is None."""
    inputs = []
    for number, dims in enumerate(shapes):
        known = None if dims in ((...,), None) else ir.Shape(dims or ())
        kind_of = ir.TensorType(ir.DataType.FLOAT)
        value = ir.Value(name=f"i{number}", shape=known, type=kind_of)
        inputs.append(None if dims is None else value)
    node = ir.node(kind, inputs, attributes, domain=domain)
    node.outputs[0].shape = None if out is None else ir.Shape(out)
    return node


U = (...,)
"""An input of unknown shape."""

Q4 = ((2, 4, 5, 8), (2, 4, 7, 8), (2, 4, 7, 6))
Q3 = ((2, 5, 32), (2, 7, 16), (2, 7, 12))


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        # products
        (made("Conv", (2, 4, 8), (6, 4, 3), out=(2, 6, 6)), 2 * 6 * 6 * 12),
        (made("Conv", U, (6, 4, 3), out=(2, 6, 6)), 2 * 6 * 6 * 12),
        (made("Conv", (2, 4, 8), U, out=(2, 6, 6)), None),
        (made("Conv", (2, 4, 8), (6, 4, 3)), None),
        (made("QLinearConv", (2, 4, 8), (), (), (6, 4, 3), (), out=(2, 6, 6)), 2 * 6 * 6 * 12),
        (made("ConvTranspose", (2, 4, 8), (4, 5, 3)), 2 * 4 * 8 * 5 * 3),
        (made("ConvTranspose", U, (4, 5, 3)), None),
        (made("ConvTranspose", (2, 4, 8), U), None),
        (made("Gemm", (3, 4), (4, 5), out=(3, 5)), 60),
        (made("Gemm", (4, 3), (4, 5), out=(3, 5), transA=1), 60),
        (made("Gemm", (3, 4), (5, 4), out=(3, 5), transB=1), 60),
        (made("Gemm", (3, 4, 1), (4, 5), out=(3, 5)), None),
        (made("Gemm", U, (4, 5), out=(3, 5)), None),
        (made("Gemm", (3, 4), (4, 5)), None),
        (made("MatMul", (2, 3, 4), (4, 5), out=(2, 3, 5)), 120),
        (made("MatMul", (4,), (4, 5), out=(5,)), 20),
        (made("FusedMatMul", (4,), (4, 5), out=(5,), domain=MS, transA=1), 20),
        (made("FusedMatMul", (4, 3), (4, 5), out=(3, 5), domain=MS, transA=1), 60),
        (made("FusedMatMul", (4, 2, 3), (2, 4, 5), out=(2, 3, 5), domain=MS, transBatchA=1), 90),
        (made("MatMul", U, (4, 5), out=(3, 5)), None),
        (made("MatMul", (), (4, 5), out=(3, 5)), None),
        (made("MatMul", (3, 4), (4, 5)), None),
        (made("MatMulNBits", U, domain=MS, K=64, N=10), None),
        (made("MatMulNBits", (3, 64), domain=MS, K=64), 0),
        (made("MatMulBnb4", (3, 64), domain=MS, K=64, N=10), 1920),
        (made("LSTM", (5, 2, 3), (1, 16, 3), (1, 16, 4)), 10 * (48 + 64)),
        (made("LSTM", (5, 2), (1, 16, 3), (1, 16, 4)), None),
        (made("LSTM", (5, 2, 3), U, (1, 16, 4)), None),
        (made("GatedRelativePositionBias", (2, 5, 32), (32,), (1, 4, 5, 5), U, domain=MS), None),
        # experts
        (made("MoE", (6, 8), (6, 4), (4, 8, 32), None, (4, 32, 8), domain=MS), 6 * 512),
        (made("MoE", (6, 8), (6, 4), (4, 8, 32), None, (4, 32, 8), domain=MS, k=3), 18 * 512),
        (made("MoE", (6, 8), (6, 4), (8, 32), None, (4, 32, 8), domain=MS), None),
        (made("MoE", (6, 8), (6, 4), (4, 8, 32), None, (32, 8), domain=MS), None),
        (made("MoE", (6, 8), (6, 4), U, None, (4, 32, 8), domain=MS), None),
        (made("MoE", (6, 8), (6, 4), (4, 8, 32), None, (4, 32, 8), None, U, domain=MS), None),
        (made("MoE", (6, 8), (6, 4), (4, 8, 32), None, (4, 32, 8), None, (8, 32), domain=MS),
         None),
        # Einsum
        (made("Einsum", (3, 4), (4, 5), equation=" ij , jk -> ik "), 60),
        (made("Einsum", (3, 4), equation="ij,jk->ik"), None),
        (made("Einsum", (3, 4), (4, 5), (5, 6), equation="ij,jk->ik"), None),
        (made("Einsum", (3, 1), (4, 5), equation="ij,jk->ik"), 3 * 4 * 5),
        (made("Einsum", (3, 4), (1, 5), equation="ij,jk->ik"), 3 * 4 * 5),
        (made("Einsum", (2, 7, 3, 4), (7, 4, 5), equation="...ij,...jk"), 2 * 7 * 3 * 4 * 5),
        (made("Einsum", (3, 2, 7), (3, 7), equation="i...,i...->..."), 3 * 2 * 7),
        (made("Einsum", (3, 3), (3,), equation="ii,i->i"), 0),
        (made("Einsum", (3, 3), (3,), equation="ii,i->"), 3),
        (made("Einsum", (3, 4), (4, 5), (4,), equation="ij,jk,j->ik"), 3 * 4 * 5),
        (made("Einsum", (3, 4), (4, 5), (6,), equation="ij,jk,l->ikl"), 3 * 4 * 5),
        # attention
        (made("Attention", *Q4), 2 * 4 * 5 * 7 * (8 + 6)),
        (made("Attention", *Q3, q_num_heads=4, kv_num_heads=2), 2 * 4 * 5 * 7 * (8 + 6)),
        (made("Attention", *Q3, q_num_heads=4, kv_num_heads=4), 2 * 5 * 7 * (32 + 12)),
        (made("Attention", *Q3, q_num_heads=4, kv_num_heads=0), None),
        (made("Attention", (2, 5, 32), (2, 7, 16), (2, 7, "W"), q_num_heads=4, kv_num_heads=2),
         None),
        (made("Attention", (2, 5, 32), (2, 7, 32), (2, 7, "W")), "70*W + 2240"),
        (made("Attention", *Q4[:2], (2, 7, 6)), None),
        (made("Attention", (5, 32), (7, 32), (7, 32)), None),
        (made("Attention", (1, 2, 4, 5, 8), (1, 2, 4, 7, 8), (1, 2, 4, 7, 6)), None),
        (made("Attention", (2, 5, 32), (2, 4, 7, 8), (2, 4, 7, 8)), None),
        (made("Attention", *Q4, None, U), None),
        (made("Attention", *Q4, None, (2, 4)), None),
        (made("Attention", *Q4, None, (2, 4, 3)), 2 * 4 * 5 * (7 + 3) * (8 + 6)),
        (made("MultiHeadAttention", (2, 5, 32), U, U, domain=MS, num_heads=4), None),
        (made("MultiHeadAttention", (2, 5), (2, 7, 32), (2, 7, 24), domain=MS), None),
        (made("MultiHeadAttention", (2, 5, 32), (2, 7, 32), U, domain=MS), None),
        (made("MultiHeadAttention", (2, 5, 32), (2, 7, 32), (2, 4, 7, 8), domain=MS), None),
        (made("MultiHeadAttention", (2, 5, 32), (7, 32), (7, 32), domain=MS), None),
        (made("MultiHeadAttention", (2, 5, 32), (2, 7, 32), (2, 7, 24), domain=MS),
         2 * 5 * 7 * (32 + 24)),
        (made("GroupQueryAttention", (2, 5, 64), None, None, domain=MS, num_heads=4,
               kv_num_heads=2), 2 * 5 * 5 * (32 + 32)),
        (made("GroupQueryAttention", (2, 5, 64), (2, 5, 16), (2, 5, 16), domain=MS), None),
        (made("GroupQueryAttention", (5, 64), (2, 5, 16), (2, 5, 16), domain=MS, num_heads=4),
         None),
        (made("GroupQueryAttention", U, (2, 5, 16), (2, 5, 16), domain=MS, num_heads=4), None),
        (made("GroupQueryAttention", (2, 5, "W"), (2, 5, 16), (2, 5, 16), domain=MS,
               num_heads=4), "100*W"),
        (made("Attention", (2, 5, 20), (20, 96), domain=MS), 10 * 20 * 96 + 10 * 5 * 64),
        (made("Attention", (2, 5, 20), (20, "W"), domain=MS), None),
        (made("Attention", (5, 20), (20, 96), domain=MS), None),
        (made("Attention", (2, 5, 20), (96,), domain=MS), None),
        (made("Attention", (2, 5, 20), (20, 96), None, None, U, domain=MS), None),
        (made("Attention", (2, 5, 20), (20, 88), domain=MS, qkv_hidden_sizes=[32, 32, 24]),
         10 * 20 * 88 + 10 * 5 * (32 + 24)),
        (made("LinearAttention", *Q3, q_num_heads=4, kv_num_heads=2), 2 * 5 * 8 * 6 * (4 + 2)),
        (made("LinearAttention", *Q3, q_num_heads=4), None),
        (made("LinearAttention", *Q3, kv_num_heads=4), None),
        (made("LinearAttention", (2, 5, "W"), *Q3[1:], q_num_heads=4, kv_num_heads=2), None),
        (made("LinearAttention", *Q3[:2], (2, 7, "W"), q_num_heads=4, kv_num_heads=2), None),
        (made("LinearAttention", *Q3[:2], (2, 7), q_num_heads=4, kv_num_heads=2), None),
    ],
    ids=lambda part: part.op_type if isinstance(part, ir.Node) else "",
)  # fmt: skip
def test_count(node: ir.Node, expected: int | str | None) -> None:
    assert str(node_macs(node)) == str(expected)
