"""The examples of the README run as they are pasted, from the root of a checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
SHELL = [text for kind, text in BLOCKS if kind == "sh" and "onnxslim optimize" in text]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder in which the paths of the README hold, and results do no harm."""
    (tmp_path / "onnxslim").symlink_to(ROOT / "onnxslim")
    return tmp_path


def run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


def test_there_are_examples() -> None:
    assert PYTHON and SHELL


@pytest.mark.parametrize("text", PYTHON)
def test_python_example_runs(text: str, checkout: Path) -> None:
    run([sys.executable, "-c", text], checkout)


@pytest.mark.parametrize("text", SHELL)
def test_shell_example_runs(text: str, checkout: Path) -> None:
    installed = 'set -eu; onnxslim() { "$PYTHON" -m onnxslim "$@"; }\n'
    run(["bash", "-c", installed + text], checkout)
