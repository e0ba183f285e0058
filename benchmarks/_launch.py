"""Runs a command of a comparison: what it took, and why it failed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from _peers import environment

_LAUNCHER = """
import json, os, signal, sys, time
limit, words = float(sys.argv[1]), sys.argv[2:]
begin = time.perf_counter()
pid = os.posix_spawn(words[0], words, os.environ, setpgroup=0,
    file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
signal.signal(signal.SIGALRM, lambda *_: os.killpg(pid, signal.SIGKILL))
signal.setitimer(signal.ITIMER_REAL, limit)
_, status, usage = os.wait4(pid, 0)
print(json.dumps({"code": os.waitstatus_to_exitcode(status), "wall": time.perf_counter() - begin,
    "cpu": usage.ru_utime + usage.ru_stime, "peak_bytes": usage.ru_maxrss * 1024}))
"""
"""A small process between: a command starts with its parent's peak, and this one's is large."""


@dataclass(frozen=True)
class Ran:
    """One run of a command, its children included.

    Attributes:
        wall: Seconds.
        cpu: Seconds.
        peak_bytes: Of the process with the most memory.
        problem: Exit code and last line of standard error; empty when it succeeded.
    """

    wall: float
    cpu: float
    peak_bytes: int
    problem: str


def launch(words: list[str], limit: float, more: Mapping[str, str] | None = None) -> Ran:
    """Run a command for at most ``limit`` seconds, with ``more`` in its environment."""
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(limit)]
    done = subprocess.run(
        [*launcher, *words],
        capture_output=True,
        env=environment() | dict(more or {}),
        text=True,
        check=True,
    )
    said = json.loads(done.stdout.strip().splitlines()[-1])
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
    last = lines[-1][:160] if lines else "nothing said"
    problem = f"exit code {said['code']}: {last}" if said["code"] else ""
    return Ran(said["wall"], said["cpu"], said["peak_bytes"], problem)
