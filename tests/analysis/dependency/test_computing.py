"""Rules of operators that compute, against what the operators do to disturbed coordinates.

What a rule says of an operator is written as claims:

* ``x1=w1``: axis 1 of x and axis 1 of w lose the same positions;
* ``r2*4=w1`` and ``x1/2=w0``: the same, four times over, or each position twice;
* ``x1 consumed``, ``x1 statistic``: the operator sums over it, or computes statistics over it;
* ``x2 whole``: it cannot lose anything.

For every case the numbers must agree: when some classes are disturbed (zeroed where they are
consumed), nothing that is kept may change.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from onnxslim.analysis.dependency.groups import Role
from onnxslim.analysis.dependency.rules import RULES
from onnxslim.analysis.dependency.rules_elementwise import BINARY, UNARY
from onnxslim.testing import shared_worker
from tests.analysis.dependency import test_movement
from tests.analysis.dependency.oracle import Ruled, rule
from tests.nets import net, random_array

W4 = (6, 4, 3, 3)
IMAGE = "float[2,4,5,5]"
I8, U8 = np.int8, np.uint8
MS = "com.microsoft."


def whole_numbers(*shape: int, dtype: Any = np.int8) -> Any:
    return np.random.default_rng(list(shape)).integers(1, 20, shape).astype(dtype)


UNPOOL = np.array([[[[0, 2], [8, 10]], [[16, 19], [25, 31]]]])

Case = tuple[str, dict[str, Any], str]

CASES: dict[str, Case] = {
    # --- convolutions
    "Conv": ("Conv(x, w, b)", {"x": IMAGE, "w": W4, "b": (6,)},
             "x1=w1, x1 consumed, w0=y1, w0=b0, x0=y0, x2 whole, w2 whole"),
    "Conv depthwise": ("Conv<group = 4>(x, w, b)", {"x": IMAGE, "w": (4, 1, 3, 3), "b": (4,)},
                       "x1=w0, x1=y1, x1=b0, x3 whole"),
    "Conv multiplier": ("Conv<group = 4>(x, w)", {"x": IMAGE, "w": (8, 1, 3, 3)},
                        "x1/2=w0, x1/2=y1"),
    "Conv groups": ("Conv<group = 2>(x, w, b)", {"x": IMAGE, "w": (6, 2, 3, 3), "b": (6,)},
                    "w0=y1, w0=b0, x1 consumed, x1 alive, w1 whole"),
    "Conv groups of a filter that is an input": (
        "Conv<group = 2>(x, w)", {"x": IMAGE, "w": "float[6,2,3,3]"},
        "w1*2=x1, w0=y1, x1 consumed, w1 consumed, w0 alive"),
    "Conv depthwise with too few filters for blocks": (
        "Conv<group = 4>(x, w)", {"x": IMAGE, "w": "float[4,1,3,3]"}, "x1=w0, x1=y1"),
    "Conv 1-D": ("Conv(x, w)", {"x": "float[2,4,9]", "w": (6, 4, 3)}, "x1=w1, w0=y1, x2 whole"),
    "Conv with a filter that is an input": ("Conv(x, w)", {"x": IMAGE, "w": "float[6,4,3,3]"},
                                            "x1=w1, w0=y1, x1 consumed, w1 consumed"),
    "ConvTranspose": ("ConvTranspose(x, w, b)", {"x": IMAGE, "w": (4, 6, 3, 3), "b": (6,)},
                      "x1=w0, x1 consumed, w1=y1, w1=b0, x2 whole"),
    "ConvTranspose groups": ("ConvTranspose<group = 2>(x, w)", {"x": IMAGE, "w": (4, 3, 3, 3)},
                             "x1=w0, x1 consumed, w1*2=y1"),
    "ConvTranspose depthwise": ("ConvTranspose<group = 4>(x, w)",
                                {"x": IMAGE, "w": (4, 1, 3, 3)}, "x1=w0, x1=y1"),
    "ConvInteger": ("ConvInteger(q, w, z, v)", {"q": "uint8[2,4,5,5]", "z": U8(0),
                    "w": whole_numbers(6, 4, 3, 3), "v": np.zeros(6, I8)}, "w0=y1, w0=v0"),
    "QLinearConv": ("QLinearConv(q, s, z, w, t, v, s, z, b)", {"q": "uint8[2,4,5,5]",
                    "s": np.float32(0.1), "z": U8(0), "w": whole_numbers(6, 4, 3, 3),
                    "t": (6,), "v": np.zeros(6, I8), "b": whole_numbers(6, dtype=np.int32)},
                    "w0=y1, w0=t0, w0=v0, w0=b0"),
    "DeformConv": ("DeformConv(x, w, o, b, m)", {"x": IMAGE, "w": W4, "b": (6,),
                   "o": "float[2,18,3,3]", "m": "float[2,9,3,3]", "opset": 19},
                   "x1=w1, x1 consumed, w0=y1, w0=b0, o1 whole, m1 whole, x2 whole"),
    "DeformConv of two offsets": ("DeformConv<offset_group = 2>(x, w, o)", {"x": IMAGE, "w": W4,
                                  "o": "float[2,36,3,3]", "opset": 19},
                                  "x1 whole, w1 whole, w0=y1"),
    # --- matrix products
    "Gemm": ("Gemm(x, w, b)", {"x": "float[3,4]", "w": (4, 6), "b": (6,)},
             "x1=w0, x1 consumed, w1=y1, w1=b0, x0=y0"),
    "Gemm transposed": ("Gemm<transA = 1, transB = 1>(x, w, b)",
                        {"x": "float[4,3]", "w": (6, 4), "b": (3, 6)},
                        "x0=w1, x0 consumed, w0=y1, w0=b1, x1=y0, x1=b0"),
    "Gemm one bias": ("Gemm(x, w, b)", {"x": "float[3,4]", "w": (4, 6), "b": (3, 1)},
                      "w1=y1, x0=b0"),
    "Gemm of a constant": ("Gemm(w, x)", {"x": "float[4,6]", "w": (3, 4)},
                           "w1=x0, x0 consumed, w0=y0, x1=y1"),
    "MatMul": ("MatMul(x, w)", {"x": "float[2,3,4]", "w": (4, 6)},
               "x2=w0, x2 consumed, w1=y2, x0=y0, x1=y1"),
    "MatMul of a vector": ("MatMul(x, w)", {"x": "float[4]", "w": (4, 6)}, "x0=w0, w1=y0"),
    "MatMul by a vector": ("MatMul(x, w)", {"x": "float[2,3,4]", "w": (4,)},
                           "x2=w0, x0=y0, x1=y1"),
    "MatMul per head": ("MatMul(x, w)", {"x": "float[2,1,3,4]", "w": (5, 4, 6)},
                        "x3=w1, w0=y1, w2=y3, x2=y2"),
    "MatMul of data": ("MatMul(x, z)", {"x": "float[2,5,3,4]", "z": "float[2,5,4,6]"},
                       "x3=z2, x3 consumed, z2 consumed, x2=y2, z3=y3, x1=z1, x1=y1, x0=y0"),
    "MatMul broadcast": ("MatMul(x, z)", {"x": "float[5,3,4]", "z": "float[2,1,4,6]"},
                         "x2=z2, x0=y1, z0=y0"),
    "FusedMatMul": (MS + "FusedMatMul<transA = 1, transB = 1>(x, w)",
                    {"x": "float[2,4,3]", "w": (2, 6, 4),
                     "outputs": {"y": "float[2,3,6]"}},
                    "x1=w2, x1 consumed, w1=y2, x2=y1, x0=w0, x0=y0"),
    "MatMulInteger": ("MatMulInteger(q, w, z, v)", {"q": "uint8[3,4]", "z": U8(0),
                      "w": whole_numbers(4, 6), "v": np.zeros(6, I8)}, "w1=y1, w1=v0"),
    "QLinearMatMul": ("QLinearMatMul(q, s, z, w, t, v, s, z)", {"q": "uint8[3,4]",
                      "s": np.float32(0.1), "z": U8(0), "w": whole_numbers(4, 6), "t": (6,),
                      "v": np.zeros(6, I8)}, "w1=y1, w1=t0, w1=v0"),
    "MatMulNBits": (MS + "MatMulNBits<K = 32, N = 6, bits = 4, block_size = 16>(x, w, s)",
                    {"x": "float[2,3,32]", "w": whole_numbers(6, 2, 8, dtype=np.uint8),
                     "s": (6, 2), "outputs": {"y": "float[2,3,6]"}},
                    "x2 consumed, x2 in blocks of 16, w0=y2, w0=s0, w1=s1, w2 whole, x1=y1"),
    "MatMulNBits of bytes": (MS + "MatMulNBits<K = 32, N = 6, bits = 8, block_size = 16>"
                             "(x, w, s, z)",
                             {"x": "float[2,3,32]", "w": whole_numbers(6, 2, 16, dtype=np.uint8),
                              "s": (6, 2), "z": whole_numbers(6, 2, dtype=np.uint8),
                              "outputs": {"y": "float[2,3,6]"}},
                             "x2 consumed, x2 in blocks of 16, w0=y2, w0=s0, w0=z0, w1=s1, w1=z1,"
                             " w2 whole, x1=y1"),
    "MatMulNBits flat": (MS + "MatMulNBits<K = 32, N = 6, bits = 4, block_size = 16>(x, w, s, z)",
                         {"x": "float[2,3,32]", "w": whole_numbers(6, 2, 8, dtype=np.uint8),
                          "s": (12,), "z": whole_numbers(6, dtype=np.uint8),
                          "outputs": {"y": "float[2,3,6]"}},
                         "x2 whole, w0=y2, w0/2=s0, w0=z0"),
    "Einsum": ('Einsum<equation = "bij,bjk->bik">(x, z)', {"x": "float[2,3,4]",
               "z": "float[2,4,6]"}, "x2=z1, x2 consumed, z1 consumed, x1=y1, z2=y2, x0=z0, x0=y0"),
    "Einsum of a weight": ('Einsum<equation = "abc,cde->abde">(x, w)',
                           {"x": "float[2,3,4]", "w": (4, 5, 6)},
                           "x2=w0, x2 consumed, w1=y2, w2=y3"),
    "Einsum over two": ('Einsum<equation = "abcd,cde->abe">(x, w)', {"x": "float[2,3,4,5]",
                        "w": (4, 5, 6)}, "x2=w0, x3=w1, x2 consumed, x3 consumed, w2=y2"),
    "Einsum transposes": ('Einsum<equation = "ij->ji">(x)', {"x": "float[3,4]"}, "x0=y1, x1=y0"),
    "Einsum sums": ('Einsum<equation = "ij->i">(x)', {"x": "float[3,4]"}, "x1 consumed, x0=y0"),
    "Einsum diagonal": ('Einsum<equation = "ii->i">(x)', {"x": "float[4,4]"},
                        "x0 whole, x1 whole"),
    "Gather of a table": ("Gather(w, i)", {"w": (9, 6), "i": "int64[2,3]"}, "w0 whole, w1=y2"),
    # --- normalization
    "BatchNormalization": ("BatchNormalization(x, s, b, m, var)", {"x": IMAGE, "s": (4,),
                           "b": (4,), "m": (4,), "var": (4,)},
                           "x1=s0, x1=b0, x1=m0, x1=var0, x1=y1, x2=y2"),
    "InstanceNormalization": ("InstanceNormalization(x, s, b)", {"x": IMAGE, "s": (4,),
                              "b": (4,)}, "x1=s0, x1=b0, x1=y1, x2 statistic"),
    "GroupNormalization": ("GroupNormalization<num_groups = 2>(x, s, b)", {"x": IMAGE, "s": (4,),
                           "b": (4,), "opset": 21, "outputs": {"y": IMAGE}},
                           "x1=s0, x1=b0, x1=y1, x1 in blocks of 2, x2 statistic"),
    "GroupNormalization of one": ("GroupNormalization<num_groups = 1>(x, s, b)",
                                  {"x": IMAGE, "s": (4,), "b": (4,), "opset": 21,
                                   "outputs": {"y": IMAGE}},
                                  "x1=s0, x1=y1, x1 statistic, x2 statistic"),
    "LayerNormalization": ("LayerNormalization(x, s, b)", {"x": "float[2,3,4]", "s": (4,),
                           "b": (4,)}, "x2=s0, x2=b0, x2=y2, x2 statistic, x1=y1"),
    "LayerNormalization over two": ("LayerNormalization<axis = 1>(x, s)", {"x": "float[2,3,4]",
                                    "s": (3, 4)}, "x1=s0, x2=s1, x1 statistic, x2 statistic"),
    "RMSNormalization": ("RMSNormalization(x, s)", {"x": "float[2,3,4]", "s": (4,), "opset": 23},
                         "x2=s0, x2=y2, x2 statistic"),
    "SimplifiedLayerNormalization": ("SimplifiedLayerNormalization(x, s)",
                                     {"x": "float[2,3,4]", "s": (4,),
                                      "outputs": {"y": "float[2,3,4]"}},
                                     "x2=s0, x2=y2, x2 statistic"),
    "SkipLayerNormalization": (MS + "SkipLayerNormalization(x, z, s, b)", {"x": "float[2,3,4]",
                               "z": "float[2,3,4]", "s": (4,), "b": (4,),
                               "outputs": {"y": "float[2,3,4]"}},
                               "x2=z2, x2=s0, x2=b0, x2=y2, x2 statistic"),
    "SkipSimplifiedLayerNormalization": (
        MS + "SkipSimplifiedLayerNormalization(x, z, s)", {"x": "float[2,3,4]",
        "z": "float[2,3,4]", "s": (4,), "outputs": {"y": "float[2,3,4]"}}, "x2=z2, x2=s0, x2=y2"),
    "LpNormalization": ("LpNormalization<axis = 1>(x)", {"x": "float[2,4,3]"},
                        "x1=y1, x1 statistic, x2=y2"),
    "LRN": ("LRN<size = 3>(x)", {"x": IMAGE}, "x1 whole, x2=y2"),
    "MeanVarianceNormalization": ("MeanVarianceNormalization(x)", {"x": IMAGE},
                                  "x1=y1, x0 statistic, x2 statistic"),
    # --- along an axis
    "Softmax": ("Softmax<axis = 1>(x)", {"x": "float[2,4,3]"}, "x1 whole, x0=y0, x2=y2"),
    "Softmax before 13": ("Softmax(x)", {"x": "float[2,4,3]", "opset": 12},
                          "x1 whole, x2 whole, x0=y0"),
    "LogSoftmax": ("LogSoftmax(x)", {"x": "float[2,4,3]"}, "x2 whole, x1=y1"),
    "Hardmax": ("Hardmax<axis = 1>(x)", {"x": "float[2,4,3]"}, "x1 whole, x2=y2"),
    "ArgMax": ("ArgMax<axis = 1, keepdims = 0>(x)", {"x": "float[2,4,3]"}, "x1 whole, x2=y1"),
    "ArgMin": ("ArgMin<axis = -1>(x)", {"x": "float[2,4,3]"}, "x2 whole, x1=y1"),
    "TopK": ("TopK<axis = 1>(x, k)", {"x": "float[2,4,3]", "k": np.array([2])},
             "x1 whole, x2=y2"),
    "CumSum": ("CumSum(x, k)", {"x": "float[2,4,3]", "k": np.array(1)}, "x1 whole, x2=y2"),
    "NonZero": ("NonZero(x)", {"x": "float[2,4]"}, "x0 whole, x1 whole"),
    "OneHot": ("OneHot(x, k, v)", {"x": "float[4]", "k": np.array(3), "v": np.array([0.0, 1.0])},
               "x0 whole"),
    # --- reductions
    **{
        f"{name}": (f"{name}<axes = [1], keepdims = 0>(x)", {"x": "float[2,4,3]", "opset": 12},
                    "x1 statistic, x0=y0, x2=y1")
        for name in ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax",
                     "ReduceMean", "ReduceMin", "ReduceProd")
    },
    "ReduceMean with axes": ("ReduceMean(x, k)", {"x": "float[2,4,3]", "k": np.array([-1]),
                             "opset": 18}, "x2 statistic, x1=y1"),
    "ReduceSum": ("ReduceSum(x, k)", {"x": "float[2,4,3]", "k": np.array([1])},
                  "x1 consumed, x2=y2"),
    "ReduceSum of all": ("ReduceSum(x)", {"x": "float[2,4]"}, "x0 consumed, x1 consumed"),
    "ReduceSum of none": ("ReduceSum<noop_with_empty_axes = 1>(x)", {"x": "float[2,4]"},
                          "x0=y0, x1=y1"),
    "ReduceSumSquare": ("ReduceSumSquare<axes = [1]>(x)", {"x": "float[2,4,3]", "opset": 12},
                        "x1 consumed, x2=y2"),
    # --- space
    **{
        name: (f"{name}<kernel_shape = [2, 2]>(x)", {"x": IMAGE}, "x1=y1, x2 whole, x3 whole")
        for name in ("AveragePool", "MaxPool", "LpPool")
    },
    **{
        name: (f"{name}(x)", {"x": IMAGE}, "x1=y1, x2 whole")
        for name in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
    },
    "MaxUnpool": ("MaxUnpool<kernel_shape = [2, 2], strides = [2, 2]>(x, i)",
                  {"x": "float[1,2,2,2]", "i": UNPOOL}, "x1 whole, x2 whole"),
    "GridSample": ("GridSample(x, g)", {"x": IMAGE, "g": "float[2,3,3,2]"},
                   "x1=y1, x2 whole, g1 whole, g3 whole"),
    "RoiAlign": ("RoiAlign<output_height = 2, output_width = 2>(x, r, i)", {"x": IMAGE,
                 "r": np.array([[0, 0, 3, 3], [1, 1, 4, 4]], np.float32),
                 "i": np.array([0, 1])}, "x1=y1, x0 whole, x2 whole"),
    "MaxRoiPool": ("MaxRoiPool<pooled_shape = [2, 2]>(x, r)", {"x": IMAGE,
                   "r": np.array([[0, 0, 0, 3, 3]], np.float32)}, "x1=y1, x0 whole, x2 whole"),
    "Resize to sizes": ('Resize<mode = "linear">(x, , , k)', {"x": IMAGE,
                        "k": np.array([2, 4, 7, 7])}, "x1=y1, x2 whole"),
    "Resize of channels": ('Resize<mode = "nearest">(x, , k)', {"x": IMAGE,
                           "k": np.array([1, 2, 1, 1], np.float32)}, "x1 whole, x2=y2"),
    # --- recurrent: gates times the hidden units
    "LSTM": ("LSTM<hidden_size = 3>(x, w, r, b, , , , p)", {"x": "float[5,2,4]", "w": (1, 12, 4),
             "r": (1, 12, 3), "b": (1, 24), "p": (1, 9)},
             "x2=w2, x2 consumed, r2*4=w1, r2*4=r1, r2*8=b1, r2*3=p1, r2=y3, x0=y0, x1=y2"),
    "LSTM with states": ("LSTM<hidden_size = 3>(x, w, r, , , h, c)", {"x": "float[5,1,4]",
                         "w": (1, 12, 4), "r": (1, 12, 3), "h": (1, 1, 3), "c": "float[1,1,3]"},
                         "r2=h2, r2=c2, r2=y3"),
    "GRU": ('GRU<hidden_size = 3, direction = "bidirectional">(x, w, r, b)',
            {"x": "float[5,2,4]", "w": (2, 9, 4), "r": (2, 9, 3), "b": (2, 18)},
            "x2=w2, x2 consumed, r2*3=w1, r2*3=r1, r2*6=b1, r2=y3"),
    "RNN": ("RNN<hidden_size = 3>(x, w, r, b)", {"x": "float[5,2,4]", "w": (1, 3, 4),
            "r": (1, 3, 3), "b": (1, 6)}, "x2=w2, r2=w1, r2=r1, r2*2=b1, r2=y3"),
    # --- attention: 4 heads of 2 (x), 2 key heads (z, v)
    "Attention": ("Attention<q_num_heads = 4, kv_num_heads = 2>(x, z, v)",
                  {"x": "float[2,3,8]", "z": "float[2,5,4]", "v": "float[2,5,4]", "opset": 23},
                  "x2 in blocks of 4, z2=v2, z2 in blocks of 2, x2=y2, x0=y0, x1=y1, x2 consumed,"
                  " z1 whole, v1 whole"),
    "Attention of rank 4": ("Attention(x, z, v, k)", {"x": "float[2,4,3,8]",
                            "z": "float[2,2,5,8]", "v": "float[2,2,5,6]", "k": (1, 4, 3, 5),
                            "opset": 23}, "z1/2=x1, z1=v1, x1=y1, x1=k1, x3 whole, z2 whole"),
    "MultiHeadAttention": (MS + "MultiHeadAttention<num_heads = 2>(x, z, v)",
                           {"x": "float[2,3,8]", "z": "float[2,5,8]", "v": "float[2,5,6]",
                            "outputs": {"y": "float[2,3,6]"}},
                           "x2=z2, x2 in blocks of 4, v2=y2, v2 in blocks of 3, z1 whole"),
    "MultiHeadAttention with a bias": (MS + "MultiHeadAttention<num_heads = 2>(x, z, v, b)",
                                       {"x": "float[2,3,8]", "z": "float[2,5,8]",
                                        "v": "float[2,5,8]", "b": (24,),
                                        "outputs": {"y": "float[2,3,8]"}},
                                       "x2=z2, b0 in blocks of 12, v2=y2"),
    "GroupQueryAttention": (MS + "GroupQueryAttention<num_heads = 4, kv_num_heads = 2>"
                            "(x, z, v, , , a, t)", {"x": "float[2,3,32]", "z": "float[2,3,16]",
                            "v": "float[2,3,16]", "a": np.array([2, 2], np.int32),
                            "t": np.array(3, np.int32), "outputs": {"y": "float[2,3,32]"}},
                            "x2=y2, z2=v2, x2 in blocks of 16, z2 in blocks of 8"),
    "packed Attention": (MS + "Attention<num_heads = 2>(x, w, b)", {"x": "float[2,3,5]",
                         "w": (5, 24), "b": (24,), "outputs": {"y": "float[2,3,8]"}},
                         "x2=w0, x2 consumed, w1=b0, x1 whole, w1 in blocks of 12,"
                         " y2 in blocks of 4"),
    "RotaryEmbedding": ("RotaryEmbedding(x, c, s)", {"x": "float[2,4,3,8]", "c": (2, 3, 4),
                        "s": (2, 3, 4), "opset": 23}, "x1=y1, x3 whole, c0 whole, s2 whole"),
    "RotaryEmbedding in rows": ("RotaryEmbedding<num_heads = 4>(x, c, s)", {"opset": 23,
                                "x": "float[2,3,32]", "c": (2, 3, 4), "s": (2, 3, 4)},
                                "x2=y2, x2 in blocks of 8, x0=y0"),
    "contrib RotaryEmbedding": (MS + "RotaryEmbedding(x, p, c, s)", {"x": "float[2,3,32]",
                                "p": np.array([0], np.int64), "c": (9, 4), "s": (9, 4),
                                "outputs": {"y": "float[2,3,32]"}}, "x2=y2, x2 in blocks of 8"),
    # --- elements looked up
    "GatherElements": ("GatherElements<axis = 1>(x, i)", {"x": "float[4,6,3]",
                       "i": np.arange(4 * 2 * 3).reshape(4, 2, 3) % 6},
                       "x0=y0, x2=y2, x0=i0, x1 whole"),
    "GatherElements of less": ("GatherElements<axis = 1>(x, i)", {"x": "float[4,6,3]",
                               "i": np.arange(2 * 2 * 3).reshape(2, 2, 3) % 6},
                               "x0 whole, x2=y2, x1 whole"),
    "ScatterElements": ("ScatterElements<axis = 1>(x, i, u)", {"x": "float[4,6,3]",
                        "i": np.zeros((4, 1, 3), np.int64), "u": (4, 1, 3)},
                        "x0=y0, x2=y2, x0=u0, x2=i2, x1 whole"),
    "Scatter": ("Scatter<axis = 1>(x, i, u)", {"x": "float[4,6]", "opset": 10,
                "i": np.zeros((4, 1), np.int64), "u": (4, 1)}, "x0=y0, x0=u0, x1 whole"),
    "GatherND": ("GatherND(x, i)", {"x": "float[4,6,3]", "i": np.array([[1, 5], [0, 2]])},
                 "x2=y1, x0 whole, x1 whole"),
    "GatherND of a batch": ("GatherND<batch_dims = 1>(x, i)", {"x": "float[2,6,3]",
                            "i": np.array([[[1], [5]], [[0], [2]]])}, "x2=y2, x0 whole, x1 whole"),
    "ScatterND": ("ScatterND(x, i, u)", {"x": "float[4,6,3]", "i": np.array([[1, 5], [0, 2]]),
                  "u": (2, 3)}, "x2=y2, x2=u1, x0 whole, x1 whole"),
    # --- elementwise with more than one operand
    "Add of a vector": ("Add(x, w)", {"x": "float[2,3,4]", "w": (4,)}, "x2=w0, x2=y2, x1=y1"),
    "Add of a map": ("Add(x, w)", {"x": IMAGE, "w": (1, 4, 1, 1)}, "x1=w1, x1=y1, x2=y2"),
    "Add broadcasts both": ("Add(x, z)", {"x": "float[2,1,4]", "z": "float[3,1]"},
                            "x2=y2, z0=y1, x0=y0"),
    "PRelu per channel": ("PRelu(x, w)", {"x": IMAGE, "w": (4, 1, 1)}, "x1=w0, x1=y1"),
    "Where of three": ("Where(c, x, w)", {"x": "float[2,4]", "w": (4,), "c": "bool[2,1]"},
                       "x1=w0, x1=y1, x0 whole"),
    "BiasGelu": (MS + "BiasGelu(x, w)", {"x": "float[2,4]", "w": (4,),
                 "outputs": {"y": "float[2,4]"}}, "x1=w0, x1=y1"),
    "FastGelu": (MS + "FastGelu(x, w)", {"x": "float[2,4]", "w": (4,),
                 "outputs": {"y": "float[2,4]"}}, "x1=w0, x1=y1"),
    "contrib Gelu": (MS + "Gelu(x)", {"x": "float[2,4]", "outputs": {"y": "float[2,4]"}},
                     "x1=y1"),
    "QuickGelu": (MS + "QuickGelu(x)", {"x": "float[2,4]", "outputs": {"y": "float[2,4]"}},
                  "x1=y1"),
    # --- quantization
    "QuantizeLinear": ("QuantizeLinear(x, s, z)", {"x": "float[2,4]", "s": (4,),
                       "z": np.zeros(4, I8)}, "x1=s0, x1=z0, x1=y1"),
    "QuantizeLinear of all": ("QuantizeLinear(x, s, z)", {"x": "float[2,4]",
                              "s": np.float32(0.1), "z": I8(0)}, "x0=y0, x1=y1"),
    "DequantizeLinear": ("DequantizeLinear<axis = 0>(w, s, z)", {"w": whole_numbers(4, 3),
                         "s": (4,), "z": np.zeros(4, I8)}, "w0=s0, w0=z0, w0=y0, w1=y1"),
    "DequantizeLinear by blocks": ("DequantizeLinear<axis = 1, block_size = 2>(w, s)",
                                   {"w": whole_numbers(2, 4), "s": (2, 2), "opset": 21},
                                   "w1 whole"),
}  # fmt: skip

UNRUN = {"ConvInteger", "OneHot"}
"""Cases that ONNX Runtime cannot run on the CPU."""


def model_of(case: str) -> onnx.ModelProto:
    body, given, _ = CASES[case]
    given = {"opset": 17, **given}
    extra = ", i" if body.startswith("TopK") else ""
    model = net(f"y{extra} = {body}", **given)
    return model


def _claims(text: str) -> list[str]:
    return [claim.strip() for claim in text.split(",")]


@pytest.mark.parametrize("case", CASES)
def test_the_rule_says(case: str) -> None:
    assert _wrong(case, CASES[case][2]) == []


def _wrong(case: str, claims: str) -> list[str]:
    ruled = rule(model_of(case))
    values = {v.name: v for v in (*ruled.node.inputs, *ruled.node.outputs) if v is not None}
    return [c for c in _claims(claims) if not _holds(c, ruled, values)]


def _holds(claim: str, ruled: Ruled, values: dict[str | None, ir.Value]) -> bool:
    if found := re.fullmatch(r"(\w+?)(\d)(?:([*/])(\d))?=(\w+?)(\d)", claim):
        left, i, how, times, right, j = found.groups()
        a, b = ruled.roots(values[left], int(i)), ruled.roots(values[right], int(j))
        if a is None or b is None or not a.any():
            return False
        if how:
            a = np.tile(a, int(times)) if how == "*" else np.repeat(a, int(times))
        return bool(np.array_equal(a, b))
    name, axis, rest = re.fullmatch(r"(\w+?)(\d) (.+)", claim).groups()  # type: ignore[union-attr]
    value, roots = values[name], ruled.roots(values[name], int(axis))
    if rest == "whole":
        return roots is None or not roots.any()
    if rest in ("consumed", "statistic"):
        role = Role.CONSUME if rest == "consumed" else Role.STATISTIC
        rank = len(value.shape or ())
        sites = [(s.value, s.axis % rank) for s in ruled.builder.sites if s.role is role]
        return roots is not None and bool(roots.any()) and (value, int(axis)) in sites
    if rest == "alive":
        return roots is not None and bool(roots.all())
    size = int(rest.removeprefix("in blocks of "))
    parts = ruled.partition(value, int(axis))
    return bool(parts) and {len(p) for p in parts} == {size}


@pytest.mark.parametrize("case", [c for c in CASES if c not in UNRUN])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_kept_does_not_see_what_left(case: str, seed: int) -> None:
    """Disturb some classes: everything that is kept stays as it is."""
    proto = model_of(case)
    ruled = rule(proto)
    rng = np.random.default_rng(seed)
    classes = [c for c in ruled.classes() if c not in _statistic(ruled)]
    gone = {c for c in classes if rng.random() < 0.5}
    first, second = (_run(proto, ruled, gone, s) for s in (0, 1))
    for value in ruled.node.outputs:
        if value.name not in first:
            continue
        kept = ~ruled.removed(value, first[value.name].shape, gone)
        np.testing.assert_allclose(first[value.name][kept], second[value.name][kept], 1e-5, 1e-6)


def _statistic(ruled: Ruled) -> set[int]:
    """Classes over which statistics are computed: there the comparison proves nothing."""
    found: set[int] = set()
    for site in ruled.builder.sites:
        if site.role is Role.STATISTIC:
            roots = ruled.roots(site.value, site.axis)
            found.update(() if roots is None else roots.tolist())
    return found


def _run(proto: onnx.ModelProto, ruled: Ruled, gone: set[int], seed: int) -> dict[str, Any]:
    """Run with other contents where coordinates left; zeros where they are consumed."""
    recurrent = ruled.node.op_type in ("LSTM", "GRU", "RNN")
    consumed = {
        s.value.name
        for s in ruled.builder.sites
        if s.role is Role.CONSUME and (s.value.const_value is None or recurrent)
    }
    if recurrent:
        consumed.discard(ruled.node.inputs[1].name if ruled.node.inputs[1] is not None else "")
    values = {v.name: v for v in ruled.node.inputs if v is not None}

    def disturbed(name: str, array: Any) -> Any:
        lost = ruled.removed(values[name], array.shape, gone)
        if not lost.any():
            return array
        other = np.random.default_rng([seed, len(name)])
        noise = other.uniform(0.2, 3, array.shape)
        if np.issubdtype(array.dtype, np.integer):
            noise = other.integers(0, int(array.max()) + 1, array.shape)
        if name in consumed:
            noise = np.zeros(array.shape)
        return np.where(lost, noise, array).astype(array.dtype)

    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for tensor in copy.graph.initializer:
        if tensor.name in values:
            array = disturbed(tensor.name, numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    feed = {}
    for value in copy.graph.input:
        kind = value.type.tensor_type
        shape = [d.dim_value for d in kind.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        array = np.abs(random_array(value.name, shape)) + 0.1
        if dtype != np.float32:
            array = np.arange(array.size).reshape(shape) % (2 if kind.elem_type == 9 else 8)
        feed[value.name] = disturbed(value.name, array.astype(dtype))
    found = shared_worker().session(copy.SerializeToString()).run(feed)
    return {name: np.asarray(array) for name, array in found.items()}


BOOLEAN = {"Not", "And", "Or", "Xor"}
INTEGER = {"BitwiseNot", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift", "Mod"}
ATTRIBUTES = {"Cast": "<to = 1>", "BitShift": '<direction = "LEFT">'}
OPSET = {"Gelu": 20, "Swish": 24}


@pytest.mark.parametrize("kind", UNARY)
def test_one_operand_goes_through(kind: str) -> None:
    """Every axis of the output is that of the input."""
    if kind == "CastLike":
        body, given = "CastLike(x, k)", {"k": np.float32(0)}
    else:
        body, given = f"{kind}{ATTRIBUTES.get(kind, '')}(x)", {}
    dtype = "bool" if kind in BOOLEAN else "int32" if kind in INTEGER else "float"
    opset = OPSET.get(kind, 18)
    proto = net(f"y = {body}", x=f"{dtype}[2,3,4]", opset=opset, **given)
    assert _through(proto, "x")


@pytest.mark.parametrize("kind", BINARY)
def test_two_operands_meet(kind: str) -> None:
    """Aligned axes of both operands and the output lose the same; those of size 1 nothing."""
    dtype = "bool" if kind in BOOLEAN else "int32" if kind in INTEGER else "float"
    dtype = "uint32" if kind == "BitShift" else dtype
    given: dict[str, Any] = {"x": f"{dtype}[2,3,4]", "z": f"{dtype}[3,1]"}
    body = f"{kind}{ATTRIBUTES.get(kind, '')}(x, z)"
    if kind == "Where":
        body, given = "Where(c, x, z)", {**given, "c": "bool[1]"}
    proto = net(f"y = {body}", opset=18, **given)
    assert _through(proto, "x") and _through(proto, "z", {0: 1})


def _through(proto: onnx.ModelProto, name: str, axes: dict[int, int] | None = None) -> bool:
    ruled = rule(_as_float(proto))
    value = next(v for v in ruled.node.inputs if v is not None and v.name == name)
    pairs = axes or {i: i for i in range(len(value.shape or ()))}
    for i, j in pairs.items():
        a, b = ruled.roots(value, i), ruled.roots(ruled.node.outputs[0], j)
        if a is None or b is None or not a.all() or not np.array_equal(a, b):
            return False
    return True


def _as_float(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Labels are given to float inputs; a rule does not look at the type."""
    for value in proto.graph.input:
        if value.name != "c":
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return proto


NO_AXES = {"Constant", "ConstantOfShape", "Shape", "Size", "Reshape", "Resize"}
"""Covered by name elsewhere, or without axes of data."""


def test_every_rule_has_a_case() -> None:
    texts = [case[0] for case in CASES.values()]
    texts += [case[0] for case in test_movement.CASES.values()]
    named = {re.match(r"[\w.]+", text).group() for text in texts}  # type: ignore[union-attr]
    for domain, rules in RULES.items():
        prefix = f"{domain}." if domain else ""
        missing = {k for k in rules if prefix + k not in named}
        assert missing - set(UNARY) - set(BINARY) - NO_AXES == set(), domain
