"""Counts of single operators, written out by hand."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import pytest

from onnxslim.analysis.cost import model_macs, node_macs
from onnxslim.analysis.cost_rules import COUNTERS
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from tests.topologies import TOPOLOGIES

B, L, S, P = 2, 5, 7, 3  # batch, queries, keys, past


def _node(
    kind: str, *shapes: tuple[Any, ...] | None, domain: str = "", out: Any = None, **attributes: Any
) -> ir.Node:  # fmt: skip
    inputs = [
        None if s is None else ir.Value(name=f"i{n}", shape=ir.Shape(s), type=ir.TensorType(F))
        for n, s in enumerate(shapes)
    ]
    made = ir.node(kind, inputs, attributes, domain=domain)
    if out is not None:
        made.outputs[0].shape = ir.Shape(out)
    return made


F = ir.DataType.FLOAT
MS = "com.microsoft"
CONV = B * 6 * 8 * 8 * (4 * 3 * 3)  # output elements times weights of a filter


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        # convolutions and matrix products
        (_node("DeformConv", (B, 4, 8, 8), (6, 4, 3, 3), (B, 18, 8, 8), out=(B, 6, 8, 8)), CONV),
        (_node("NhwcConv", (B, 8, 8, 4), (6, 3, 3, 4), out=(B, 8, 8, 6), domain=MS), CONV),
        (_node("CausalConvWithState", (B, 6, 9), (6, 1, 4), out=(B, 6, 9)), B * 6 * 9 * 4),
        (_node("ConvTransposeWithDynamicPads", (B, 4, 8, 8), (4, 5, 3, 3), domain=MS),
         B * 4 * 64 * 5 * 9),
        (_node("GemmFloat8", (4, 3), (4, 5), domain=MS, transA=1, out=(3, 5)), 3 * 5 * 4),
        (_node("QGemm", (3, 4), (), (), (4, 5), domain=MS, out=(3, 5)), 3 * 5 * 4),
        (_node("FusedMatMul", (B, 4, 3), (B, 4, 5), domain=MS, transA=1, out=(B, 3, 5)),
         B * 3 * 5 * 4),
        (_node("FusedMatMul", (4, B, 3), (B, 4, 5), domain=MS, transA=1, transBatchA=1,
               out=(B, 3, 5)), B * 3 * 5 * 4),
        (_node("MatMulNBits", (B, L, 64), (10, 2, 16), (20,), domain=MS, K=64, N=10),
         B * L * 64 * 10),
        (_node("MatMulNBitsQkv", (B, L, 64), domain=MS, K=64, Nq=64, Nkv=16),
         B * L * 64 * (64 + 16 + 16)),
        (_node("MatMulNBitsMlp", (B, L, 64), domain=MS, K=64, N=100), B * L * 64 * 200),
        (_node("DynamicQuantizeLSTM", (L, B, 3), (1, 3, 20), (1, 5, 20), domain=MS),
         L * B * 20 * (3 + 5)),
        (_node("MoE", (B, L, 8), (B * L, 4), (4, 8, 32), None, (4, 32, 8), domain=MS, k=2),
         B * L * 2 * (8 * 32 + 32 * 8)),
        (_node("MoE", (B, L, 8), (B * L, 4), (4, 8, 32), None, (4, 32, 8), None, (4, 8, 32),
               domain=MS, k=1), B * L * 3 * 8 * 32),
        (_node("GatedRelativePositionBias", (B, L, 32), (32,), (1, 4, L, L), (8, 8), domain=MS,
               num_heads=4), B * L * 32 * 8),
        # Einsum
        (_node("Einsum", (B, 3, 4), (B, 4, 6), equation="bij,bjk->bik"), B * 3 * 4 * 6),
        (_node("Einsum", (B, 3, 4), (B, 4, 6), equation="bij,bjk"), B * 3 * 4 * 6),
        (_node("Einsum", (3, 4), (4,), equation="ij,j->ij"), 0),
        (_node("Einsum", (3,), (4,), equation="i,j->ij"), 0),
        (_node("Einsum", (3, 4), equation="ij->j"), 0),
        (_node("Einsum", (3, 4), (3, 4), equation="ij,ij->"), 12),
        (_node("Einsum", (3, 9), (3, 4), equation="ik,ij->j"), 3 * 4),  # k is summed before
        (_node("Einsum", (B, 1, 3, 4), (7, 4, 6), equation="...ij,...jk->...ik"),
         B * 7 * 3 * 4 * 6),
        (_node("Einsum", (3, 4), (4, 5), (5, 6), equation="ab,bc,cd->ad"),
         3 * 4 * 5 + 3 * 5 * 6),
        # attention: 4 heads of 8; values of 6
        (_node("Attention", (B, 4, L, 8), (B, 4, S, 8), (B, 4, S, 6)), B * 4 * L * S * (8 + 6)),
        (_node("Attention", (B, L, 32), (B, S, 16), (B, S, 12), q_num_heads=4, kv_num_heads=2),
         B * 4 * L * S * (8 + 6)),
        (_node("Attention", (B, 4, L, 8), (B, 4, S, 8), (B, 4, S, 8), None, (B, 4, P, 8)),
         B * 4 * L * (S + P) * (8 + 8)),
        (_node("MultiHeadAttention", (B, L, 32), (B, S, 32), (B, S, 24), domain=MS, num_heads=4),
         B * 4 * L * S * (8 + 6)),
        (_node("MultiHeadAttention", (B, L, 4, 3, 8), domain=MS, num_heads=4),
         B * 4 * L * L * (8 + 8)),
        (_node("MultiHeadAttention", (B, L, 32), (B, S, 4, 2, 8), domain=MS, num_heads=4),
         B * 4 * L * S * (8 + 8)),
        (_node("MultiHeadAttention", (B, L, 32), (B, 4, S, 8), (B, 4, S, 6), domain=MS,
               num_heads=4), B * 4 * L * S * (8 + 6)),
        (_node("MultiHeadAttention", (B, L, 32), (B, L, 32), (B, L, 32), None, None, None,
               (B, 4, P, 8), domain=MS, num_heads=4), B * 4 * L * (L + P) * 16),
        (_node("DecoderMaskedMultiHeadAttention", (B, 1, 32), (B, 1, 32), (B, 1, 32), None, None,
               (B, 4, P, 8), domain=MS, num_heads=4), B * 4 * (1 + P) * 16),
        (_node("GroupQueryAttention", (B, L, 32), (B, L, 16), (B, L, 16), domain=MS, num_heads=4,
               kv_num_heads=2), B * 4 * L * L * 16),
        (_node("GroupQueryAttention", (B, L, 64), None, None, (B, 2, P, 8), domain=MS,
               num_heads=4, kv_num_heads=2), B * 4 * L * (L + P) * 16),
        (_node("Attention", (B, L, 20), (20, 96), domain=MS, num_heads=4),
         B * L * 20 * 96 + B * 4 * L * L * 16),
        (_node("Attention", (B, L, 20), (20, 88), (88,), None, (2, B, 4, P, 8), domain=MS,
               num_heads=4, qkv_hidden_sizes=[32, 32, 24]),
         B * L * 20 * 88 + B * 4 * L * (L + P) * (8 + 6)),
        (_node("QAttention", (B, L, 20), (20, 96), domain=MS, num_heads=4),
         B * L * 20 * 96 + B * 4 * L * L * 16),
        # per head: the state is updated and read at every step
        (_node("LinearAttention", (B, L, 32), (B, L, 16), (B, L, 12), q_num_heads=4,
               kv_num_heads=2, update_rule="gated"), B * L * (4 + 2) * 8 * 6),
        (_node("LinearAttention", (B, L, 32), (B, L, 32), (B, L, 32), q_num_heads=4,
               kv_num_heads=4, update_rule="gated_delta"), B * L * (4 + 2 * 4) * 8 * 8),
        # what shapes do not tell
        (_node("PagedAttention", (9, 32), domain=MS, num_heads=4), None),
        (_node("GroupQueryAttention", (B, L, "W"), None, None, domain=MS, num_heads=4,
               kv_num_heads=2), None),
        (_node("Einsum", None, (3, 4), equation="ij,ij->"), None),
        # the rest
        (_node("Softmax", (B, L)), 0),
        (_node("LayerNormalization", (B, L), (L,)), 0),
        (_node("RotaryEmbedding", (B, 4, L, 8), domain=MS), 0),
        (_node("GridSample", (B, 3, 8, 8), (B, 4, 4, 2)), 0),
    ],
    ids=lambda part: part.op_type if isinstance(part, ir.Node) else "",
)  # fmt: skip
def test_count(node: ir.Node, expected: int | None) -> None:
    assert node_macs(node) == expected


def test_dynamic_lengths() -> None:
    node = _node("Attention", ("N", 4, "L", 8), ("N", 4, "S", 8), ("N", 4, "S", 8))
    assert str(node_macs(node)) == "64*L*N*S"


@pytest.mark.parametrize("kind", sorted(COUNTERS))
def test_nothing_is_counted_without_shapes(kind: tuple[str, str]) -> None:
    """An unknown shape never ends as a number."""
    inputs = [ir.Value(name=f"i{n}") for n in range(9)]
    domain, name = kind
    assert node_macs(ir.node(name, inputs, {"equation": "ij,jk"}, domain=domain)) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("attention_separate", "attention_packed"),
        ("attention_grouped_queries", "attention_grouped_queries_legacy"),
        ("layer_norm_native", "layer_norm_decomposed"),
        ("pixel_shuffle_crd", "pixel_shuffle_decomposed"),
        ("c2f_split", "c2f_chunk_legacy"),
        ("vit", "vit_legacy"),
        ("lstm_bidirectional", "lstm_bidirectional_legacy"),
    ],
)
def test_two_ways_to_write_a_network_cost_the_same(one: str, other: str) -> None:
    found = [_macs(name) for name in (one, other)]
    assert found[0] is not None and found[0] == found[1]


def test_the_operator_costs_what_its_parts_do() -> None:
    """Attention with grouped queries: the operator against MatMul, Softmax, MatMul."""
    apart = _macs("attention_grouped_queries")
    node = _macs("attention_23")
    assert apart == node is not None


def _macs(name: str) -> int | None:
    model = from_proto(TOPOLOGIES[name]())
    infer_shapes(model)
    return model_macs(model, {"N": 1, "L": 6})
