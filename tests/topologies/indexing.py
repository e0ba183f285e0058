"""Networks that look elements up by place, turn pairs, or read weights packed in blocks."""

from __future__ import annotations

import numpy as np
import onnx

from tests.topologies.builder import image, sequence

Model = onnx.ModelProto


def rows_updated() -> Model:
    """ScatterND writes rows of a sequence, GatherND takes some of them: features go through."""
    net, x = sequence(17)
    h = net.op("Relu", net.linear(x, 32, 48))
    news = net.op("Tanh", net.linear(net.op("Gather", h, net.ints(0), axis=1), 48, 48))
    swapped = net.op("Transpose", h, perm=[1, 0, 2])
    first = net.op("Gather", swapped, net.ints(0), axis=0)
    update = net.op("Add", first, net.op("Transpose", news, perm=[1, 0, 2]))
    wide = net.op("ScatterND", swapped, net.const(np.array([[1]])), update)
    taken = net.op("GatherND", wide, net.const(np.array([[1], [2]])))
    h = net.op("Transpose", taken, perm=[1, 0, 2])
    net.output(net.gemm(net.mean(h, 1, keepdims=0), 48, 10), ["N", 10])
    return net.model()


def embedding_rows() -> Model:
    """A table of weights read by GatherND."""
    net, x = image(17)
    table = net.weight(6, 32, fan_in=1)
    rows = net.op("GatherND", table, net.const(np.array([[4], [1]])))
    bias = net.unsqueeze(net.op("ReduceSum", rows, net.ints(0), keepdims=1), 2)
    h = net.op("Add", net.conv(x, 3, 32), net.unsqueeze(bias, 3))
    net.head(net.cr(h, 32, 32), 32)
    return net.model()


def deformed() -> Model:
    """DeformConv with offsets and a mask from a convolution of their own."""
    net, x = image(19)
    h = net.cr(x, 3, 32)
    offsets = net.op("Tanh", net.conv(h, 32, 18))
    mask = net.op("Sigmoid", net.conv(h, 32, 9))
    y = net.op(
        "DeformConv", h, net.weight(32, 32, 3, 3), offsets, net.vector(32), mask,
        kernel_shape=[3, 3], pads=[1, 1, 1, 1],
    )  # fmt: skip
    net.head(net.cr(net.op("Relu", y), 32, 32), 32)
    return net.model()


def blocks_of_bits() -> Model:
    """com.microsoft MatMulNBits between linear layers: its rows and blocks of its columns."""
    net, x = sequence(17)
    net.domains = ("com.microsoft",)
    h = net.op("Relu", net.linear(x, 32, 128))
    codes = np.random.default_rng(3).integers(0, 256, (64, 8, 8)).astype(np.uint8)
    y = net.op(
        "MatMulNBits", h, net.const(codes), net.vector(64, 8, low=0.01, high=0.1),
        domain="com.microsoft", K=128, N=64, bits=4, block_size=16,
    )  # fmt: skip
    net.output(net.gemm(net.mean(net.op("Relu", y), 1, keepdims=0), 64, 10), ["N", 10])
    return net.model()


def rotary_rows() -> Model:
    """RotaryEmbedding on rows of heads (opset 23): heads leave, their width stays."""
    net, x = sequence(23)
    angles = np.random.default_rng(4).uniform(0, 3, (64, 4))
    cache = [net.const(f(angles).astype(np.float32)) for f in (np.cos, np.sin)]
    length = net.op("Gather", net.op("Shape", x), net.ints(1), axis=0)
    zero = net.ints(0)
    cut = [net.op("Slice", c, zero, length, zero) for c in cache]
    batch = net.op("Gather", net.op("Shape", x), net.ints(0), axis=0)
    shape = net.op("Concat", batch, length, net.ints(4), axis=0)
    cut = [net.op("Expand", c, shape) for c in cut]
    q, k = (net.op("RotaryEmbedding", net.linear(x, 32, 32), *cut, num_heads=4) for _ in range(2))
    a = net.op("Attention", q, k, net.linear(x, 32, 32), q_num_heads=4, kv_num_heads=4)
    h = net.op("Add", x, net.linear(a, 32, 32))
    net.output(net.gemm(net.mean(h, 1, keepdims=0), 32, 10), ["N", 10])
    return net.model()


INDEXING = (rows_updated, embedding_rows, deformed, blocks_of_bits, rotary_rows)
