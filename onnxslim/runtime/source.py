"""Samples of a model's inputs, re-iterable and in batches: what every form of data becomes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from onnxslim.errors import DataError
from onnxslim.runtime.dims import Description
from onnxslim.runtime.feeds import filled, zeros
from onnxslim.runtime.images import ImageOptions
from onnxslim.runtime.items import Batch, Item, batches
from onnxslim.runtime.readers import Indexed
from onnxslim.runtime.sizes import Dims
from onnxslim.runtime.specs import Array, Feed, InputSpec
from onnxslim.runtime.stats import ContentHash, InputStats, Tally

_BATCH = 32
_BATCH_BYTES = 32 << 20


@dataclass(frozen=True)
class DataOptions:
    """How samples are read.

    Args:
        samples: At most so many: a seeded choice, in order; the first ones of what can only be read
            through (Python code, test data sets). None is all (8 random ones).
        seed: Of the choice, and of random samples.
        batch: Samples at once where the model leaves it open; None is 32, or what fits into 32 MB.
        labels: The key of the labels.
        images: How images become inputs.
        description: What ``--input-shape``, ``--dim``, ``--input-value`` and ``--state`` said.
        sizes: Sizes of dynamic dimensions that the model is known to run with, for random samples.
        calibration: The samples decide ranges, so random ones are refused.
        allow_random: ``--allow-random-calibration``.
    """

    samples: int | None = None
    seed: int = 0
    batch: int | None = None
    labels: str | None = None
    images: ImageOptions = field(default_factory=ImageOptions)
    description: Description = field(default_factory=Description)
    sizes: Mapping[str, int] = field(default_factory=dict)
    calibration: bool = False
    allow_random: bool = False


class DataSource:
    """Samples of a model's inputs, re-iterable: every ``for batch in source`` reads the same ones.

    Args:
        name: What the user gave.
        options: How to read.
        reader: Samples that can be picked, or None.
        stream: Else, starts one pass over them.
        specs: The inputs, whose order the feeds keep.
    """

    def __init__(
        self,
        name: str,
        options: DataOptions,
        specs: Sequence[InputSpec],
        *,
        reader: Indexed | None = None,
        stream: Callable[[], Iterator[Item]] | None = None,
    ) -> None:
        self.name = name
        self.options = options
        self._described = described_inputs(specs, options)
        self._dims = Dims(specs, options.description, {}) if self._described else None
        self._specs, self._reader, self._stream = specs, reader, stream
        self._count: int | None = None
        self._labels: Array | None = None

    def __len__(self) -> int:
        """The number of samples; code that can only be read through is read once to know it."""
        if self._count is None:
            if self._reader is not None:
                total = sum(self._reader.sizes)
                self._count = min(total, self.options.samples or total)
            else:
                self._count, self._labels = self._read_through()
        return self._count

    @property
    def labels(self) -> Array | None:
        """The label of every sample, in order; None unless asked for."""
        if self.options.labels is not None and self._labels is None:
            if self._reader is None:
                self._count, self._labels = self._read_through()
            else:
                parts = [self._reader.labels(*pick) for pick in self._picks(self._reader)]
                self._labels = _joined(parts)
        return self._labels

    @property
    def batch_size(self) -> int:
        """Samples at once; complete feeds keep their own."""
        fixed = self._fixed()
        if fixed is not None:
            return fixed
        if self.options.description.state or not (self._reader is None or self._reader.batchable):
            return 1
        if self._reader is None:
            return self.options.batch or _BATCH
        fitting = _BATCH_BYTES // max(self._reader.row_bytes, 1)
        return self.options.batch or max(min(_BATCH, fitting), 1)

    def _fixed(self) -> int | None:
        return _fixed_batch(self._specs) if self._reader is None else self._reader.fixed

    def rebatched(self, size: int) -> DataSource:
        """The same samples, ``size`` at once where the model leaves it open."""
        options = replace(self.options, batch=size)
        return DataSource(self.name, options, self._specs, reader=self._reader, stream=self._stream)

    def __iter__(self) -> Iterator[Batch]:
        order = [spec.name for spec in self._specs]
        for batch in batches(self._items(), self.batch_size, self._fixed()):
            full = {**batch.feeds, **self._fill(batch)}
            yield replace(batch, feeds={name: full[name] for name in order})

    def _fill(self, batch: Batch) -> Feed:
        """The inputs described instead of given as data, in sizes that fit the batch."""
        if self._dims is None:
            return {}
        rows = [batch.feeds[name].shape[0] for name in sorted(batch.rows)]
        guess = {k: d.size for k, d in self._dims.dims.items()}
        if rows:
            guess |= {
                k: rows[0] for k, d in self._dims.dims.items() if d.role == "batch" and not d.fixed
            }
        guess |= self.options.sizes
        for spec in self._specs:
            if spec.name in batch.feeds and spec.shape is not None:
                seen = zip(spec.shape, batch.feeds[spec.name].shape, strict=True)
                guess |= {symbol: size for symbol, size in seen if isinstance(symbol, str)}
        shapes = self._dims.shapes(guess)
        values = self.options.description.values
        return {
            spec.name: filled(spec, shapes[spec.name], values[spec.name])
            if spec.name in values
            else zeros(spec, shapes[spec.name])
            for spec in self._specs
            if spec.name in self._described
        }

    def feeds(self) -> Iterator[Feed]:
        """The feeds alone; a padded one holds samples that do not count."""
        for batch in self:
            yield batch.feeds

    def describe(self) -> dict[str, InputStats]:
        """Type, shape of a feed, minimum, maximum and mean of every input, over all samples."""
        tallies: dict[str, Tally] = {}
        for batch in self:
            for name, array in batch.feeds.items():
                tallies.setdefault(name, Tally(array)).add(batch.real(name))
        return {name: tally.stats() for name, tally in tallies.items()}

    def digest(self) -> str:
        """A hash of the content that does not depend on the batch size."""
        hashes: dict[str, ContentHash] = {}
        for batch in self:
            for name in batch.feeds:
                hashes.setdefault(name, ContentHash()).add(batch.real(name), name in batch.rows)
            if batch.labels is not None:
                hashes.setdefault("\0labels", ContentHash()).add(batch.labels, True)
        total = hashlib.sha256()
        for name, part in sorted(hashes.items()):
            total.update(name.encode() + b"\0" + part.digest())
        return total.hexdigest()

    def _items(self) -> Iterator[Item]:
        if self._reader is None:
            yield from self._first()
        else:
            for index, rows in self._picks(self._reader):
                yield self._reader.read(index, rows)

    def _picks(self, reader: Indexed) -> Iterator[tuple[int, Array]]:
        """The samples to read: item and rows of it, at most a batch at once."""
        total = sum(reader.sizes)
        chosen = np.arange(total)
        wanted = self.options.samples
        if wanted is not None and wanted < total:
            rng = np.random.default_rng(self.options.seed)
            chosen = np.sort(rng.choice(total, wanted, replace=False))
        start, step = 0, self.batch_size
        ends = np.searchsorted(chosen, np.cumsum([0, *reader.sizes]))
        for index, size in enumerate(reader.sizes):
            rows = chosen[ends[index] : ends[index + 1]] - start
            start += size
            for first in range(0, len(rows), step):
                yield index, rows[first : first + step]

    def _first(self) -> Iterator[Item]:
        assert self._stream is not None
        left = self.options.samples
        seen = 0
        for item in self._stream():
            if left is not None and item.count > left - seen:
                item = _shortened(item, left - seen)
            seen += item.count
            yield item
            if left is not None and seen >= left:
                break
        if not seen:
            raise DataError(f"{self.name} gave no samples; expected at least one")

    def _read_through(self) -> tuple[int, Array | None]:
        """Count and labels of what has to be read to know them."""
        found = [(item.count, item.labels) for item in self._items()]
        return sum(count for count, _ in found), _joined([labels for _, labels in found])


def _joined(parts: Sequence[Array | None]) -> Array | None:
    given = [part for part in parts if part is not None]
    return np.concatenate(given) if given else None


def _shortened(item: Item, count: int) -> Item:
    """The first samples; a complete feed stays as it is and only counts fewer."""
    if not item.whole:
        return item.part(0, count)
    return replace(item, count=count, labels=None if item.labels is None else item.labels[:count])


def _fixed_batch(specs: Sequence[InputSpec]) -> int | None:
    """The first size that all inputs share, when the model fixes it."""
    sizes = {spec.shape[0] if spec.shape else None for spec in specs}
    size = next(iter(sizes)) if len(sizes) == 1 else None
    return size if isinstance(size, int) and size > 0 else None


def described_inputs(specs: Sequence[InputSpec], options: DataOptions) -> frozenset[str]:
    """The inputs that the user described instead of giving data."""
    named = {*options.description.values, *options.description.state.values()}
    return frozenset(spec.name for spec in specs if spec.name in named)
