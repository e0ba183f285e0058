"""Preparing a reference in the background: session, feeds that it accepts, answers.

That takes most of the time of a verification and needs nothing of the rewritten model, so it runs
in a thread while the passes work (the native code runs in the worker process).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

import numpy as np

from onnxslim.errors import UnsupportedModelError, WorkerError
from onnxslim.runtime.dims import Description
from onnxslim.runtime.plans import plan_feeds
from onnxslim.runtime.specs import Array, Feed, InputSpec, kind_of, specs_of
from onnxslim.verify import submodel
from onnxslim.verify.reference import Reference
from onnxslim.verify.sessions import Outputs, Runner, Source, open_part
from onnxslim.verify.walk import GraphFacts

if TYPE_CHECKING:
    import onnx_ir as ir


_MOST_OVERRIDDEN = 64 << 20


class Preparation:
    """A reference being prepared in a thread.

    Args:
        runner: Makes sessions.
        source: The reference model as a file or as bytes.
        model: The same model; only read before the constructor returns.
        specs: Its inputs, when sizes are known better than the model says.
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
        specs: Sequence[InputSpec] | None = None,
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
        self._specs = specs_of(model) if specs is None else list(specs)
        self._model: ir.Model | None = model
        self._initial = {
            name: value.const_value
            for name, value in model.graph.initializers.items()
            if value.is_graph_input() and value.const_value is not None
        }
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
            tried = [(feed, try_run(feed)) for feed in self._feeds]
            taken = [feed for feed, why in tried if why is None]
            if tried and not taken and not reference.error:
                reference.error = " ".join(str(tried[0][1]).split())
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
        taken += next(([f] for f in self._overridden(taken) if try_run(f) is None), [])
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

    def _overridden(self, taken: list[Feed]) -> Iterator[Feed]:
        """The first feed with other values for the initializers that a caller may override.

        Tried with everything changed, then with the floats alone: integers may be shapes.
        """
        session = self._reference.session
        given = [spec.name for spec in session.overridable] if session is not None else []
        given = [name for name in given if name in self._initial]
        if not taken or sum(self._initial[name].nbytes for name in given) > _MOST_OVERRIDDEN:
            return
        rng = np.random.default_rng(self._reference.seed)
        changed = {name: _changed(self._initial[name].numpy(), rng) for name in given}
        floats = {name: x for name, x in changed.items() if kind_of(x.dtype) == "float"}
        for values in (changed, floats):
            if values:
                yield {**taken[0], **values}

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


def _changed(array: Array, rng: np.random.Generator) -> Array:
    """Other values of the same kind."""
    kind = kind_of(array.dtype)
    if kind == "float":
        wide = array.astype(np.float64)
        other = np.where(wide == 0, 0.05, wide * rng.uniform(0.9, 1.1, array.shape))
        return other.astype(array.dtype)
    if kind == "int":
        return (array + 1).astype(array.dtype)
    return ~array if kind == "bool" else array


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
