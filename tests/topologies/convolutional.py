"""Convolutional networks: branches that meet, channels that are split, grouped and rearranged."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from tests.topologies.builder import Net, image

Model = onnx.ModelProto


def residual_shared_beta() -> Model:
    """ResNet block with a projection: exporters merge its two equal shifts through Identity."""
    net, x = image()
    h = net.cbr(x, 3, 16)
    beta = net.vector(32, stem="beta")
    a = net.cbr(h, 16, 32, stride=2)
    a = net.norm(net.conv(a, 32, 32, bias=False), 32, beta)
    s = net.conv(h, 16, 32, 1, stride=2, bias=False)
    s = net.norm(s, 32, net.op("Identity", beta))
    h = net.op("Relu", net.op("Add", a, s))
    b = net.norm(net.conv(net.cbr(h, 32, 32), 32, 32, bias=False), 32)
    h = net.op("Relu", net.op("Add", b, h))
    net.head(h, 32)
    return net.model()


def residual_folded() -> Model:
    """Bottleneck blocks with folded normalization."""
    net, x = image()
    h = net.cr(x, 3, 32)
    for _ in range(2):
        b = net.cr(net.cr(h, 32, 16, 1), 16, 16)
        h = net.op("Relu", net.op("Add", net.conv(b, 16, 32, 1), h))
    net.head(h, 32)
    return net.model()


def _padding_shortcut(pad: str) -> Model:
    net, x = image(legacy=pad == "legacy")
    h = net.cbr(x, 3, 16)
    a = net.cbr(h, 16, 32, stride=2)
    a = net.norm(net.conv(a, 32, 32, bias=False), 32)
    s = net.op("Slice", h, net.ints(0, 0), net.ints(1 << 62, 1 << 62), net.ints(2, 3),
               net.ints(2, 2))  # fmt: skip
    s = _PADS[pad](net, s)
    h = net.op("Relu", net.op("Add", a, s))
    net.head(h, 32)
    return net.model()


def _pad_plain(net: Net, x: str) -> str:
    return net.op("Pad", x, net.ints(0, 8, 0, 0, 0, 8, 0, 0), mode="constant")


def _pad_legacy(net: Net, x: str) -> str:
    """``F.pad(x, (0, 0, 0, 0, 8, 8))`` of the TorchScript exporter: the order is computed."""
    given = net.ints(0, 0, 0, 0, 8, 8)
    rest = net.op("ConstantOfShape", net.ints(2))
    pairs = net.reshape(net.op("Concat", given, net.op("Cast", rest, to=7), axis=0), -1, 2)
    flipped = net.op("Transpose", net.slice(pairs, -1, -(1 << 62), 0, -1), perm=[1, 0])
    pads = net.op("Cast", net.reshape(flipped, -1), to=7)
    return net.op("Pad", x, pads, net.scalar(0.0), mode="constant")


def _pad_concat(net: Net, x: str) -> str:
    """``torch.cat((x, torch.zeros_like(x)), 1)``."""
    zeros = net.op("ConstantOfShape", net.op("Shape", x))
    return net.op("Concat", x, zeros, axis=1)


_PADS = {"plain": _pad_plain, "legacy": _pad_legacy, "concat": _pad_concat}


def residual_padding() -> Model:
    """ResNet-A: a shortcut that pads channels with zeros."""
    return _padding_shortcut("plain")


def residual_padding_legacy() -> Model:
    """ResNet-A with computed pads."""
    return _padding_shortcut("legacy")


def residual_padding_concat() -> Model:
    """ResNet-A with a tensor of zeros."""
    return _padding_shortcut("concat")


def residual_preactivation() -> Model:
    """Normalization before the convolution."""
    net, x = image()
    h = net.conv(x, 3, 32)
    for _ in range(2):
        a = net.conv(net.op("Relu", net.norm(h, 32)), 32, 32)
        a = net.conv(net.op("Relu", net.norm(a, 32)), 32, 32)
        h = net.op("Add", h, a)
    net.head(net.op("Relu", net.norm(h, 32)), 32)
    return net.model()


def densenet() -> Model:
    """Every layer reads the concatenation of all before; a transition halves."""
    net, x = image()
    h, c = net.cbr(x, 3, 32), 32
    for block in range(2):
        parts, width = [h], c
        for _ in range(3):
            joined = net.op("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
            a = net.op("Relu", net.norm(joined, width))
            a = net.cbr(a, width, 32, 1)
            parts.append(net.conv(a, 32, 16, bias=False))
            width += 16
        h = net.op("Relu", net.norm(net.op("Concat", *parts, axis=1), width))
        c = width
        if block == 0:
            h, c = net.conv(h, width, width // 2, 1, bias=False), width // 2
            h = net.op("AveragePool", h, kernel_shape=[2, 2], strides=[2, 2])
    net.head(h, c)
    return net.model()


def densenet_incremental() -> Model:
    """The same with a concatenation per layer, as the legacy exporter writes ``cat((x, y), 1)``."""
    net, x = image()
    h, c = net.cbr(x, 3, 32), 32
    for _ in range(3):
        a = net.op("Relu", net.norm(h, c))
        h = net.op("Concat", h, net.conv(a, c, 16, bias=False), axis=1)
        c += 16
    net.head(net.op("Relu", net.norm(h, c)), c)
    return net.model()


def inception() -> Model:
    """Four branches of different widths, twice."""
    net, x = image()
    h, c = net.cr(x, 3, 32), 32
    for _ in range(2):
        a = net.cr(h, c, 16, 1)
        b = net.cr(net.cr(h, c, 16, 1), 16, 24)
        d = net.cr(net.cr(h, c, 8, 1), 8, 12, 5)
        pooled = net.op("MaxPool", h, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
        h, c = net.op("Concat", a, b, d, net.cr(pooled, c, 12, 1), axis=1), 64
    net.head(h, c)
    return net.model()


def fire() -> Model:
    """SqueezeNet: squeeze, two expansions, and a convolution as the classifier."""
    net, x = image()
    h, c = net.cr(x, 3, 32), 32
    for _ in range(2):
        s = net.cr(h, c, 16, 1)
        h, c = net.op("Concat", net.cr(s, 16, 24, 1), net.cr(s, 16, 24), axis=1), 48
    y = net.op("Flatten", net.op("GlobalAveragePool", net.cr(h, c, 10, 1)))
    net.output(y, ["N", 10])
    return net.model()


def _shuffle(net: Net, x: str, c: int, groups: int, side: int) -> str:
    h = net.reshape(x, -1, groups, c // groups, side, side)
    return net.reshape(net.transpose(h, 0, 2, 1, 3, 4), -1, c, side, side)


def _shuffle_legacy(net: Net, x: str, groups: int) -> str:
    """``b, c, h, w = x.size(); x.view(b, g, c // g, h, w).transpose(1, 2).view(b, -1, h, w)``."""
    b, c, h, w = (net.size(x, axis) for axis in range(4))
    y = net.view(x, b, groups, net.int_op("Div", c, groups), h, w)
    return net.view(net.transpose(y, 0, 2, 1, 3, 4), b, -1, h, w)


def shufflenet_v1() -> Model:
    """Grouped 1x1 convolutions, shuffle, depthwise; a sum and a concatenation."""
    net, x = image()
    h = net.cbr(x, 3, 32)
    a = net.cbr(h, 32, 32, 1, group=4)
    a = net.norm(net.conv(_shuffle(net, a, 32, 4, 16), 32, 32, group=32, bias=False), 32)
    a = net.norm(net.conv(a, 32, 32, 1, group=4, bias=False), 32)
    h = net.op("Relu", net.op("Add", h, a))
    a = net.cbr(h, 32, 32, 1, group=4)
    a = net.conv(_shuffle(net, a, 32, 4, 16), 32, 32, group=32, stride=2)
    a = net.norm(net.conv(a, 32, 32, 1, group=4, bias=False), 32)
    s = net.op("AveragePool", h, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    net.head(net.op("Relu", net.op("Concat", s, a, axis=1)), 64)
    return net.model()


def _shuffle_branch(net: Net, x: str, cin: int, c: int, stride: int) -> str:
    a = net.cbr(x, cin, c, 1)
    a = net.norm(net.conv(a, c, c, group=c, stride=stride, bias=False), c)
    return net.cbr(a, c, c, 1)


def _shufflenet_v2(legacy: bool, split: str) -> Model:
    net, x = image(legacy=legacy)
    h = net.cbr(x, 3, 16)
    s = net.norm(net.conv(h, 16, 16, group=16, stride=2, bias=False), 16)
    h = net.op("Concat", net.cbr(s, 16, 16, 1), _shuffle_branch(net, h, 16, 16, 2), axis=1)
    for _ in range(2):
        h = _shuffle_legacy(net, h, 2) if legacy else _shuffle(net, h, 32, 2, 8)
        left, right = _HALVES[split](net, h)
        h = net.op("Concat", left, _shuffle_branch(net, right, 16, 16, 1), axis=1)
    h = _shuffle_legacy(net, h, 2) if legacy else _shuffle(net, h, 32, 2, 8)
    net.head(net.cbr(h, 32, 48, 1), 48)
    return net.model()


def _halves_split(net: Net, x: str) -> list[str]:
    return net.split(x, 16, 16, axis=1)


def _halves_equal(net: Net, x: str) -> list[str]:
    return net.many(2, "Split", x, axis=1)


def _halves_slice(net: Net, x: str) -> list[str]:
    return [net.slice(x, 0, 16, 1), net.slice(x, 16, (1 << 63) - 1, 1)]


def _halves_chunk(net: Net, x: str) -> list[str]:
    """``x.chunk(2, 1)`` of the legacy exporter when the size is not known: all is computed."""
    total = net.op("Gather", net.op("Shape", x), net.ints(1), axis=0)
    half = net.op("Div", net.op("Add", total, net.ints(1)), net.ints(2))
    bounds = [net.op("Mul", half, net.ints(i)) for i in range(3)]
    return [net.op("Slice", x, bounds[i], bounds[i + 1], net.ints(1)) for i in range(2)]


_HALVES: dict[str, Any] = {
    "split": _halves_split, "equal": _halves_equal, "slice": _halves_slice, "chunk": _halves_chunk,
}  # fmt: skip


def shufflenet_v2() -> Model:
    """Split, branch, concatenation, shuffle; literal shapes."""
    return _shufflenet_v2(False, "split")


def shufflenet_v2_legacy() -> Model:
    """The same with computed shapes and chunks."""
    return _shufflenet_v2(True, "chunk")


def _c2f(split: str) -> Model:
    net, x = image(legacy=split == "chunk")
    h = net.cbr(x, 3, 32, stride=2)
    parts = list(_HALVES[split](net, net.cbr(h, 32, 32, 1)))
    for _ in range(2):
        a = net.cbr(net.cbr(parts[-1], 16, 16), 16, 16)
        parts.append(net.op("Add", parts[-1], a))
    h = net.cbr(net.op("Concat", *parts, axis=1), 64, 32, 1)
    net.head(h, 32)
    return net.model()


def c2f_split() -> Model:
    """YOLOv8's block: chunk, bottlenecks with shortcuts, concatenation of all."""
    return _c2f("split")


def c2f_equal_split() -> Model:
    """The same with a Split that names no sizes."""
    return _c2f("equal")


def c2f_slice() -> Model:
    """The same with two Slices."""
    return _c2f("slice")


def c2f_chunk_legacy() -> Model:
    """The same with computed bounds."""
    return _c2f("chunk")


def csp_spp() -> Model:
    """Cross-stage partial block and spatial pyramid pooling, with SiLU."""
    net, x = image()
    h = net.silu(net.conv(x, 3, 32))
    a = net.silu(net.conv(h, 32, 16, 1))
    for _ in range(2):
        b = net.silu(net.conv(net.silu(net.conv(a, 16, 16, 1)), 16, 16))
        a = net.op("Add", a, b)
    h = net.op("Concat", a, net.silu(net.conv(h, 32, 16, 1)), axis=1)
    p = [net.silu(net.conv(h, 32, 16, 1))]
    for _ in range(3):
        p.append(net.op("MaxPool", p[-1], kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4))
    net.head(net.silu(net.conv(net.op("Concat", *p, axis=1), 64, 32, 1)), 32)
    return net.model()


def squeeze_excite() -> Model:
    """Gates from 1x1 convolutions, as MobileNetV3 and EfficientNet write them."""
    net, x = image()
    h = net.cbr(net.cbr(x, 3, 32), 32, 32)
    s = net.cr(net.op("GlobalAveragePool", h), 32, 8, 1)
    h = net.op("Mul", h, net.op("HardSigmoid", net.conv(s, 8, 32, 1), alpha=1 / 6))
    net.head(net.cbr(h, 32, 32), 32)
    return net.model()


def squeeze_excite_linear() -> Model:
    """Gates from dense layers; ``view(b, c)`` and ``view(b, c, 1, 1).expand_as(x)``, legacy."""
    net, x = image(legacy=True)
    h = net.cbr(net.cbr(x, 3, 32), 32, 32)
    b, c = net.size(h, 0), net.size(h, 1)
    s = net.view(net.op("GlobalAveragePool", h), b, c)
    s = net.op("Sigmoid", net.gemm(net.op("Relu", net.gemm(s, 32, 8)), 8, 32))
    s = net.op("Expand", net.view(s, b, c, 1, 1), net.op("Shape", h))
    net.head(net.cbr(net.op("Mul", h, s), 32, 32), 32)
    return net.model()


def cbam() -> Model:
    """Channel attention by a dense net that two poolings share, then spatial attention."""
    net, x = image(18)
    h = net.cbr(net.cbr(x, 3, 32), 32, 32)
    w1, w2 = net.weight(8, 32, 1, 1), net.weight(32, 8, 1, 1)
    gates = []
    for pool in ("GlobalAveragePool", "GlobalMaxPool"):
        g = net.op("Relu", net.op("Conv", net.op(pool, h), w1, kernel_shape=[1, 1]))
        gates.append(net.op("Conv", g, w2, kernel_shape=[1, 1]))
    h = net.op("Mul", h, net.op("Sigmoid", net.op("Add", *gates)))
    maps = [net.mean(h, 1), net.op("ReduceMax", h, net.ints(1), keepdims=1)]
    s = net.op("Sigmoid", net.conv(net.op("Concat", *maps, axis=1), 2, 1, 7))
    net.head(net.cbr(net.op("Mul", h, s), 32, 32), 32)
    return net.model()


def eca() -> Model:
    """A convolution along the channels: their order has a meaning."""
    net, x = image()
    h = net.cbr(net.cbr(x, 3, 32), 32, 32)
    v = net.transpose(net.squeeze(net.op("GlobalAveragePool", h), -1), 0, 2, 1)
    g = net.conv(v, 1, 1, 3, rank=1, bias=False)
    g = net.op("Sigmoid", net.unsqueeze(net.transpose(g, 0, 2, 1), -1))
    net.head(net.cbr(net.op("Mul", h, g), 32, 32), 32)
    return net.model()


def _up_transpose(net: Net, x: str, cin: int, cout: int, like: str) -> str:
    w = net.weight(cin, cout, 2, 2, fan_in=cin)
    return net.op("ConvTranspose", x, w, net.vector(cout), kernel_shape=[2, 2], strides=[2, 2])


def _up_scales(net: Net, x: str, cin: int, cout: int, like: str) -> str:
    scales = net.const(np.array([1, 1, 2, 2], np.float32))
    y = net.op("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")
    return net.conv(y, cin, cout, 1)


def _up_sizes(net: Net, x: str, cin: int, cout: int, like: str) -> str:
    """``F.interpolate(x, size=like.shape[2:])`` of the legacy exporter."""
    target = net.dims(net.size(like, 2), net.size(like, 3))
    start = net.slice(net.op("Shape", x), 0, 2, 0)
    sizes = net.op("Concat", start, target, axis=0)
    y = net.op("Resize", x, "", "", sizes, mode="nearest", nearest_mode="floor",
               coordinate_transformation_mode="asymmetric")  # fmt: skip
    return net.conv(y, cin, cout, 1)


def _unet(up: Any, legacy: bool = False) -> Model:
    net, x = image(legacy=legacy)
    e1 = net.cbr(net.cbr(x, 3, 16), 16, 16)
    e2 = net.cbr(net.op("MaxPool", e1, kernel_shape=[2, 2], strides=[2, 2]), 16, 32)
    mid = net.cbr(net.op("MaxPool", e2, kernel_shape=[2, 2], strides=[2, 2]), 32, 48)
    d2 = net.cbr(net.op("Concat", up(net, mid, 48, 32, e2), e2, axis=1), 64, 32)
    d1 = net.cbr(net.op("Concat", up(net, d2, 32, 16, e1), e1, axis=1), 32, 16)
    net.output(net.conv(d1, 16, 4, 1), ["N", 4, 16, 16])
    return net.model()


def unet_transpose() -> Model:
    """Skips into a decoder of transposed convolutions."""
    return _unet(_up_transpose)


def unet_resize() -> Model:
    """Skips into a decoder that resizes by factors."""
    return _unet(_up_scales)


def unet_resize_legacy() -> Model:
    """Skips into a decoder that resizes to computed sizes."""
    return _unet(_up_sizes, legacy=True)


def unet_additive() -> Model:
    """LinkNet: skips are added; a transposed convolution in groups."""
    net, x = image()
    e1 = net.cbr(x, 3, 16)
    e2 = net.cbr(e1, 16, 32, stride=2)
    w = net.weight(32, 4, 2, 2, fan_in=8)
    up = net.op("ConvTranspose", e2, w, kernel_shape=[2, 2], strides=[2, 2], group=4)
    net.output(net.conv(net.op("Add", up, e1), 16, 4, 1), ["N", 4, 16, 16])
    return net.model()


def grouped_conv() -> Model:
    """ResNeXt blocks."""
    net, x = image()
    h = net.cbr(x, 3, 32)
    for _ in range(2):
        a = net.cbr(net.cbr(h, 32, 32, 1), 32, 32, group=4)
        a = net.norm(net.conv(a, 32, 32, 1, bias=False), 32)
        h = net.op("Relu", net.op("Add", h, a))
    net.head(h, 32)
    return net.model()


def grouped_chain() -> Model:
    """Grouped convolutions of different groups after each other, with a widening."""
    net, x = image()
    h = net.cr(x, 3, 32)
    h = net.cr(h, 32, 48, group=4)
    h = net.cr(h, 48, 48, group=8)
    net.head(net.cr(h, 48, 32, group=2), 32)
    return net.model()


def depthwise() -> Model:
    """Separable convolutions."""
    net, x = image()
    h = net.cbr(x, 3, 32)
    for cin, cout in ((32, 48), (48, 64)):
        h = net.cbr(net.cbr(h, cin, cin, group=cin), cin, cout, 1)
    net.head(h, 64)
    return net.model()


def depthwise_multiplier() -> Model:
    """Two filters per input channel."""
    net, x = image()
    h = net.cbr(x, 3, 16)
    h = net.op("Relu", net.norm(net.conv(h, 16, 32, group=16, bias=False), 32))
    net.head(net.cbr(h, 32, 32, 1), 32)
    return net.model()


def depthwise_input() -> Model:
    """A depthwise convolution right on the image: three groups that cannot be pruned."""
    net, x = image()
    h = net.cbr(net.cbr(x, 3, 24, group=3), 24, 32, 1)
    net.head(h, 32)
    return net.model()


def _shuffle_up(form: str) -> Model:
    net, x = image(size=8)
    h = net.cr(net.cr(x, 3, 32), 32, 64)
    if form == "decomposed":
        p = net.transpose(net.reshape(h, -1, 16, 2, 2, 8, 8), 0, 1, 4, 2, 5, 3)
        h = net.reshape(p, -1, 16, 16, 16)
    else:
        h = net.op("DepthToSpace", h, blocksize=2, mode=form)
    net.output(net.conv(net.cr(h, 16, 16), 16, 3), ["N", 3, 16, 16])
    return net.model()


def pixel_shuffle_dcr() -> Model:
    """DepthToSpace, depth first."""
    return _shuffle_up("DCR")


def pixel_shuffle_crd() -> Model:
    """DepthToSpace, columns and rows first: ``nn.PixelShuffle``."""
    return _shuffle_up("CRD")


def pixel_shuffle_decomposed() -> Model:
    """``nn.PixelShuffle`` as Reshape, Transpose, Reshape."""
    return _shuffle_up("decomposed")


def space_to_depth() -> Model:
    """SpaceToDepth between convolutions."""
    net, x = image()
    h = net.op("SpaceToDepth", net.cr(x, 3, 16), blocksize=2)
    net.head(net.cr(h, 64, 32, 1), 32)
    return net.model()


def focus() -> Model:
    """YOLOv5: four strided slices of the space side by side, inside the net."""
    net, x = image()
    h = net.cr(x, 3, 16)
    quarters = []
    for row, column in ((0, 0), (1, 0), (0, 1), (1, 1)):
        s = net.slice(h, row, 1 << 62, 2, 2)
        quarters.append(net.slice(s, column, 1 << 62, 3, 2))
    net.head(net.cr(net.op("Concat", *quarters, axis=1), 64, 32), 32)
    return net.model()


def flatten_gemm() -> Model:
    """VGG's end: C*H*W into a dense layer."""
    net, x = image(size=8)
    h = net.cr(net.cr(x, 3, 16), 16, 32, stride=2)
    h = net.op("Relu", net.gemm(net.op("Flatten", h, axis=1), 32 * 16, 64))
    net.output(net.gemm(h, 64, 10), ["N", 10])
    return net.model()


def flatten_reshape() -> Model:
    """``x.view(x.size(0), -1)`` of the legacy exporter, with BatchNormalization on the vector."""
    net, x = image(size=8, legacy=True)
    h = net.cr(net.cr(x, 3, 16), 16, 32, stride=2)
    h = net.view(h, net.size(h, 0), -1)
    h = net.op("Relu", net.norm(net.gemm(h, 32 * 16, 64), 64))
    net.output(net.gemm(h, 64, 10), ["N", 10])
    return net.model()


def flatten_literal() -> Model:
    """``x.view(-1, 512)``, and a MatMul whose bias is added after it."""
    net, x = image(size=8)
    h = net.cr(net.cr(x, 3, 16), 16, 32, stride=2)
    h = net.op("Relu", net.linear(net.reshape(h, -1, 512), 512, 64))
    net.output(net.linear(h, 64, 10), ["N", 10])
    return net.model()


def flatten_nhwc() -> Model:
    """Keras: channels last when flattened."""
    net, x = image(size=8)
    h = net.cr(net.cr(x, 3, 16), 16, 32, stride=2)
    h = net.reshape(net.transpose(h, 0, 2, 3, 1), -1, 512)
    h = net.op("Relu", net.linear(h, 512, 64))
    net.output(net.linear(h, 64, 10), ["N", 10])
    return net.model()


def mobilenet_v2() -> Model:
    """Inverted residuals with Clip."""
    net, x = image()

    def relu6(h: str) -> str:
        return net.op("Clip", h, net.scalar(0.0), net.scalar(6.0))

    h, c = relu6(net.conv(x, 3, 16)), 16
    for cout, stride in ((16, 1), (24, 2), (24, 1)):
        a = relu6(net.conv(h, c, 4 * c, 1))
        a = relu6(net.conv(a, 4 * c, 4 * c, stride=stride, group=4 * c))
        a = net.conv(a, 4 * c, cout, 1)
        h, c = net.op("Add", h, a) if cout == c and stride == 1 else a, cout
    net.head(relu6(net.conv(h, c, 64, 1)), 64)
    return net.model()


def mobilenet_v3() -> Model:
    """Inverted residual with gates and HardSwish, normalization kept."""
    net, x = image()
    h = net.op("HardSwish", net.norm(net.conv(x, 3, 16, stride=2, bias=False), 16))
    a = net.op("HardSwish", net.norm(net.conv(h, 16, 48, 1, bias=False), 48))
    a = net.op("HardSwish", net.norm(net.conv(a, 48, 48, 5, group=48, bias=False), 48))
    g = net.cr(net.op("GlobalAveragePool", a), 48, 16, 1)
    a = net.op("Mul", net.op("HardSigmoid", net.conv(g, 16, 48, 1), alpha=1 / 6), a)
    h = net.op("Add", h, net.norm(net.conv(a, 48, 16, 1, bias=False), 16))
    h = net.op("HardSwish", net.norm(net.conv(h, 16, 64, 1, bias=False), 64))
    v = net.gemm(net.op("Flatten", net.op("GlobalAveragePool", h)), 64, 64)
    net.output(net.gemm(net.op("HardSwish", v), 64, 10), ["N", 10])
    return net.model()


def efficientnet() -> Model:
    """MBConv: SiLU, gates from ReduceMean, shortcut."""
    net, x = image(18)
    h = net.silu(net.norm(net.conv(x, 3, 16, bias=False), 16))
    for _ in range(2):
        a = net.silu(net.norm(net.conv(h, 16, 64, 1, bias=False), 64))
        a = net.silu(net.norm(net.conv(a, 64, 64, group=64, bias=False), 64))
        g = net.silu(net.conv(net.mean(a, -2, -1), 64, 8, 1))
        a = net.op("Mul", net.op("Sigmoid", net.conv(g, 8, 64, 1)), a)
        h = net.op("Add", net.norm(net.conv(a, 64, 16, 1, bias=False), 16), h)
    net.head(net.silu(net.conv(h, 16, 48, 1)), 48)
    return net.model()


def regnet() -> Model:
    """Grouped bottleneck with gates and a projection."""
    net, x = image()
    h, c = net.cbr(x, 3, 16), 16
    for cout, stride in ((32, 2), (32, 1)):
        a = net.cbr(net.cbr(h, c, cout, 1), cout, cout, group=cout // 8, stride=stride)
        g = net.conv(net.cr(net.op("GlobalAveragePool", a), cout, 8, 1), 8, cout, 1)
        a = net.op("Mul", a, net.op("Sigmoid", g))
        a = net.norm(net.conv(a, cout, cout, 1, bias=False), cout)
        if stride == 2:
            h = net.norm(net.conv(h, c, cout, 1, stride=2, bias=False), cout)
        h, c = net.op("Relu", net.op("Add", h, a)), cout
    net.head(h, c)
    return net.model()


def ghost() -> Model:
    """GhostNet: half of the channels by cheap depthwise convolutions, then cut to size."""
    net, x = image()
    h = net.cbr(x, 3, 16)
    a = net.cbr(h, 16, 24, 1)
    b = net.cbr(a, 24, 24, group=24)
    h = net.slice(net.op("Concat", a, b, axis=1), 0, 40, 1)
    net.head(net.cbr(h, 40, 32, 1), 32)
    return net.model()


def prelu() -> Model:
    """Slopes per channel, of both ranks, and a shared one."""
    net, x = image()
    h = net.op("PRelu", net.conv(x, 3, 32), net.vector(32, 1, 1, low=0.1))
    h = net.op("PRelu", net.conv(h, 32, 32), net.vector(1, 32, 1, 1, low=0.1))
    h = net.op("PRelu", net.conv(h, 32, 32), net.vector(1, low=0.1))
    net.head(h, 32)
    return net.model()


def conv1d() -> Model:
    """A temporal net with dilation-free residual blocks."""
    net = Net()
    h = net.cbr(net.input("x", ["N", 4, 64]), 4, 32, 5, rank=1)
    for _ in range(2):
        a = net.norm(net.conv(net.cbr(h, 32, 32, rank=1), 32, 32, rank=1, bias=False), 32)
        h = net.op("Relu", net.op("Add", h, a))
    net.head(h, 32)
    return net.model()


def conv3d() -> Model:
    """Volumes; with a factorized block."""
    net = Net()
    h = net.cbr(net.input("x", ["N", 3, 4, 8, 8]), 3, 16, rank=3)
    h = net.cbr(h, 16, 32, 1, rank=3)
    h = net.cbr(h, 32, 32, rank=3)
    net.head(h, 32)
    return net.model()


CONVOLUTIONAL = (
    residual_shared_beta, residual_folded, residual_padding, residual_padding_legacy,
    residual_padding_concat, residual_preactivation, densenet, densenet_incremental, inception,
    fire, shufflenet_v1, shufflenet_v2, shufflenet_v2_legacy, c2f_split, c2f_equal_split,
    c2f_slice, c2f_chunk_legacy, csp_spp, squeeze_excite, squeeze_excite_linear, cbam, eca,
    unet_transpose, unet_resize, unet_resize_legacy, unet_additive, grouped_conv, grouped_chain,
    depthwise, depthwise_multiplier, depthwise_input, pixel_shuffle_dcr, pixel_shuffle_crd,
    pixel_shuffle_decomposed, space_to_depth, focus, flatten_gemm, flatten_reshape,
    flatten_literal, flatten_nhwc, mobilenet_v2, mobilenet_v3, efficientnet, regnet, ghost, prelu,
    conv1d, conv3d,
)  # fmt: skip
