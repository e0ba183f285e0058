"""Looking inside both models: values that exist under the same name, compared on the same feeds.

Rests on an invariant of our rewrites: a value name of the original denotes the same tensor in
the result, or does not exist there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from onnxslim.errors import WorkerError
from onnxslim.runtime.specs import Feed
from onnxslim.verify.compare import Stats, leaves
from onnxslim.verify.noise import FLOOR, Limit
from onnxslim.verify.reference import Reference
from onnxslim.verify.sessions import Outputs, Runner, SessionLike, Source

logger = logging.getLogger(__name__)

GROUP = 8
"""How many values are fetched by the first run; each further one fetches four times as many."""

BUDGET = 256 << 20
"""Bytes that one run should bring at most (from the second on: the first says what to expect)."""

MOST = 2000
"""How many values of a model are looked at."""


@dataclass(frozen=True, slots=True)
class Tap:
    """One value of both models."""

    name: str
    stats: Stats
    limit: Limit
    noise: float

    @property
    def telling(self) -> bool:
        """A float that varies and is well-conditioned: its limit means something."""
        stats = self.stats
        return stats.floats and not stats.vacuous and not self.limit.ill_conditioned

    @property
    def holds(self) -> bool:
        """Whether the difference is within the limit."""
        return not self.stats.problem and self.stats.max_abs <= self.limit.value


def names_behind(reference: Reference, outputs: Sequence[str], common: Iterable[str]) -> list[str]:
    """The values before some outputs that both models compute, nearest first."""
    have = frozenset(common)
    shared: dict[str, None] = {}
    for name in outputs:
        for node in reference.facts.upstream(name):
            shared.update(dict.fromkeys(n for n in node.outputs if n in have))
    usable = reference.live - reference.random - set(outputs)
    return [name for name in shared if name in usable][:MOST]


class Taps:
    """Values of both models, fetched in groups in the order given, and remembered.

    Args:
        reference: Prepared.
        candidate: The rewritten model (what is left of it when operators are unknown).
        names: The values.
        near: The rewritten model as given: where its external weights are.
        runner: Of the candidate, when it is not the reference's.
    """

    def __init__(
        self,
        reference: Reference,
        candidate: Source,
        names: Sequence[str],
        near: Source,
        runner: Runner | None = None,
    ) -> None:
        self._reference, self._near = reference, near
        self._runner = runner or reference.runner
        self._feeds = _few(reference.feeds)
        self._found: dict[str, Tap] = {}
        self._group, self._bytes = GROUP, 0
        self._pending = self._open(candidate, list(names))

    def _open(self, candidate: Source, names: list[str]) -> list[str]:
        self._sessions: list[SessionLike] = []
        if not names:
            return []
        try:
            self._sessions.append(self._reference.open(self._reference.source, names))
            self._sessions.append(self._runner.session(candidate, names, like=self._near))
        except WorkerError as error:
            logger.debug("no session with %d values as outputs: %s", len(names), error)
            self.close()
            return []
        return names

    def first(self, outputs: Sequence[str]) -> Outputs:
        """The candidate's outputs on the first feed, fetched with the first values.

        Nothing when there are no values, or they cannot be fetched.
        """
        group, self._pending = self._pending[:GROUP], self._pending[GROUP:]
        found = self._fetch(group, outputs) if group else {}
        self._group = self._next_group()
        return found

    def get(self, name: str) -> Tap | None:
        """The comparison of one value; None when the models do not share it."""
        while name not in self._found and name in self._pending:
            at = self._pending.index(name)
            group = self._pending[at : at + self._group]
            self._pending = [n for n in self._pending if n not in group]
            self._fetch(group)
            self._group = self._next_group()
        return self._found.get(name)

    def _next_group(self) -> int:
        """Four times as many, within the budget; a run costs as much for one as for all."""
        room = BUDGET * len(self._found) // max(self._bytes, 1)
        return max(1, min(4 * self._group, room if self._found else self._group))

    def _fetch(self, group: list[str], outputs: Sequence[str] = ()) -> Outputs:
        """Compare these values; returns the candidate's ``outputs`` on the first feed."""
        stats = {name: Stats() for name in group}
        first: list[Outputs] = []
        ours, theirs = self._sessions
        try:
            for feed in self._feeds:
                left = ours.run(feed, group)
                right = theirs.run(feed, group if first else [*group, *outputs])
                for name in group:
                    stats[name].add(left[name], right[name])
                if not first:
                    first += [left, {name: right[name] for name in outputs}]
                    self._bytes += sum(x.nbytes for value in left.values() for x in leaves(value))
        except WorkerError as error:
            logger.debug("values %s cannot be fetched: %s", group, error)
            return {}
        self._conclude(stats, first[0])
        return first[1]

    def _conclude(self, stats: dict[str, Stats], answer: Outputs) -> None:
        """Sets the limits; noise is only measured for what is not equal within the floor."""
        reference, moved = self._reference, {}
        apart = [n for n, s in stats.items() if s.floats and s.max_abs > FLOOR * s.peak]
        if apart:
            run = (self._feeds[0], {name: answer[name] for name in apart})
            moved = reference.measure([run], apart, reference.seed)
        for name, found in stats.items():
            noise = moved.get(name, 0.0)
            limit = reference.limit(name, found.peak, noise, low=found.low_precision)
            self._found[name] = Tap(name, found, limit, noise)

    def values(self, names: Sequence[str]) -> list[tuple[Outputs, Outputs]]:
        """The arrays of some values on all feeds, of the reference and of the candidate."""
        if not names:
            return [({}, {}) for _ in self._reference.feeds]
        left, right = self._sessions
        return [(left.run(f, names), right.run(f, names)) for f in self._reference.feeds]

    def close(self) -> None:
        """Frees the sessions."""
        for session in self._sessions:
            session.close()
        self._sessions = []


def _few(feeds: Sequence[Feed]) -> tuple[Feed, ...]:
    """The first feed, and the last one if its shapes are others: every run costs a whole model."""
    shapes = [{name: np.shape(x) for name, x in feed.items()} for feed in feeds]
    return (feeds[0],) if shapes[0] == shapes[-1] else (feeds[0], feeds[-1])
