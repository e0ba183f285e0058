"""Calibration samples in two parts: what ranges are searched on, and what results are judged on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.api.sizing import sample_bytes
from onnxslim.runtime.data import DataSource
from onnxslim.runtime.protocol import nbytes
from onnxslim.runtime.specs import Feed

BATCH, BATCH_BYTES = 32, 7 << 19
"""Samples at once, and bytes that all their tensors take."""
JUDGED_SAMPLES, JUDGED_BYTES = 64, 4 << 20
WHOLE = 8
"""Of fewer batches, all are observed and judged on."""


@dataclass(frozen=True)
class Again:
    """An iterable from a function that starts an iteration."""

    start: Callable[[], Iterator[Feed]]

    def __iter__(self) -> Iterator[Feed]:
        return self.start()


@dataclass(frozen=True)
class Samples:
    """Calibration data in two parts: to observe and to judge on.

    Attributes:
        source: All samples.
        count: How many there are.
        judged: Numbers of the batches held back; all are observed as well when there are few.
        few: Nothing is held back from observing.
    """

    source: DataSource
    count: int
    judged: frozenset[int]
    few: bool

    @property
    def batches(self) -> int:
        """How many feeds there are, held-back ones included."""
        return -(-self.count // self.source.batch_size)

    def observed(self) -> Iterator[Feed]:
        """What ranges are searched on."""
        return (f for i, f in enumerate(self.source.feeds()) if self.few or i not in self.judged)

    def held_back(self) -> Iterator[Feed]:
        """What results are judged on."""
        return (f for i, f in enumerate(self.source.feeds()) if i in self.judged)


def split(source: DataSource, model: ir.Model | None = None) -> Samples:
    """Every fourth batch is held back, up to a number of samples and of bytes.

    Args:
        source: The samples.
        model: Batches are small where its tensors are large: nothing grows with the samples.
    """
    count = len(source)
    first = next(iter(source.rebatched(1)))
    row = sum(map(nbytes, first.feeds.values())) // max(first.count, 1)
    held = row if model is None else sample_bytes(model, first.feeds)
    size = max(1, min(BATCH, BATCH_BYTES // max(held, 1), count // 8))
    source = source.rebatched(size)
    first_ones = sum(1 for _ in itertools.islice(source.feeds(), WHOLE))
    batches = -(-count // source.batch_size) if first_ones == WHOLE else first_ones
    most = max(1, min(JUDGED_SAMPLES // size, JUDGED_BYTES // max(row * size, 1)))
    numbers = range(batches) if batches < 8 else range(3, batches, 4)
    return Samples(source, count, frozenset(itertools.islice(numbers, most)), batches < WHOLE)
