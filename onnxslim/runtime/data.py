"""``--data SRC`` in all its forms: one way to read samples, batch by batch, as often as wanted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxslim.errors import CalibrationError, DataError, UsageError
from onnxslim.runtime.arrays import natural_key
from onnxslim.runtime.dims import Description
from onnxslim.runtime.dims import check as check_description
from onnxslim.runtime.feeds import Draw, draw_feed, filled, zeros
from onnxslim.runtime.hints import hints_of
from onnxslim.runtime.images import SUFFIXES, ImageFolder, ImageOptions
from onnxslim.runtime.items import Batch, Item, batches, item_of
from onnxslim.runtime.readers import (
    ArrayFiles,
    Indexed,
    Replay,
    Request,
    data_set_folders,
    load_function,
    read_data_sets,
    read_feeds,
)
from onnxslim.runtime.sizes import Dims
from onnxslim.runtime.specs import Array, Feed, InputSpec
from onnxslim.runtime.stats import ContentHash, InputStats, Tally

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["Batch", "DataOptions", "DataSource", "ImageOptions", "InputStats", "open_data"]

_BATCH = 32
_BATCH_BYTES = 32 << 20
_RANDOM_SAMPLES = 8
_FORMS = (
    "expected a .npz file, a folder of .npz, .npy or image files or test_data_set_* folders,"
    " FILE.py:FUNCTION, or random"
)


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
                self._read_through()
        assert self._count is not None
        return self._count

    @property
    def labels(self) -> Array | None:
        """The label of every sample, in order; None unless asked for."""
        if self.options.labels is not None and self._labels is None:
            self._read_through()
        return self._labels

    @property
    def batch_size(self) -> int:
        """Samples at once; complete feeds keep their own."""
        if self._reader is None:
            return self.options.batch or _BATCH
        if self._reader.fixed is not None:
            return self._reader.fixed
        if not self._reader.batchable:
            return 1
        fitting = _BATCH_BYTES // max(self._reader.row_bytes, 1)
        return self.options.batch or max(min(_BATCH, fitting), 1)

    def rebatched(self, size: int) -> DataSource:
        """The same samples, ``size`` at once where the model leaves it open."""
        options = replace(self.options, batch=size)
        return DataSource(self.name, options, self._specs, reader=self._reader, stream=self._stream)

    def __iter__(self) -> Iterator[Batch]:
        fixed = self._reader.fixed if self._reader is not None else _fixed_batch(self._specs)
        order = [spec.name for spec in self._specs]
        for batch in batches(self._items(), self.batch_size, fixed):
            feeds = {name: batch.feeds[name] for name in order if name in batch.feeds}
            yield replace(batch, feeds=feeds)

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
        return self._picked(self._reader) if self._reader is not None else self._first()

    def _picked(self, reader: Indexed) -> Iterator[Item]:
        total = sum(reader.sizes)
        chosen = np.arange(total)
        wanted = self.options.samples
        if wanted is not None and wanted < total:
            rng = np.random.default_rng(self.options.seed)
            chosen = np.sort(rng.choice(total, wanted, replace=False))
        start, step = 0, self.batch_size
        for index, size in enumerate(reader.sizes):
            rows = chosen[(chosen >= start) & (chosen < start + size)] - start
            start += size
            for first in range(0, len(rows), step):
                yield reader.read(index, rows[first : first + step])

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

    def _read_through(self) -> None:
        found = [(item.count, item.labels) for item in self._items()]
        self._count = sum(count for count, _ in found)
        parts = [labels for _, labels in found if labels is not None]
        if parts:
            self._labels = np.concatenate(parts)


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


def open_data(
    src: Any,
    specs: Sequence[InputSpec],
    options: DataOptions | None = None,
    *,
    model: ir.Model | None = None,
) -> DataSource:
    """Opens samples of any of the forms that ``--data`` takes, or that Python code has.

    Args:
        src: A path, ``FILE.py:FUNCTION``, ``random``, an iterable of ``dict[str, ndarray]``, or an
            ONNX Runtime ``CalibrationDataReader``.
        specs: The inputs of the model.
        options: How to read.
        model: Read for hints by ``random`` alone.

    Raises:
        DataError: The data is missing, damaged, or does not fit the model.
        CalibrationError: Random samples for a calibration.
        UsageError: An option makes no sense.
        MissingRuntimeError: Images without Pillow.
    """
    options = options or DataOptions()
    for name, number in (("--samples", options.samples), ("the batch size", options.batch)):
        if number is not None and number < 1:
            raise UsageError(f"{name} is {number}; expected at least 1")
    checked = check_description(options.description, specs)
    options = replace(options, description=checked)
    request = Request(specs, _filled(specs, options), options.labels)
    if isinstance(src, DataSource):
        return src
    if isinstance(src, str | Path):
        return _from_text(str(src), request, options, model)
    if hasattr(src, "get_next") or isinstance(src, Iterable):
        if isinstance(src, Mapping | bytes):
            src = [src]
        return _streamed("data", Replay(src), request, options)
    raise DataError(f"data is a {type(src).__name__}; {_FORMS}, or in Python an iterable of dicts")


def _filled(specs: Sequence[InputSpec], options: DataOptions) -> Feed:
    """Arrays of the inputs that the user described instead of giving data."""
    given = options.description
    states = set(given.state.values())
    chosen = [s for s in specs if s.name in given.values or s.name in states]
    if not chosen:
        return {}
    dims = Dims(specs, given, {})
    shapes = dims.shapes({**dims.sizes(), **options.sizes})
    return {
        s.name: filled(s, shapes[s.name], given.values[s.name])
        if s.name in given.values
        else zeros(s, shapes[s.name])
        for s in chosen
    }


def _from_text(
    text: str, request: Request, options: DataOptions, model: ir.Model | None
) -> DataSource:
    if text == "random":
        return _random(request, options, model)
    file, colon, function = text.rpartition(":")
    if colon and file.endswith(".py"):
        return _streamed(text, load_function(Path(file), function), request, options)
    path = Path(text)
    if text.endswith(".py"):
        raise DataError(f"{text!r} names no function; expected FILE.py:FUNCTION")
    if not path.exists():
        raise DataError(f"there is no file or folder {text!r}; {_FORMS}")
    if path.is_dir():
        return _from_folder(path, request, options)
    if path.suffix.lower() not in (".npz", ".npy"):
        raise DataError(f"{path.name!r} is no data that can be read; {_FORMS}")
    reader = ArrayFiles([path], request, single=True)
    return DataSource(text, options, request.specs, reader=reader)


def _from_folder(folder: Path, request: Request, options: DataOptions) -> DataSource:
    sets = data_set_folders(folder)
    files = sorted((p for p in folder.rglob("*") if _visible(p, folder)), key=natural_key)
    arrays = [p for p in files if p.suffix.lower() in (".npz", ".npy") and p.parent == folder]
    images = [p for p in files if p.suffix.lower() in SUFFIXES]
    kinds = [
        k
        for k, found in (("test data sets", sets), ("arrays", arrays), ("images", images))
        if found
    ]
    if len(kinds) > 1:
        raise DataError(f"{folder.name!r} holds {' and '.join(kinds)}; expected one kind of data")
    if not kinds:
        what = (
            "is empty"
            if not files
            else f"holds nothing that can be read (such as {files[0].name!r})"
        )
        raise DataError(f"the folder {folder.name!r} {what}; {_FORMS}")
    if options.labels is not None and not arrays:
        raise DataError(
            f"--labels {options.labels!r} needs .npz data, but {folder.name!r} holds {kinds[0]}"
        )
    if sets:
        return DataSource(
            str(folder), options, request.specs, stream=lambda: read_data_sets(sets, request)
        )
    reader: Indexed
    if images:
        reader = ImageFolder(images, request, options.images)
    else:
        reader = ArrayFiles(arrays, request, single=False)
    return DataSource(str(folder), options, request.specs, reader=reader)


def _visible(path: Path, folder: Path) -> bool:
    parts = path.relative_to(folder).parts
    return path.is_file() and not any(p.startswith(".") or p == "__MACOSX" for p in parts)


def _streamed(
    name: str, start: Callable[[], Iterable[Any]], request: Request, options: DataOptions
) -> DataSource:
    return DataSource(
        name, options, request.specs, stream=lambda: read_feeds(start(), request, name)
    )


def _random(request: Request, options: DataOptions, model: ir.Model | None) -> DataSource:
    if options.calibration and not options.allow_random:
        raise CalibrationError(
            "random data gives wrong ranges, so it is refused for calibration;"
            " give real samples with --data, or --allow-random-calibration"
        )
    if options.labels is not None:
        raise DataError("--labels needs real data; random samples have no labels")
    given, specs = options.description, request.specs
    hints = {} if model is None else hints_of(model)
    dims = Dims(specs, given, hints)
    shapes = dims.shapes({**dims.sizes(), **options.sizes})

    def draw() -> Iterator[Item]:
        for number in range(options.samples or _RANDOM_SAMPLES):
            feed = draw_feed(specs, shapes, given, hints, Draw(options.seed + number))
            yield item_of(specs, feed, {}, "random")

    return DataSource("random", options, specs, stream=draw)
