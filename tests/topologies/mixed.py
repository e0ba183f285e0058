"""Normalizations, broadcasting, detection heads and operators that stand in the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.topologies.builder import Net, image, sequence

Model = onnx.ModelProto


def _group_norm(kind: str, opset: int) -> Model:
    net, x = image(opset, size=8)
    h = net.conv(x, 3, 32)
    for _ in range(2):
        a = net.op("Relu", _GROUP_NORMS[kind](net, h, 32))
        h = net.op("Add", h, net.conv(a, 32, 32))
    net.head(net.op("Relu", _GROUP_NORMS[kind](net, h, 32)), 32)
    return net.model()


def _native(net: Net, x: str, c: int) -> str:
    scale, bias = net.vector(c, low=0.5, high=1.5), net.vector(c)
    return net.op("GroupNormalization", x, scale, bias, num_groups=4, epsilon=1e-5)


def _decomposed(net: Net, x: str, c: int) -> str:
    """As both exporters write ``nn.GroupNorm``."""
    flat = net.reshape(x, 0, 4, -1)
    one = net.const(np.ones(4, np.float32))
    y = net.op("InstanceNormalization", flat, one, net.const(np.zeros(4, np.float32)))
    y = net.op("Reshape", y, net.op("Shape", x))
    scaled = net.op("Mul", y, net.vector(c, 1, 1, low=0.5, high=1.5))
    return net.op("Add", scaled, net.vector(c, 1, 1))


def _one_group(net: Net, x: str, c: int) -> str:
    """``nn.GroupNorm(1, c)``: normalization over channels and space."""
    flat = net.reshape(x, 0, 1, -1)
    one = net.const(np.ones(1, np.float32))
    y = net.op("InstanceNormalization", flat, one, net.const(np.zeros(1, np.float32)))
    y = net.op("Reshape", y, net.op("Shape", x))
    scaled = net.op("Mul", y, net.vector(c, 1, 1, low=0.5, high=1.5))
    return net.op("Add", scaled, net.vector(c, 1, 1))


def _instance(net: Net, x: str, c: int) -> str:
    return net.op("InstanceNormalization", x, net.vector(c, low=0.5, high=1.5), net.vector(c))


_GROUP_NORMS: dict[str, Any] = {
    "native": _native, "decomposed": _decomposed, "one": _one_group, "instance": _instance,
}  # fmt: skip


def group_norm_21() -> Model:
    """GroupNormalization (opset 18 had scales per group: the checker calls it deprecated)."""
    return _group_norm("native", 21)


def group_norm_decomposed() -> Model:
    """Reshape, InstanceNormalization, Reshape to the Shape of the input, Mul, Add."""
    return _group_norm("decomposed", 17)


def group_norm_single() -> Model:
    """One group: the statistics are those of all channels."""
    return _group_norm("one", 17)


def instance_norm() -> Model:
    """Style transfer: statistics per channel, residual."""
    return _group_norm("instance", 17)


def layer_norm_native() -> Model:
    """LayerNormalization between dense layers, with a shortcut."""
    net, x = sequence(17)
    h = net.linear(x, 32, 48)
    for _ in range(2):
        a = net.op("Relu", net.linear(net.layer_norm(h, 48), 48, 64))
        h = net.op("Add", h, net.linear(a, 64, 48))
    net.output(net.linear(net.layer_norm(h, 48), 48, 10), ["N", "L", 10])
    return net.model()


def layer_norm_decomposed() -> Model:
    """The same from ReduceMean, Pow, Sqrt, Div."""
    net, x = sequence(13)
    h = net.linear(x, 32, 48)
    for _ in range(2):
        a = net.op("Relu", net.linear(net.layer_norm_decomposed(h, 48), 48, 64))
        h = net.op("Add", h, net.linear(a, 64, 48))
    net.output(net.linear(net.layer_norm_decomposed(h, 48), 48, 10), ["N", "L", 10])
    return net.model()


def layer_norm_channels_first() -> Model:
    """Normalization over channels of an image (ConvNeXt's stem), decomposed."""
    net, x = image(18)
    h = net.layer_norm_decomposed(net.conv(x, 3, 32, 4, stride=4, pad=0), 32, 1, tail=2)
    h = net.op("Add", h, net.conv(net.cr(h, 32, 48), 48, 32))
    net.head(net.layer_norm_decomposed(h, 32, 1, tail=2), 32)
    return net.model()


def convnext() -> Model:
    """Depthwise 7x7, channels last, normalization, two dense layers, layer scale."""
    net, x = image(17)
    h = net.conv(x, 3, 32, 4, stride=4, pad=0)
    for _ in range(2):
        a = net.transpose(net.conv(h, 32, 32, 7, group=32), 0, 2, 3, 1)
        a = net.gelu(net.linear(net.layer_norm(a, 32), 32, 128))
        a = net.transpose(net.linear(a, 128, 32), 0, 3, 1, 2)
        h = net.op("Add", h, net.op("Mul", net.vector(32, 1, 1), a))
    v = net.op("Flatten", net.op("GlobalAveragePool", h))
    net.output(net.gemm(net.layer_norm(v, 32), 32, 10), ["N", 10])
    return net.model()


def layer_scale() -> Model:
    """Branches scaled per channel, before and after moving the channels last."""
    net, x = image(17)
    h = net.cr(x, 3, 32)
    a = net.op("Mul", net.conv(net.cr(h, 32, 48), 48, 32), net.vector(1, 32, 1, 1))
    h = net.op("Add", h, a)
    t = net.transpose(h, 0, 2, 3, 1)
    t = net.op("Mul", net.linear(t, 32, 32), net.vector(32))
    net.head(net.op("Add", h, net.transpose(t, 0, 3, 1, 2)), 32)
    return net.model()


def broadcast_constants() -> Model:
    """Constants of shapes [1, C, 1, 1], [C, H, W], [C, 1, 1] and a scalar; Div, Max, Where."""
    net, x = image(17, size=8)
    h = net.op("Mul", net.conv(x, 3, 32), net.vector(1, 32, 1, 1, low=0.5, high=1.5))
    h = net.op("Add", net.conv(net.op("Relu", h), 32, 32), net.vector(32, 8, 8))
    h = net.op("Div", h, net.vector(32, 1, 1, low=1, high=2))
    h = net.op("Max", h, net.vector(32, 1, 1, low=-1, high=-0.5))
    h = net.op("Where", net.op("Less", h, net.vector(32, 1, 1)), net.scalar(0.0), h)
    net.head(net.conv(net.op("Sub", h, net.vector(1, 32, 8, 8)), 32, 32), 32)
    return net.model()


def channel_slices() -> Model:
    """Overlapping, strided and negative ranges of channels."""
    net, x = image()
    h = net.cr(x, 3, 32)
    a = net.slice(h, 0, 20, 1)
    b = net.slice(h, 8, 28, 1)
    c = net.slice(h, 1, 1 << 62, 1, 2)
    d = net.slice(h, -8, (1 << 63) - 1, -3)
    h = net.op("Concat", net.op("Add", a, b), c, d, axis=1)
    net.head(net.cr(h, 44, 32), 32)
    return net.model()


def channel_gather() -> Model:
    """A permutation, a selection with repetition, and single channels."""
    net, x = image()
    h = net.cr(x, 3, 32)
    order = np.random.default_rng(1).permutation(32)
    a = net.op("Gather", h, net.const(order), axis=1)
    b = net.op("Gather", h, net.ints(3, 5, 5, 30), axis=1)
    c = net.unsqueeze(net.pick(h, 7, 1), 1)
    h = net.op("Concat", net.op("Add", h, a), b, c, axis=1)
    net.head(net.cr(h, 37, 32), 32)
    return net.model()


def channel_reverse() -> Model:
    """The channels in reverse order are added: pairs leave together."""
    net, x = image()
    h = net.cr(x, 3, 32)
    h = net.op("Add", h, net.slice(h, -1, -(1 << 62), 1, -1))
    net.head(net.cr(h, 32, 32), 32)
    return net.model()


def gated_linear() -> Model:
    """GLU: halves of a convolution, one gates the other."""
    net, x = image()
    h = net.cr(x, 3, 32)
    a, b = net.split(net.conv(h, 32, 64), 32, 32, axis=1)
    net.head(net.cr(net.op("Mul", a, net.op("Sigmoid", b)), 32, 32), 32)
    return net.model()


def maxout() -> Model:
    """The larger of two channels: Reshape and ReduceMax over the pairs."""
    net, x = image(18, size=8)
    h = net.conv(net.cr(x, 3, 32), 32, 64)
    h = net.op("ReduceMax", net.reshape(h, -1, 32, 2, 8, 8), net.ints(2), keepdims=0)
    net.head(net.cr(h, 32, 32), 32)
    return net.model()


def split_attention() -> Model:
    """ResNeSt: two splits weighted by a softmax over the splits."""
    net, x = image(17, size=8)
    h = net.cr(net.cr(x, 3, 32), 32, 64, group=2)
    parts = net.reshape(h, -1, 2, 32, 8, 8)
    pooled = net.op("GlobalAveragePool", net.op("ReduceSum", parts, net.ints(1), keepdims=0))
    gates = net.conv(net.cr(pooled, 32, 16, 1), 16, 64, 1)
    gates = net.op("Softmax", net.reshape(gates, -1, 2, 32, 1, 1), axis=1)
    h = net.op("ReduceSum", net.op("Mul", parts, gates), net.ints(1), keepdims=0)
    net.head(net.cr(h, 32, 32), 32)
    return net.model()


def selective_kernel() -> Model:
    """SKNet: branches stacked by Unsqueeze and Concat, weighted, summed."""
    net, x = image(17, size=8)
    h = net.cr(x, 3, 32)
    branches = [net.unsqueeze(net.cr(h, 32, 32, k), 1) for k in (3, 5)]
    u = net.op("Concat", *branches, axis=1)
    s = net.mean(net.op("ReduceSum", u, net.ints(1), keepdims=0), 2, 3, keepdims=0)
    z = net.op("Relu", net.gemm(s, 32, 16))
    gates = [net.unsqueeze(net.gemm(z, 16, 32), 1) for _ in range(2)]
    weights = net.op("Softmax", net.op("Concat", *gates, axis=1), axis=1)
    weights = net.unsqueeze(net.unsqueeze(weights, -1), -1)
    h = net.op("ReduceSum", net.op("Mul", u, weights), net.ints(1), keepdims=0)
    net.head(net.cr(h, 32, 32), 32)
    return net.model()


def _pyramid(net: Net, x: str) -> list[str]:
    c1 = net.cr(net.cr(x, 3, 16), 16, 32, stride=2)
    c2 = net.cr(c1, 32, 48, stride=2)
    top = net.conv(c2, 48, 32, 1)
    scales = net.const(np.array([1, 1, 2, 2], np.float32))
    up = net.op("Resize", top, "", scales, mode="nearest")
    return [net.conv(net.op("Add", net.conv(c1, 32, 32, 1), up), 32, 32), net.conv(top, 32, 32)]


def detection_head_shared() -> Model:
    """RetinaNet: a feature pyramid whose levels go through the same weights."""
    net, x = image()
    w1, b1 = net.weight(32, 32, 3, 3), net.vector(32)
    w2, b2 = net.weight(12, 32, 3, 3), net.vector(12)
    found = []
    for level in _pyramid(net, x):
        h = net.op("Relu", net.op("Conv", level, w1, b1, pads=[1] * 4))
        h = net.op("Conv", h, w2, b2, pads=[1] * 4)
        found.append(net.reshape(net.transpose(h, 0, 2, 3, 1), 0, -1, 4))
    boxes = net.op("Concat", *found, axis=1)
    net.output(net.op("Sigmoid", boxes), ["N", 240, 4])
    return net.model()


def detection_head_distribution() -> Model:
    """YOLOv8: box bins through a softmax and a fixed convolution, and classes."""
    net, x = image()
    flat = []
    for level in _pyramid(net, x):
        box = net.conv(net.silu(net.conv(level, 32, 24)), 24, 32, 1)
        cls = net.conv(net.silu(net.conv(level, 32, 24)), 24, 6, 1)
        flat.append(net.reshape(net.op("Concat", box, cls, axis=1), 0, 38, -1))
    box, cls = net.split(net.op("Concat", *flat, axis=2), 32, 6, axis=1)
    bins = net.transpose(net.reshape(box, 0, 4, 8, 80), 0, 2, 1, 3)
    bins = net.op("Softmax", bins, axis=1)
    project = net.const(np.arange(8, dtype=np.float32).reshape(1, 8, 1, 1))
    distance = net.reshape(net.op("Conv", bins, project), 0, 4, 80)
    left, right = net.slice(distance, 0, 2, 1), net.slice(distance, 2, 4, 1)
    anchors = net.vector(1, 2, 80)
    low, high = net.op("Sub", anchors, left), net.op("Add", anchors, right)
    y = net.op("Concat", low, high, net.op("Sigmoid", cls), axis=1)
    net.output(y, ["N", 10, 80])
    return net.model()


def detection_top_k() -> Model:
    """Scores and boxes; the best 5 by TopK and GatherElements."""
    net, x = image()
    h = net.cr(net.cr(x, 3, 32), 32, 32, stride=2)
    boxes = net.reshape(net.transpose(net.conv(h, 32, 4, 1), 0, 2, 3, 1), 0, -1, 4)
    scores = net.reshape(net.transpose(net.conv(h, 32, 6, 1), 0, 2, 3, 1), 0, -1, 6)
    best = net.op("ReduceMax", scores, axes=[2], keepdims=0)
    index = net.many(2, "TopK", best, net.ints(5), axis=1)[1]
    index = net.op("Expand", net.unsqueeze(index, 2), net.ints(1, 1, 4))
    net.output(net.op("GatherElements", boxes, index, axis=1), ["N", 5, 4])
    return net.model()


def detection_suppression() -> Model:
    """NonMaxSuppression at the end."""
    net = Net(17)
    x = net.input("x", [1, 3, 16, 16])
    h = net.cr(net.cr(x, 3, 32), 32, 32, stride=2)
    boxes = net.reshape(net.transpose(net.conv(h, 32, 4, 1), 0, 2, 3, 1), 1, 64, 4)
    scores = net.reshape(net.op("Sigmoid", net.conv(h, 32, 2, 1)), 1, 2, 64)
    limits = [net.ints(9), net.const(np.array([0.5], np.float32)),
              net.const(np.array([0.1], np.float32))]  # fmt: skip
    kept = net.op("NonMaxSuppression", boxes, scores, *limits)
    net.output(kept, [None, 3], onnx.TensorProto.INT64)  # type: ignore[list-item]
    net.output(scores, [1, 2, 64])
    return net.model()


def two_outputs() -> Model:
    """An output in the middle: its channels stay, those around it may go."""
    net, x = image()
    h = net.cr(net.cr(x, 3, 32), 32, 32)
    features = net.cr(h, 32, 16)
    net.output(features, ["N", 16, 16, 16])
    net.head(net.cr(features, 16, 32), 32)
    return net.model()


def dense_autoencoder() -> Model:
    """Gemm and MatMul with every transposition, biases of every shape."""
    net = Net(17)
    x = net.input("x", ["N", 16])
    h = net.op("Relu", net.op("Gemm", x, net.weight(16, 48, fan_in=16), net.vector(1, 48)))
    h = net.op("Gemm", h, net.weight(32, 48), net.vector(1), transB=1, alpha=0.5, beta=2.0)
    h = net.transpose(net.op("Tanh", h), 1, 0)
    h = net.op("Gemm", h, net.weight(48, 32), "", transA=1, transB=1)
    h = net.op("Relu", net.op("Add", h, net.vector(48)))
    net.output(net.op("MatMul", h, net.weight(48, 16, fan_in=48)), ["N", 16])
    return net.model()


def if_body() -> Model:
    """An If whose branches read a tensor from outside."""
    net, x = image()
    flag = net.input("flag", [], onnx.TensorProto.BOOL)
    h = net.cr(net.cr(x, 3, 32), 32, 32)
    shape = helper.make_tensor_value_info("t", 1, ["N", 32, 16, 16])
    then = helper.make_graph([helper.make_node("Relu", [h], ["t"])], "a", [], [shape])
    shape = helper.make_tensor_value_info("e", 1, ["N", 32, 16, 16])
    other = helper.make_graph([helper.make_node("Tanh", [h], ["e"])], "b", [], [shape])
    y = net.op("If", flag, then_branch=then, else_branch=other)
    net.head(net.cr(net.cr(y, 32, 32), 32, 32), 32)
    return net.model()


def custom_operator() -> Model:
    """An operator that nobody knows between two stages."""
    net, x = image(domains=["acme"])
    h = net.cr(net.cr(x, 3, 32), 32, 32)
    y = net.op("Magic", h, domain="acme")
    net.head(net.cr(net.cr(y, 32, 32), 32, 32), 32)
    return net.model()


def quantized() -> Model:
    """QDQ around activations, weights per channel and biases."""
    net, x = image(17)

    def qdq(h: str) -> str:
        q = net.op("QuantizeLinear", h, net.scalar(0.05), net.const(np.array(0, np.int8)))
        return net.op("DequantizeLinear", q, net.scalar(0.05), net.const(np.array(0, np.int8)))

    rng = np.random.default_rng(2)

    def conv(h: str, cin: int, cout: int) -> str:
        w = net.const(rng.integers(-127, 127, (cout, cin, 3, 3)).astype(np.int8))
        scale = net.vector(cout, low=0.001, high=0.004)
        w = net.op("DequantizeLinear", w, scale, net.const(np.zeros(cout, np.int8)), axis=0)
        b = net.const(rng.integers(-500, 500, cout).astype(np.int32))
        b = net.op("DequantizeLinear", b, net.vector(cout, low=0.0005, high=0.001),
                   net.const(np.zeros(cout, np.int32)), axis=0)  # fmt: skip
        return net.op("Relu", net.op("Conv", h, w, b, pads=[1] * 4))

    h = qdq(conv(qdq(x), 3, 32))
    h = qdq(net.op("Add", qdq(conv(h, 32, 32)), h))
    net.head(qdq(conv(h, 32, 32)), 32)
    return net.model()


def computed_weight() -> Model:
    """A filter that another part of the net computes, and one that is transposed at run time."""
    net = Net(17)
    x = net.input("x", [1, 3, 8, 8])
    h = net.cr(x, 3, 16)
    v = net.op("Flatten", net.op("GlobalAveragePool", h))
    w = net.reshape(net.gemm(v, 16, 16 * 16), 16, 16, 1, 1)
    h = net.op("Relu", net.op("Conv", h, w))
    t = net.op("Transpose", net.weight(16, 24, 3, 3, fan_in=144), perm=[1, 0, 2, 3])
    h = net.op("Relu", net.op("Conv", h, t, pads=[1] * 4))
    y = net.gemm(net.op("Flatten", net.op("GlobalAveragePool", h)), 24, 10)
    net.output(y, [1, 10])
    return net.model()


def positional_map() -> Model:
    """A learned map is resized and concatenated; spatial mean and maximum gate it."""
    net, x = image(18)
    h = net.cr(x, 3, 24)
    extra = net.op("Expand", net.vector(1, 8, 16, 16), net.dims(net.size(h, 0), 1, 1, 1))
    h = net.cr(net.op("Concat", h, extra, axis=1), 32, 32)
    gate = net.op("Sigmoid", net.conv(net.mean(h, 2, 3), 32, 32, 1))
    net.head(net.op("Mul", h, gate), 32)
    return net.model()


def tile_upsample() -> Model:
    """Nearest upsampling by Unsqueeze, Tile and Reshape; global context tiled back."""
    net, x = image(17, size=8)
    h = net.cr(x, 3, 32)
    wide = net.op("Tile", net.unsqueeze(net.unsqueeze(h, 3), 5), net.ints(1, 1, 1, 2, 1, 2))
    h = net.reshape(wide, 0, 32, 16, 16)
    context = net.op("Tile", net.op("GlobalAveragePool", h), net.ints(1, 1, 16, 16))
    net.head(net.cr(net.op("Concat", h, context, axis=1), 64, 32), 32)
    return net.model()


MIXED = (
    group_norm_21, group_norm_decomposed, group_norm_single, instance_norm,
    layer_norm_native, layer_norm_decomposed, layer_norm_channels_first, convnext, layer_scale,
    broadcast_constants, channel_slices, channel_gather, channel_reverse, gated_linear, maxout,
    split_attention, selective_kernel, detection_head_shared, detection_head_distribution,
    detection_top_k, detection_suppression, two_outputs, dense_autoencoder, if_body,
    custom_operator, quantized, computed_weight, positional_map, tile_upsample,
)  # fmt: skip
