"""``onnxslim reduce`` as scripts see it."""

from __future__ import annotations

import json
from pathlib import Path

import onnx

from onnxslim.demo import model_path
from tests.cli.test_commands import run


def test_the_smallest_model_is_written(tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    done = run("reduce", model_path(), "--check", "if grep -q Gemm {}; then exit 7; fi", "-o", out)
    assert done.returncode == 0, done.stderr
    assert [n.op_type for n in onnx.load(out).graph.node] == ["Gemm"]
    assert "exit code 7" in done.stdout and str(out) in done.stdout


def test_json(tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    done = run("reduce", model_path(), "--check", "! grep -q Gemm {}", "-o", out, "--json")
    found = json.loads(done.stdout)
    assert found["command"] == "reduce" and found["after"]["nodes"] == 1
    assert found["complete"] is True and found["passes"] is None
    assert found["after"]["bytes"] == out.stat().st_size


def test_exit_codes(tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    passes = run("reduce", model_path(), "--check", "true {}", "-o", out)
    assert passes.returncode == 1 and "nothing to reduce" in passes.stderr
    assert run("reduce", model_path(), "--check", "false", "-o", out).returncode == 2
    assert not out.exists()
    out.write_bytes(b"kept")
    kept = run("reduce", model_path(), "--check", "false {}", "-o", out)
    assert kept.returncode == 2 and out.read_bytes() == b"kept"
