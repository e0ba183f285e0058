"""Every example of the README and the docs runs as it is pasted, from the root of a checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
INSTALLS = re.compile(r"^(pip|pipx|make|uv|dask|apt|git|bench|\.venv)\b|benchmarks/", re.M)
"""What is not pasted into a test: it installs, starts servers, or takes minutes."""


def blocks(*kinds: str) -> Iterator[tuple[str, str]]:
    for file in FILES:
        for number, (kind, text) in enumerate(BLOCK.findall(file.read_text("utf-8"))):
            if kind in kinds:
                yield f"{file.stem}-{number}", text


NAMES = {"model.onnx": "resnet_mnist.onnx", "samples.npz": "calib.npz", "test.npz": "test.npz"}
"""Files that examples call by plain names."""

PYTHON = list(blocks("python"))
SHELL = [(name, text) for name, text in blocks("sh", "bash") if not INSTALLS.search(text)]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder in which the paths of the docs hold, and results do no harm."""
    for name in ("onnxslim", "samples"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name, source in NAMES.items():
        shutil.copy(ROOT / "onnxslim" / "demo" / source, tmp_path / name)
    few = np.load(tmp_path / "samples.npz")["input"][:24]  # too few for the passes that take long
    np.savez(tmp_path / "samples.npz", input=few)
    return tmp_path


def run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, check=False, capture_output=True, text=True, timeout=400,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHON": sys.executable},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_examples() -> None:
    assert len(PYTHON) > 5 and len(SHELL) > 3


@pytest.mark.parametrize("text", [t for _, t in PYTHON], ids=[n for n, _ in PYTHON])
def test_python_example_runs(text: str, checkout: Path) -> None:
    (checkout / "example.py").write_text(text, encoding="utf-8")
    run([sys.executable, "example.py"], checkout)


@pytest.mark.parametrize("text", [t for _, t in SHELL], ids=[n for n, _ in SHELL])
def test_shell_example_runs(text: str, checkout: Path) -> None:
    installed = 'set -eu; onnxslim() { "$PYTHON" -m onnxslim "$@"; }\n'
    run(["bash", "-c", installed + text], checkout)


def test_the_modules_that_the_architecture_names_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    layers = {p.name for p in (ROOT / "onnxslim").iterdir() if p.is_dir()}
    table = set(re.findall(r"^\| `(\w+)` \|", text, re.M))
    assert layers - table - {"__pycache__", "demo", "passes"} == set()
    named = re.findall(rf"\b({'|'.join(layers)})[./]([a-z_]+)(?:\.([a-z_]+))?", text)
    for layer, name, inner in named:
        path = ROOT / "onnxslim" / layer / name
        found = path.is_dir() or path.with_suffix(".py").exists()
        if not found:
            found = f"def {name}(" in (ROOT / "onnxslim" / layer / "__init__.py").read_text("utf-8")
        assert found, f"{layer}.{name}"
        if inner and path.with_suffix(".py").exists():
            assert f"def {inner}(" in path.with_suffix(".py").read_text("utf-8"), inner
    assert len(named) > 10


def test_other_blocks_name_a_language_that_is_not_run() -> None:
    known = {"", "python", "sh", "bash", "toml", "text", "yaml", "json", "mermaid", "make"}
    for file in FILES:
        assert {kind for kind, _ in BLOCK.findall(file.read_text("utf-8"))} <= known, file
