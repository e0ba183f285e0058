"""Streams feeds through reducers beside a session, in groups of values that fit a byte budget.

ONNX Runtime keeps every graph output alive until the run ends, fetched or not (measured: 30 exposed
40 MB values take 1.2 GB when one is fetched). So a group is a session of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxslim.errors import UsageError
from onnxslim.runtime.protocol import Value, nbytes
from onnxslim.runtime.reducers import Reducer

if TYPE_CHECKING:
    from onnxslim.runtime.session import Session, TensorSpec
    from onnxslim.runtime.worker import Level

BUDGET = 256 << 20
GROUP, GROUP_BYTES = 32, 1 << 19
"""Feeds and bytes of them that go to the worker in one request."""

Feed = Mapping[str, Value]
Job = tuple[tuple[str, ...], Reducer]


def reduce(
    session: Session,
    feeds: Iterable[Feed],
    reducers: Mapping[str, Reducer | Sequence[Reducer]],
    budget: int,
    optimization: Level | None = None,
    known: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Bring the reducers up to date; see :meth:`Session.reduce`.

    Args:
        session: Of the model.
        feeds: Batches.
        reducers: By value name.
        budget: Bytes of the reduced values of one run.
        optimization: Another level than at most ``basic``.
        known: Bytes of values in one feed, where ONNX Runtime may not know them.
    """
    jobs = _jobs(reducers)
    stream = iter(feeds)
    first = next(stream, None)
    if first is None or not jobs:
        return
    given = set(first)
    taps = list(dict.fromkeys(name for names, _ in jobs for name in names if name not in given))
    level = () if optimization is None else (optimization,)
    with session.exposing(taps, *level) as tapped:
        sizes = {**tap_sizes(tapped.outputs, tapped.inputs, first, budget), **known}
        groups = group_jobs(jobs, sizes, budget)
        if len(groups) == 1:
            _pass(tapped, chain([first], stream), jobs)
            return
    again: Iterable[Feed] = feeds
    spooled = iter(feeds) is stream  # an iterator gives itself: one pass only
    if spooled:
        again = Spool(session, chain([first], stream))
    else:
        del stream
    for group in groups:
        names = list(dict.fromkeys(n for taken, _ in group for n in taken if n not in given))
        with session.exposing(names, *level) as tapped:
            _pass(tapped, again, group)
    if isinstance(again, Spool):
        again.close()


def _jobs(reducers: Mapping[str, Reducer | Sequence[Reducer]]) -> list[Job]:
    jobs = []
    for name, given in reducers.items():
        for reducer in [given] if isinstance(given, Reducer) else given:
            jobs.append((reducer.values(name), reducer))
    return jobs


def _pass(tapped: Session, feeds: Iterable[Feed], jobs: Sequence[Job]) -> None:
    made = [{"kind": r.kind, "options": r.options(), "values": list(names)} for names, r in jobs]
    worker, declared = tapped.worker, tapped.source.declared
    begin: dict[str, Any] = {"reducers": made}
    generation = None
    for group, last in grouped(feeds):
        names = [list(feed) for feed in group]
        head = {"op": "reduce", "reduction": tapped.number, "names": names, "last": last, **begin}
        given = {f"{i} {name}": v for i, feed in enumerate(group) for name, v in feed.items()}
        wall = len(group) * worker.limits.wall(declared + sum(map(nbytes, given.values())))
        said, values = worker.session_request(
            tapped, head, given, seconds=wall, generation=generation
        )
        begin, generation = {}, tapped.generation
    arrays = iter(values)
    for (_, reducer), keys in zip(jobs, said["keys"], strict=True):
        state: dict[str, Any] = {key: next(arrays) for key in keys}
        if reducer.state():
            reducer.merge(reducer.fresh().load(state))
        else:
            reducer.load(state)


def grouped(feeds: Iterable[Feed]) -> Iterator[tuple[list[Feed], bool]]:
    """Feeds that are handed over together, and whether they are the last ones.

    A request costs as much as a run of a small model.
    """
    group: list[Feed] = []
    size = 0
    for feed in feeds:
        more = sum(map(nbytes, feed.values()))
        if group and (len(group) == GROUP or size + more > GROUP_BYTES):
            yield group, False
            group, size = [], 0
        group.append(feed)
        size += more
    if group:
        yield group, True


def tap_sizes(
    outputs: Sequence[TensorSpec], inputs: Sequence[TensorSpec], feed: Feed, budget: int
) -> dict[str, int]:
    """Bytes of every output for a feed; one of unknown size counts as an eighth of the budget."""
    known: dict[str, int] = {}
    for spec in inputs:
        actual = np.shape(feed[spec.name]) if isinstance(feed.get(spec.name), np.ndarray) else ()
        for size, number in zip(spec.shape, actual, strict=False):
            if isinstance(size, str):
                known.setdefault(size, number)
    sizes = {}
    for spec in outputs:
        dims = [known.get(size, -1) if isinstance(size, str) else size for size in spec.shape]
        whole = [size for size in dims if size is not None and size >= 0]
        item = spec.dtype.itemsize if isinstance(spec.dtype, np.dtype) else 16
        complete = len(whole) == len(dims)
        sizes[spec.name] = math.prod(whole) * item if complete else budget // 8
    return sizes


def group_jobs(jobs: Sequence[Job], sizes: Mapping[str, int], budget: int) -> list[list[Job]]:
    """Cut the jobs, in order, into groups whose distinct values fit the budget (one job at least).

    The model's own outputs are alive in every group and not counted: they are there anyway.
    """
    groups: list[list[Job]] = [[]]
    taken: dict[str, int] = {}
    for names, reducer in jobs:
        wanted = {name: sizes.get(name, 0) for name in names}
        if groups[-1] and sum({**taken, **wanted}.values()) > budget:
            groups.append([])
            taken = {}
        groups[-1].append((names, reducer))
        taken |= wanted
    return groups


class Spool:
    """Feeds of a one-shot iterator, kept on disk to be read several times."""

    def __init__(self, session: Session, feeds: Iterable[Feed]) -> None:
        self._names: list[list[str]] = []
        self._files = session.worker.spool()
        for feed in feeds:
            self._names.append(list(feed))
            self._files.append(list(feed.values()))
        if not self._names:
            raise UsageError("no feeds to reduce; give at least one batch")

    def __iter__(self) -> Iterator[Feed]:
        for index, names in enumerate(self._names):
            yield dict(zip(names, self._files.read(index), strict=True))

    def close(self) -> None:
        """Remove the files."""
        self._files.close()
