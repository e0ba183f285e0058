"""Where the child finds a model: the file as given, or a file in the worker's private folder."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnxslim.errors import UnsupportedModelError, WorkerError
from onnxslim.runtime import protocol, wire

Model = Path | bytes


@dataclass(frozen=True)
class Source:
    """Where the child finds the model, now and after a restart.

    Args:
        path: The model file.
        base_dir: Folder of its external data when that is not beside ``path``.
        declared: Bytes of the model with its external data.
        temporary: The file is ours and goes with the session.
    """

    path: Path
    base_dir: Path | None
    declared: int
    temporary: bool


def stage(
    model: Model, names: Sequence[str], base_dir: Path | None, fresh: Callable[[], Path]
) -> Source:
    """Make a model loadable, with more values as outputs if names are given.

    Args:
        model: A file or a serialized ModelProto.
        names: Values to expose; the file is copied with a few bytes more, its external data is not.
        base_dir: Folder of the external data when it is not beside the file.
        fresh: Gives the path of a new temporary file.

    Raises:
        UnsupportedModelError: The file cannot be read.
        WorkerError: TMPDIR has no room.
    """
    if isinstance(model, bytes):
        content, path = wire.merge(model, names), fresh()
        _write(path, content, None)
        return Source(path, base_dir, len(model), temporary=True)
    model = model_file(model)
    try:
        whole = Source(model, base_dir, wire.declared_bytes(model), temporary=False)
    except OSError as error:
        raise _unreadable(model, error) from error
    return exposing(whole, names, fresh) if names else whole


def exposing(source: Source, names: Sequence[str], fresh: Callable[[], Path]) -> Source:
    """The same with more values as outputs; only names that are none yet ask for a copy."""
    try:
        more = wire.missing_outputs(source.path, names)
    except OSError as error:
        raise _unreadable(source.path, error) from error
    if not more:
        return replace(source, temporary=False)
    path = fresh()
    _write(path, more, source.path)
    return Source(path, source.base_dir or source.path.parent, source.declared, temporary=True)


def _unreadable(model: Path, error: OSError) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{model.name}: {protocol.one_line(error)}; the model file must be readable"
    )


def _write(path: Path, content: bytes, start: Path | None) -> None:
    try:
        if start is not None:
            shutil.copyfile(start, path)
        with path.open("ab") as file:
            file.write(content)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise WorkerError(
            f"cannot write a temporary model to TMPDIR ({path.parent.parent}): "
            f"{protocol.one_line(error)}; make room there or set TMPDIR"
        ) from error


def model_file(model: Path) -> Path:
    """Absolute, symlinks kept (external data is beside the link); a FIFO or device would hang."""
    path = Path(os.path.abspath(model))
    if not path.is_file():
        raise UnsupportedModelError(
            f"{model.name}: not a file that exists; expected an ONNX model, check the path"
        )
    return path


def label_of(model: Model) -> str:
    """How messages call a model."""
    return "the model" if isinstance(model, bytes) else model.name


def discard(garbage: deque[int], owner: int, number: int, source: Source) -> None:
    """Unload a session at the next request; its temporary file goes now."""
    garbage.append(number)
    if source.temporary and os.getpid() == owner:
        source.path.unlink(missing_ok=True)
