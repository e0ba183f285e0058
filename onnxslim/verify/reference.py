"""The reference of a verification: its session, the feeds it accepts and what it answers.

Preparing takes most of the time of a verification and needs nothing of the rewritten model, so
it runs in a thread while the passes work (the native code runs in the worker process).
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from onnxslim.errors import UnsupportedModelError, WorkerError
from onnxslim.runtime.dims import Description
from onnxslim.runtime.plans import plan_feeds
from onnxslim.runtime.specs import Feed, InputSpec, specs_of
from onnxslim.verify import submodel
from onnxslim.verify.compare import Value, change
from onnxslim.verify.noise import (
    Limit,
    has_float,
    insert_noise,
    limit_of,
    noise_of,
    perturb_one_ulp,
)
from onnxslim.verify.walk import GraphFacts

if TYPE_CHECKING:
    import onnx_ir as ir

logger = logging.getLogger(__name__)

Level = Literal["full", "partial", "none"]
Source = Path | bytes
Outputs = dict[str, Value]


class SessionLike(Protocol):
    """What is needed of a worker's session."""

    @property
    def inputs(self) -> Sequence[Any]: ...
    @property
    def outputs(self) -> Sequence[Any]: ...
    def run(self, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None) -> Outputs: ...
    def close(self) -> None: ...


class WorkerLike(Protocol):
    """What is needed of a worker: sessions with the runtime's optimizer off."""

    def session(
        self,
        model: Path | bytes,
        *,
        provider: str = "cpu",
        outputs: Sequence[str] | None = None,
        custom_ops: Sequence[str | Path] = (),
        base_dir: Path | None = None,
        label: str | None = None,
    ) -> Any: ...


@dataclass(frozen=True)
class Runner:
    """How sessions are made, the same way for both models."""

    worker: WorkerLike
    provider: str = "cpu"
    custom_ops: tuple[str, ...] = ()

    def session(
        self, source: Source, outputs: Sequence[str] | None = None, *, like: Source | None = None
    ) -> SessionLike:
        """A session with the runtime's optimizer off.

        Args:
            source: The model.
            outputs: Values to have as outputs too.
            like: The model that ``source`` was made from: where its external weights are.
        """
        folder = like.parent if isinstance(like, Path) else None
        found: SessionLike = self.worker.session(
            source,
            provider=self.provider,
            outputs=outputs,
            custom_ops=self.custom_ops,
            base_dir=folder if isinstance(source, bytes) else None,
            label=like.name if isinstance(like, Path) else None,
        )
        return found


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
    _noise: list[dict[str, float]] = field(default_factory=list, repr=False)

    def open(self, source: Source, outputs: Sequence[str] | None = None) -> SessionLike:
        """A session of the reference, or of a model made from it."""
        return self.runner.session(source, outputs, like=self.original)

    def names(self) -> tuple[str, ...]:
        """The outputs that are compared."""
        return tuple(self.answers[0]) if self.answers else ()

    def noise(self, name: str, feeds: int = 2) -> float:
        """Change of an output when float inputs move by one ulp: the largest of some feeds."""
        while len(self._noise) < min(feeds, len(self.feeds)):
            at = len(self._noise)
            pair = (self.feeds[at], self.answers[at])
            self._noise.append(self.measure([pair], None, self.seed + at))
        return max((found.get(name, 0.0) for found in self._noise[:feeds]), default=0.0)

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
        return limit_of(peak, moved, low_precision=low or name in self.low_precision)


def _change(before: Value, after: Value) -> float:
    found = change(before, after)
    return math.inf if math.isnan(found) else found


class _Moved:
    """Runs the reference on moved inputs; a model without float inputs gets noise inside."""

    def __init__(self, reference: Reference, extra: Sequence[str] | None) -> None:
        self._reference = reference
        self._extra = None if extra is None else list(extra)
        self._sessions: dict[str, SessionLike | None] = {}

    def run(self, feed: Feed, answer: Outputs, seed: int, *, coarse: bool) -> Outputs:
        """Outputs on the moved feed; nothing when there is nothing to move or it fails."""
        reference = self._reference
        if has_float(feed):
            dtype = np.dtype(np.float16) if coarse else None
            session, feed = self._plain(), perturb_one_ulp(feed, seed, dtype)
        else:
            session = self._inside()
        if session is None:
            return {}
        try:
            return session.run(feed, list(answer))
        except WorkerError as error:
            logger.debug("the moved reference %s does not run: %s", reference.level, error)
            return {}

    def _plain(self) -> SessionLike | None:
        if self._extra is None:
            return self._reference.session
        if "plain" not in self._sessions:
            found = self._reference.open(self._reference.source, self._extra)
            self._sessions["plain"] = found
        return self._sessions["plain"]

    def _inside(self) -> SessionLike | None:
        if "inside" not in self._sessions:
            self._sessions["inside"] = self._noisy()
        return self._sessions["inside"]

    def _noisy(self) -> SessionLike | None:
        source = self._reference.source
        if not submodel.is_small(source):
            return None
        model = insert_noise(submodel.read(source), self._reference.seed)
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


class Preparation:
    """A reference being prepared in a thread.

    Args:
        runner: Makes sessions.
        source: The reference model as a file or as bytes.
        model: The same model; only read before the constructor returns.
        feeds: The inputs to use; None draws them.
        description: What the user said of the inputs.
        seed: Of all random draws.
        samples: How many feeds at least.
    """

    def __init__(
        self,
        runner: Runner,
        source: Source,
        model: ir.Model,
        *,
        feeds: Iterable[Feed] | None = None,
        description: Description | None = None,
        seed: int = 0,
        samples: int = 3,
    ) -> None:
        facts = GraphFacts.of(model)
        self._reference = Reference(
            runner,
            facts,
            source,
            source,
            seed=seed,
            random=facts.tainted(lambda n: n.random),
            discrete=facts.tainted(lambda n: n.discrete),
            low_precision=facts.tainted(lambda n: n.low_precision),
            live=facts.live(),
        )
        self._specs: list[InputSpec] = specs_of(model)
        self._model: ir.Model | None = model
        self._feeds = feeds
        self._description = description
        self._samples = samples
        self._model_read = threading.Event()
        self._stop = threading.Event()
        pool = ThreadPoolExecutor(1, thread_name_prefix="reference")
        self._future = pool.submit(self._work)
        pool.shutdown(wait=False)
        self._model_read.wait()
        self._model = None

    def result(self) -> Reference:
        """Waits for the reference.

        Raises:
            UnsupportedModelError: The runtime refuses the model, not for an operator it lacks.
            ProviderError: The provider is missing.
        """
        return self._future.result()

    def close(self) -> None:
        """Stops preparing, and frees the session."""
        self._stop.set()
        wait([self._future], timeout=5)
        if self._reference.session is not None:
            self._reference.session.close()

    def _work(self) -> Reference:
        try:
            self._prepare()
        finally:
            self._model_read.set()
        return self._reference

    def _prepare(self) -> None:
        reference = self._reference
        answers: dict[int, Outputs] = {}

        def try_run(feed: Feed) -> str | None:
            self._model_read.set()
            if self._stop.is_set():
                raise CancelledError
            if reference.session is None and not self._open():
                return reference.error
            assert reference.session is not None
            try:
                answers[id(feed)] = reference.session.run(feed)
            except WorkerError as error:
                if error.reason != "error":
                    raise
                return str(error)
            return None

        if self._feeds is not None:
            taken = [feed for feed in self._feeds if try_run(feed) is None]
            taken += [feed for feed in _joined(self._specs, taken) if try_run(feed) is None]
            reference.unvaried = _unvaried(self._specs, taken)
        else:
            plans = plan_feeds(
                self._specs,
                self._model,
                try_run,
                description=self._description,
                seed=reference.seed,
                n=self._samples,
            )
            taken = list(plans.feeds)
            reference.unvaried = plans.unvaried
            reference.error = reference.error or (plans.error or "")
        taken += [f for f in self._next_steps(taken, answers) if try_run(f) is None]
        reference.feeds = tuple(taken)
        reference.answers = tuple(answers[id(feed)] for feed in taken)
        if not taken or not reference.names():
            reference.level = "none"
            reference.error = reference.error or "no input was accepted"

    def _next_steps(self, taken: list[Feed], answers: Mapping[int, Outputs]) -> list[Feed]:
        """The first feed again with ``--state``: what an output gave comes in as an input."""
        state = self._description.state if self._description is not None else {}
        if not state or not taken:
            return []
        answer = answers[id(taken[0])]
        given = {name: answer[out] for out, name in state.items() if out in answer}
        fits = all(np.shape(given[name]) == np.shape(taken[0][name]) for name in given)
        return [{**taken[0], **given}] if given and fits else []

    def _open(self) -> bool:
        """Creates the session, leaving out unknown operators where that is what it takes."""
        reference = self._reference
        if reference.error:
            return False
        try:
            reference.session = reference.open(reference.source)
            return True
        except WorkerError as error:
            text = " ".join(str(error).split())
            if error.reason != "error":
                raise
            if not submodel.is_unknown_operator(text):
                raise UnsupportedModelError(f"ONNX Runtime refuses the model: {text}") from error
        return self._open_part(text)

    def _open_part(self, text: str) -> bool:
        reference = self._reference
        found = open_part(reference.runner, reference.original, text)
        reference.not_compared, reference.unknown = found.removed, found.unknown
        reference.session, reference.error = found.session, found.error
        reference.missing_types = found.types
        if found.session is not None:
            reference.level, reference.source = "partial", found.source
        return found.session is not None


@dataclass(frozen=True)
class Part:
    """The part of a model that the runtime knows; ``session`` is None when there is none."""

    source: bytes = b""
    session: SessionLike | None = None
    removed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    error: str = ""


def open_part(runner: Runner, source: Source, complaint: str, types: Iterable[str] = ()) -> Part:
    """Takes out what the runtime complains about until the rest gives a session."""
    if not submodel.is_small(source):
        return Part(error=f"unknown operator in a model too large to cut: {complaint}")
    model = submodel.read(source)
    missing = list(types)
    for _ in range(16):
        cut = submodel.cut_unknown(model, missing, foreign=not runner.custom_ops)
        if cut.model is None and cut.removed:
            return Part(b"", None, cut.removed, cut.unknown, tuple(missing), complaint)
        if cut.model is not None:
            data = cut.model.SerializeToString()
            try:
                session = runner.session(data, like=source)
                return Part(data, session, cut.removed, cut.unknown, tuple(missing))
            except WorkerError as error:
                complaint = " ".join(str(error).split())
        operator = submodel.named_operator(complaint)
        if operator is None or operator in missing:
            break
        missing.append(operator)
    return Part(types=tuple(missing), error=complaint)


def _joined(specs: Sequence[InputSpec], feeds: Sequence[Feed]) -> list[Feed]:
    """Two feeds as one, where every input has a dynamic first axis: another batch size."""
    if len(feeds) < 2 or not specs:
        return []
    if not all(spec.shape and not isinstance(spec.shape[0], int) for spec in specs):
        return []
    first, second = feeds[0], feeds[1]
    if any(np.shape(first[n])[1:] != np.shape(second[n])[1:] for n in first):
        return []
    return [{name: np.concatenate([first[name], second[name]]) for name in first}]


def _unvaried(specs: Sequence[InputSpec], feeds: Sequence[Feed]) -> tuple[str, ...]:
    """Dynamic dimensions that have one size in all feeds, by symbol or as ``input[axis]``."""
    sizes: dict[str, set[int]] = {}
    for spec in specs:
        for axis, dim in enumerate(spec.shape or ()):
            if not isinstance(dim, int):
                key = dim if isinstance(dim, str) else f"{spec.name}[{axis}]"
                seen = {np.shape(f[spec.name])[axis] for f in feeds if spec.name in f}
                sizes.setdefault(key, set()).update(seen)
    return tuple(key for key, seen in sizes.items() if len(seen) < 2)
