"""Faults while a model is optimized: the old output or the new one is there, and no litter."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxslim
from onnxslim.errors import OnnxSlimError
from onnxslim.pipeline.recipes import Recipe
from tests.nets import net
from tests.verify.broken import CASES, EliminateCorrectness

COMMAND = [sys.executable, "-c", "from onnxslim.cli.main import run; run()", "optimize"]
RUN = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
SIDE = 1024


def model(layers: int, seed: int = 0) -> onnx.ModelProto:
    """A chain of MatMuls of 4 MiB each."""
    rng = np.random.default_rng(seed)
    body = "  ".join(f"t{i + 1} = MatMul(t{i}, w{i})" for i in range(layers))
    weights: dict[str, Any] = {
        f"w{i}": (rng.standard_normal((SIDE, SIDE)) / 32).astype(np.float32) for i in range(layers)
    }
    return net(
        f"t0 = Identity(x)  {body}  y = Identity(t{layers})", x=f"float[1,{SIDE}]", **weights
    )


class Scene:
    """A folder with a model, an old output, and nothing else."""

    def __init__(self, root: Path, layers: int) -> None:
        self.source, self.target = root / "in.onnx", root / "out" / "out.onnx"
        self.temporary = root / "tmp"
        for folder in (self.target.parent, self.temporary):
            folder.mkdir()
        onnx.save(model(layers), self.source)
        self.old = b"old"
        self.new = b""
        self.reset()

    def reset(self) -> None:
        self.target.write_bytes(self.old)

    def command(self) -> list[str]:
        return [*COMMAND, str(self.source), "-o", str(self.target), "--force", "-q"]

    def environment(self) -> dict[str, str]:
        return {**os.environ, **RUN, "TMPDIR": str(self.temporary)}

    def run(self, limits: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(), env=self.environment(), preexec_fn=limits, text=True,
            capture_output=True, timeout=120,
        )  # fmt: skip

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(), env=self.environment(), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def is_whole(self) -> bool:
        return self.target.read_bytes() in (self.old, self.new)

    def litter(self) -> list[str]:
        outside = [p.name for p in self.target.parent.iterdir() if p != self.target]
        return outside + [p.name for p in self.temporary.iterdir()]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """After one good run, so that the new bytes are known."""
    made = Scene(tmp_path_factory.mktemp("faults"), layers=3)
    done = made.run()
    assert done.returncode == 0, done.stderr
    made.new = made.target.read_bytes()
    assert made.new != made.old and made.litter() == []
    return made


def test_kill_9_at_random_moments(scene: Scene) -> None:
    draw = random.Random(0)
    killed = 0
    for attempt in range(6):
        scene.reset()
        begun = time.monotonic()
        process = scene.start()
        if attempt % 2:
            time.sleep(draw.uniform(0.2, 1.5))
        else:  # as soon as anything appears beside the old file, or replaces it
            while process.poll() is None and time.monotonic() < begun + 60:
                if scene.litter() or scene.target.stat().st_size != len(scene.old):
                    break
            time.sleep(draw.uniform(0, 0.01))
        os.killpg(process.pid, signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        assert scene.is_whole()
    assert killed
    scene.reset()
    assert scene.run().returncode == 0
    assert scene.target.read_bytes() == scene.new
    beside = [p.name for p in scene.target.parent.iterdir()]
    assert beside == ["out.onnx"], "the next run removes what killed ones left"
    for left in scene.temporary.iterdir():  # of a child that was killed before it had its own group
        shutil.rmtree(left, ignore_errors=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_polite_end_leaves_nothing(scene: Scene, number: int) -> None:
    scene.reset()
    process = scene.start()
    end = time.monotonic() + 60
    while process.poll() is None and not scene.litter() and time.monotonic() < end:
        time.sleep(0.005)
    os.killpg(process.pid, number)
    assert process.wait(timeout=60) != 0 or scene.target.read_bytes() == scene.new
    assert scene.is_whole()
    if number == signal.SIGINT:
        assert scene.litter() == []


def test_a_full_disk_leaves_the_old_file_and_one_line(scene: Scene) -> None:
    scene.reset()
    limit = len(scene.new) // 2
    done = scene.run(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert done.returncode == 2, done.stderr
    assert done.stdout == "" and len(done.stderr.strip().splitlines()) == 1
    assert scene.target.read_bytes() == scene.old
    assert scene.litter() == []


def test_two_at_once_give_one_whole_file(scene: Scene) -> None:
    scene.reset()
    processes = [scene.start() for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert scene.target.read_bytes() == scene.new
    assert scene.litter() == []


def test_a_read_only_folder_is_one_line(scene: Scene) -> None:
    if os.geteuid() == 0:
        pytest.skip("root writes anywhere")
    scene.reset()
    scene.target.parent.chmod(0o500)
    try:
        done = scene.run()
    finally:
        scene.target.parent.chmod(0o700)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert scene.target.read_bytes() == scene.old


class Failing:
    """A function of ``os`` whose nth call fails (of ``open``: the nth that creates a file)."""

    def __init__(self, name: str, nth: int) -> None:
        self._name, self._real, self._nth = name, getattr(os, name), nth
        self.seen = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._name != "open" or args[1] & os.O_CREAT:
            self.seen += 1
            if self.seen == self._nth:
                raise OSError(28, "No space left on device")
        return self._real(*args, **kwargs)


CALLS = ("open", "write", "fsync", "replace", "fchmod")


@pytest.mark.parametrize("name", CALLS)
def test_the_nth_failing_call_leaves_the_old_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call of the parent that touches the target's folder fails once, in turn."""
    source, target = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(net("a = Identity(x)  y = Relu(a)"), source)
    onnxslim.optimize(source, output=target, verify=False)
    new = target.read_bytes()
    failed, nth = 0, 1
    while True:
        target.write_bytes(b"old")
        failing = Failing(name, nth)
        with monkeypatch.context() as patch:
            patch.setattr(os, name, failing)
            try:
                onnxslim.optimize(source, output=target, verify=False, force=True)
            except OnnxSlimError as error:
                failed += 1
                assert target.read_bytes() == b"old"
                assert "\n" not in str(error) and "No space left" in str(error)
            else:
                assert target.read_bytes() == new
        assert sorted(p.name for p in tmp_path.iterdir()) == ["in.onnx", "out.onnx"]
        if failing.seen < nth:
            break
        nth += 1
    assert failed >= (name != "fchmod")


def test_a_failed_verification_leaves_the_old_file(tmp_path: Path) -> None:
    source, target = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(CASES["wrong-epsilon"].model(), source)
    target.write_bytes(b"old")
    recipe = Recipe("broken", (EliminateCorrectness("wrong-epsilon"),))
    with pytest.raises(OnnxSlimError):
        onnxslim.optimize(source, recipe, output=target, force=True)
    assert target.read_bytes() == b"old"
