"""Samples on their way into batches: merged, split, padded to a fixed batch size."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from onnxslim.errors import DataError
from onnxslim.runtime.match import cast, fits, layout, whole_count
from onnxslim.runtime.specs import Array, Feed, InputSpec


@dataclass(frozen=True)
class Batch:
    """What is fed at once.

    Args:
        feeds: One array per input.
        count: How many samples are real; what the padding behind them gives is dropped.
        rows: Inputs whose first axis is samples.
        labels: Of the real samples, when there are any.
    """

    feeds: Feed
    count: int
    rows: frozenset[str]
    labels: Array | None = None

    def real(self, name: str) -> Array:
        """The content of an input without padding."""
        array = self.feeds[name]
        return array[: self.count] if name in self.rows else array


@dataclass(frozen=True)
class Item:
    """Some samples as a reader gives them.

    Args:
        rows: Arrays whose first axis is samples.
        fixed: Arrays that are the same for all of them.
        count: How many samples.
        single: Those of the rows whose sample axis the model does not have.
        alone: The samples are fed one at a time.
        whole: A complete feed, to be used as it is.
        labels: Of these samples.
    """

    rows: Feed
    fixed: Feed
    count: int
    single: frozenset[str] = field(default_factory=frozenset)
    alone: bool = False
    whole: bool = False
    labels: Array | None = None

    def part(self, start: int, stop: int) -> Item:
        """Some of the samples."""
        return replace(
            self,
            rows={name: array[start:stop] for name, array in self.rows.items()},
            count=max(min(stop, self.count) - start, 0),
            labels=None if self.labels is None else self.labels[start:stop],
        )


def batches(items: Iterable[Item], size: int, fixed: int | None) -> Iterator[Batch]:
    """Groups samples by ``size``, or by ``fixed`` with the last group padded."""
    size = fixed or size
    pending: Item | None = None
    for item in items:
        if item.whole:
            if pending is not None:
                yield _emit(pending, fixed)
                pending = None
            yield Batch({**item.rows, **item.fixed}, item.count, frozenset(item.rows), item.labels)
            continue
        if pending is not None and not _alike(pending, item):
            yield _emit(pending, fixed)
            pending = None
        pending = item if pending is None else _joined(pending, item)
        start, step = 0, 1 if item.alone else size
        while pending.count - start >= step:
            yield _emit(pending.part(start, start + step), fixed)
            start += step
        pending = pending.part(start, pending.count) if start < pending.count else None
    if pending is not None:
        yield _emit(pending, fixed)


def _alike(a: Item, b: Item) -> bool:
    """Whether samples may share a batch."""
    if (a.single, a.alone, a.labels is None) != (b.single, b.alone, b.labels is None):
        return False
    shapes, others = ({n: r.shape[1:] for n, r in item.rows.items()} for item in (a, b))
    return (
        shapes == others
        and a.fixed.keys() == b.fixed.keys()
        and all(a.fixed[n] is b.fixed[n] or np.array_equal(a.fixed[n], b.fixed[n]) for n in a.fixed)
    )


def _joined(a: Item, b: Item) -> Item:
    rows = {name: np.concatenate([a.rows[name], b.rows[name]]) for name in a.rows}
    labels = None
    if a.labels is not None and b.labels is not None:
        labels = np.concatenate([a.labels, b.labels])
    return replace(a, rows=rows, count=a.count + b.count, labels=labels)


def _emit(item: Item, fixed: int | None) -> Batch:
    feeds: Feed = {}
    for name, array in item.rows.items():
        if name in item.single:
            feeds[name] = np.asarray(array[0])
        elif fixed is not None and item.count < fixed:
            feeds[name] = np.concatenate([array, np.repeat(array[-1:], fixed - item.count, axis=0)])
        else:
            feeds[name] = array
    return Batch(
        {**feeds, **item.fixed}, item.count, frozenset(item.rows) - item.single, item.labels
    )


def item_of(
    specs: Sequence[InputSpec],
    given: Mapping[str, Array],
    label: str,
    *,
    optional: Collection[str] = (),
    labels: Array | None = None,
) -> Item:
    """Makes samples of one feed that a user or a file gave: a full batch, one sample, or rows.

    Args:
        specs: The inputs.
        given: Arrays by input name.
        label: How messages name the feed.
        optional: Inputs that are filled otherwise; what is given for them is left out.
        labels: The labels of the feed.

    Raises:
        DataError: An input is missing or unknown, or an array does not fit.
    """
    known = [spec.name for spec in specs]
    unknown = [name for name in given if name not in known]
    missing = [name for name in known if name not in given and name not in optional]
    if unknown or missing:
        what = f"no array for input {missing[0]!r}" if missing else f"an array named {unknown[0]!r}"
        raise DataError(f"{label} has {what}; the model's inputs are {', '.join(map(repr, known))}")
    used = [spec for spec in specs if spec.name not in optional]
    arrays = {s.name: cast(s, given[s.name], f"{label}: {s.name!r}") for s in used}
    if all(fits(s.shape, arrays[s.name].shape) for s in used):
        item = _whole(used, arrays, label)
    else:
        item = _rows(used, arrays, label)
    if labels is not None and (labels.ndim == 0 or labels.shape[0] != item.count):
        found = "one" if labels.ndim == 0 else str(labels.shape[0])
        raise DataError(f"{label} has {item.count} samples but {found} label(s); expected one each")
    return replace(item, labels=labels)


def _whole(specs: Sequence[InputSpec], arrays: Feed, label: str) -> Item:
    count = whole_count(specs, arrays, label)
    rows = {n: a for n, a in arrays.items() if a.ndim and a.shape[0] == count}
    return Item(rows, {n: a for n, a in arrays.items() if n not in rows}, count, whole=True)


def _rows(specs: Sequence[InputSpec], arrays: Mapping[str, Array], label: str) -> Item:
    """Samples along the first axis; a sample without that axis gets one."""
    lifted = {s.name: lift(s, arrays[s.name].shape) for s in specs}
    shaped = {n: np.asarray(arrays[n]).reshape(shape) for n, shape in lifted.items()}
    found = layout(specs, lifted, {n: f"{label}: {n!r}" for n in lifted})
    rows = {n: a for n, a in shaped.items() if found.roles[n] != "repeat"}
    fixed = {n: a for n, a in shaped.items() if found.roles[n] == "repeat"}
    return Item(rows, fixed, found.count, found.single, alone=not found.batchable)


def lift(spec: InputSpec, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Adds the batch axis that one sample lacks."""
    declared = spec.shape
    if declared and len(shape) == len(declared) - 1 and fits(declared[1:], shape):
        return (1, *shape)
    return shape
