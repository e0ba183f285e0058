"""Transformers: heads in every form in which exporters write them."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import TensorProto

from tests.topologies.builder import Net, image, sequence

Model = onnx.ModelProto

WIDTH, HEADS, DEPTH = 32, 4, 8  # depth is the size of a head


def _mlp(net: Net, x: str, width: int = WIDTH, hidden: int = 64) -> str:
    """``x + fc2(gelu(fc1(norm(x))))``."""
    h = net.gelu(net.linear(net.layer_norm(x, width), width, hidden))
    return net.op("Add", x, net.linear(h, hidden, width))


def _attend(net: Net, q: str, k: str, v: str, mask: str = "") -> str:
    """Weights of tensors of rank 4 (N, heads, L, depth); ``k`` is transposed already."""
    scores = net.op("Mul", net.op("MatMul", q, k), net.scalar(DEPTH**-0.5))
    if mask:
        scores = net.op("Add", scores, mask)
    return net.op("MatMul", net.op("Softmax", scores, axis=-1), v)


def _classify(net: Net, x: str, width: int = WIDTH) -> Model:
    net.output(net.gemm(net.mean(x, 1, keepdims=0), width, 10), ["N", 10])
    return net.model()


def attention_packed() -> Model:
    """One projection for q, k, v; literal shapes; Split and Squeeze (dynamo)."""
    net, x = sequence(18)
    h = net.reshape(net.linear(net.layer_norm(x, 32), 32, 96), 0, -1, 3, 4, 8)
    parts = net.split(net.transpose(h, 2, 0, 3, 1, 4), 1, 1, 1, axis=0)
    q, k, v = (net.squeeze(p, 0) for p in parts)
    a = net.transpose(_attend(net, q, net.transpose(k, 0, 1, 3, 2), v), 0, 2, 1, 3)
    h = net.op("Add", x, net.linear(net.reshape(a, 0, -1, 32), 32, 32))
    return _classify(net, _mlp(net, h))


def attention_packed_legacy() -> Model:
    """timm's attention of the TorchScript exporter: sizes computed, Gather takes q, k, v."""
    net, x = sequence(17, legacy=True)
    n = net.layer_norm_decomposed(x, 32)
    b, length, c = (net.size(n, axis) for axis in range(3))
    h = net.view(net.linear(n, 32, 96), b, length, 3, 4, net.int_op("Div", c, 4))
    h = net.transpose(h, 2, 0, 3, 1, 4)
    q, k, v = (net.pick(h, i, 0) for i in range(3))
    a = net.transpose(_attend(net, q, net.transpose(k, 0, 1, 3, 2), v), 0, 2, 1, 3)
    h = net.op("Add", x, net.linear(net.view(a, b, length, c), 32, 32))
    return _classify(net, _mlp(net, h))


def attention_packed_chunks() -> Model:
    """nanoGPT: Split in three along the width, then heads; causal mask."""
    net, x = sequence(17, length=6)
    parts = net.split(net.linear(net.layer_norm(x, 32), 32, 96), 32, 32, 32, axis=2)
    q, k, v = (net.transpose(net.reshape(p, 0, 6, 4, 8), 0, 2, 1, 3) for p in parts)
    mask = net.const(np.triu(np.full((1, 1, 6, 6), -1e4, np.float32), 1))
    a = _attend(net, q, net.transpose(k, 0, 1, 3, 2), v, mask)
    h = net.linear(net.reshape(net.transpose(a, 0, 2, 1, 3), 0, 6, 32), 32, 32)
    return _classify(net, _mlp(net, net.op("Add", x, h)))


def attention_packed_slices() -> Model:
    """A packed projection cut by three Slices, after ``nn.MultiheadAttention``."""
    net, x = sequence(17, length=6)
    qkv = net.linear(x, 32, 96)
    parts = [net.slice(qkv, 32 * i, 32 * (i + 1), -1) for i in range(3)]
    q, k, v = (net.transpose(net.reshape(p, -1, 6, 4, 8), 0, 2, 1, 3) for p in parts)
    a = _attend(net, q, net.transpose(k, 0, 1, 3, 2), v)
    h = net.linear(net.reshape(net.transpose(a, 0, 2, 1, 3), -1, 6, 32), 32, 32)
    return _classify(net, _mlp(net, net.layer_norm(net.op("Add", x, h), 32)))


def _separate(net: Net, x: str, source: str = "", width: int = WIDTH) -> list[str]:
    """q, k, v of rank 4 from three projections; k is transposed."""
    out = []
    for name, perm in (("q", (0, 2, 1, 3)), ("k", (0, 2, 3, 1)), ("v", (0, 2, 1, 3))):
        read = x if name == "q" or not source else source
        h = net.reshape(net.linear(read, width, width), 0, -1, width // DEPTH, DEPTH)
        out.append(net.transpose(h, *perm))
    return out


def attention_separate() -> Model:
    """Three projections, as in BERT."""
    net, x = sequence(17)
    a = net.transpose(_attend(net, *_separate(net, net.layer_norm(x, 32))), 0, 2, 1, 3)
    h = net.op("Add", net.linear(net.reshape(a, 0, -1, 32), 32, 32), x)
    return _classify(net, _mlp(net, h))


def attention_cross() -> Model:
    """Queries from one sequence, keys and values from another."""
    net, x = sequence(17)
    memory = net.linear(net.input("memory", ["N", "S", 16]), 16, 32)
    a = net.transpose(_attend(net, *_separate(net, x, memory)), 0, 2, 1, 3)
    h = net.op("Add", net.linear(net.reshape(a, 0, -1, 32), 32, 32), net.linear(x, 32, 32))
    return _classify(net, _mlp(net, h))


def attention_sdpa_legacy() -> Model:
    """``scaled_dot_product_attention`` of the legacy exporter: the scale is computed from a shape
    and its root multiplies both sides.
    """
    net, x = sequence(17, legacy=True)
    b, length = net.size(x, 0), net.size(x, 1)
    q, k, v = (
        net.transpose(net.view(net.linear(x, 32, 32), b, length, 4, 8), 0, 2, 1, 3)
        for _ in range(3)
    )
    size = net.op("Cast", net.slice(net.op("Shape", q), -1, (1 << 63) - 1, 0), to=1)
    root = net.op("Sqrt", size)
    scale = net.op("Sqrt", net.op("Div", net.const(np.ones(1, np.float32)), root))
    left = net.op("Mul", q, scale)
    right = net.op("Mul", net.transpose(k, 0, 1, 3, 2), scale)
    weights = net.op("Softmax", net.op("MatMul", left, right), axis=-1)
    a = net.transpose(net.op("MatMul", weights, v), 0, 2, 1, 3)
    h = net.op("Add", x, net.linear(net.view(a, b, length, 32), 32, 32))
    return _classify(net, _mlp(net, h))


def attention_sdpa_dynamo() -> Model:
    """The same of the new exporter: keys are transposed as a tensor of rank 3."""
    net, x = sequence(18, length=6)
    q, k, v = (
        net.transpose(net.reshape(net.linear(x, 32, 32), -1, 6, 4, 8), 0, 2, 1, 3) for _ in range(3)
    )
    k = net.transpose(net.reshape(k, -1, 6, 8), 0, 2, 1)
    k = net.reshape(k, -1, 4, 8, 6)
    root = net.const(np.array([8**-0.25], np.float32))
    weights = net.op("MatMul", net.op("Mul", q, root), net.op("Mul", k, root))
    a = net.op("MatMul", net.op("Softmax", weights, axis=-1), v)
    h = net.reshape(net.transpose(a, 0, 2, 1, 3), -1, 6, 32)
    return _classify(net, _mlp(net, net.op("Add", x, net.linear(h, 32, 32))))


def attention_heads_in_batch() -> Model:
    """``nn.MultiheadAttention``: sequence first, heads folded into the batch."""
    net = Net(17)
    x = net.input("x", [6, "N", 32])
    qkv = net.transpose(net.reshape(net.linear(x, 32, 96), 6, -1, 3, 32), 2, 0, 1, 3)
    scale = net.scalar(DEPTH**-0.5)
    q, k, v = (net.transpose(net.reshape(net.pick(qkv, i, 0), 6, -1, 8), 1, 0, 2) for i in range(3))
    scores = net.op("MatMul", net.op("Mul", q, scale), net.transpose(k, 0, 2, 1))
    a = net.op("MatMul", net.op("Softmax", scores, axis=-1), v)
    rows = net.reshape(net.transpose(a, 1, 0, 2), -1, 32)
    h = net.op("Add", x, net.reshape(net.gemm(rows, 32, 32), 6, -1, 32))
    h = net.layer_norm(h, 32)
    net.output(net.gemm(net.mean(_mlp(net, h), 0, keepdims=0), 32, 10), ["N", 10])
    return net.model()


def attention_unscaled_einsum() -> Model:
    """Einsum for scores and values."""
    net, x = sequence(17)
    parts = [net.reshape(net.linear(x, 32, 32), 0, -1, 4, 8) for _ in range(3)]
    scores = net.op("Einsum", parts[0], parts[1], equation="bqhd,bkhd->bhqk")
    scores = net.op("Mul", scores, net.scalar(DEPTH**-0.5))
    a = net.op("Einsum", net.op("Softmax", scores, axis=-1), parts[2], equation="bhqk,bkhd->bqhd")
    h = net.op("Add", x, net.linear(net.reshape(a, 0, -1, 32), 32, 32))
    return _classify(net, _mlp(net, h))


def einsum_projections() -> Model:
    """Keras: weights of rank 3, ``abc,cde->abde``; the output projection contracts two axes."""
    net, x = sequence(17)
    parts = []
    for _ in range(3):
        w = net.weight(32, 4, 8, fan_in=32)
        h = net.op("Einsum", x, w, equation="abc,cde->abde")
        parts.append(net.op("Add", h, net.vector(4, 8)))
    q = net.op("Mul", parts[0], net.scalar(DEPTH**-0.5))
    scores = net.op("Einsum", parts[1], q, equation="aecd,abcd->acbe")
    a = net.op("Einsum", net.op("Softmax", scores), parts[2], equation="acbe,aecd->abcd")
    w = net.weight(4, 8, 32, fan_in=32)
    h = net.op("Add", net.op("Einsum", a, w, equation="abcd,cde->abe"), net.vector(32))
    return _classify(net, _mlp(net, net.layer_norm(net.op("Add", x, h), 32)))


def attention_per_head_weights() -> Model:
    """Projections as one MatMul with a weight (heads, width, depth)."""
    net, x = sequence(17)
    h = net.unsqueeze(x, 1)
    q, k, v = (net.op("MatMul", h, net.weight(4, 32, 8, fan_in=32)) for _ in range(3))
    a = _attend(net, q, net.transpose(k, 0, 1, 3, 2), v)
    y = net.op("MatMul", a, net.weight(4, 8, 32, fan_in=32))
    y = net.op("ReduceSum", y, net.ints(1), keepdims=0)
    return _classify(net, _mlp(net, net.op("Add", x, y)))


def _grouped_queries(net: Net, x: str, kv_heads: int, legacy: bool) -> str:
    """Llama's ``repeat_kv``: Unsqueeze, Expand, Reshape."""
    rep = HEADS // kv_heads
    q = net.transpose(net.reshape(net.linear(x, 32, 32, False), 0, -1, 4, 8), 0, 2, 1, 3)
    kv = []
    for _ in range(2):
        h = net.linear(x, 32, kv_heads * 8, False)
        h = net.transpose(net.reshape(h, 0, -1, kv_heads, 8), 0, 2, 1, 3)
        b, length = net.size(h, 0), net.size(h, 2)
        if legacy:
            heads, depth = net.size(h, 1), net.size(h, 3)
            shape = net.dims(b, heads, rep, length, depth)
            wide = net.op("Expand", net.unsqueeze(h, 2), shape)
            kv.append(net.view(wide, b, net.int_op("Mul", heads, rep), length, depth))
        else:
            wide = net.op("Expand", net.unsqueeze(h, 2), net.ints(1, 1, rep, 1, 1))
            kv.append(net.reshape(wide, 0, 4, -1, 8))
    a = _attend(net, q, net.transpose(kv[0], 0, 1, 3, 2), kv[1])
    return net.reshape(net.transpose(a, 0, 2, 1, 3), 0, -1, 32)


def attention_grouped_queries() -> Model:
    """Two query heads read one key head; literal shapes."""
    net, x = sequence(17)
    a = _grouped_queries(net, x, 2, False)
    return _classify(net, _mlp(net, net.op("Add", x, net.linear(a, 32, 32, False))))


def attention_grouped_queries_legacy() -> Model:
    """The same with computed shapes."""
    net, x = sequence(17, legacy=True)
    a = _grouped_queries(net, x, 2, True)
    return _classify(net, _mlp(net, net.op("Add", x, net.linear(a, 32, 32, False))))


def attention_multi_query() -> Model:
    """All query heads read one key head, by broadcasting."""
    net, x = sequence(17)
    q = net.transpose(net.reshape(net.linear(x, 32, 32), 0, -1, 4, 8), 0, 2, 1, 3)
    k, v = (net.unsqueeze(net.linear(x, 32, 8), 1) for _ in range(2))
    a = net.transpose(_attend(net, q, net.transpose(k, 0, 1, 3, 2), v), 0, 2, 1, 3)
    h = net.op("Add", x, net.linear(net.reshape(a, 0, -1, 32), 32, 32))
    return _classify(net, _mlp(net, h))


def attention_gather_repeat() -> Model:
    """Keys are repeated for the query heads by a Gather with constant indices."""
    net, x = sequence(17)
    q = net.transpose(net.reshape(net.linear(x, 32, 32), 0, -1, 4, 8), 0, 2, 1, 3)
    k, v = (
        net.op(
            "Gather",
            net.transpose(net.reshape(net.linear(x, 32, 16), 0, -1, 2, 8), 0, 2, 1, 3),
            net.ints(0, 0, 1, 1),
            axis=1,
        )
        for _ in range(2)
    )
    a = net.transpose(_attend(net, q, net.transpose(k, 0, 1, 3, 2), v), 0, 2, 1, 3)
    h = net.op("Add", x, net.linear(net.reshape(a, 0, -1, 32), 32, 32))
    return _classify(net, _mlp(net, h))


def rms_norm(net: Net, x: str, c: int) -> str:
    """RMS normalization, decomposed as exported from Llama."""
    mean = net.mean(net.op("Pow", x, net.scalar(2.0)), -1)
    root = net.op("Sqrt", net.op("Add", mean, net.scalar(1e-6)))
    h = net.op("Mul", x, net.op("Div", net.scalar(1.0), root))
    return net.op("Mul", net.vector(c, low=0.5, high=1.5), h)


def _rotate(net: Net, x: str) -> str:
    """Rotary embedding of 6 positions: halves are turned against each other."""
    angle = np.arange(6)[:, None] * 100.0 ** -(np.arange(4) / 4)[None]
    table = np.concatenate([angle, angle], 1)[None, None].astype(np.float32)
    first, second = net.slice(x, 0, 4, 3), net.slice(x, 4, 1 << 62, 3)
    turned = net.op("Concat", net.op("Neg", second), first, axis=-1)
    return net.op("Add", net.op("Mul", x, net.const(np.cos(table))),
                  net.op("Mul", turned, net.const(np.sin(table))))  # fmt: skip


def llama_block() -> Model:
    """RMS normalization, rotary embedding, SwiGLU, a tied head."""
    net = Net(17)
    ids = net.input("ids", ["N", 6], TensorProto.INT64)
    table = net.weight(24, 32, fan_in=2)
    x = net.op("Gather", table, ids)
    h = rms_norm(net, x, 32)
    parts = [
        net.transpose(net.reshape(net.linear(h, 32, 32, False), 0, 6, 4, 8), 0, 2, 1, 3)
        for _ in range(3)
    ]
    q, k = _rotate(net, parts[0]), net.transpose(_rotate(net, parts[1]), 0, 1, 3, 2)
    mask = net.const(np.triu(np.full((1, 1, 6, 6), -1e4, np.float32), 1))
    a = net.transpose(_attend(net, q, k, parts[2], mask), 0, 2, 1, 3)
    x = net.op("Add", x, net.linear(net.reshape(a, 0, 6, 32), 32, 32, False))
    h = rms_norm(net, x, 32)
    h = net.op("Mul", net.silu(net.linear(h, 32, 64, False)), net.linear(h, 32, 64, False))
    x = rms_norm(net, net.op("Add", x, net.linear(h, 64, 32, False)), 32)
    y = net.op("Mul", x, net.scalar(0.1))
    net.output(net.op("MatMul", y, net.transpose(table, 1, 0)), ["N", 6, 24])
    return net.model()


def swiglu_packed() -> Model:
    """Gate and value from one projection: Split, SiLU, Mul."""
    net, x = sequence(17)
    for _ in range(2):
        gate, value = net.split(net.linear(net.layer_norm(x, 32), 32, 96), 48, 48, axis=-1)
        x = net.op("Add", x, net.linear(net.op("Mul", net.silu(gate), value), 48, 32))
    return _classify(net, x)


def _window_attention(net: Net, x: str, shift: int) -> str:
    """Windows of 4x4 of an 8x8 map (N, 8, 8, 32), rolled by ``shift``."""
    h = net.layer_norm(x, 32)
    if shift:
        h = _roll(net, h, shift)
    h = net.transpose(net.reshape(h, -1, 2, 4, 2, 4, 32), 0, 1, 3, 2, 4, 5)
    h = net.linear(net.reshape(h, -1, 16, 32), 32, 96)
    h = net.transpose(net.reshape(h, -1, 16, 3, 4, 8), 2, 0, 3, 1, 4)
    q, k, v = (net.pick(h, i, 0) for i in range(3))
    scores = net.op("MatMul", net.op("Mul", q, net.scalar(DEPTH**-0.5)),
                    net.transpose(k, 0, 1, 3, 2))  # fmt: skip
    rng = np.random.default_rng(4)
    table = net.weight(49, 4, fan_in=2)
    bias = net.reshape(net.op("Gather", table, net.const(rng.integers(0, 49, 256))), 16, 16, 4)
    scores = net.op("Add", scores, net.unsqueeze(net.transpose(bias, 2, 0, 1), 0))
    if shift:
        mask = np.where(rng.random((4, 1, 16, 16)) < 0.3, -100, 0).astype(np.float32)
        scores = net.op("Add", net.reshape(scores, -1, 4, 4, 16, 16), net.const(mask[None]))
        scores = net.reshape(scores, -1, 4, 16, 16)
    a = net.transpose(net.op("MatMul", net.op("Softmax", scores, axis=-1), v), 0, 2, 1, 3)
    h = net.linear(net.reshape(a, -1, 16, 32), 32, 32)
    h = net.transpose(net.reshape(h, -1, 2, 2, 4, 4, 32), 0, 1, 3, 2, 4, 5)
    h = net.reshape(h, -1, 8, 8, 32)
    return _roll(net, h, -shift) if shift else h


def _roll(net: Net, x: str, by: int) -> str:
    """``torch.roll(x, (-by, -by), (1, 2))`` as Slices and Concat."""
    for axis in (1, 2):
        x = net.op("Concat", net.slice(x, by, 1 << 62, axis), net.slice(x, 0, by, axis), axis=axis)
    return x


def swin() -> Model:
    """Shifted windows, relative position bias, patch merging."""
    net, image_ = image(17, size=16)
    x = net.conv(image_, 3, 32, 2, stride=2, pad=0)
    x = net.layer_norm(net.transpose(x, 0, 2, 3, 1), 32)
    for shift in (0, 2):
        x = net.op("Add", x, _window_attention(net, x, shift))
        x = _mlp(net, x)
    corners = [
        net.slice(net.slice(x, row, 1 << 62, 1, 2), column, 1 << 62, 2, 2)
        for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))
    ]
    x = net.layer_norm(net.op("Concat", *corners, axis=-1), 128)
    x = net.linear(x, 128, 48, False)
    x = _mlp(net, x, 48, 96)
    pooled = net.mean(net.layer_norm(x, 48), 1, 2, keepdims=0)
    net.output(net.gemm(pooled, 48, 10), ["N", 10])
    return net.model()


def vit() -> Model:
    """Patches, class token, positions, encoder block, head on the token."""
    net, image_ = image(17)
    p = net.conv(image_, 3, 32, 4, stride=4, pad=0)
    p = net.transpose(net.reshape(p, 0, 32, 16), 0, 2, 1)
    token = net.op("Expand", net.vector(1, 1, 32), net.dims(net.size(p, 0), 1, 1))
    x = net.op("Add", net.op("Concat", token, p, axis=1), net.vector(1, 17, 32))
    a = net.transpose(_attend(net, *_separate(net, net.layer_norm(x, 32))), 0, 2, 1, 3)
    x = net.op("Add", x, net.linear(net.reshape(a, 0, -1, 32), 32, 32))
    x = net.layer_norm(_mlp(net, x), 32)
    net.output(net.gemm(net.pick(x, 0, 1), 32, 10), ["N", 10])
    return net.model()


def vit_legacy() -> Model:
    """The same with computed shapes, layer scale and decomposed normalization."""
    net, image_ = image(13, legacy=True)
    p = net.conv(image_, 3, 32, 4, stride=4, pad=0)
    p = net.transpose(net.view(p, net.size(p, 0), net.size(p, 1), -1), 0, 2, 1)
    shape = net.dims(net.size(p, 0), -1, -1)
    ones = net.op("ConstantOfShape", net.op("Shape", shape), value=_one())
    shape = net.op("Where", net.op("Equal", shape, net.op("Mul", ones, net.ints(-1))), ones, shape)
    token = net.op("Expand", net.vector(1, 1, 32), shape)
    x = net.op("Add", net.op("Concat", token, p, axis=1), net.vector(1, 17, 32))
    n = net.layer_norm_decomposed(x, 32)
    b, length, c = (net.size(n, axis) for axis in range(3))
    h = net.view(net.linear(n, 32, 96), b, length, 3, 4, net.int_op("Div", c, 4))
    h = net.transpose(h, 2, 0, 3, 1, 4)
    q, k, v = (net.pick(h, i, 0) for i in range(3))
    a = net.transpose(_attend(net, q, net.transpose(k, 0, 1, 3, 2), v), 0, 2, 1, 3)
    h = net.op("Mul", net.linear(net.view(a, b, length, c), 32, 32), net.vector(32))
    x = net.op("Add", x, h)
    h = net.gelu(net.linear(net.layer_norm_decomposed(x, 32), 32, 64))
    x = net.op("Add", x, net.op("Mul", net.linear(h, 64, 32), net.vector(32)))
    net.output(net.gemm(net.pick(net.layer_norm_decomposed(x, 32), 0, 1), 32, 10), ["N", 10])
    return net.model()


def _one() -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.array([1], np.int64))


def bert() -> Model:
    """Three embeddings, a mask from the input, encoder block, pooler; legacy shapes."""
    net = Net(14, legacy=True)
    ids = net.input("ids", ["N", "L"], TensorProto.INT64)
    attended = net.input("mask", ["N", "L"], TensorProto.INT64)
    length = net.unsqueeze(net.size(ids, 1), 0)
    positions = net.op("Slice", net.const(np.arange(32)[None]), net.ints(0), length, net.ints(1))
    x = net.op("Gather", net.weight(30, 32, fan_in=2), ids)
    x = net.op("Add", x, net.op("Gather", net.weight(32, 32, fan_in=2), positions))
    x = net.layer_norm_decomposed(net.op("Add", x, net.vector(1, 1, 32)), 32)
    mask = net.op("Cast", net.unsqueeze(net.unsqueeze(attended, 1), 2), to=1)
    mask = net.op("Mul", net.op("Sub", net.scalar(1.0), mask), net.scalar(-1e4))
    heads = []
    for perm in ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3)):
        h = net.linear(x, 32, 32)
        h = net.view(h, net.size(h, 0), net.size(h, 1), 4, 8)
        heads.append(net.transpose(h, *perm))
    q, k, v = heads
    scores = net.op("Div", net.op("MatMul", q, k), net.scalar(math.sqrt(DEPTH)))
    weights = net.op("Softmax", net.op("Add", scores, mask), axis=-1)
    a = net.transpose(net.op("MatMul", weights, v), 0, 2, 1, 3)
    a = net.view(a, net.size(a, 0), net.size(a, 1), 32)
    x = net.layer_norm_decomposed(net.op("Add", net.linear(a, 32, 32), x), 32)
    h = net.linear(net.gelu(net.linear(x, 32, 64)), 64, 32)
    x = net.layer_norm_decomposed(net.op("Add", h, x), 32)
    pooled = net.op("Tanh", net.gemm(net.pick(x, 0, 1), 32, 32))
    net.output(net.gemm(pooled, 32, 5), ["N", 5])
    return net.model()


def tied_head() -> Model:
    """The embedding table is the output projection, transposed at run time."""
    net = Net(17)
    ids = net.input("ids", ["N", "L"], TensorProto.INT64)
    table = net.weight(24, 32, fan_in=8)
    x = _mlp(net, net.op("Gather", table, ids))
    y = net.op("MatMul", net.layer_norm(x, 32), net.transpose(table, 1, 0))
    net.output(net.op("Add", y, net.vector(24)), ["N", "L", 24])
    return net.model()


def attention_23() -> Model:
    """The operator Attention with tensors of rank 3; no scale is given."""
    net, x = sequence(23)
    h = net.layer_norm(x, 32)
    q, k, v = net.linear(h, 32, 32), net.linear(h, 32, 16), net.linear(h, 32, 16)
    a = net.op("Attention", q, k, v, q_num_heads=4, kv_num_heads=2)
    h = net.op("Add", x, net.linear(a, 32, 32))
    return _classify(net, _mlp(net, h))


def attention_23_rank4() -> Model:
    """The operator Attention with heads in an axis of their own."""
    net, x = sequence(23)
    q, k, v = (
        net.transpose(net.reshape(net.linear(x, 32, 32), 0, -1, 4, 8), 0, 2, 1, 3) for _ in range(3)
    )
    a = net.op("Attention", q, k, v, is_causal=1)
    h = net.linear(net.reshape(net.transpose(a, 0, 2, 1, 3), 0, -1, 32), 32, 32)
    return _classify(net, _mlp(net, net.op("Add", x, h)))


def rms_norm_23() -> Model:
    """The operator RMSNormalization."""
    net, x = sequence(23)
    for _ in range(2):
        h = net.op("RMSNormalization", x, net.vector(32, low=0.5, high=1.5), axis=-1)
        x = net.op("Add", x, net.linear(net.gelu(net.linear(h, 32, 64)), 64, 32))
    return _classify(net, x)


def multi_head_attention_contrib() -> Model:
    """ONNX Runtime's MultiHeadAttention and SkipLayerNormalization."""
    net, x = sequence(17, domains=["com.microsoft"])
    q, k, v = (net.linear(x, 32, 32) for _ in range(3))
    a = net.op("MultiHeadAttention", q, k, v, domain="com.microsoft", num_heads=4)
    skip = net.linear(a, 32, 32)
    gamma, beta = net.vector(32, low=0.5, high=1.5), net.vector(32)
    h = net.op("SkipLayerNormalization", x, skip, gamma, beta, domain="com.microsoft",
               epsilon=1e-5)  # fmt: skip
    return _classify(net, _mlp(net, h))


def multi_head_attention_bias() -> Model:
    """The same with one bias for queries, keys and values, as its own fusions write it."""
    net, x = sequence(17, domains=["com.microsoft"])
    q, k, v = (net.linear(x, 32, 32, False) for _ in range(3))
    a = net.op("MultiHeadAttention", q, k, v, net.vector(96), domain="com.microsoft", num_heads=4)
    return _classify(net, _mlp(net, net.op("Add", x, net.linear(a, 32, 32))))


def packed_attention_contrib() -> Model:
    """ONNX Runtime's Attention: weights of q, k, v side by side."""
    net, x = sequence(17, domains=["com.microsoft"])
    w, b = net.weight(32, 96, fan_in=32), net.vector(96)
    a = net.op("Attention", x, w, b, domain="com.microsoft", num_heads=4)
    h = net.op("Add", x, net.linear(a, 32, 32))
    return _classify(net, _mlp(net, h))


def group_query_attention_contrib() -> Model:
    """ONNX Runtime's GroupQueryAttention without a past."""
    net = Net(17, domains=["com.microsoft"])
    x = net.input("x", [2, 6, 32])
    q, k, v = (net.linear(x, 32, c, False) for c in (32, 16, 16))
    lengths = net.const(np.array([5, 5], np.int32))
    total = net.const(np.array(6, np.int32))
    a = net.many(3, "GroupQueryAttention", q, k, v, "", "", lengths, total,
                 domain="com.microsoft", num_heads=4, kv_num_heads=2)[0]  # fmt: skip
    h = _mlp(net, net.op("Add", x, net.linear(a, 32, 32, False)))
    net.output(net.gemm(net.mean(h, 1, keepdims=0), 32, 10), [2, 10])
    return net.model()


def patch_mixer() -> Model:
    """MLP-Mixer: dense layers over positions and over channels in turn."""
    net, image_ = image(17)
    p = net.reshape(net.conv(image_, 3, 32, 4, stride=4, pad=0), 0, 32, 16)
    x = net.transpose(p, 0, 2, 1)
    h = net.transpose(net.layer_norm(x, 32), 0, 2, 1)
    h = net.linear(net.gelu(net.linear(h, 16, 24)), 24, 16)
    x = net.op("Add", x, net.transpose(h, 0, 2, 1))
    return _classify(net, _mlp(net, x))


def linear_attention_conv() -> Model:
    """Attention over the pixels of a map, with 1x1 convolutions (diffusion U-Nets)."""
    net, image_ = image(17, size=8)
    x = net.cr(image_, 3, 32)
    qkv = net.reshape(net.conv(x, 32, 96, 1), 0, 3, 4, 8, 64)
    q, k, v = (net.pick(qkv, i, 1) for i in range(3))
    scores = net.op("MatMul", net.transpose(q, 0, 1, 3, 2), k)
    weights = net.op("Softmax", net.op("Mul", scores, net.scalar(DEPTH**-0.5)), axis=-1)
    a = net.op("MatMul", v, net.transpose(weights, 0, 1, 3, 2))
    h = net.op("Add", x, net.conv(net.reshape(a, 0, 32, 8, 8), 32, 32, 1))
    net.head(net.cr(h, 32, 32), 32)
    return net.model()


ATTENTION = (
    attention_packed, attention_packed_legacy, attention_packed_chunks, attention_packed_slices,
    attention_separate, attention_cross, attention_sdpa_legacy, attention_sdpa_dynamo,
    attention_heads_in_batch, attention_unscaled_einsum, einsum_projections,
    attention_per_head_weights, attention_grouped_queries, attention_grouped_queries_legacy,
    attention_multi_query, attention_gather_repeat, llama_block, swiglu_packed, swin, vit,
    vit_legacy, bert, tied_head, attention_23, attention_23_rank4, rms_norm_23,
    multi_head_attention_contrib, multi_head_attention_bias, packed_attention_contrib,
    group_query_attention_contrib,
    patch_mixer, linear_attention_conv,
)  # fmt: skip
