"""A moving kernel as one view of the padded input per kernel position.

For tap k of a convolution, ``view(k)[n, c, p] = x[n, c, p * stride + k * dilation - before]``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.gradient.rule import Array, Call
from onnxslim.analysis.reconstruction.unfold import Window, window_of
from onnxslim.graph import edit

Slices = tuple[slice, ...]


@dataclass(frozen=True)
class Taps:
    """Where every tap of a kernel looks, for one size of input.

    Attributes:
        window: The kernel.
        sizes: Spatial sizes of the input.
        outputs: Spatial sizes of the output.
    """

    window: Window
    sizes: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def padded(self) -> tuple[int, ...]:
        """Spatial sizes of the input with everything around it that a tap looks at."""
        w = self.window
        reach = [
            (out - 1) * stride + (k - 1) * dilation + 1
            for out, stride, k, dilation in zip(
                self.outputs, w.strides, w.kernel, w.dilations, strict=True
            )
        ]
        return tuple(max(r, b + s) for r, b, s in zip(reach, w.before, self.sizes, strict=True))

    @property
    def inside(self) -> Slices:
        """The input within the padded one."""
        pairs = zip(self.window.before, self.sizes, strict=True)
        return (slice(None), slice(None), *(slice(b, b + s) for b, s in pairs))

    def pad(self, x: Array, fill: Any = 0) -> Array:
        """The input with what is around it."""
        if self.padded == self.sizes:
            return x
        result = np.full((*x.shape[:2], *self.padded), fill, x.dtype)
        result[self.inside] = x
        return result

    def views(self) -> Iterator[Slices]:
        """For every tap, in the kernel's order, what it sees of the padded input."""
        w = self.window
        for tap in np.ndindex(*w.kernel):
            spatial = tuple(
                slice(k * d, k * d + (out - 1) * s + 1, s)
                for k, d, s, out in zip(tap, w.dilations, w.strides, self.outputs, strict=True)
            )
            yield (slice(None), slice(None), *spatial)


def pads_outwards(node: ir.Node) -> bool:
    """Whether padding adds; it may cut off, which :class:`Taps` does not know."""
    return all(pad >= 0 for pad in edit.attr(node, "pads", ()))


def taps_of(call: Call, kernel: Sequence[int]) -> Taps:
    """The taps of a Conv or pooling node, for the sizes of a call."""
    sizes, outputs = call.x().shape[2:], call.dy.shape[2:]
    return Taps(window_of(call.node, tuple(kernel), sizes, outputs), sizes, outputs)
