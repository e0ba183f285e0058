"""Random networks over feature maps: blocks that couple, split and rearrange channels.

Every decision is an integer in a range, so that hypothesis can shrink a network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from tests.topologies.builder import Net

Integer = Callable[[int, int], int]


@dataclass(frozen=True)
class Map:
    """A tensor (N, channels, size, size)."""

    name: str
    channels: int
    size: int


class Walk:
    """Grows a network from tensors that exist already.

    Args:
        integer: Decides, from a range.
        blocks: How many there are.
        only: The one kind of block; drawn by default.
    """

    def __init__(self, integer: Integer, blocks: int, only: Block | None = None) -> None:
        self.integer, self.net = integer, Net(17)
        self.maps = [Map(self.net.input("x", ["N", 3, 8, 8]), 3, 8)]
        self._push(self.conv(self.maps[0]))
        for _ in range(blocks):
            block = only or BLOCKS[integer(0, len(BLOCKS) - 1)]
            self._push(block(self))
        read = {name for node in self.net.nodes for name in node.input}
        loose = [item for item in self.maps if item.name not in read]
        parts = [self.like(item, Map("", item.channels, 4)) for item in loose]
        joined = self.net.op("Concat", *(p.name for p in parts), axis=1)
        last = self.conv(Map(joined, sum(p.channels for p in parts), 4))
        self.net.head(self.net.op("LeakyRelu", last.name), last.channels, 5)

    def model(self) -> onnx.ModelProto:
        return self.net.model()

    def _push(self, item: Map) -> None:
        self.maps.append(item)

    def pick(self) -> Map:
        """A tensor that exists, a late one more often; never the input."""
        back = min(self.integer(1, 4), len(self.maps) - 1)
        return self.maps[-back]

    def width(self) -> int:
        return (8, 12, 16)[self.integer(0, 2)]

    def like(self, item: Map, target: Map) -> Map:
        """A projection to the shape of another tensor, where one is needed."""
        net = self.net
        while item.size > target.size:
            item = Map(net.op("MaxPool", item.name, kernel_shape=[2, 2], strides=[2, 2]),
                       item.channels, item.size // 2)  # fmt: skip
        while item.size < target.size:
            scales = net.const(np.array([1, 1, 2, 2], np.float32))
            item = Map(net.op("Resize", item.name, "", scales, mode="nearest"), item.channels,
                       item.size * 2)  # fmt: skip
        if item.channels == target.channels:
            return item
        return Map(net.conv(item.name, item.channels, target.channels, 1), target.channels,
                   target.size)  # fmt: skip

    # --- blocks

    def conv(self, item: Map | None = None) -> Map:
        item, c = item or self.pick(), self.width()
        k = (1, 3)[self.integer(0, 1)]
        return Map(self.net.conv(item.name, item.channels, c, k), c, item.size)

    def conv_norm(self) -> Map:
        item, c = self.pick(), self.width()
        h = self.net.norm(self.net.conv(item.name, item.channels, c, bias=False), c)
        return Map(self.net.op("LeakyRelu", h), c, item.size)

    def grouped(self) -> Map:
        item, g = self.pick(), 4
        if item.channels % g:
            return self.conv(item)
        c = self.width()
        return Map(self.net.conv(item.name, item.channels, c, group=g), c, item.size)

    def depthwise(self) -> Map:
        item, times = self.pick(), self.integer(1, 2)
        c = item.channels
        if c * times > 48:
            times = 1
        return Map(self.net.conv(item.name, c, c * times, group=c), c * times, item.size)

    def activation(self) -> Map:
        item = self.pick()
        kind = ("Relu", "Sigmoid", "HardSwish", "Tanh", "Softplus")[self.integer(0, 4)]
        return Map(self.net.op(kind, item.name), item.channels, item.size)

    def pooled(self) -> Map:
        item = self.pick()
        if item.size < 4:
            return self.activation()
        kind = ("MaxPool", "AveragePool")[self.integer(0, 1)]
        h = self.net.op(kind, item.name, kernel_shape=[2, 2], strides=[2, 2])
        return Map(h, item.channels, item.size // 2)

    def add(self) -> Map:
        target = self.pick()
        other = self.like(self.pick(), target)
        kind = ("Add", "Sub", "Mul", "Max")[self.integer(0, 3)]
        return Map(self.net.op(kind, other.name, target.name), target.channels, target.size)

    def concat(self) -> Map:
        first = self.pick()
        parts = [first]
        for _ in range(self.integer(1, 2)):
            other = self.pick()
            if other.size != first.size or sum(p.channels for p in parts) + other.channels > 48:
                other = self.like(other, Map("", 8, first.size))
            parts.append(other)
        h = self.net.op("Concat", *(p.name for p in parts), axis=1)
        return Map(h, sum(p.channels for p in parts), first.size)

    def split(self) -> Map:
        item = self.pick()
        if item.channels < 2:
            return self.activation()
        at = self.integer(1, item.channels - 1)
        parts = self.net.split(item.name, at, item.channels - at, axis=1)
        self._push(Map(parts[0], at, item.size))
        return Map(parts[1], item.channels - at, item.size)

    def slice(self) -> Map:
        item, step = self.pick(), self.integer(1, 3)
        start = self.integer(0, item.channels // 2)
        c = len(range(start, item.channels, step))
        return Map(self.net.slice(item.name, start, 1 << 62, 1, step), c, item.size)

    def gather(self) -> Map:
        item = self.pick()
        seed = self.integer(0, 99)
        order = np.random.default_rng(seed).permutation(item.channels)
        h = self.net.op("Gather", item.name, self.net.const(order), axis=1)
        return Map(h, item.channels, item.size)

    def shuffle(self) -> Map:
        item, g = self.pick(), self.integer(2, 4)
        if item.channels % g:
            return self.gather()
        c, s = item.channels, item.size
        h = self.net.transpose(self.net.reshape(item.name, -1, g, c // g, s, s), 0, 2, 1, 3, 4)
        return Map(self.net.reshape(h, 0, c, s, s), c, s)

    def padded(self) -> Map:
        item, before, after = self.pick(), self.integer(0, 3), self.integer(0, 3)
        c = item.channels + before + after
        if c > 48:
            return self.activation()
        pads = self.net.ints(0, before, 0, 0, 0, after, 0, 0)
        return Map(self.net.op("Pad", item.name, pads), c, item.size)

    def to_space(self) -> Map:
        item = self.pick()
        if item.channels % 4 or item.channels < 8 or item.size > 4:
            return self.conv(item)
        mode = ("DCR", "CRD")[self.integer(0, 1)]
        h = self.net.op("DepthToSpace", item.name, blocksize=2, mode=mode)
        return Map(h, item.channels // 4, item.size * 2)

    def to_depth(self) -> Map:
        item = self.pick()
        if item.channels > 12 or item.size < 4:
            return self.conv(item)
        h = self.net.op("SpaceToDepth", item.name, blocksize=2)
        return Map(h, item.channels * 4, item.size // 2)

    def scaled(self) -> Map:
        item = self.pick()
        shape = ((item.channels, 1, 1), (1, item.channels, 1, 1),
                 (item.channels, item.size, item.size))[self.integer(0, 2)]  # fmt: skip
        h = self.net.op(("Mul", "Add")[self.integer(0, 1)], item.name, self.net.vector(*shape))
        return Map(h, item.channels, item.size)

    def gated(self) -> Map:
        item, net = self.pick(), self.net
        c = item.channels
        g = net.op("Relu", net.conv(net.op("GlobalAveragePool", item.name), c, 8, 1))
        g = net.op("Sigmoid", net.conv(g, 8, c, 1))
        return Map(net.op("Mul", item.name, g), c, item.size)

    def last(self) -> Map:
        """Channels last, normalized perhaps, a dense layer, and back."""
        item, net, c = self.pick(), self.net, self.width()
        h = net.transpose(item.name, 0, 2, 3, 1)
        if self.integer(0, 1):
            h = net.layer_norm(h, item.channels)
        return Map(net.transpose(net.linear(h, item.channels, c), 0, 3, 1, 2), c, item.size)

    def group_norm(self) -> Map:
        item, net, g = self.pick(), self.net, self.integer(1, 4)
        c = item.channels
        if c % g:
            return self.activation()
        flat = net.reshape(item.name, 0, g, -1)
        one, zero = np.ones(g, np.float32), np.zeros(g, np.float32)
        y = net.op("InstanceNormalization", flat, net.const(one), net.const(zero))
        y = net.reshape(y, 0, c, item.size, item.size)
        return Map(net.op("Mul", y, net.vector(c, 1, 1)), c, item.size)

    def attention(self) -> Map:
        item, net = self.pick(), self.net
        c, s, h = item.channels, item.size, 4
        qkv = net.reshape(net.conv(item.name, c, 48, 1), 0, 3, h, 4, s * s)
        q, k, v = (net.pick(qkv, i, 1) for i in range(3))
        w = net.op("Softmax", net.op("MatMul", net.transpose(q, 0, 1, 3, 2), k), axis=-1)
        a = net.reshape(net.op("MatMul", v, net.transpose(w, 0, 1, 3, 2)), 0, 16, s, s)
        return Map(net.op("Add", item.name, net.conv(a, 16, c, 1)), c, s)

    def squashed(self) -> Map:
        """Space and channels into a vector, a dense layer, and back to a map."""
        item, net, c = self.pick(), self.net, self.width()
        n = item.channels * item.size**2
        v = net.op("Relu", net.gemm(net.op("Flatten", item.name), n, c * 4))
        return Map(net.reshape(v, -1, c, 2, 2), c, 2)


Block = Callable[[Walk], Map]
BLOCKS: tuple[Block, ...] = (
    Walk.conv, Walk.conv_norm, Walk.conv_norm, Walk.grouped, Walk.depthwise, Walk.activation,
    Walk.pooled, Walk.add, Walk.add, Walk.concat, Walk.concat, Walk.split, Walk.slice,
    Walk.gather, Walk.shuffle, Walk.padded, Walk.to_space, Walk.to_depth, Walk.scaled, Walk.gated,
    Walk.last, Walk.group_norm, Walk.attention, Walk.squashed,
)  # fmt: skip


def random_net(seed: Any, blocks: int = 8) -> onnx.ModelProto:
    """A network from a seed."""
    rng = np.random.default_rng(seed)
    return Walk(lambda low, high: int(rng.integers(low, high + 1)), blocks).model()
