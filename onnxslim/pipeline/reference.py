"""What a repairing pass works towards: the dense model, and what of it is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import onnx_ir as ir

from onnxslim.analysis.dependency.groups import Kept

Progress = Callable[[int, int, str], None]
"""Called with what is done, how much there is in all, and what it is: ``layer`` or ``epoch``."""


def _silent(done: int, total: int, unit: str) -> None:
    """Progress that nobody asked for."""


@dataclass(frozen=True, eq=False)
class Reference:
    """The model before it was compressed, for ``ctx.reference``.

    A value of the compressed model that has the name of a value of ``model`` stands for the slice
    ``kept.take(name, ...)`` of it.

    Attributes:
        model: The dense model; never changed.
        kept: Which indices of its tensors the compressed model still has.
        progress: Told about every layer that is repaired, every epoch of training.
    """

    model: ir.Model
    kept: Kept
    progress: Progress = _silent

    def telling(self, step: str, say: Callable[[str], None]) -> Reference:
        """The same, with a line like ``recovering: layer 3 of 20`` before each."""

        def tell(done: int, total: int, unit: str) -> None:
            say(f"{step}: {unit} {done + 1} of {total}")

        return replace(self, progress=tell)
