"""Limits of the worker child: address space, CPU time, wall time, core dumps."""

from __future__ import annotations

import math
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_GIB = 1 << 30


@dataclass(frozen=True)
class Limits:
    """What the child may use; it scales with the models it holds.

    Args:
        base_bytes: Address space above that of the child with its libraries loaded.
        model_factor: Times the declared bytes of the loaded models, added to it.
        wall_seconds: Per run.
        load_seconds: Per request that loads, checks, converts or infers.
        wall_seconds_per_gib: Added to both for every GiB of the model and of its inputs.
        address_space: False leaves the address space unlimited.
    """

    base_bytes: int = 2 * _GIB
    model_factor: int = 3
    wall_seconds: float = 300.0
    load_seconds: float = 60.0
    wall_seconds_per_gib: float = 120.0
    address_space: bool = True

    def memory(self, declared: int) -> int:
        """Bytes of address space above the idle child."""
        return self.base_bytes + self.model_factor * declared

    def wall(self, declared: int, *, load: bool = False) -> float:
        """Seconds that one request may take, whole ones."""
        base = self.load_seconds if load else self.wall_seconds
        return math.ceil(base + self.wall_seconds_per_gib * declared / _GIB)


def limits_missing() -> list[str]:
    """Names of the limits that this platform lacks, for ``doctor``; empty when all hold."""
    missing = []
    if resource is None or _address_space() is None or not hasattr(resource, "RLIMIT_AS"):
        missing.append("address space")
    if not hasattr(signal, "setitimer"):
        missing.append("CPU time")
    if os.name == "nt":
        missing.append("wall time")
    return missing


def _address_space() -> int | None:
    """Bytes of address space that this process uses, None where /proc does not say it."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


class ChildLimits:
    """Applied by the child to itself; every request brings its own allowance."""

    def __init__(self) -> None:
        self._idle: int | None = None
        if resource is not None:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if hasattr(signal, "SIGPROF"):
            signal.signal(signal.SIGPROF, signal.SIG_DFL)

    def imported(self) -> None:
        """Take the present address space as that of the idle child; call it after the imports."""
        self._idle = _address_space()

    def arm(self, *, memory: int | None, cpu: float | None, from_now: bool = False) -> None:
        """Set the limits of one request.

        Args:
            memory: Bytes above the idle child, None for no limit; an inherited hard limit holds.
            cpu: Seconds of CPU time of all threads, then the process dies by SIGPROF.
            from_now: Count ``memory`` from what is in use at present.
        """
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, cpu or 0.0)
        used = _address_space() if from_now else self._idle
        if resource is None or used is None:
            return
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        soft = resource.RLIM_INFINITY if memory is None else used + memory
        if hard != resource.RLIM_INFINITY and (soft == resource.RLIM_INFINITY or soft > hard):
            soft = hard
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

    def disarm(self) -> None:
        """Stop the CPU clock between requests."""
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, 0.0)
