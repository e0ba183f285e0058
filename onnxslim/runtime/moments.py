"""First and second moments per index of one axis, streamed beside a session."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from onnxslim.errors import DataError
from onnxslim.runtime.reducers import Array, State, Summing

_CHUNK = 1 << 20


class Moments(Summing):
    """Sums of ``x``, ``|x|``, ``x^2`` and the count of zeros, in float64, per index of an axis.

    Values that are not finite are left out of the sums and counts.

    Args:
        axis: The axis that stays.
    """

    kind: ClassVar[str] = "moments"

    def __init__(self, axis: int = 1) -> None:
        super().__init__()
        self.axis = axis

    def options(self) -> dict[str, Any]:
        return {"axis": self.axis}

    def update(self, array: Array, second: Array | None = None) -> None:
        if not -array.ndim <= self.axis < array.ndim:
            raise DataError(f"axis {self.axis} is not an axis of a tensor of shape {array.shape}")
        moved = np.moveaxis(array, self.axis, 0)
        rows = moved.reshape(moved.shape[0], -1)
        step = max(1, _CHUNK // max(1, rows.shape[0]))
        for start in range(0, rows.shape[1], step):
            self._add(_sums(rows[:, start : start + step].astype(np.float64)))

    def _add(self, sums: State) -> None:
        if self._sums and self._sums["sum"].shape != sums["sum"].shape:
            raise DataError(
                f"axis {self.axis} has {sums['sum'].size} entries, {self._sums['sum'].size} "
                "before; the kept axis must be fixed"
            )
        self._sums = {key: value + self._sums.get(key, 0) for key, value in sums.items()}

    def result(self) -> dict[str, Any]:
        """``mean``, ``mean_abs``, ``mean_square``, ``zeros`` (part), all (C,); ``count``."""
        if not self._sums:
            return {"count": 0}
        count = np.maximum(self._sums["count"], 1)
        return {
            "mean": self._sums["sum"] / count,
            "mean_abs": self._sums["abs"] / count,
            "mean_square": self._sums["square"] / count,
            "zeros": self._sums["zeros"] / count,
            "count": int(self._sums["count"].sum()),
        }


def _sums(rows: Array) -> State:
    finite = np.isfinite(rows)
    rows = rows if finite.all() else np.where(finite, rows, 0.0)
    return {
        "sum": rows.sum(axis=1),
        "abs": np.abs(rows).sum(axis=1),
        "square": np.einsum("ij,ij->i", rows, rows),
        "zeros": ((rows == 0) & finite).sum(axis=1).astype(np.int64),
        "count": finite.sum(axis=1).astype(np.int64),
    }
