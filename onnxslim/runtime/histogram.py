"""A histogram whose range grows, streamed beside a session."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from onnxslim.errors import UsageError
from onnxslim.runtime.reducers import Array, Reducer, State

_BLOCK = 1 << 14  # elements counted at a time: they stay in the processor's cache
_PIECE = 1 << 17  # elements compared at a time: likewise
_low, _high = np.minimum.reduce, np.maximum.reduce  # what min() and max() come to, a call less
_STEPS = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 43, 53, 61, 71, 83, 97, 113, 131, 151, 179, 251)
"""Primes: most divide no usual number of channels or columns, so that none of these is left out;
for the others every batch starts elsewhere."""


class Histogram(Reducer):
    """Histogram over ``[-R, R)`` with R a power of two that doubles when needed.

    Doubling merges pairs of bins: counts stay exact and do not depend on the order of the batches.

    Args:
        bins: A power of two, at least 4.
        most: Count about so many values of a batch, evenly spaced; 0 counts all. Minimum and
            maximum are those of all values.
    """

    kind: ClassVar[str] = "histogram"

    def __init__(self, bins: int = 4096, most: int = 0) -> None:
        if bins < 4 or bins & (bins - 1):
            raise UsageError(f"bins={bins}: a histogram needs a power of two, at least 4")
        if most < 0:
            raise UsageError(f"most={most}: expected 0 or more")
        self.bins, self.most = bins, most
        self._exponent: int | None = None  # R = 2 ** exponent; None: only zeros so far
        self._counts = np.zeros(bins, np.int64)
        self._zeros = self._count = self._nonfinite = 0
        self._low, self._high = math.inf, -math.inf  # of all values
        self._batches = 0
        self._steps: dict[int, int] = {}  # by size of the batch
        self._waiting: list[Array] = []  # to be counted, less than a block in all
        self._size = 0  # of these

    def options(self) -> dict[str, Any]:
        return {"bins": self.bins, "most": self.most}

    def update(self, array: Array, second: Array | None = None) -> None:
        flat = array.reshape(-1)
        if not flat.size:
            return
        if flat.dtype.kind != "f" or flat.dtype.itemsize < 4:
            flat = flat.astype(np.float32 if flat.dtype.itemsize < 4 else np.float64)
        step = self._steps.get(flat.size) or self._step(flat.size)
        low, high, counted = _seen(flat, step, self._batches % step)
        self._batches += 1
        if not (math.isfinite(low) and math.isfinite(high)):
            finite = flat[np.isfinite(flat)]
            self._nonfinite += flat.size - finite.size
            if not finite.size:
                return
            low, high = float(_low(finite)), float(_high(finite))
            counted = counted[np.isfinite(counted)]
        self._low, self._high = min(self._low, low), max(self._high, high)
        self._count += counted.size
        self._waiting.append(counted)
        self._size += counted.size
        if self._size >= _BLOCK:
            self._count_waiting()

    def _count_waiting(self) -> None:
        if self._waiting:
            counted = np.concatenate(self._waiting) if len(self._waiting) > 1 else self._waiting[0]
            self._waiting.clear()
            self._size = 0
            for start in range(0, counted.size, _BLOCK):
                self._count_block(counted[start : start + _BLOCK])

    def _step(self, size: int) -> int:
        """One in how many values is counted."""
        wanted = max(size / self.most, 1.0) if self.most else 1.0
        self._steps[size] = min((1, *_STEPS), key=lambda s: max(s / wanted, wanted / s))
        return self._steps[size]

    def _count_block(self, data: Array) -> None:
        nonzero = int(np.count_nonzero(data != 0))
        zeros = data.size - nonzero
        self._zeros += zeros
        if not nonzero:
            return
        exponent = _exponent(self._low, self._high)
        if self._exponent is None or exponent > self._exponent:  # not needed for every block
            exponent = _exponent(float(_low(data)), float(_high(data)))
            self._exponent = exponent if self._exponent is None else self._exponent
            self._widen(exponent)
        half = self.bins // 2
        scaled = _scaled(data, half.bit_length() - 1 - self._exponent, nonzero)
        first = 0
        if self._low >= 0:  # casting rounds towards zero: these need no floor
            first = half
        else:
            np.floor(scaled, out=scaled)
            scaled += half
        counts = np.bincount(scaled.astype(np.intp), minlength=self.bins - first)
        self._counts[first:] += counts
        self._counts[half] -= zeros

    def _widen(self, exponent: int) -> None:
        if self._exponent is None:
            return
        half = self.bins // 2
        while self._exponent < exponent:
            if not self._counts[: half - 1].any() and not self._counts[half + 1 :].any():
                self._exponent = exponent  # only the two bins beside zero: they stay where they are
                return
            pairs = self._counts.reshape(-1, 2).sum(axis=1)
            self._counts = np.zeros(self.bins, np.int64)
            self._counts[half // 2 : half // 2 + half] = pairs
            self._exponent += 1

    def merge(self, other: Self) -> None:
        self._count_waiting()
        other._count_waiting()
        self._low, self._high = min(self._low, other._low), max(self._high, other._high)
        self._count += other._count
        self._nonfinite += other._nonfinite
        self._zeros += other._zeros
        if other._exponent is None:
            return
        if self._exponent is None:
            self._exponent = other._exponent
        narrow = other.fresh().load(other.state())
        narrow._widen(self._exponent)
        self._widen(other._exponent)
        self._counts = self._counts + narrow._counts

    def state(self) -> State:
        self._count_waiting()
        if not (self._count or self._nonfinite):
            return {}
        used = np.flatnonzero(self._counts)
        first, end = (int(used[0]), int(used[-1]) + 1) if used.size else (0, 0)
        exponent = [] if self._exponent is None else [self._exponent]
        counts = self._counts[first:end]
        numbers = [self._low, self._high, self._count, self._nonfinite, self._zeros, first]
        return {  # few arrays: handing one over costs as much as counting some thousand values
            "numbers": np.array([*numbers, *exponent], np.float64),
            "counts": counts.astype(np.min_scalar_type(counts.max(initial=0))),
        }

    def load(self, state: Mapping[str, Array]) -> Self:
        self._waiting.clear()
        self._size = 0
        self._counts[:] = 0
        self._exponent, self._low, self._high = None, math.inf, -math.inf
        self._zeros = self._count = self._nonfinite = 0
        if not state:
            return self
        self._low, self._high, *rest = state["numbers"].tolist()
        self._count, self._nonfinite, self._zeros, first, *exponent = map(int, rest)
        self._exponent = exponent[0] if exponent else None
        self._counts[first : first + state["counts"].size] = state["counts"]
        return self

    def result(self) -> dict[str, Any]:
        """What was seen.

        ``counts`` (zeros left out), ``edges`` (bins + 1) and ``zeros`` of the ``count`` values that
        were counted; ``min`` and ``max`` of all finite values (None without any); ``nonfinite``.
        """
        self._count_waiting()
        radius = 0.0 if self._exponent is None else math.ldexp(1.0, self._exponent)
        edges = np.arange(-(self.bins // 2), self.bins // 2 + 1) * (2 * radius / self.bins)
        known = self._low <= self._high
        return {
            "counts": self._counts,
            "edges": edges,
            "zeros": self._zeros,
            "min": self._low if known else None,
            "max": self._high if known else None,
            "count": self._count,
            "nonfinite": self._nonfinite,
        }


def _exponent(low: float, high: float) -> int:
    """The least e with all values within (-2^e, 2^e)."""
    return math.frexp(max(-low, high))[1]


def _scaled(data: Array, shift: int, nonzero: int) -> Array:
    """``data * 2^shift``: scaling by a power of two is exact, but for what underflows."""
    if abs(shift) < 120:
        scaled: Array = data * data.dtype.type(2.0**shift)
        if shift >= 0 or int(np.count_nonzero(scaled != 0)) == nonzero:
            return scaled
    return np.ldexp(data.astype(np.float64), shift)


def _seen(flat: Array, step: int, first: int) -> tuple[float, float, Array]:
    """Minimum and maximum of all values, and every ``step``-th of them from ``first`` on."""
    if flat.size <= _PIECE:
        return float(_low(flat)), float(_high(flat)), flat[first::step].copy()
    lows, highs, parts = zip(*_pieces(flat, step, first), strict=True)
    return float(np.min(lows)), float(np.max(highs)), np.concatenate(parts)


def _pieces(flat: Array, step: int, first: int) -> Iterator[tuple[Any, Any, Array]]:
    """The same of pieces that are read from memory once."""
    size = _PIECE // step * step
    for start in range(0, flat.size, size):
        piece = flat[start : start + size]
        yield _low(piece), _high(piece), piece[first::step].copy()
