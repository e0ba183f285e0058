"""New samples made of two: mixtures of their numbers, and a span of one in place of the other's.

Source: Zhang et al. 2018, arXiv:1710.09412 (mixup); Yun et al. 2019, arXiv:1905.04899 (CutMix).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_BLENDS = 0.25
"""Part of the batches that are weighted means, if they can be."""


def mix(
    first: Mapping[str, Any], second: Mapping[str, Any], rng: np.random.Generator
) -> dict[str, Array] | None:
    """A batch between two others, every input alike.

    Some batches are weighted means, where all inputs are floating-point; in the others a span along
    one axis, another one for each sample, comes from the second batch. Spans start and end at the
    same part of every input, so that what belongs together (tokens and their mask) stays together.

    Args:
        first: Feeds by name, samples along the first axis.
        second: The same inputs; its samples are shuffled.
        rng: Draws the parts.

    Returns:
        None where the batches differ in a size other than the first.
    """
    pairs = {name: (np.asarray(a), np.asarray(second[name])) for name, a in first.items()}
    if any(a.shape[1:] != b.shape[1:] or not a.ndim for a, b in pairs.values()):
        return None
    if len({(len(a), len(b)) for a, b in pairs.values()}) != 1:
        return None
    count = min(map(len, next(iter(pairs.values()))))
    order = rng.permutation(len(next(iter(pairs.values()))[1]))[:count]
    blends = rng.random() < _BLENDS and all(a.dtype.kind == "f" for a, _ in pairs.values())
    widest = max((a for a, _ in pairs.values()), key=np.ndim)
    axis = int(rng.choice([i for i in range(1, widest.ndim) if widest.shape[i] > 1] or [1]))
    start, part = rng.random(count), rng.random(count)
    found = {}
    for name, (a, b) in pairs.items():
        whole = a.ndim == 1 or blends
        mask = part if whole else _spans(a.shape[min(axis, a.ndim - 1)], start, part)
        mask = _along(mask, min(axis, a.ndim - 1), a.ndim)
        if blends:
            found[name] = (mask * a[:count] + (1 - mask) * b[order]).astype(a.dtype)
        else:
            found[name] = np.where(mask > 0.5 if whole else mask, b[order], a[:count])
    return found


def _spans(size: int, start: Array, part: Array) -> Array:
    """Whether each place is inside the span of its sample, which may wrap around; ``[N, size]``."""
    first, length = np.floor(start * size), np.rint(part * size)
    return np.asarray((np.arange(size) - first[:, None]) % size < length[:, None])


def _along(mask: Array, axis: int, ndim: int) -> Array:
    """``[N]`` or ``[N, size of the axis]``, made to broadcast over an array."""
    shape = [len(mask)] + [1] * (ndim - 1)
    if mask.ndim == 2:
        shape[axis] = mask.shape[1]
    return mask.reshape(shape)
