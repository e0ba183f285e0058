"""Which samples and positions a repairing pass looks at, and what it cannot do without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxslim.errors import CalibrationError, PreconditionError
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.reference import Reference

Array = npt.NDArray[Any]

_PIECE = 12_000_000  # elements of unfolded rows at a time
_HELD = 4  # every fourth sample judges


@dataclass(frozen=True)
class Sampling:
    """Which positions are looked at.

    Attributes:
        rows: At most so many positions of a layer.
        seed: Of their choice.
        priors: Also find weights from the dependence of the channels.
    """

    rows: int = 20_000
    seed: int = 0
    priors: bool = False


def needs(ctx: PassContext, name: str) -> tuple[Reference, Any]:
    """The reference and the calibration data of a repairing pass.

    Raises:
        PreconditionError: There is no reference.
        CalibrationError: There is no data.
    """
    if not isinstance(ctx.reference, Reference):
        raise PreconditionError(
            f"{name} repairs a compressed model towards the one before, but there is none; "
            "run it behind a pass that compresses, as `onnxslim prune --data` does"
        )
    if ctx.calibration is None:
        raise CalibrationError(f"{name} needs sample inputs, but there are none; give --data")
    return ctx.reference, ctx.calibration


def parts(at: Array, held: Array, width: int) -> Iterator[tuple[Array, bool]]:
    """Positions to fit and positions that judge, a few at a time."""
    step = max(_PIECE // max(width, 1), 1)
    for judges in (False, True):
        chosen = at[held == judges]
        for start in range(0, len(chosen), step):
            yield chosen[start : start + step], judges


def held_out(at: Array, count: int, samples: int, batch: int) -> Array:
    """Which positions judge: those of the last samples of a batch, or of every fourth batch."""
    if samples < _HELD:
        return np.full(at.shape, batch % _HELD == _HELD - 1)
    each = max(count // samples, 1)
    return np.asarray(at // each >= samples - samples // _HELD)
