"""Cross-layer equalization: let the channels between two layers have similar weights on both sides.

A function f between two layers with ``f(s x) = s f(x)`` for ``s > 0`` (nothing, ReLU, LeakyReLU,
PReLU, max and average pooling) lets channel c be divided by ``s_c`` before and multiplied after::

    W1[c] / s_c,  b1[c] / s_c,  W2[:, c] * s_c,       s_c = sqrt(r1_c / r2_c)

with r the largest magnitude of the channel's weights on either side: both become ``sqrt(r1 r2)``.
A depthwise convolution is a layer like the others: its weight is both sides' at once, so chains are
solved by repeating all pairs. A ReLU6 is not of this kind.

Source: Nagel et al. 2019, arXiv:1906.04721, section 4.1 and appendix A.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

ROUNDS, ENOUGH = 200, 1e-3


@dataclass(frozen=True)
class Kernel:
    """Weights of a layer, by where its channels are.

    Attributes:
        weight: Conv (M, C/group, *kernel), ConvTranspose (C, M/group, *kernel), matrix (N, K).
        bias: (M,) or None.
        group: Groups of a convolution.
        transposed: ConvTranspose, or a matrix (K, N): inputs come first.
    """

    weight: Array
    bias: Array | None = None
    group: int = 1
    transposed: bool = False

    def _grouped(self) -> tuple[Array, int, int]:
        """(G, first, second, taps) in float64 and the axes of outputs and inputs in it."""
        first, second = self.weight.shape[:2]
        data = self.weight.astype(np.float64).reshape(self.group, first // self.group, second, -1)
        return data, *((2, 1) if self.transposed else (1, 2))

    def peaks(self, *, inputs: bool) -> Array:
        """Largest magnitude per input channel (C,) or output channel (M,)."""
        data, out_axis, in_axis = self._grouped()
        others = tuple({1, 2, 3} - {in_axis if inputs else out_axis})
        return np.asarray(np.abs(data).max(axis=others, initial=0.0)).reshape(-1)

    def scaled(self, factors: Array, *, inputs: bool) -> Kernel:
        """Every input channel (C,) or output channel (M,) times a factor."""
        data, out_axis, in_axis = self._grouped()
        shape = [self.group, 1, 1, 1]
        shape[in_axis if inputs else out_axis] = -1
        weight = (data * factors.reshape(shape)).reshape(self.weight.shape)
        bias = self.bias
        if bias is not None and not inputs:
            bias = bias.astype(np.float64) * factors
        return Kernel(weight, bias, self.group, self.transposed)


@dataclass(frozen=True)
class Link:
    """Channels that lie between layers.

    Attributes:
        producer: Number of the layer that writes them.
        consumers: Numbers of all layers that read them, each exactly these channels in order.
        spread: Consecutive inputs of a consumer per channel (a flattened map before a matrix).
    """

    producer: int
    consumers: tuple[int, ...]
    spread: int = 1


def equalize(
    kernels: Sequence[Kernel], links: Sequence[Link], rounds: int = ROUNDS
) -> tuple[list[Kernel], list[Array]]:
    """Equalize all links, again and again until nothing moves.

    Args:
        kernels: The layers.
        links: What lies between them; a layer may be in several.
        rounds: At most.

    Returns:
        The new layers in float64, and by what each link's channels were divided in all.
    """
    found = list(kernels)
    totals = [np.ones(kernels[link.producer].peaks(inputs=False).size) for link in links]
    for _ in range(rounds):
        moved = 0.0
        for number, link in enumerate(links):
            scale = _scale(found, link)
            totals[number] = totals[number] * scale
            moved = max(moved, float(np.abs(np.log(scale)).max(initial=0.0)))
            found[link.producer] = found[link.producer].scaled(1 / scale, inputs=False)
            for index in link.consumers:
                factors = np.repeat(scale, link.spread)
                found[index] = found[index].scaled(factors, inputs=True)
        if moved < ENOUGH:
            break
    return found, totals


def _scale(kernels: Sequence[Kernel], link: Link) -> Array:
    """(C,) what to divide the channels of a link by; 1 for channels without weights."""
    before = kernels[link.producer].peaks(inputs=False)
    reading = [kernels[i].peaks(inputs=True) for i in link.consumers]
    after = np.max([r.reshape(-1, link.spread).max(axis=1) for r in reading], axis=0)
    used = (before > 0) & (after > 0)
    return np.asarray(np.sqrt(np.where(used, before, 1.0) / np.where(used, after, 1.0)))
