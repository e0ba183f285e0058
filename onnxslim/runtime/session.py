"""A model loaded in the worker child, as the parent sees it."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from onnxslim.runtime import reduction
from onnxslim.runtime.profile import Profile, profile_of
from onnxslim.runtime.protocol import ELEMENTS, FIRST_EXOTIC, RawTensor, Value
from onnxslim.runtime.reducers import Reducer
from onnxslim.runtime.sources import Source

if TYPE_CHECKING:
    from onnxslim.runtime.worker import Level, Worker


@dataclass(frozen=True)
class TensorSpec:
    """What a session says about an input or output.

    Args:
        name: The value's name.
        dtype: A numpy (or ml_dtypes) type, ``"string"``, or ONNX Runtime's name such as
            ``"seq(tensor(float))"``.
        shape: Sizes; text for a named dimension, None for an unknown one.
    """

    name: str
    dtype: np.dtype[Any] | str
    shape: tuple[int | str | None, ...]


def spec_of(said: Mapping[str, Any]) -> TensorSpec:
    """Read what the child says about a value."""
    return TensorSpec(said["name"], _dtype(said["type"]), tuple(said["shape"]))


def _dtype(kind: str) -> np.dtype[Any] | str:
    element = kind.removeprefix("tensor(").removesuffix(")")
    if not kind.startswith("tensor(") or element not in ELEMENTS:
        return "string" if kind == "tensor(string)" else kind
    name, number, _ = ELEMENTS[element]
    if number < FIRST_EXOTIC:
        return np.dtype(name)
    import ml_dtypes

    found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return found


@dataclass(frozen=True)
class Options:
    """How a session is made.

    Args:
        provider: As ONNX Runtime names it.
        optimization: ONNX Runtime's graph optimizations.
        threads: Threads inside an operator.
        custom_ops: Libraries of custom operators.
        planned: ONNX Runtime plans one block of memory for a run. Without, buffers that were just
            given back are used again, which is a sixth faster where many values are outputs.
    """

    provider: str = "cpu"
    optimization: str = "disable"
    threads: int = 1
    custom_ops: tuple[str, ...] = ()
    planned: bool = True

    def loading(self, source: Source) -> dict[str, Any]:
        """What the child is told to load a model."""
        return {
            "path": str(source.path),
            "base_dir": str(source.base_dir) if source.base_dir else None,
            "provider": self.provider,
            "optimization": self.optimization,
            "threads": self.threads,
            "custom_ops": list(self.custom_ops),
            "planned": self.planned,
        }


class Session:
    """Made by :meth:`Worker.session`; survives a crash of the child by loading itself again."""

    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    overridable: list[TensorSpec]
    providers: list[str]

    def __init__(
        self, worker: Worker, number: int, source: Source, options: Options, label: str
    ) -> None:
        self.worker, self.number, self.source = worker, number, source
        self.options, self.label = options, label
        self.generation = -1
        self.closed = False
        self.discard: weakref.finalize[..., Session] | None = None

    def loaded(self, said: Mapping[str, Any], generation: int) -> None:
        """Take what the child says after loading."""
        self.generation = generation
        self.inputs = [spec_of(item) for item in said["inputs"]]
        self.outputs = [spec_of(item) for item in said["outputs"]]
        self.overridable = [spec_of(item) for item in said["overridable"]]
        self.providers = list(said["providers"])

    def run(
        self,
        feeds: Mapping[str, Value],
        outputs: Sequence[str] | None = None,
        *,
        seconds: float | None = None,
    ) -> dict[str, Value]:
        """Run the model once.

        Args:
            feeds: Arrays by input name; arrays of str for strings, lists for sequences.
            outputs: Names wanted, all by default.
            seconds: Wall limit, scaled with the model by default.

        Returns:
            Arrays by output name (objects of str for strings), lists for sequences, None for an
            empty optional.
        """
        names = [spec.name for spec in self.outputs] if outputs is None else list(outputs)
        if not names:
            return {}
        head = {"op": "run", "outputs": names}
        _, values = self.worker.session_request(self, head, feeds, seconds=seconds)
        return dict(zip(names, map(plain, values), strict=True))

    def time(
        self,
        feeds: Mapping[str, Value],
        runs: int = 10,
        warmup: int = 1,
        *,
        seconds: float | None = None,
    ) -> list[float]:
        """Seconds of each run, measured in the child around ONNX Runtime alone.

        With one thread on the processor, a run that the system interrupted for another program
        counts its own processor time only.
        """
        alone = self.options.threads == 1 and self.options.provider.lower() == "cpu"
        head = {"op": "time", "runs": runs, "warmup": warmup, "alone": alone}
        said, _ = self.worker.session_request(self, head, feeds, seconds=seconds)
        return [float(second) for second in said["seconds"]]

    def profile(self, feeds: Mapping[str, Value], runs: int = 5, warmup: int = 1) -> Profile:
        """What ONNX Runtime really runs for this model, and how long each node takes.

        The model is loaded a second time, with profiling, and unloaded again.
        """
        head = {"op": "profile", "runs": runs, "warmup": warmup}
        head |= self.options.loading(self.source)
        said, _ = self.worker.session_request(self, head, feeds)
        return profile_of(said)

    def reduce(
        self,
        feeds: Iterable[Mapping[str, Value]],
        reducers: Mapping[str, Reducer | Sequence[Reducer]],
        *,
        budget: int = reduction.BUDGET,
        optimization: Level | None = None,
    ) -> dict[str, Any]:
        """Stream feeds through the model and reduce values beside it; no activation is handed over.

        The values need not be outputs. When one run's values exceed the budget they are taken in
        several passes over the feeds. Fusing levels swallow values: such sessions run at ``basic``.

        Args:
            feeds: Batches; a one-shot iterator is spooled to disk when several passes are needed.
            reducers: By value name (graph inputs too); brought up to date in place, cumulatively.
            budget: Bytes of the reduced values of one run.
            optimization: Another level than at most ``basic``.

        Returns:
            ``result()`` of each reducer, in the form of ``reducers``.
        """
        reduction.reduce(self, feeds, reducers, budget, optimization)
        return {
            name: given.result() if isinstance(given, Reducer) else [r.result() for r in given]
            for name, given in reducers.items()
        }

    def exposing(self, names: Sequence[str], optimization: Level | None = None) -> Session:
        """Another session of the same model with more values as outputs."""
        more = {} if optimization is None else {"optimization": optimization}
        return self.worker.derive(self, names, **more)

    def close(self) -> None:
        """Unload the model and remove its temporary file."""
        if not self.closed:
            self.closed = True
            if self.discard is not None:
                self.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def plain(value: Value) -> Value:
    """What a caller gets for a value: arrays, also of the types numpy lacks."""
    if isinstance(value, RawTensor):
        return value.array()
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value
