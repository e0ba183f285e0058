"""Rules that regroup axes, pack them or repeat them per gate; and operands of unknown rank."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests.analysis.dependency.told import told

MS = "com.microsoft."
U8, I64 = np.uint8, np.int64


def codes(*shape: int) -> Any:
    return np.zeros(shape, U8)


BITS = MS + "MatMulNBits<K = 4, N = 3, bits = 8, block_size = 2>"
FEW = MS + "MatMulNBits<K = 4, N = 2, bits = 4, block_size = 2>"
Y23: dict[str, Any] = {"outputs": {"y": "float[2,3]"}}
Y22: dict[str, Any] = {"outputs": {"y": "float[2,2]"}}

CASES: list[tuple[str, dict[str, Any], str]] = [
    # Reshape and Flatten
    ("y = Reshape(x, s)", {"x": "float[2,6]", "s": [2, 2, 3]}, "x[ab,cccddd] -> y[ab,cd,...]"),
    ("y = Reshape(x, s)", {"x": "float[2,6]", "s": [2, 3, 2]}, "x[ab,ccddee] -> y[ab,cde,..]"),
    ("y = Reshape(x, s)", {"x": "float[2,2,3]", "s": [2, 6]}, "x[ab,cd,...] -> y[ab,cccddd]"),
    ("y = Reshape(x, s)", {"x": "float[2,2,3]", "s": [-1, 3]}, "x[ab,..,cde] -> y[aabb,cde]"),
    ("y = Reshape(x, s)", {"x": "float[4,3]", "s": [2, 6]}, "x[aabb,cde] -> y[ab,cdecde]"),
    ("y = Reshape(x, s)", {"x": "float[2,3]", "s": [3, 2]}, "x[..,...] -> y[-,-]"),
    ("y = Reshape(x, s)", {"x": "float[4,6]", "s": [6, 4]}, "x[....,......] -> y[-,-]"),
    ("y = Reshape(x, s)", {"x": "float[2,3]", "s": [1, 2, 1, 3]}, "x[ab,cde] -> y[-,ab,-,cde]"),
    ("y = Reshape(x, s)", {"x": "float[N,4]", "s": [-1, 2, 2]}, "x[-,aabb] -> y[-,ab,..]"),
    ("y = Reshape(x, s)", {"x": "float[N,2,2]", "s": [-1, 4]}, "x[-,ab,..] -> y[-,aabb]"),
    ("y = Reshape(x, s)", {"x": "float[2,3]", "s": "int64[2]"}, "x[..,...] -> y[-,-]"),
    ("y = Flatten(x)", {"x": "float[2,2,3]"}, "x[ab,cd,...] -> y[ab,cccddd]"),
    ("y = Flatten<axis = 2>(x)", {"x": "float[2,2,3]"}, "x[ab,..,cde] -> y[aabb,cde]"),
    # pooling
    ("y = MaxPool<kernel_shape = [2]>(x)", {"x": "float[2,3,4]"}, "x[ab,cde,....] -> y[ab,cde,-]"),
    # weights of few bits
    (f"y = {BITS}(x, w, s)", {"x": "float[2,4]", "w": codes(3, 2, 2), "s": (3, 2), **Y23},
     "x[ab,ccdd] w[efg,cd,..] s[efg,cd] -> y[ab,efg]; consume x1; produce s0"),
    (f"y = {BITS}(x, w, s, z)", {"x": "float[2,4]", "w": codes(3, 2, 2), "s": (3, 2),
     "z": codes(3, 2), **Y23},
     "x[ab,ccdd] w[efg,cd,..] s[efg,cd] z[efg,cd] -> y[ab,efg]; consume x1; produce s0"),
    (f"y = {BITS}(x, w, s)", {"x": "float[2,4]", "w": codes(3, 2, 2), "s": (6,), **Y23},
     "x[ab,....] w[cde,..,..] s[ccddee] -> y[ab,cde]; consume x1; produce s0"),
    (f"y = {BITS}(x, w, s, z, , b)", {"x": "float[2,4]", "w": codes(3, 2, 2), "s": (3, 2),
     "z": (3, 2), "b": (3,), **Y23},
     "x[ab,ccdd] w[efg,cd,..] s[efg,cd] z[efg,cd] b[efg] -> y[ab,efg]; produce b0; consume x1; "
     "produce s0"),
    (f"y = {BITS}(x, w, s, , i)", {"x": "float[2,4]", "w": codes(3, 2, 2), "s": (3, 2),
     "i": np.zeros(4, np.int32), **Y23}, "x[..,....] w[...,..,..] s[...,..] i[....] -> y[-,-]"),
    (f"y = {FEW}(x, w, s, z)", {"x": "float[2,4]", "w": codes(2, 2, 1), "s": (2, 2),
     "z": codes(2, 1), **Y22},
     "x[ab,....] w[cd,..,-] s[cd,ef] z[cd,-] -> y[ab,cd]; consume x1; produce s0"),
    (f"y = {FEW}(x, w, s, z)", {"x": "float[2,4]", "w": codes(2, 2, 1), "s": (2, 2), "z": (2, 2),
     **Y22}, "x[ab,ccdd] w[ef,cd,-] s[ef,cd] z[ef,cd] -> y[ab,ef]; consume x1; produce s0"),
    (f"y = {FEW}(x, w, s)", {"x": "float[2,5]", "w": codes(2, 3, 1), "s": (2, 3), **Y22},
     "x[ab,.....] w[cd,...,-] s[cd,efg] -> y[ab,cd]; consume x1; produce s0"),
    # gates
    ("y, h = RNN<hidden_size = 2>(x, w, r, b)", {"x": "float[2,2,3]", "w": (1, 2, 3),
     "r": (1, 2, 2), "b": (1, 4)},
     "x[ab,cd,efg] w[-,hi,efg] r[-,hi,hi] b[-,hihi] -> y[ab,-,cd,hi] h[-,cd,hi]; consume x2; "
     "consume w2; produce w1; produce r1; consume r2; produce b1"),
    ("y, h = GRU<hidden_size = 2, layout = 1>(x, w, r)", {"x": "float[2,4,3]", "w": (1, 6, 3),
     "r": (1, 6, 2), "outputs": {"y": "float[2,4,1,2]", "h": "float[2,1,2]"}},
     "x[ab,cdef,ghi] w[-,jkjkjk,ghi] r[-,jkjkjk,jk] -> y[ab,cdef,-,jk] h[ab,-,jk]; consume x2; "
     "consume w2; produce w1; produce r1; consume r2"),
    ("y, h, c = LSTM<hidden_size = 2>(x, w, r, b, , h0, c0, p)", {"x": "float[2,2,3]",
     "w": (1, 8, 3), "r": (1, 8, 2), "b": (1, 16), "h0": (1, 2, 2), "c0": (1, 2, 2), "p": (1, 6)},
     "x[ab,cd,efg] w[-,hihihihi,efg] r[-,hihihihi,hi] b[-,hihihihihihihihi] h0[-,jk,hi] "
     "c0[-,lm,hi] p[-,hihihi] -> y[ab,-,cd,hi] h[-,cd,hi] c[-,cd,hi]; consume x2; consume w2; "
     "produce w1; produce r1; consume r2; produce b1; produce p1; scale h02; scale c02"),
    ("y, h = RNN<hidden_size = 2>(x, w, r, , , h0)", {"x": "float[2,2,3]", "w": (1, 2, 3),
     "r": (1, 2, 2), "h0": "float[1,2,H]"},
     "x[ab,cd,efg] w[-,..,efg] r[-,..,..] h0[-,hi,-] -> y[ab,-,cd,..] h[-,cd,..]; consume x2; "
     "consume w2; produce w1; produce r1; consume r2"),
    ("y, h = RNN<hidden_size = 1>(x, w, r, , , h0)", {"x": "float[2,2,3]", "w": (1, 1, 3),
     "r": (1, 1, 1), "h0": (1, 2, 1)},
     "x[ab,cd,efg] w[-,-,efg] r[-,-,-] -> y[ab,-,cd,-] h[-,cd,-]; consume x2; consume w2"),
    ("y, h = RNN<hidden_size = 2>(x, w, r)", {"x": "float[2,2,3]", "w": "float[1,2,3]",
     "r": (1, 2, 2)}, "x[..,..,...] w[-,..,...] r[-,..,..] -> y[-,-,-,-] h[-,-,-]"),
    ("y, h = RNN(x, w, r)", {"x": "float[2,2,3]", "w": (1, 2, 3), "r": (1, 2, 2),
     "outputs": {"y": "float[2,1,2,2]", "h": "float[1,2,2]"}},
     "x[..,..,...] w[-,..,...] r[-,..,..] -> y[-,-,-,-] h[-,-,-]"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "given", "expected"), CASES)
def test_told(body: str, given: dict[str, Any], expected: str) -> None:
    assert told(body, **given) == expected


Y: dict[str, Any] = {"outputs": {"y": "float[1]"}}

UNKNOWN: list[tuple[str, dict[str, Any]]] = [
    ("Conv(u, w)", {"w": (3, 4, 1, 1)}),
    ("Conv(z, w)", {"z": "float[1,3,2,2]", "w": "float[6]"}),
    ("Conv(z, w)", {"z": "float[2,3]", "w": (3, 4)}),
    ("ConvTranspose(u, w)", {"w": (3, 4, 1, 1)}),
    ("ConvTranspose(z, w)", {"z": "float[1,3,2,2]", "w": "float[6]"}),
    ("ConvTranspose(z, w)", {"z": "float[2,3]", "w": (3, 4)}),
    ("Gemm(u, w)", {"w": (3, 4)}),
    ("Gemm(w, u)", {"w": (3, 4)}),
    ("Gemm(z, w)", {"z": "float[2,2,3]", "w": (3, 4)}),
    ("Gemm(w, z)", {"z": "float[2,2,3]", "w": (3, 4)}),
    ("MatMul(u, w)", {"w": (3, 4)}),
    ("MatMul(w, u)", {"w": (3, 4)}),
    ('Einsum<equation = "ij,jk->ik">(u, w)', {"w": (3, 4)}),
    ('Einsum<equation = "ij,jk->ik">(z, w)', {"z": "float[2,2,3]", "w": (3, 4)}),
    ('Einsum<equation = "ij,jk->ik">(w)', {"w": (3, 4)}),
    ("Concat<axis = 0>(w, u)", {"w": (3, 4)}),
    ("Concat<axis = 0>(u, w)", {"w": (3, 4)}),
    ("Add(u, w)", {"w": (3, 4)}),
    ("Where(c, w, u)", {"w": (3, 4), "c": "bool[3,1]"}),
    ("ScatterND(u, i, w)", {"w": (3, 4), "i": np.zeros((3, 1), I64)}),
    ("ScatterND(w, i, u)", {"w": (3, 4), "i": np.zeros((3, 1), I64)}),
    ("ScatterND(w, i, v)", {"w": (3, 4), "i": "int64[3,K]", "v": (3, 4)}),
    ("GatherND(w, i)", {"w": (3, 4), "i": "int64[3,K]"}),
    ("GatherND(w, i)", {"w": (3, 4), "i": "int64"}),
    ("GatherElements(u, i)", {"i": np.zeros((3, 4), I64)}),
    ("ScatterElements(w, i, u)", {"w": (3, 4), "i": np.zeros((3, 4), I64)}),
    ("BatchNormalization(u, w, w, w, w)", {"w": (4,)}),
    ("InstanceNormalization(z, w, w)", {"z": "float[4]", "w": (4,)}),
    ("GroupNormalization<num_groups = 2>(u, w, w)", {"w": (4,), "opset": 21}),
    ("GroupNormalization<num_groups = 2>(z, w, w)", {"z": "float[4]", "w": (4,), "opset": 21}),
    ("LayerNormalization(u, w)", {"w": (4,)}),
    (MS + "SkipLayerNormalization(u, z, w)", {"z": "float[1,2,4]", "w": (4,)}),
    (MS + "SkipLayerNormalization(z, u, w)", {"z": "float[1,2,4]", "w": (4,)}),
    (MS + "SkipLayerNormalization(z, v, w)", {"z": "float[1,2,4]", "v": "float[2,4]", "w": (4,)}),
    ("LRN<size = 3>(z)", {"z": "float[4]"}),
    ("MaxPool<kernel_shape = [2]>(z)", {"z": "float[4]"}),
    ("MaxPool<kernel_shape = [2]>(z)", {"z": "float[2,4]"}),
    ("RoiAlign(z, r, i)", {"z": "float[1,3,2]", "r": (1, 4), "i": np.zeros(1, I64)}),
    ("Resize(u, , k)", {"k": np.ones(3, np.float32)}),
    ("Attention(u, z, z)", {"z": "float[1,2,3,4]", "opset": 23}),
    ("Attention(z, z, u)", {"z": "float[1,2,3,4]", "opset": 23}),
    (MS + "MultiHeadAttention<num_heads = 2>(z, u, z)", {"z": "float[1,2,4]"}),
    (MS + "MultiHeadAttention<num_heads = 2>(z, v, z)", {"z": "float[1,2,4]",
     "v": "float[1,2,2,2]"}),
    (MS + "MultiHeadAttention<num_heads = 2>(z, z, z, , , , p, p)", {"z": "float[1,2,4]",
     "p": "float[1,2,2,2]"}),
    (MS + "GroupQueryAttention<num_heads = 2, kv_num_heads = 2>(z, z, z, p, p)",
     {"z": "float[1,2,4]", "p": "float[1,2,2,2]"}),
    (MS + "Attention<num_heads = 2>(u, w, b)", {"w": (3, 12), "b": (12,)}),
    (MS + "Attention<num_heads = 2>(z, w, b)", {"z": "float[2,3]", "w": (3, 12), "b": (12,)}),
    (MS + "Attention<num_heads = 2>(z, u, b)", {"z": "float[1,2,3]", "b": (12,)}),
    (MS + "Attention<num_heads = 2>(z, w, b)", {"z": "float[1,2,3]", "w": "float[3,12]",
     "b": (12,)}),
    (MS + "Attention<num_heads = 2>(z, w, b, , p)", {"z": "float[1,2,3]", "w": (3, 12),
     "b": (12,), "p": "float[2,1,2,2,2]"}),
    ("RotaryEmbedding(z, w, w)", {"z": "float[3,4]", "w": (3, 2), "opset": 23}),
    ("RNN<hidden_size = 2>(u, w, r)", {"w": (1, 2, 3), "r": (1, 2, 2)}),
    ("RNN<hidden_size = 2>(z, w, r)", {"z": "float[2,3]", "w": (1, 2, 3), "r": (1, 2, 2)}),
    ("RNN<hidden_size = 2>(z, u, r)", {"z": "float[2,2,3]", "r": (1, 2, 2)}),
    (BITS + "(u, w, s)", {"w": codes(3, 2, 2), "s": (3, 2)}),
    (BITS + "(z, w, s)", {"z": "float[2,4]", "w": codes(3, 4), "s": (3, 2)}),
    ("Expand(z, k)", {"z": "float[2,3]", "k": "int64[K]"}),
    ("Squeeze(z, k)", {"z": "float[1,3]", "k": "int64[1]"}),
    ("Unsqueeze(z, k)", {"z": "float[2,3]", "k": "int64[1]"}),
    ("Slice(z, k, k)", {"z": "float[2,3]", "k": "int64[K]"}),
    ("ReduceSum(z, k)", {"z": "float[2,3]", "k": "int64[1]"}),
    ("CumSum(z, k)", {"z": "float[2,3]", "k": "int64"}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "given"), UNKNOWN)
def test_nothing_leaves_beside_what_is_not_understood(body: str, given: dict[str, Any]) -> None:
    said = told(f"u = other.Source() y = {body}", **{**Y, **given})
    assert not re.search(r"\[[^]]*[a-zA-Z]", said) and ";" not in said, said
