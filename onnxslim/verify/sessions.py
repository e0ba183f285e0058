"""Sessions for a comparison: of a whole model, or of what the runtime knows of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from onnxslim.errors import WorkerError
from onnxslim.verify import submodel
from onnxslim.verify.compare import Value

Source = Path | bytes
Outputs = dict[str, Value]


class SessionLike(Protocol):
    """What is needed of a worker's session."""

    @property
    def inputs(self) -> Sequence[Any]: ...
    @property
    def outputs(self) -> Sequence[Any]: ...
    @property
    def overridable(self) -> Sequence[Any]: ...
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
