from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxslim.runtime import profile
from onnxslim.testing import shared_worker
from tests.nets import net


def event(name: str, op: str, start: float, length: float) -> dict[str, Any]:
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": start, "dur": length,
            "args": {"op_name": op}}  # fmt: skip


def run(start: float, length: float) -> dict[str, Any]:
    return {"cat": "Session", "name": "model_run", "ts": start, "dur": length, "args": {}}


def test_nested_nodes_and_iterations(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    events = []
    for base in (0, 1000, 2000):
        events += [
            run(base, 900), event("a", "Relu", base + 10, 100),
            event("b", "Exp", base + 120, 50), event("b", "Exp", base + 180, 50),
            event("l", "Loop", base + 115, 400), event("c", "Neg", base + 600, base + 10),
        ]  # fmt: skip
    path.write_text(json.dumps([*events, {"cat": "Session", "name": "x", "ts": 0}]))
    found = profile.read(path, warmup=1)
    assert found["run_ms"] == [0.9, 0.9]
    times = {(n, d): ms for n, _, d, ms in found["times"]}
    assert times[("a", 0)] == pytest.approx(0.1) and times[("b", 1)] == pytest.approx(0.1)
    assert times[("l", 0)] == pytest.approx(0.4)
    assert ("b", 0) not in times and ("c", 0) in times


def test_disturbed_runs_do_not_count() -> None:
    assert profile.typical([1.0] * 9 + [50.0]) == 1
    assert profile.typical([1.0, 2.0, 3.0]) == pytest.approx(1.5)
    assert profile.typical([4.0]) == 4


def test_the_clock() -> None:
    assert profile.Clock(alone=False).time(time.sleep, 0.02) >= 0.02
    clock = profile.Clock(alone=True)  # waiting is no interruption; on a busy machine one may occur
    assert max(clock.time(time.sleep, 0.02) for _ in range(20)) >= 0.02


def test_a_session_is_profiled_and_still_runs() -> None:
    model = net("h = Relu(x)  y = Exp(h)").SerializeToString()
    x = np.zeros((2, 4, 8, 8), np.float32)
    with shared_worker().session(model) as session:
        found = session.profile({"x": x}, runs=4, warmup=2)
        assert [t.op for t in found.times] == ["Relu", "Exp"] and len(found.run_ms) == 4
        assert [n.op for n in found.nodes] == ["Relu", "Exp"]
        assert found.nodes[1].inputs == ("h",) and found.kernel_ms > 0
        assert session.run({"x": x})["y"].sum() == x.size


def test_processors_are_kept() -> None:
    from onnxslim.runtime.worker import Worker

    with Worker() as worker:
        assert len(worker.pin(1)) <= 1
        assert worker.pin(1) == worker.pin(1)
