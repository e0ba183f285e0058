"""How far two runs of the same output are apart: the accumulator behind every comparison.

Floats are compared after a cast to float64. NaN equals NaN and an infinity equals the same
infinity; where only one side is not finite the difference is infinite. Everything else
(integers, booleans, strings) is compared exactly; complex numbers as pairs of floats.
Sequences and optionals are compared element by element.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from onnxslim.runtime.specs import Array, kind_of

Value: TypeAlias = Any
"""What a session gives back: an array, a list of values (sequence) or None (empty optional)."""

CONSTANT = 1e-6
"""A float output whose values differ by less than this part of the peak is constant."""


def leaves(value: Value) -> Iterator[Array]:
    """The arrays of a value, in order; sequences are walked, an empty optional has none."""
    if value is None:
        return
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, dict):
        yield from leaves([np.asarray(list(value)), *value.values()])
    else:
        array = np.asarray(value)
        yield _pairs(array) if array.dtype.kind == "c" else array


def _pairs(array: Array) -> Array:
    return np.ascontiguousarray(array).reshape(*array.shape, 1).view(array.real.dtype)


def skeleton(value: Value) -> Any:
    """The nesting of a value without its contents: two values with equal ones can be compared."""
    if isinstance(value, (list, tuple)):
        return [skeleton(item) for item in value]
    if isinstance(value, dict):
        return [len(value)]
    return value is None


def is_float(array: Array) -> bool:
    """Whether an array is compared within a limit (also the small floats of ml_dtypes)."""
    return kind_of(array.dtype) == "float"


def is_low_precision(array: Array) -> bool:
    """float16, bfloat16 and smaller."""
    return is_float(array) and array.dtype.itemsize <= 2


def json_number(value: float | None) -> float | None:
    """A number as JSON can say it: infinite and undefined become null."""
    return None if value is None or not math.isfinite(value) else float(value)


@dataclass(slots=True)
class Stats:
    """Difference of one output, accumulated over feeds.

    ``problem`` is ``"shape"`` or ``"dtype"`` when the two could not be compared at all.
    """

    feeds: int = 0
    floats: bool = False
    low_precision: bool = False
    problem: str = ""
    detail: str = ""
    max_abs: float = 0.0
    peak: float = 0.0
    unequal: int = 0
    size: int = 0
    finite: int = 0
    varied: bool = False
    _first: float | None = None
    _ref: float = 0.0
    _cand: float = 0.0
    _dot: float = 0.0
    _diff: float = 0.0

    def add(self, reference: Value, candidate: Value) -> None:
        """Takes in the two results of one feed."""
        self.feeds += 1
        if skeleton(reference) != skeleton(candidate):
            self._refuse("shape", "sequences or optionals of different structure")
            return
        for ref, cand in zip(leaves(reference), leaves(candidate), strict=True):
            self._leaf(ref, cand)

    def _refuse(self, problem: str, detail: str) -> None:
        if not self.problem:
            self.problem, self.detail = problem, detail

    def _leaf(self, ref: Array, cand: Array) -> None:
        self.floats = self.floats or is_float(ref)
        self.low_precision = self.low_precision or is_low_precision(ref)
        if ref.dtype != cand.dtype and "U" not in (ref.dtype.kind, cand.dtype.kind):
            self._refuse("dtype", f"{ref.dtype} became {cand.dtype}")
        elif ref.shape != cand.shape:
            self._refuse("shape", f"{list(ref.shape)} became {list(cand.shape)}")
        elif not is_float(ref):
            self._exact(ref, cand)
        else:
            self._float(ref, cand)
        self.size += ref.size

    def _exact(self, ref: Array, cand: Array) -> None:
        self.finite += ref.size
        different = int(np.count_nonzero(ref != cand))
        self.unequal += different
        if ref.dtype.kind in "iub" and ref.size:
            x, y = ref.astype(np.float64), cand.astype(np.float64)
            self._sums(x, y, np.abs(x - y) if different else None)
            self._spread(x)

    def _float(self, ref: Array, cand: Array) -> None:
        x = ref.astype(np.float64)
        same = ref.tobytes() == cand.tobytes()
        y = x if same else cand.astype(np.float64)
        ok = np.isfinite(x)
        if not ok.all() or not (same or np.isfinite(y).all()):
            both = ok & np.isfinite(y)
            if not same and bool((_special(x, both) != _special(y, both)).any()):
                self.max_abs = math.inf
                self._diff = math.inf
            x, y = x[both], y[both]
        self.finite += x.size
        if x.size:
            diff = None if same else np.abs(x - y)
            self.unequal += 0 if diff is None else int(np.count_nonzero(diff))
            self._sums(x, y, diff)
            self._spread(x)

    def _sums(self, x: Array, y: Array, diff: Array | None) -> None:
        x, y = x.reshape(-1), y.reshape(-1)
        self.peak = max(self.peak, float(np.abs(x).max()))
        square = float(x @ x)
        self._ref += square
        self._cand += square if diff is None else float(y @ y)
        self._dot += square if diff is None else float(x @ y)
        if diff is not None:
            diff = diff.reshape(-1)
            self.max_abs = max(self.max_abs, float(diff.max()))
            self._diff += float(diff @ diff)

    def _spread(self, x: Array) -> None:
        low, high = float(x.min()), float(x.max())
        first = low if self._first is None else self._first
        self._first = first
        # One number per feed is constant only if it is the same for every feed.
        low, high = (min(low, first), max(high, first)) if x.size == 1 else (low, high)
        self.varied = self.varied or (high - low) > CONSTANT * max(abs(low), abs(high))

    @property
    def vacuous(self) -> bool:
        """Constant, empty or NaN on every feed: equal for nearly every model."""
        return self.floats and not self.varied

    @property
    def exact(self) -> bool:
        """Nothing differs."""
        return not self.problem and not self.unequal and self.max_abs == 0

    @property
    def problem_status(self) -> Literal["shape", "dtype"]:
        """The status of an output that could not be compared."""
        return "dtype" if self.problem == "dtype" else "shape"

    @property
    def max_rel(self) -> float:
        """Largest difference as a part of the reference's peak."""
        if self.max_abs == 0:
            return 0.0
        return self.max_abs / self.peak if self.peak else math.inf

    @property
    def cosine(self) -> float:
        """Cosine of the angle between the two outputs as vectors (1 for two zero vectors)."""
        if not math.isfinite(self._diff):
            return math.nan
        if self._ref == 0 or self._cand == 0:
            return 1.0 if self._ref == self._cand else 0.0
        return max(-1.0, min(1.0, self._dot / math.sqrt(self._ref) / math.sqrt(self._cand)))

    @property
    def sqnr_db(self) -> float:
        """``10 log10(sum ref^2 / sum diff^2)``; infinite when nothing differs."""
        if self._diff == 0:
            return math.inf
        if self._ref == 0 or not math.isfinite(self._diff):
            return -math.inf
        return 10 * math.log10(self._ref / self._diff)

    def to_json(self) -> dict[str, Any]:
        """The metrics of the contract; null stands for infinite (``sqnr_db`` of equal outputs)."""
        compared = not self.problem
        return {
            "max_abs": json_number(self.max_abs) if compared else None,
            "max_rel": json_number(self.max_rel) if compared else None,
            "cosine": json_number(self.cosine) if compared else None,
            "sqnr_db": json_number(self.sqnr_db) if compared else None,
        }


def _special(x: Array, both: Array) -> Array:
    """Codes what is not finite: 0 finite on both sides, 1 NaN, 2 and 3 the infinities, 4 other."""
    codes = np.where(np.isnan(x), 1, np.where(x == np.inf, 2, np.where(x == -np.inf, 3, 4)))
    return np.where(both, 0, codes)


def change(before: Value, after: Value) -> float:
    """Largest change of a float output between two runs; infinite when shape or NaNs move."""
    stats = Stats()
    stats.add(before, after)
    return math.inf if stats.problem else stats.max_abs
