"""The parent's handle of the worker child: start, timed reads and writes, kill, cleaning up."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from onnxslim.errors import WorkerError
from onnxslim.runtime import protocol
from onnxslim.runtime.protocol import Value
from onnxslim.runtime.spawn import Spawned, close_pipes, end, private_folder, spawn_in

_log = logging.getLogger(__name__)

_PATIENCE = 20  # times 0.05 s for a child to say where it hangs
_LOST = ("MemoryError", "bad_alloc", "Cannot allocate", "out of memory")


class Died(Exception):
    """The child is gone; never leaves :mod:`onnxslim.runtime`."""


class Expired(Exception):
    """The deadline passed; never leaves :mod:`onnxslim.runtime`."""


class Process:
    """A running child with its pipes. Made by the parent, dies with it.

    Args:
        folder: Private folder that both sides use; the child removes it when the parent vanishes.
        started: The child when it was started before; None starts one.
    """

    def __init__(self, folder: Path, started: subprocess.Popen[bytes] | None = None) -> None:
        self.folder = folder
        self.owner = os.getpid()
        errors = folder / "stderr"
        known = errors.stat().st_size if started is None and errors.exists() else 0
        self._stderr_from = self._stderr_seen = known
        self._popen = spawn_in(folder) if started is None else started
        stdin, stdout = self._popen.stdin, self._popen.stdout
        if stdin is None or stdout is None:
            raise WorkerError("cannot start the worker process: no pipes")
        self._in, self._out = stdin.fileno(), stdout.fileno()
        if os.name != "nt":
            os.set_blocking(self._in, False)
            os.set_blocking(self._out, False)

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._popen.pid

    def alive(self) -> bool:
        """Whether the child still runs."""
        return self._popen.poll() is None

    def send(self, message: bytes, deadline: float) -> None:
        """Write a whole message.

        Raises:
            Died: The child closed its end.
            Expired: The deadline passed.
        """
        view = memoryview(message)
        while view.nbytes:
            self._ready(self._in, deadline, write=True)
            try:
                view = view[os.write(self._in, view) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise Died from error

    def receive(self, deadline: float) -> tuple[dict[str, object], list[Value]]:
        """Read one message.

        Raises:
            Died: The child closed its end.
            Expired: The deadline passed.
        """
        header, payload = protocol.sizes(self._exactly(protocol.PREFIX.size, deadline))
        text, data = self._exactly(header, deadline), self._exactly(payload, deadline)
        if _log.isEnabledFor(logging.DEBUG):
            self._log_stderr()
        return protocol.decode(text, data, self.folder)

    def _exactly(self, size: int, deadline: float) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            self._ready(self._out, deadline, write=False)
            try:
                part = os.read(self._out, size - len(parts))
            except BlockingIOError:
                continue
            if not part:
                raise Died
            parts += part
        return bytes(parts)

    def _ready(self, pipe: int, deadline: float, *, write: bool) -> None:
        if os.name == "nt":  # no select on pipes: the wall limit is missing, doctor says so
            return
        poll = select.poll()
        poll.register(pipe, select.POLLOUT if write else select.POLLIN)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            if _log.isEnabledFor(logging.DEBUG):
                _log.debug("the worker does not answer; it is at:\n%s", self.whereabouts())
            raise Expired

    def post_mortem(self) -> tuple[str, str]:
        """Wait for a dead child; say how it died (signal or status) and the last line it wrote."""
        try:
            status = self._popen.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "it closed its pipe", self.stderr_tail()
        if status >= 0:
            return f"exit status {status}", self.stderr_tail()
        try:
            return signal.Signals(-status).name, self.stderr_tail()
        except ValueError:
            return f"signal {-status}", self.stderr_tail()

    def stderr_tail(self, lines: int = 3, limit: int = 600) -> str:
        """The last lines that native libraries wrote, printable and on one line."""
        with contextlib.suppress(OSError), (self.folder / "stderr").open("rb") as file:
            file.seek(max(self._stderr_from, file.seek(0, os.SEEK_END) - 4096))
            text = file.read().decode("utf-8", "replace").splitlines()
            said = [line for line in map(protocol.one_line, text) if line]
            return protocol.one_line(" ".join(said[-lines:]), limit)
        return ""

    def whereabouts(self) -> str:
        """Python stacks of a child that does not answer; empty when it cannot say."""
        if os.name == "nt" or not self.alive():
            return ""
        errors = self.folder / "stderr"
        with contextlib.suppress(OSError):
            before = errors.stat().st_size
            os.kill(self.pid, signal.SIGUSR1)
            for _ in range(_PATIENCE):
                time.sleep(0.05)
                if errors.stat().st_size > before:
                    break
            time.sleep(0.05)
            with errors.open("rb") as file:
                file.seek(before)
                return file.read(1 << 14).decode("utf-8", "replace")
        return ""

    def ran_out_of_memory(self) -> bool:
        """Whether the last words of the child are about memory."""
        tail = self.stderr_tail(20, 4096)
        return any(word in tail for word in _LOST)

    def _log_stderr(self) -> None:
        with contextlib.suppress(OSError), (self.folder / "stderr").open("rb") as file:
            file.seek(self._stderr_seen)
            text = file.read(1 << 16)
            self._stderr_seen += len(text)
            for line in text.decode("utf-8", "replace").splitlines():
                _log.debug("worker: %s", protocol.one_line(line))

    def kill(self) -> None:
        """End the child at once and release its pipes; in a fork, only release."""
        if os.getpid() == self.owner:
            end(self._popen)
        else:
            self._popen.returncode = 0  # not our child: nothing to wait for
            close_pipes(self._popen)


class Resources:
    """Folder and child of one worker, which ``weakref.finalize`` releases.

    Args:
        spawned: A child that runs already, taken by the first start.
    """

    def __init__(self, spawned: Spawned | None = None) -> None:
        self.owner = os.getpid()
        self._spawned = spawned
        self.process: Process | None = None
        self.folder: Path | None = None

    def start(self) -> Process:
        """Make the folder and start a child in it."""
        spawned, self._spawned = self._spawned, None
        try:
            if spawned is not None:
                self.folder = spawned.folder
                self.process = Process(self.folder, spawned.popen)
                return self.process
            if self.folder is None or not self.folder.is_dir():
                self.folder = private_folder()
            self.process = Process(self.folder)
        except OSError as error:
            self.release()
            raise WorkerError(
                f"cannot start the worker process: {protocol.one_line(error)}; "
                f"TMPDIR ({tempfile.gettempdir()}) must be writable"
            ) from error
        return self.process

    def leftovers(self) -> list[Path]:
        """Messages that a dead child never took, or never handed over."""
        found = sorted(self.folder.glob("[pc][0-9]*")) if self.folder is not None else []
        return [path for path in found if path.is_file()]

    def release(self) -> None:
        """Kill the child and remove the folder; does nothing in a fork of the owner."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
        folder, self.folder = self.folder, None
        if folder is not None and os.getpid() == self.owner:
            shutil.rmtree(folder, ignore_errors=True)
