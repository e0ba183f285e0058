"""Whether a difference is only a tie that rounding decided: ArgMax, TopK, Round, Cast, Greater ...

The floats before the discrete operators are within their limits, yet the result differs. It is
a tie when the *reference's own* rest of the graph gives what the candidate gave, started from
the candidate's floats or from its own floats moved within their limits. So a wrong operator
behind those floats is not excused.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from onnxslim.errors import WorkerError
from onnxslim.runtime.specs import Array, Feed
from onnxslim.verify import submodel
from onnxslim.verify.compare import Value, is_float, leaves, skeleton
from onnxslim.verify.reference import Reference
from onnxslim.verify.sessions import Outputs, SessionLike
from onnxslim.verify.taps import Taps
from onnxslim.verify.walk import Verdict

logger = logging.getLogger(__name__)

DRAWS = 8


def explained_by_ties(
    reference: Reference, taps: Taps, name: str, answers: Sequence[Value], limit: float
) -> bool:
    """Judges one output.

    Args:
        reference: Prepared.
        taps: Values before the output.
        name: The output.
        answers: What the candidate gave, per feed.
        limit: Of a float output, for what is no jump.
    """
    if name not in reference.discrete:
        return False
    starts = reference.facts.frontier(name, lambda v: _verdict(taps, v))
    if not submodel.is_small(reference.source):
        return False
    tail = _Tail(reference, taps, name, starts)
    try:
        return tail.open() and all(
            tail.reaches(index, answer, limit) for index, answer in enumerate(answers)
        )
    except WorkerError as error:
        logger.debug("the rest of the graph before %s does not run: %s", name, error)
        return False
    finally:
        tail.close()


def _verdict(taps: Taps, name: str) -> Verdict:
    tap = taps.get(name)
    if tap is None or not tap.stats.floats or not tap.holds:
        return "pass"
    return "stop"


class _Tail:
    """The reference from the floats ``starts`` to one output."""

    def __init__(self, reference: Reference, taps: Taps, name: str, starts: Sequence[str]) -> None:
        self._reference, self._taps = reference, taps
        self._name, self._starts = name, list(starts)
        self._session: SessionLike | None = None
        self._values: list[tuple[Outputs, Outputs]] = []
        self._taken: frozenset[str] = frozenset()

    def open(self) -> bool:
        self._values = self._taps.values(self._starts)
        first = self._values[0][0]
        if not all(isinstance(first[v], np.ndarray) for v in self._starts):
            return False
        model = submodel.read(self._reference.source)
        types = {v: first[v].dtype for v in self._starts}
        piece = submodel.extract(model, types, [self._name])
        self._taken = frozenset(v.name for v in piece.graph.input)
        self._session = self._reference.open(piece.SerializeToString())
        return True

    def reaches(self, index: int, answer: Value, limit: float) -> bool:
        """Whether the reference could have given ``answer`` on this feed."""
        own, theirs = self._values[index]
        seen = self._reference.answers[index]
        results = [seen[self._name]] if self._name in seen else []
        feed = self._reference.feeds[index]
        results.append(self._run(feed, theirs))
        results += [self._run(feed, self._moved(own, index, draw)) for draw in range(DRAWS)]
        same = [r for r in results if _alike(r, answer)]
        if not same:
            return False
        columns = zip(leaves(answer), *(leaves(r) for r in same), strict=True)
        return all(_within(array, list(others), limit) for array, *others in columns)

    def _moved(self, values: Outputs, index: int, draw: int) -> Outputs:
        rng = np.random.default_rng([self._reference.seed, index, draw, 0x71E])
        moved: Outputs = {}
        for name in self._starts:
            tap = self._taps.get(name)
            reach = tap.limit.value if tap is not None else 0.0
            array: Array = values[name]
            step = rng.uniform(-reach, reach, array.shape)
            moved[name] = (array.astype(np.float64) + step).astype(array.dtype)
        return moved

    def _run(self, feed: Feed, values: Mapping[str, Value]) -> Value:
        assert self._session is not None
        given = {**feed, **values}
        taken = {name: x for name, x in given.items() if name in self._taken}
        return self._session.run(taken, [self._name])[self._name]

    def close(self) -> None:
        if self._session is not None:
            self._session.close()


def _alike(result: Value, answer: Value) -> bool:
    """Whether two values have the same structure, shapes and types."""
    if skeleton(result) != skeleton(answer):
        return False
    pairs = zip(leaves(result), leaves(answer), strict=True)
    return all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)


def _within(array: Array, others: list[Array], limit: float) -> bool:
    """Every element is one of those seen (floats: lies in their range, widened by the limit)."""
    stack = np.stack(others)
    if not is_float(array):
        return bool((stack == array).any(axis=0).all())
    wide = stack.astype(np.float64)
    low, high, x = wide.min(axis=0), wide.max(axis=0), array.astype(np.float64)
    inside = (x >= low - limit) & (x <= high + limit)
    return bool((inside | (np.isnan(x) & np.isnan(wide).any(axis=0))).all())
