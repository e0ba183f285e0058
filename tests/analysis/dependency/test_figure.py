"""The picture in docs/dependency.md is what its script draws."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def test_the_picture_is_current(tmp_path: Path) -> None:
    if not (ROOT / "docs").is_dir():
        pytest.skip("an sdist has no docs")
    script, model = ROOT / "docs/figures/draw_group.py", ROOT / "onnxslim/demo/resnet_mnist.onnx"
    out = tmp_path / "group.svg"
    subprocess.run([sys.executable, str(script), str(model), str(out)], check=True, cwd=ROOT)
    assert out.read_text() == (ROOT / "docs/figures/group.svg").read_text()
