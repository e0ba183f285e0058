"""Temporary files beside the target: named so that a killed run's are recognised and removed."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import TracebackType

try:
    import fcntl
except ImportError:  # no locks there: stale files are recognised by their process alone
    fcntl = None  # type: ignore[assignment]

_MARK = "onnxslim-tmp"
_STALE = re.compile(rf"\..+\.(\d+)\.{_MARK}-[0-9a-f]{{8}}(\.data)?")
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
_CREATE |= getattr(os, "O_BINARY", 0)


class TemporaryFile:
    """A new file in a folder, locked while this process lives.

    Args:
        folder: Where the final file will be.
        name: Of the final file.
        suffix: ``.data`` for a data file.
    """

    def __init__(self, folder: Path, name: str, suffix: str = "") -> None:
        short = name.encode()[:150].decode(errors="ignore")
        self.path = folder / f".{short}.{os.getpid()}.{_MARK}-{os.urandom(4).hex()}{suffix}"
        self._descriptor = os.open(self.path, _CREATE, 0o666)
        _lock(self._descriptor)
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append all of ``data``."""
        rest = memoryview(data).cast("B")
        self.size += len(rest)
        while len(rest):
            rest = rest[os.write(self._descriptor, rest[: 8 << 20]) :]

    def like(self, target: Path) -> None:
        """Take over the permissions of an existing file."""
        if target.exists() and hasattr(os, "fchmod"):
            os.fchmod(self._descriptor, target.stat().st_mode & 0o777)

    def sync(self) -> None:
        """Wait until the content is on the disk."""
        os.fsync(self._descriptor)

    def rename(self, target: Path) -> None:
        """Put the file in the place of ``target`` in one step, and close it."""
        if os.name != "posix":
            self.close()  # an open file cannot be renamed there
        os.replace(self.path, target)
        self.close()
        sync_folder(target.parent)

    def close(self) -> None:
        """Close and keep the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def discard(self) -> None:
        """Close and remove the file, if it is still there."""
        self.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> TemporaryFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` durable, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def remove_stale(folder: Path) -> None:
    """Remove temporary files of ours whose process is gone."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except OSError:
        return
    for name in names:
        match = _STALE.fullmatch(name)
        if match and not _is_alive(int(match[1])):
            _remove_unlocked(folder / name)


def _is_alive(pid: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _lock(descriptor: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_unlocked(path: Path) -> None:
    """Remove a file unless some process, perhaps in another container, still holds it."""
    try:
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return
    try:
        if _lock(descriptor):
            path.unlink(missing_ok=True)
    except OSError:
        pass
    finally:
        os.close(descriptor)
