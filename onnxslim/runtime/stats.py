"""What the samples of an input look like, and a hash of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from onnxslim.runtime.specs import Array


@dataclass(frozen=True)
class InputStats:
    """What the samples of one input look like (numbers None for text, or when all are NaN)."""

    dtype: str
    shape: tuple[int, ...]
    minimum: float | None
    maximum: float | None
    mean: float | None


class Tally:
    """Running minimum, maximum and mean."""

    def __init__(self, array: Array) -> None:
        self._dtype, self._shape = str(array.dtype), array.shape
        self._low, self._high, self._sum, self._count = np.inf, -np.inf, 0.0, 0

    def add(self, array: Array) -> None:
        if array.dtype.kind in "OUSc" or not array.size:
            return
        values = array.astype(np.float64)
        values = values[~np.isnan(values)]
        if values.size:
            self._low = min(self._low, float(values.min()))
            self._high = max(self._high, float(values.max()))
            self._sum += float(values.sum())
            self._count += values.size

    def stats(self) -> InputStats:
        if not self._count:
            return InputStats(self._dtype, self._shape, None, None, None)
        return InputStats(self._dtype, self._shape, self._low, self._high, self._sum / self._count)


class ContentHash:
    """The hash of one input: rows run together, a repeated array counts once."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._form: object = None
        self._last: bytes | None = None

    def add(self, array: Array, rows: bool) -> None:
        data = _bytes(array)
        if not rows and data == self._last:
            return
        self._last = None if rows else data
        form = (str(array.dtype), array.shape[1:] if rows else array.shape)
        if form != self._form:
            self._hash.update(repr(form).encode())
            self._form = form
        self._hash.update(data)

    def digest(self) -> bytes:
        return self._hash.digest()


def _bytes(array: Array) -> bytes:
    if array.dtype.kind == "O":
        return "\0".join(str(x) for x in array.flat).encode()
    return array.tobytes()
