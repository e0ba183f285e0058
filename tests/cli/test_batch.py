"""The command ``batch``: a table, one document, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from onnxslim.cli.main import invoke
from tests.nets import net


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "in"
    found.mkdir()
    onnx.save(net("a = Identity(x)  y = Relu(a)", x="float[2]"), str(found / "good.onnx"))
    return found


def test_json_and_exit_codes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["batch", "default", str(folder), "-o", str(tmp_path / "out"), "--jobs", "1"]
    assert invoke([*line, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1 and found["command"] == "batch" and found["ok"]
    assert found["models"][0]["before"]["nodes"] == 2 and found["models"][0]["after"]["nodes"] == 1
    (folder / "bad.onnx").write_bytes(b"\x00")
    assert invoke(line) == 1
    shown = capsys.readouterr()
    assert "done before" in shown.err and "FAILED" in shown.err
    assert "good.onnx" in shown.out and "failed" in shown.out


def test_mistakes(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["-o", str(tmp_path / "out")]
    assert invoke(["batch", "default", str(tmp_path / "none"), *out]) == 2
    assert invoke(["batch", "default", str(folder), *out, "--executor", "gpu"]) == 2
    both = ["--executor", "processes:2", "--jobs", "2"]
    assert invoke(["batch", "default", str(folder), *out, *both]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 3
