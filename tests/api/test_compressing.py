"""Stages are kept when they pass their gates, and rolled back when they do not."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxslim
from onnxslim import RunOptions, demo
from onnxslim.cli.main import invoke
from onnxslim.errors import DataError
from tests.nets import classifier

FEW = RunOptions(samples=64)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model in which every stage has something to do, and samples: for what needs no accuracy."""
    folder = tmp_path_factory.mktemp("small")
    onnx.save(classifier(32), str(folder / "m.onnx"))
    x = np.random.default_rng(0).standard_normal((64, 3, 8, 8)).astype(np.float32)
    np.savez(folder / "data.npz", x=x)
    return folder / "m.onnx", folder / "data.npz"


def printed(*args: str) -> str:
    """What a command line writes to standard output."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert invoke(list(args)) == 0
    return out.getvalue()


def test_prune_and_quantize_and_what_became_of_them(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    result = onnxslim.compress(
        demo.model_path(), data=demo.calibration_path(), macs=0.6, search=False, output=out,
        options=FEW,
    )  # fmt: skip
    assert [s["name"] for s in result.stages] == ["simplify", "prune", "quantize"]
    assert result.stages[1]["kept"] and result.after.macs is not None
    assert result.before.macs is not None and result.after.macs <= 0.6 * result.before.macs
    report = onnxslim.validate(demo.model_path(), out, data=demo.labelled_path(), labels="y")
    assert report.score is not None and report.score.candidate > 97
    found = json.loads(json.dumps(result.to_json()))
    assert found["command"] == "compress" and found["groups"] and found["layers"] is not None
    onnx.checker.check_model(onnx.load(out))


def test_a_stage_that_fails_its_gate_is_rolled_back(small: tuple[Path, Path]) -> None:
    model, data = small
    result = onnxslim.compress(
        model, data=data, macs=0.3, search=False, min_sqnr=200.0,
        options=FEW,
    )  # fmt: skip
    assert [s["kept"] for s in result.stages] == [True, False, False]
    assert any("rolled back" in warning for warning in result.warnings)
    assert result.after.parameters == pytest.approx(result.before.parameters, rel=0.05)
    assert result.pruned is None and result.quantized is None


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="--data"):
        onnxslim.compress(demo.model_path())
    out = str(tmp_path / "o.onnx")
    assert invoke(["compress", str(demo.model_path()), "-o", out]) == 2
    assert "--data" in capsys.readouterr().err and not Path(out).exists()


def test_what_is_not_verified_is_not_compared(tmp_path: Path, small: tuple[Path, Path]) -> None:
    """A gate that was asked for is checked all the same."""
    model, data = map(str, small)
    line = ["compress", model, "--data", data, "--samples", "64", "--json"]
    found = {}
    for gate in ("", "200"):
        out = tmp_path / f"out{gate}.onnx"
        more = ["--min-sqnr", gate] if gate else []
        text = printed(*line, "--no-verify", *more, "-o", str(out))
        found[gate] = json.loads(text)
        onnx.checker.check_model(onnx.load(out))
    assert [d["verification"]["level"] for d in found.values()] == ["none", "none"]
    assert [d["validation"] for d in found.values()] == [None, None]
    assert found["200"]["stages"][-1]["kept"] is False


def test_random_calibration_has_to_be_allowed(
    tmp_path: Path, small: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "o.onnx")
    line = ["compress", str(small[0]), "-o", out, "--data", "random", "--samples", "16"]
    assert invoke(line) == 2 and not Path(out).exists()
    assert "--allow-random-calibration" in capsys.readouterr().err
    assert invoke([*line, "--allow-random-calibration", "-q"]) == 0
    onnx.checker.check_model(onnx.load(out))
