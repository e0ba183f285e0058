"""Every sample runs as it stands, from another folder, and says something."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from tests.nets import net

ROOT = Path(__file__).resolve().parent.parent.parent
PLUGGED = "prune_custom_criterion.py"  # needs the package beside it
SAMPLES = sorted(p for p in (ROOT / "samples").glob("*.py") if p.name != PLUGGED)


def test_there_are_samples() -> None:
    assert SAMPLES


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_sample_runs(sample: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, sample],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample package, installed in a folder of its own."""
    source, target = tmp_path_factory.mktemp("plugin") / "source", tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "samples" / "plugin", source)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    done = subprocess.run(
        [*command, "--no-build-isolation", "--target", str(target), str(source)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return target


def run(command: list[str], folder: Path, plugin: Path) -> str:
    path = os.pathsep.join([str(ROOT), str(plugin)])
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_plug_in_adds_a_criterion(plugin: Path, tmp_path: Path) -> None:
    assert "% of the MACs" in run([str(ROOT / "samples" / PLUGGED)], tmp_path, plugin)


def test_a_plug_in_adds_a_pass(plugin: Path, tmp_path: Path) -> None:
    model = net("a = Neg(x)  b = Neg(a)  y = Relu(b)", x="float[2]")
    onnx.save(model, str(tmp_path / "m.onnx"))
    line = ["optimize", "m.onnx", "-o", "out.onnx", "--recipe", "none"]
    passes = ["-p", "eliminate-double-negation", "-p", "eliminate-dead"]
    run(["-m", "onnxslim", *line, *passes], tmp_path, plugin)
    assert [n.op_type for n in onnx.load(tmp_path / "out.onnx").graph.node] == ["Relu"]
    assert "eliminate-double-negation" in run(["-m", "onnxslim", "passes"], tmp_path, plugin)
