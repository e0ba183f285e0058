"""The inputs that each output position of a convolution sees, as rows of a matrix.

For output position p and kernel tap k, one spatial axis at a time, the input position is::

    Conv            q = p * stride - before + k * dilation
    ConvTranspose   q = (p + before - k * dilation) / stride, where that is whole

and the input counts as 0 where q is outside. Source: ONNX operators Conv-22, ConvTranspose-22.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.graph import edit

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """A kernel and its movement, one entry per spatial axis.

    Attributes:
        kernel: Sizes.
        strides: Steps.
        dilations: Distances of the taps.
        before: Padding in front of the data.
        transposed: A ConvTranspose.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    transposed: bool = False

    @property
    def taps(self) -> int:
        """Number of kernel positions T."""
        return int(np.prod(self.kernel))


def same_padding(
    window: Window,
    sizes: tuple[int, ...],
    outputs: tuple[int, ...],
    lower: bool,
    more: tuple[int, ...] = (),
) -> tuple[int, ...]:
    """Padding in front for ``auto_pad=SAME_UPPER`` (or ``SAME_LOWER``).

    Args:
        window: The kernel; its ``before`` is not looked at.
        sizes: Spatial sizes of the input.
        outputs: Spatial sizes of the output.
        lower: The odd element of padding goes in front.
        more: ``output_padding`` of a ConvTranspose.
    """
    found = []
    for size, out, kernel, stride, dilation, extra in zip(
        sizes, outputs, window.kernel, window.strides, window.dilations,
        more or (0,) * len(sizes), strict=True,
    ):  # fmt: skip
        reach = (kernel - 1) * dilation + 1
        spare = (size - 1) * stride + reach + extra - out if window.transposed else (
            (out - 1) * stride + reach - size
        )  # fmt: skip
        total = max(spare, 0)
        found.append(total - total // 2 if lower else total // 2)
    return tuple(found)


def window_of(
    node: ir.Node, kernel: tuple[int, ...], sizes: tuple[int, ...], outputs: tuple[int, ...]
) -> Window:
    """The window of a Conv, ConvTranspose or pooling node.

    Args:
        node: The node.
        kernel: Spatial sizes of its kernel.
        sizes: Spatial sizes of what the kernel moves over: the input.
        outputs: Spatial sizes of the output.
    """
    count = len(sizes)
    ones, zeros = (1,) * count, (0,) * count
    window = Window(
        kernel=tuple(kernel),
        strides=tuple(edit.attr(node, "strides", ones)),
        dilations=tuple(edit.attr(node, "dilations", ones)),
        before=tuple(edit.attr(node, "pads", zeros + zeros))[:count],
        transposed=node.op_type == "ConvTranspose",
    )
    auto = edit.attr(node, "auto_pad", "NOTSET")
    fixed = window.transposed and edit.attr(node, "output_shape") is not None
    if auto in ("SAME_UPPER", "SAME_LOWER") or fixed:
        more = tuple(edit.attr(node, "output_padding", ())) if window.transposed else ()
        before = same_padding(window, sizes, outputs, auto == "SAME_LOWER" or fixed, more)
        return replace(window, before=before)
    return replace(window, before=zeros) if auto == "VALID" else window


def tap_positions(
    window: Window, sizes: tuple[int, ...], outputs: tuple[int, ...], positions: Indices
) -> tuple[Indices, npt.NDArray[np.bool_]]:
    """Where in the input the taps of some output positions look.

    Args:
        window: The kernel.
        sizes: Spatial sizes of the input.
        outputs: Spatial sizes of the output.
        positions: (R,) flat output positions.

    Returns:
        Flat input positions (R, T), 0 where there is none, and which of them there are.
    """
    flat: Indices = np.zeros((len(positions), 1), np.int64)
    valid = np.ones((len(positions), 1), np.bool_)
    for axis, out in enumerate(np.unravel_index(positions, outputs)):
        tap = np.arange(window.kernel[axis]) * window.dilations[axis]
        stride, before, size = window.strides[axis], window.before[axis], sizes[axis]
        if window.transposed:
            scaled = out[:, None] + before - tap[None, :]
            at, inside = scaled // stride, scaled % stride == 0
        else:
            at = out[:, None] * stride - before + tap[None, :]
            inside = np.ones(at.shape, np.bool_)
        inside &= (at >= 0) & (at < size)
        at = np.where(inside, at, 0)
        rows = len(positions)
        flat = (flat[:, :, None] * size + at[:, None, :]).reshape(rows, -1)
        valid = (valid[:, :, None] & inside[:, None, :]).reshape(rows, -1)
    return flat, valid


def unfold(
    x: Array, window: Window, outputs: tuple[int, ...], samples: Indices, positions: Indices
) -> Array:
    """The inputs of some output positions.

    Args:
        x: (N, C, *sizes).
        window: The kernel.
        outputs: Spatial sizes of the output.
        samples: (R,) which sample.
        positions: (R,) which flat output position of it.

    Returns:
        (R, T, C), of x's type.
    """
    sizes = x.shape[2:]
    flat, valid = tap_positions(window, sizes, outputs, positions)
    data = np.ascontiguousarray(x.reshape(*x.shape[:2], -1).transpose(0, 2, 1))  # (N, S, C)
    if not data.size:
        return np.zeros((*flat.shape, x.shape[1]), x.dtype)
    rows: Array = data[samples[:, None], np.where(valid, flat, 0)]
    rows[~valid] = 0
    return rows
