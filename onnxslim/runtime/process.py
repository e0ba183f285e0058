"""The parent's handle of the worker child: start, timed reads and writes, kill, cleaning up."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from onnxslim.errors import WorkerError
from onnxslim.runtime import protocol
from onnxslim.runtime.protocol import Value

_log = logging.getLogger(__name__)

_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
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
_LOST = ("MemoryError", "bad_alloc", "Cannot allocate", "out of memory")


class Died(Exception):
    """The child is gone; never leaves :mod:`onnxslim.runtime`."""


class Expired(Exception):
    """The deadline passed; never leaves :mod:`onnxslim.runtime`."""


class Process:
    """A running child with its pipes. Made by the parent, dies with it.

    Args:
        folder: Private folder that both sides use; the child removes it when the parent vanishes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.owner = os.getpid()
        if not sys.executable:
            raise WorkerError(
                "cannot start the worker process: sys.executable is empty; "
                "run onnxslim in an ordinary Python interpreter"
            )
        with (folder / "stderr").open("ab") as errors:
            self._stderr_from = self._stderr_seen = errors.tell()
            self._popen = subprocess.Popen(
                [sys.executable, "-I", "-X", "utf8", "-c", _BOOT, _path(), str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                env={**os.environ, **_ENVIRONMENT, "TMPDIR": str(folder)},
                start_new_session=True,  # a signal to the group must not stop it from cleaning up
            )
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

    @staticmethod
    def _ready(pipe: int, deadline: float, *, write: bool) -> None:
        if os.name == "nt":  # no select on pipes: the wall limit is missing, doctor says so
            return
        poll = select.poll()
        poll.register(pipe, select.POLLOUT if write else select.POLLIN)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
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
            self._popen.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(timeout=10)
        else:
            self._popen.returncode = 0  # not our child: nothing to wait for
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class Resources:
    """Folder and child of one worker, which ``weakref.finalize`` releases."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.process: Process | None = None
        self.folder: Path | None = None

    def start(self) -> Process:
        """Make the folder and start a child in it."""
        try:
            if self.folder is None or not self.folder.is_dir():
                self.folder = Path(tempfile.mkdtemp(prefix="onnxslim-"))
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


def _path() -> str:
    """The module search path of this process for the child, without the working directory."""
    root = str(Path(__file__).resolve().parents[2])
    kept = [entry for entry in sys.path if entry and Path(entry).is_absolute()]
    return json.dumps(kept if root in kept else [*kept, root])
