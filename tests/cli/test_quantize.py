"""``onnxslim quantize`` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxslim.cli.main import invoke
from tests.nets import net

CONV = "Conv<pads = [1, 1, 1, 1]>"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str, str]:
    """Model, data and output."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    body = f"h = {CONV}(x, w, b)  r = Relu(h)  k = {CONV}(r, w2)  y = Relu(k)"
    model = net(body, x="float[N,32,8,8]", w=(32, 32, 3, 3), w2=(32, 32, 3, 3), b=(32,), opset=11)
    onnx.save(model, tmp_path / "m.onnx")
    data = np.random.default_rng(0).standard_normal((32, 32, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "c.npz", x=data)
    return str(tmp_path / "m.onnx"), str(tmp_path / "c.npz"), str(tmp_path / "out.onnx")


FAST = ["--no-improve", "--include", "op:*", "--calibrator", "minmax"]


def test_json_is_one_document(
    files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    model, data, out = files
    assert invoke(["quantize", model, "-o", out, "--data", data, "--json", *FAST]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1 and document["command"] == "quantize"
    assert document["calibration"] == {"method": "minmax", "samples": 32}
    assert {"name", "quantized", "reason", "sqnr_db"} <= set(document["layers"][0])
    assert document["after"]["opset"] == 13
    assert any("opset raised from 11 to 13" in w for w in document["warnings"])
    onnx.checker.check_model(out, full_check=True)


def test_a_person_reads_what_became_integers(
    files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    model, data, out = files
    assert invoke(["quantize", model, "-o", out, "--data", data, *FAST]) == 0
    shown = capsys.readouterr()
    assert "layers quantized" in shown.out and "2 of 2" in shown.out and "output SQNR" in shown.out
    assert "warning: only 32 calibration samples" in shown.err


def test_a_dry_run_prints_the_plan(
    files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    model, _, out = files
    assert invoke(["quantize", model, "--dry-run", "--include", "op:*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("layer ") for line in lines) == 2
    assert any(line.startswith("tensor ") for line in lines)
    assert not Path(out).exists()


@pytest.mark.parametrize(
    ("more", "floats"),
    [
        (["--exclude", "h"], ["h"]),
        (["--exclude", "[k]"], ["k"]),
        (["--exclude", "op:Conv"], ["h", "k"]),
        (["--exclude", "h", "--exclude", "k"], ["h", "k"]),
        (["--include", "k"], ["h"]),
        (["--include", "op:C*", "--exclude", "k"], ["k"]),
    ],
)
def test_layers_are_chosen_by_name_glob_and_type(
    files: tuple[str, str, str],
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    floats: list[str],
) -> None:
    model, *_ = files
    included = [] if "--include" in more else ["--include", "op:*"]
    assert invoke(["quantize", model, "--dry-run", *included, *more]) == 0
    lines = capsys.readouterr().out.splitlines()
    kept = [line.split()[1] for line in lines if line.endswith("float: excluded")]
    assert kept == floats


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ([], "--data"),
        (["--data", "random"], "--allow-random-calibration"),
        (["--data", "DATA", "--exclude", "nobody"], "--exclude 'nobody'"),
        (["--data", "DATA", "--target", "toaster"], "toaster"),
    ],
)
def test_what_cannot_be_done_is_two_and_one_line(
    files: tuple[str, str, str], capsys: pytest.CaptureFixture[str], more: list[str], text: str
) -> None:
    model, data, out = files
    given = [data if word == "DATA" else word for word in more]
    assert invoke(["quantize", model, "-o", out, *given]) == 2
    shown = capsys.readouterr()
    assert text in shown.err and len(shown.err.splitlines()) == 1 and not shown.out
    assert not Path(out).exists()


def test_a_gate_that_cannot_be_met_is_one_and_the_document_is_printed(
    files: tuple[str, str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from onnxslim.api.checking import Judgement

    monkeypatch.setattr(Judgement, "alarms", lambda self: ["slower"])
    model, data, out = files
    line = ["quantize", model, "-o", out, "--data", data, "--json", "--strict", *FAST]
    assert invoke(line) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out)["output"] is None and "--strict" in shown.err
    assert not Path(out).exists()
