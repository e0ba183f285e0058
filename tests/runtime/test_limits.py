"""Limits scale with the model, and the platform's gaps are named."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from onnxslim.runtime import limits
from onnxslim.runtime.limits import Limits, limits_missing


def test_limits_scale_with_the_model() -> None:
    assert Limits().memory(0) == 2 << 30
    assert Limits().memory(1 << 30) == 5 << 30
    made = Limits(wall_seconds=10, load_seconds=3, wall_seconds_per_gib=4)
    assert made.wall(1 << 29) == 12 and made.wall(1 << 29, load=True) == 5


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux has them all")
def test_nothing_is_missing_on_linux() -> None:
    assert limits_missing() == []


def test_gaps_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "resource", None)
    monkeypatch.delattr(signal, "setitimer")
    assert limits_missing() == ["address space", "CPU time"]
    armed = limits.ChildLimits()  # degrades without complaint
    armed.imported()
    armed.arm(memory=1, cpu=1)
    armed.disarm()


CODE = """
import resource, signal
from onnxslim.runtime.limits import ChildLimits
made = ChildLimits(); made.imported()
soft = lambda: resource.getrlimit(resource.RLIMIT_AS)[0]
made.arm(memory=1 << 30, cpu=50); one = soft(); print(signal.getitimer(signal.ITIMER_PROF)[0] > 40)
made.arm(memory=2 << 30, cpu=None); print(soft() - one == 1 << 30)
keep = bytearray(100 << 20)
made.arm(memory=1 << 30, cpu=None, from_now=True); print(soft() - one >= 100 << 20)
made.arm(memory=None, cpu=None); print(soft() == resource.RLIM_INFINITY)
resource.setrlimit(resource.RLIMIT_AS, (one, one))
made.arm(memory=4 << 30, cpu=None); print(soft() == one)
made.arm(memory=None, cpu=None); print(soft() == one)
print(resource.getrlimit(resource.RLIMIT_CORE) == (0, 0), signal.getitimer(signal.ITIMER_PROF)[0])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_AS and /proc")
def test_the_child_limits_itself() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 7 + ["0.0"]
