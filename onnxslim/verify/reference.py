"""The reference of a comparison: what it answers, and its own noise."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnxslim.errors import WorkerError
from onnxslim.runtime.specs import Feed
from onnxslim.verify import submodel
from onnxslim.verify.compare import Value, change
from onnxslim.verify.noise import (
    Limit,
    has_float,
    insert_noise,
    limit_of,
    noise_of,
    perturb_one_ulp,
    rounds_inputs,
)
from onnxslim.verify.sessions import Outputs, Runner, SessionLike, Source
from onnxslim.verify.verification import Level
from onnxslim.verify.walk import GraphFacts

logger = logging.getLogger(__name__)


@dataclass
class Reference:
    """A prepared reference.

    Args:
        runner: Makes sessions.
        facts: Its graph.
        source: What runs: the model, or what is left of it without unknown operators.
        original: The model as given.
        level: ``none`` when nothing runs, ``partial`` when operators are unknown.
        feeds: The inputs it accepted.
        answers: Its outputs, one dictionary per feed.
        unvaried: Dynamic dimensions that have one size among the feeds.
        not_compared: Nodes (``name (op)``) that could not be run.
        unknown: Operators that the runtime lacks.
        missing_types: The operator types taken out for that.
        error: Why nothing runs.
        session: Of ``source``.
        seed: Of all random draws.
        random: Values behind a random operator.
        discrete: Values behind an operator that jumps.
        low_precision: Values behind float16 or less.
        live: Values that depend on the inputs.
        tolerance: No limit is below this part of the peak.
    """

    runner: Runner
    facts: GraphFacts
    source: Source
    original: Source
    level: Level = "full"
    feeds: tuple[Feed, ...] = ()
    answers: tuple[Outputs, ...] = ()
    unvaried: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    missing_types: tuple[str, ...] = ()
    error: str = ""
    session: SessionLike | None = None
    seed: int = 0
    random: frozenset[str] = frozenset()
    discrete: frozenset[str] = frozenset()
    low_precision: frozenset[str] = frozenset()
    live: frozenset[str] = frozenset()
    tolerance: float = 0.0
    _noise: list[dict[str, float]] = field(default_factory=list, repr=False)

    def open(self, source: Source, outputs: Sequence[str] | None = None) -> SessionLike:
        """A session of the reference, or of a model made from it."""
        return self.runner.session(source, outputs, like=self.original)

    def names(self) -> tuple[str, ...]:
        """The outputs that are compared."""
        return tuple(self.answers[0]) if self.answers else ()

    def noise(self, name: str, draws: int = 2) -> float:
        """Change of an output when float inputs move by one ulp: the largest of some draws.

        One draw per feed, then more on the same feeds.
        """
        while self.feeds and len(self._noise) < draws:
            at = len(self._noise)
            pair = (self.feeds[at % len(self.feeds)], self.answers[at % len(self.feeds)])
            self._noise.append(self.measure([pair], None, self.seed + at))
        return max((found.get(name, 0.0) for found in self._noise[:draws]), default=0.0)

    def measure(
        self, runs: Iterable[tuple[Feed, Outputs]], extra: Sequence[str] | None, seed: int
    ) -> dict[str, float]:
        """Noise of outputs, or of the values ``extra``, on pairs of feed and unmoved outputs."""
        found: dict[str, float] = {}
        moved = _Moved(self, extra)
        for index, (feed, answer) in enumerate(runs):
            for coarse in (False, True) if self.low_precision else (False,):
                after = moved.run(feed, answer, seed + index, coarse=coarse)
                for name in answer:
                    if name in after and coarse <= (name in self.low_precision):
                        before = found.get(name, 0.0)
                        found[name] = noise_of([before, _change(answer[name], after[name])])
        moved.close()
        return found

    def limit(self, name: str, peak: float, moved: float, *, low: bool = False) -> Limit:
        """The limit of a value from its peak and noise."""
        found = limit_of(peak, moved, low_precision=low or name in self.low_precision)
        if found.value >= self.tolerance * peak:
            return found
        return Limit(self.tolerance * peak, found.ill_conditioned)


def _change(before: Value, after: Value) -> float:
    found = change(before, after)
    return math.inf if math.isnan(found) else found


class _Moved:
    """Runs the reference on moved inputs; a model without float inputs gets noise inside."""

    def __init__(self, reference: Reference, extra: Sequence[str] | None) -> None:
        self._reference = reference
        self._extra = None if extra is None else list(extra)
        self._sessions: dict[str, SessionLike | None] = {}
        self._deaf: bool | None = None

    def run(self, feed: Feed, answer: Outputs, seed: int, *, coarse: bool) -> Outputs:
        """Outputs on the moved feed; nothing when there is nothing to move or it fails."""
        reference = self._reference
        if has_float(feed) and not self._is_deaf(feed, seed):
            dtype = np.dtype(np.float16) if coarse else None
            session, feed = self._plain(), perturb_one_ulp(feed, seed, dtype)
        else:
            session = self._inside(seed)
        if session is None:
            return {}
        try:
            return session.run(feed, list(answer))
        except WorkerError as error:
            logger.debug("the moved reference %s does not run: %s", reference.level, error)
            return {}

    def _is_deaf(self, feed: Feed, seed: int) -> bool:
        """Whether the model only rounds its float inputs, and noise inside it is possible."""
        if self._deaf is None:
            floats = {name for name, x in feed.items() if has_float({name: x})}
            nodes = self._reference.facts.nodes
            readers = [node.op for node in nodes if floats.intersection(node.inputs)]
            source = self._reference.source
            casts = set(readers) == {"Cast"} and submodel.is_small(source)
            self._deaf = casts and rounds_inputs(submodel.read(source))
            self._deaf = self._deaf and self._inside(seed) is not None
        return self._deaf

    def _plain(self) -> SessionLike | None:
        if self._extra is None:
            return self._reference.session
        if "plain" not in self._sessions:
            found = self._reference.open(self._reference.source, self._extra)
            self._sessions["plain"] = found
        return self._sessions["plain"]

    def _inside(self, seed: int) -> SessionLike | None:
        if "inside" not in self._sessions:
            self._sessions["inside"] = self._noisy(seed)
        return self._sessions["inside"]

    def _noisy(self, seed: int) -> SessionLike | None:
        source = self._reference.source
        if not submodel.is_small(source):
            return None
        model = insert_noise(submodel.read(source), seed)
        if model is None:
            return None
        try:
            return self._reference.open(model.SerializeToString(), self._extra)
        except WorkerError as error:
            logger.debug("no session with noise inside: %s", error)
            return None

    def close(self) -> None:
        for session in self._sessions.values():
            if session is not None:
                session.close()
