"""Starting the worker child. Nothing heavy is imported here, so that it can be done first of all.

The child needs a third of a second to import ONNX Runtime; a parent that starts it before its own
imports finds it ready.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from onnxslim.errors import WorkerError

_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from onnxslim import _lazy_modules; _lazy_modules.install(); "
    "from onnxslim import _lazy_dataclasses; _lazy_dataclasses.install(); "
    "from onnxslim.runtime.child import main; main()"
)
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # since 1.29 ONNX Runtime reports to its vendor over the network, and writes a device id
    "ORT_DISABLE_TELEMETRY": "1",
    "ORT_TELEMETRY_DISABLED": "1",
}

_PREFIX = "onnxslim-worker-"
_NAME = re.compile(rf"{_PREFIX}[a-z0-9_]{{8}}")
TOUCHED = 600.0
"""Seconds after which a child touches its folder again."""
_ABANDONED = 7 * 24 * 3600.0

_POLITE = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Spawned:
    """A child that no worker has taken yet; leaving the context ends it.

    Attributes:
        folder: Private folder that both sides use; the child removes it when the parent vanishes.
        popen: The child.
    """

    folder: Path
    popen: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        end(self.popen)
        shutil.rmtree(self.folder, ignore_errors=True)


def spawn() -> Spawned:
    """Start a child in a folder of its own, without waiting for it.

    Raises:
        OSError: There is no place for the folder, or no process to be had.
        WorkerError: The interpreter does not know its own path.
    """
    spawned: Spawned | None = None
    try:
        with _undisturbed():
            spawned = _spawn()
        return spawned
    except BaseException:  # an interrupt that had to wait
        if spawned is not None:
            spawned.__exit__(None, None, None)
        raise


def _spawn() -> Spawned:
    folder = private_folder()
    try:
        return Spawned(folder, spawn_in(folder))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let signals wait: between the folder and the child nobody would remove the folder.

    The child inherits that and ends it: :func:`undisturbed_no_more`.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _POLITE)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def undisturbed_no_more() -> None:
    """In the child: take signals again, but for those that were sent to the parent's group."""
    if hasattr(signal, "pthread_sigmask"):
        usual = {number: signal.signal(number, signal.SIG_IGN) for number in _POLITE}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _POLITE)
        for number, handler in usual.items():
            signal.signal(number, handler)


def private_folder() -> Path:
    """A new folder that only this user can read."""
    _remove_abandoned(tempfile.gettempdir())
    return Path(tempfile.mkdtemp(prefix=_PREFIX))


def _remove_abandoned(place: str) -> None:
    """Remove folders whose parent and child were both killed: a living child touches its own."""
    if not hasattr(select, "poll"):  # there, children do not touch them
        return
    latest = time.time() - _ABANDONED
    with contextlib.suppress(OSError):
        for entry in os.scandir(place):
            if _NAME.fullmatch(entry.name) and _is_abandoned(entry, latest):
                shutil.rmtree(entry.path, ignore_errors=True)


def _is_abandoned(entry: os.DirEntry[str], latest: float) -> bool:
    """An own folder, no link to one, that was not touched since then."""
    with contextlib.suppress(OSError):
        status = entry.stat(follow_symlinks=False)
        own = not hasattr(os, "getuid") or status.st_uid == os.getuid()
        return stat.S_ISDIR(status.st_mode) and own and status.st_mtime < latest
    return False


def spawn_in(folder: Path) -> subprocess.Popen[bytes]:
    """Start a child that uses ``folder``; its errors go to the file ``stderr`` there."""
    if not sys.executable:
        raise WorkerError(
            "cannot start the worker process: sys.executable is empty; "
            "run onnxslim in an ordinary Python interpreter"
        )
    with (folder / "stderr").open("ab") as errors:
        return subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", "-c", _BOOT, _path(), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            env={**os.environ, **_ENVIRONMENT, "TMPDIR": str(folder)},
            start_new_session=True,  # a signal to the group must not stop it from cleaning up
        )


def end(child: subprocess.Popen[bytes]) -> None:
    """Kill a child and close its pipes."""
    child.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=10)
    close_pipes(child)


def close_pipes(child: subprocess.Popen[bytes]) -> None:
    """Close this side of the pipes to a child."""
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _path() -> str:
    """The module search path of this process for the child, without the working directory."""
    root = str(Path(__file__).resolve().parents[2])
    kept = [entry for entry in sys.path if entry and Path(entry).is_absolute()]
    return json.dumps(kept if root in kept else [*kept, root])
