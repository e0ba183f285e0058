"""The worker child: native code (ONNX Runtime, onnx's C++) runs here and may die here.

Started by :mod:`onnxslim.runtime.process`. It reads requests from what was its standard input and
answers on what was its standard output; whatever a library prints goes to standard error. When the
parent vanishes it removes the private folder and exits, also in the middle of a request.
"""

from __future__ import annotations

import contextlib
import faulthandler
import itertools
import os
import select
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from onnxslim.errors import OnnxSlimError
from onnxslim.runtime import protocol
from onnxslim.runtime.limits import ChildLimits
from onnxslim.runtime.protocol import Answer, Refusal
from onnxslim.runtime.spawn import TOUCHED, undisturbed_no_more

_NO_MEMORY = (
    "bad_alloc",
    "bad allocation",
    "Failed to allocate memory",
    "Cannot allocate memory",
    "out of memory",
)


def main() -> None:
    """Serve requests until the parent closes its end."""
    folder = Path(sys.argv[-1])
    requests, answers = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    undisturbed_no_more()
    if hasattr(faulthandler, "register"):
        faulthandler.register(signal.SIGUSR1)  # says where it hangs, to standard error
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes us
    limits = ChildLimits()
    threading.Thread(target=_outlive, args=(requests, folder), daemon=True).start()
    from onnxslim.runtime.executor import Executor  # imports ONNX Runtime

    executor = Executor()
    limits.imported()
    names = (f"c{number}" for number in itertools.count())
    with contextlib.suppress(OSError):  # a closed pipe: the parent is gone
        while (message := _read(requests, folder)) is not None:
            answer = _serve(message, executor, limits)
            _write(answers, _encode(answer, folder, lambda: next(names)))
    _leave(folder)


def _serve(message: Answer, executor: Any, limits: ChildLimits) -> Answer:
    head, values = message
    try:
        handler: Callable[[Mapping[str, Any], list[Any]], Answer] = executor.handler(head["op"])
        limits.arm(
            memory=head.get("memory"), cpu=head.get("cpu"), from_now=bool(head.get("from_now"))
        )
        return handler(head, values)
    except Refusal as refusal:
        return {"error": refusal.kind, "message": protocol.one_line(refusal)}, []
    except OnnxSlimError as error:  # of a reducer: the data does not fit
        return {"error": "data", "message": protocol.one_line(error)}, []
    except MemoryError:
        return {"error": "memory", "message": "out of memory"}, []
    except Exception as error:
        kind = "memory" if any(word in str(error) for word in _NO_MEMORY) else "error"
        text = str(error) if type(error).__module__ != "builtins" else repr(error)
        return {"error": kind, "message": protocol.one_line(text or type(error).__name__)}, []
    finally:
        limits.disarm()


def _encode(answer: Answer, folder: Path, name: Callable[[], str]) -> bytes:
    head, values = answer
    try:
        return protocol.encode(head, values, folder, name)
    except (OSError, ValueError, MemoryError) as error:
        kind = "memory" if isinstance(error, MemoryError) else "error"
        text = f"the result could not be handed over: {protocol.one_line(error)}"
        return protocol.encode({"error": kind, "message": text}, [], folder, name)


def _read(pipe: int, folder: Path) -> Answer | None:
    prefix = _exactly(pipe, protocol.PREFIX.size)
    if prefix is None:
        return None
    header, payload = protocol.sizes(prefix)
    text, data = _exactly(pipe, header), _exactly(pipe, payload)
    if text is None or data is None:
        return None
    return protocol.decode(text, data, folder)


def _exactly(pipe: int, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = os.read(pipe, min(size - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)


def _write(pipe: int, message: bytes) -> None:
    view = memoryview(message)
    while view.nbytes:
        view = view[os.write(pipe, view) :]


def _outlive(requests: int, folder: Path) -> None:
    """Wait until the parent is gone (its pipe end closed, or we were adopted), then leave.

    The folder is touched meanwhile: one that is not has been abandoned.
    """
    parent, touch = os.getppid(), time.monotonic() + TOUCHED
    if not hasattr(select, "poll"):
        return
    poll = select.poll()
    poll.register(requests, 0)  # only the hang-up
    while not poll.poll(1000) and os.getppid() == parent:
        if time.monotonic() >= touch:
            touch = time.monotonic() + TOUCHED
            with contextlib.suppress(OSError):
                os.utime(folder)
    _leave(folder)


def _leave(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main()
