"""One warm child process for everything native: ONNX Runtime and onnx's C++.

The parent never imports them. A crash, a hang or a lack of memory in the child becomes a
:class:`WorkerError` that names the model; the next request starts a fresh child.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from onnxslim.errors import DataError, OnnxSlimError, UsageError, WorkerError
from onnxslim.runtime import failures, protocol, sources, wire
from onnxslim.runtime.limits import Limits
from onnxslim.runtime.process import Died, Expired, Process, Resources
from onnxslim.runtime.protocol import Answer, Value, nbytes
from onnxslim.runtime.session import Options, Session, TensorSpec, plain
from onnxslim.runtime.sources import Model, Source, label_of, model_file
from onnxslim.runtime.spawn import Spawned
from onnxslim.runtime.spool import SpoolFiles

__all__ = ["Session", "TensorSpec", "Worker"]

Level = Literal["disable", "basic", "extended", "all"]

_LEVELS = ("disable", "basic", "extended", "all")
_LOADS = ("load", "optimized", "check", "convert", "infer_shapes", "providers", "versions")
_MIB = 1 << 20
_LIMITED = ("cpu", "xnnpack", "dnnl")  # providers whose address space can be limited


class Worker:
    """Runs native code in a child process; starts by itself at the first request.

    Args:
        limits: What the child may use.
        spawned: A child that was started before this module could be imported.
    """

    def __init__(self, *, limits: Limits | None = None, spawned: Spawned | None = None) -> None:
        self.limits = limits or Limits()
        self._generation = 0
        self._numbers = itertools.count()
        self._adopt(spawned)

    def _adopt(self, spawned: Spawned | None = None) -> None:
        """Belong to this process, without a child yet, or with the one given."""
        self._resources = Resources(spawned)
        self._finalizer = weakref.finalize(self, Resources.release, self._resources)
        self._lock = threading.RLock()
        self._held: dict[int, tuple[int, bool]] = {}  # session: declared bytes, limited provider
        self._garbage: deque[int] = deque()

    def start(self) -> Self:
        """Start the child without waiting: it imports while the caller goes on."""
        self._running()
        return self

    def _running(self) -> Process:
        if self._resources.owner != os.getpid():  # a fork: the child belongs to the parent
            self._resources.release()
            self._finalizer.detach()
            self._adopt()
        if self._resources.process is None:
            self._generation += 1
            self._held.clear()
            self._garbage.clear()
            return self._resources.start()
        return self._resources.process

    def close(self) -> None:
        """End the child and remove the private folder."""
        self._resources.release()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # sessions

    def session(
        self,
        model: Model,
        *,
        provider: str = "cpu",
        optimization: Level = "disable",
        outputs: Sequence[str] | None = None,
        threads: int = 1,
        custom_ops: Sequence[str | Path] = (),
        base_dir: Path | None = None,
        label: str | None = None,
    ) -> Session:
        """Load a model.

        Args:
            model: A file (external data is mapped) or a serialized ModelProto.
            provider: ``cpu``, ``cuda`` or a name of ONNX Runtime's, also without its suffix.
            optimization: ONNX Runtime's graph optimizations; ``disable`` is the reference.
            outputs: More values of the main graph to expose as outputs.
            threads: Threads inside an operator.
            custom_ops: Libraries of custom operators.
            base_dir: Folder of the external data of a model given as bytes.
            label: How messages call the model; the file's name by default.
        """
        if optimization not in _LEVELS:
            raise UsageError(f"optimization={optimization!r}: expected one of {', '.join(_LEVELS)}")
        options = Options(
            provider, optimization, threads, tuple(str(Path(lib).resolve()) for lib in custom_ops)
        )
        source = sources.stage(model, list(outputs or ()), base_dir, self._new_file)
        return self._open(source, options, label or label_of(model))

    def derive(
        self, session: Session, names: Sequence[str], optimization: Level | None = None
    ) -> Session:
        """The same model with more outputs, at most at ``basic`` unless a level is given."""
        given = session.options
        level = given.optimization if given.optimization == "disable" else "basic"
        level = optimization or level
        options = replace(given, optimization=level, planned=False)
        source = sources.exposing(session.source, names, self._new_file)
        return self._open(source, options, session.label)

    def _open(self, source: Source, options: Options, label: str) -> Session:
        session = Session(self, next(self._numbers), source, options, label)
        session.discard = weakref.finalize(
            session, sources.discard, self._garbage, os.getpid(), session.number, source
        )
        session.discard.atexit = False  # the folder goes as a whole
        self._load(session)
        return session

    def _load(self, session: Session) -> None:
        source, options = session.source, session.options
        self._running()
        self._held[session.number] = (source.declared, options.provider.lower() in _LIMITED)
        head = {"op": "load", "session": session.number, **options.loading(source)}
        try:
            said, _ = self._request(head, label=session.label, declared=source.declared)
        except OnnxSlimError:
            self._held.pop(session.number, None)
            raise
        session.loaded(said, self._generation)

    def session_request(
        self,
        session: Session,
        head: Mapping[str, Any],
        feeds: Mapping[str, Value] | None = None,
        *,
        seconds: float | None = None,
        generation: int | None = None,
    ) -> Answer:
        """A request about a session, which is loaded again if the child is a new one.

        Args:
            session: The session.
            head: The request.
            feeds: Inputs by name.
            seconds: Wall limit.
            generation: Fail when the child is not this one any more (it held a state).
        """
        if session.closed:
            raise UsageError(f"{session.label}: this session is closed; make a new one")
        self._running()
        if generation not in (None, self._generation):
            raise WorkerError(
                f"{session.label}: the worker process was replaced in mid-stream", "crash"
            )
        if session.generation != self._generation:
            self._load(session)
        feeds = feeds or {}
        known = {"session": session.number, "feeds": list(feeds)}
        full = {**head, **known, "folder": str(self._running().folder)}
        values = list(feeds.values())
        declared = session.source.declared
        return self._request(full, values, session.label, declared=declared, seconds=seconds)

    def spool(self) -> SpoolFiles:
        """A place on disk for feeds that are read more than once."""
        return SpoolFiles(self._running().folder)

    def _new_file(self) -> Path:
        return self._running().folder / f"m{next(self._numbers)}"

    # onnx

    def infer_shapes(self, model: Model, *, label: str | None = None) -> bytes:
        """The model with the shapes that onnx infers (with data propagation) as ``value_info``."""
        return bytes(self._onnx("infer_shapes", model, label)[1][0])

    def check(self, model: Model, *, full: bool = False, label: str | None = None) -> None:
        """Run onnx's checker (``full``: with strict shape inference too).

        A refusal is a WorkerError of reason ``error``.
        """
        self._onnx("check", model, label, full=full)

    def convert_opset(self, model: bytes, version: int, *, label: str | None = None) -> bytes:
        """The model at another opset version, by onnx's converter."""
        return bytes(self._onnx("convert", model, label, version=version)[1][0])

    def _onnx(self, op: str, model: Model, label: str | None, **more: Any) -> Answer:
        if isinstance(model, bytes):
            head, values, declared = {"op": op, **more}, [model], len(model)
        else:
            model = model_file(model)
            head = {"op": op, "path": str(model), **more}
            values, declared = [], wire.declared_bytes(model)
        return self._request(head, values, label or label_of(model), declared=declared)

    def evaluate(
        self,
        model: bytes,
        *,
        seconds: float = 2.0,
        max_bytes: int = 64 * _MIB,
        label: str | None = None,
    ) -> dict[str, Value]:
        """Run a model without inputs once, under tight limits: constant folding.

        Args:
            model: A serialized ModelProto, weights inline.
            seconds: CPU time, not wall time: a busy machine must not change the result.
            max_bytes: Of all outputs together.
            label: How messages call it, best the node.
        """
        memory = 256 * _MIB + 3 * len(model) + 4 * max_bytes
        _, values = said, _ = self._request(
            {"op": "evaluate", "max_bytes": max_bytes, "from_now": True, "memory": memory},
            [model],
            label or label_of(model),
            seconds=10 * seconds + 10,
            cpu=seconds,
        )
        return dict(zip(said["names"], map(plain, values), strict=True))

    def optimized(
        self,
        model: Model,
        *,
        provider: str = "cpu",
        threads: int = 1,
        custom_ops: Sequence[str | Path] = (),
        label: str | None = None,
    ) -> list[dict[str, Any]]:
        """The nodes that ONNX Runtime really runs, with all its optimizations.

        Args:
            model: A file or a serialized ModelProto.
            provider: As for a session.
            threads: As for a session.
            custom_ops: Libraries of custom operators.
            label: How messages call the model.

        Returns:
            Per node of the main graph ``name``, ``op``, ``inputs`` and ``outputs``.
        """
        more = {
            "provider": provider,
            "optimization": "all",
            "threads": threads,
            "custom_ops": [str(Path(lib).resolve()) for lib in custom_ops],
            "folder": str(self._running().folder),
        }
        return list(self._onnx("optimized", model, label, **more)[0]["nodes"])

    def pin(self, threads: int) -> list[int]:
        """Keep the child on so many processors; its answer names them (none where it cannot)."""
        return list(self._request({"op": "pin", "threads": threads})[0]["cpus"])

    # facts for doctor

    def available_providers(self) -> list[str]:
        """Execution providers of the installed ONNX Runtime."""
        said, _ = self._request({"op": "providers"}, label="onnxruntime")
        return [str(name) for name in said["providers"]]

    def versions(self) -> dict[str, str | None]:
        """Versions of onnxruntime (None when it is missing), onnx and numpy in the child."""
        said, _ = self._request({"op": "versions"}, label="onnxruntime")
        return dict(said["versions"])

    def self_test(self, provider: str = "cpu") -> None:
        """Run a model of one operator; raises what a real model would raise."""
        with self.session(wire.tiny_model(), provider=provider, label="self test") as session:
            result = session.run({"x": np.array([1, -2], np.float32)})["y"]
        if result.tolist() != [-1, 2]:
            raise WorkerError(f"self test: {provider} computed -[1, -2] as {result.tolist()}")

    # requests

    def _request(
        self,
        head: Mapping[str, Any],
        values: Sequence[Value] = (),
        label: str = "the model",
        *,
        declared: int = 0,
        seconds: float | None = None,
        cpu: float | None = None,
    ) -> Answer:
        size = sum(map(nbytes, values))
        load = head["op"] in _LOADS
        wall = self.limits.wall(declared + size, load=load) if seconds is None else seconds
        full = {
            "memory": self._memory(declared, size),
            "cpu": cpu or (wall + 60) * (os.cpu_count() or 1),
            **head,
        }
        if not self.limits.address_space:
            full["memory"] = None
        with self._lock:
            process = self._running()
            while self._garbage:
                number = self._garbage.popleft()
                self._held.pop(number, None)
                self._exchange(process, {"op": "unload", "session": number}, (), label, 60, 60)
            said, results = self._exchange(process, full, values, label, wall, full["cpu"])
        if "error" in said:
            raise failures.refused(str(said["error"]), str(said["message"]), label, process)
        return said, results

    def _memory(self, declared: int, size: int) -> int | None:
        if not all(limited for _, limited in self._held.values()):
            return None
        held = sum(bytes_ for bytes_, _ in self._held.values())
        return self.limits.memory(max(held, declared)) + size

    def _exchange(
        self,
        process: Process,
        head: Mapping[str, Any],
        values: Sequence[Value],
        label: str,
        wall: float,
        cpu: float,
    ) -> Answer:
        try:
            message = protocol.encode(
                head, values, process.folder, lambda: f"p{next(self._numbers)}"
            )
        except ValueError as error:
            raise DataError(f"{label}: {protocol.one_line(error)}") from error
        except OSError as error:
            raise WorkerError(
                f"{label}: cannot write its inputs to TMPDIR ({process.folder.parent}): "
                f"{protocol.one_line(error)}; make room there or set TMPDIR"
            ) from error
        deadline = time.monotonic() + wall
        try:
            process.send(message, deadline)
            return process.receive(deadline)
        except Expired as error:
            self._drop()
            raise WorkerError(
                f"{label}: no answer from native code within {wall:g} s, it was stopped; "
                "use smaller inputs or a smaller model",
                "timeout",
            ) from error
        except Died as error:
            failure = failures.died(process, label, cpu)
            self._drop()
            raise failure from error
        except BaseException:
            self._drop()  # an interrupt: the pipes are out of step
            raise

    def _drop(self) -> None:
        process, self._resources.process = self._resources.process, None
        if process is not None:
            process.kill()
        for path in self._resources.leftovers():
            path.unlink(missing_ok=True)
