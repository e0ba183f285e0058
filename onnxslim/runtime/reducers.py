"""Streaming reducers that run beside a session, so that activations never leave the worker.

Each holds a few arrays, is updated batch by batch in bounded memory, and merges exactly with
another that saw other batches. numpy only: the child imports this module.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

import numpy as np

from onnxslim.errors import DataError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"
State = dict[str, Array]

_CHUNK = 1 << 20  # elements handled at a time


class Reducer(ABC):
    """Folds the batches of one tensor (or of two, see ``other``) into a few arrays."""

    kind: ClassVar[str]
    other: str | None = None

    def values(self, name: str) -> tuple[str, ...]:
        """Names of the values that :meth:`update` takes."""
        return (name,) if self.other is None else (name, self.other)

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Constructor arguments, JSON types only."""

    @abstractmethod
    def state(self) -> State:
        """Everything seen so far."""

    @abstractmethod
    def load(self, state: Mapping[str, Array]) -> Self:
        """Take over a state; gives back itself."""

    @abstractmethod
    def update(self, array: Array, second: Array | None = None) -> None:
        """See one batch, of ``other`` too where there is one."""

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Add what another reducer with the same options saw."""

    @abstractmethod
    def result(self) -> dict[str, Any]:
        """Plain facts."""

    def fresh(self) -> Self:
        """An empty reducer with the same options."""
        return type(self)(**self.options())


class Summing(Reducer):
    """Keeps sums by name; what others saw is added to them."""

    def __init__(self) -> None:
        self._sums: State = {}

    @abstractmethod
    def _add(self, sums: State) -> None:
        """Add sums of the same shapes.

        Raises:
            DataError: The kept axis changed its size.
        """

    def merge(self, other: Self) -> None:
        if other._sums:
            self._add(other._sums)

    def state(self) -> State:
        return dict(self._sums)

    def load(self, state: Mapping[str, Array]) -> Self:
        self._sums = {key: value.copy() for key, value in state.items()}
        return self


class MinMax(Reducer):
    """Exact minimum, maximum and mean of the finite values, per tensor or per index of one axis.

    Args:
        axis: The axis that stays; None for the whole tensor.
    """

    kind: ClassVar[str] = "minmax"

    def __init__(self, axis: int | None = None) -> None:
        self.axis = axis
        self._min: Array | None = None
        self._max: Array | None = None
        self._sum: Array = np.zeros(())
        self._count: Array = np.zeros((), np.int64)
        self._nonfinite = 0

    def options(self) -> dict[str, Any]:
        return {"axis": self.axis}

    def update(self, array: Array, second: Array | None = None) -> None:
        rows = array.reshape(1, -1) if self.axis is None else _by_channel(array, self.axis)
        if not rows.size:
            return
        low, high, data = rows.min(axis=1), rows.max(axis=1), rows
        count = np.full(len(rows), rows.shape[1], np.int64)
        if not np.isfinite(low).all() or not np.isfinite(high).all():
            finite = np.isfinite(rows)
            low = np.where(finite, rows, np.inf).min(axis=1)
            high = np.where(finite, rows, -np.inf).max(axis=1)
            data, count = np.where(finite, rows, 0), finite.sum(axis=1, dtype=np.int64)
        batch = {
            "min": low.astype(np.float64),
            "max": high.astype(np.float64),
            "sum": data.sum(axis=1, dtype=np.float64),
            "count": count,
            "nonfinite": np.array(rows.size - int(count.sum()), np.int64),
        }
        self.merge(self.fresh().load(batch))

    def see(self, low: float, high: float, total: float, count: int) -> None:
        """Finite values of a whole tensor, told by their minimum, maximum, sum and count."""
        if self._min is None or self._max is None:
            self._min, self._max = np.full(1, np.inf), np.full(1, -np.inf)
            self._sum, self._count = np.zeros(1), np.zeros(1, np.int64)
        self._min[0], self._max[0] = min(self._min[0], low), max(self._max[0], high)
        self._sum[0] += total
        self._count[0] += count

    def merge(self, other: Self) -> None:
        if other._min is None or other._max is None:
            return
        if self._min is None or self._max is None:
            self.load(other.state())
            return
        if self._min.shape != other._min.shape:
            raise DataError(
                f"axis {self.axis} has {other._min.size} entries, {self._min.size} before; "
                "per-axis ranges need a fixed axis"
            )
        self._min = np.minimum(self._min, other._min)
        self._max = np.maximum(self._max, other._max)
        self._sum, self._count = self._sum + other._sum, self._count + other._count
        self._nonfinite += other._nonfinite

    def state(self) -> State:
        if self._min is None or self._max is None:
            return {}
        return {
            "min": self._min,
            "max": self._max,
            "sum": self._sum,
            "count": self._count,
            "nonfinite": np.array(self._nonfinite, np.int64),
        }

    def load(self, state: Mapping[str, Array]) -> Self:
        if state:
            self._min, self._max = state["min"].copy(), state["max"].copy()
            self._sum, self._count = state["sum"].copy(), state["count"].copy()
            self._nonfinite = int(state["nonfinite"])
        return self

    def result(self) -> dict[str, Any]:
        """``min``, ``max``, ``mean``, ``count`` (arrays if there is an axis), ``nonfinite``."""
        if self._min is None or self._max is None:
            return {"min": None, "max": None, "mean": None, "count": 0, "nonfinite": 0}
        facts = {
            "min": self._min,
            "max": self._max,
            "mean": self._sum / np.maximum(self._count, 1),
            "count": self._count,
        }
        if self.axis is None:
            facts = {key: value[0].item() for key, value in facts.items()}
        return {**facts, "nonfinite": self._nonfinite}


class Gram(Summing):
    """Second moments ``X^T X`` in float64 over one axis, with those of a second tensor if asked.

    ``X`` is (rows, C): the tensor with ``axis`` moved last. Rows with a value that is not finite
    are left out.

    Args:
        axis: The axis that stays.
        other: Name of a second value ``Y`` (rows, D) for ``X^T Y``.
        other_axis: Its axis that stays.
        max_rows: Rows used per batch, evenly spaced; 0 for all.
    """

    kind: ClassVar[str] = "gram"

    def __init__(
        self, axis: int = -1, other: str | None = None, other_axis: int = -1, max_rows: int = 0
    ) -> None:
        super().__init__()
        self.axis, self.other, self.other_axis, self.max_rows = axis, other, other_axis, max_rows

    def options(self) -> dict[str, Any]:
        return {
            "axis": self.axis,
            "other": self.other,
            "other_axis": self.other_axis,
            "max_rows": self.max_rows,
        }

    def update(self, array: Array, second: Array | None = None) -> None:
        x = _rows(array, self.axis)
        y = None if second is None else _rows(second, self.other_axis)
        if (y is None) != (self.other is None):
            raise DataError("Gram with a second value is updated with two arrays, else with one")
        if y is not None and y.shape[0] != x.shape[0]:
            raise DataError(
                f"Gram: {x.shape[0]} rows of the value and {y.shape[0]} of {self.other!r}; "
                "all axes but the kept one must agree"
            )
        step = -(-x.shape[0] // self.max_rows) if self.max_rows else 1
        for piece in _pieces(x.shape[0], step, x.shape[1] + (0 if y is None else y.shape[1])):
            self._add(_moments(x[piece], None if y is None else y[piece]))

    def _add(self, sums: State) -> None:
        if not self._sums:
            self._sums = sums
            return
        if any(self._sums[key].shape != value.shape for key, value in sums.items()):
            raise DataError(
                "Gram: the kept axis changed its size between batches; it must be fixed"
            )
        self._sums = {key: value + sums[key] for key, value in self._sums.items()}

    def result(self) -> dict[str, Any]:
        """``gram`` (C, C), ``sum`` (C,), ``count``; with ``other``: ``cross`` (C, D), sums (D,)."""
        return {**self._sums, "count": int(self._sums["count"]) if self._sums else 0}


def _moments(x: Array, y: Array | None) -> State:
    x = x.astype(np.float64)
    keep = np.isfinite(x).all(axis=1)
    if y is not None:
        y = y.astype(np.float64)
        keep &= np.isfinite(y).all(axis=1)
        y = y[keep]
    x = x[keep]
    sums = {"gram": x.T @ x, "sum": x.sum(axis=0), "count": np.array(len(x), np.int64)}
    if y is not None:
        sums |= {"cross": x.T @ y, "other_sum": y.sum(axis=0), "other_square": (y * y).sum(axis=0)}
    return sums


def _pieces(rows: int, step: int, width: int) -> Iterator[slice]:
    size = max(1, 4 * _CHUNK // max(1, width)) * step
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows), step)


def _rows(array: Array, axis: int) -> Array:
    if not -array.ndim <= axis < array.ndim:
        raise DataError(f"axis {axis} is not an axis of a tensor of shape {array.shape}")
    moved = np.moveaxis(array, axis, -1)
    return moved.reshape(-1, moved.shape[-1])


def _by_channel(array: Array, axis: int) -> Array:
    """(C, rest), a copy only where the memory order asks for it."""
    if not -array.ndim <= axis < array.ndim:
        raise DataError(f"axis {axis} is not an axis of a tensor of shape {array.shape}")
    moved = np.moveaxis(array, axis, 0)
    return moved.reshape(moved.shape[0], -1)


def make(kind: str, options: Mapping[str, Any]) -> Reducer:
    """Build a reducer by its name, as the child does."""
    from onnxslim.runtime.histogram import Histogram  # these modules import this one
    from onnxslim.runtime.moments import Moments

    every: tuple[type[Reducer], ...] = (MinMax, Histogram, Gram, Moments)
    kinds = {reducer.kind: reducer for reducer in every}
    if kind not in kinds:
        raise UsageError(f"no reducer {kind!r}; there are {', '.join(kinds)}")
    return kinds[kind](**options)
