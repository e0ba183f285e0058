"""``--report FILE.html`` on every command that has it."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest

from onnxslim.cli.main import invoke
from onnxslim.demo import model_path

MODEL = str(model_path())


def run(*args: str | Path) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = invoke([str(a) for a in args])
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def smaller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "smaller.onnx"
    assert run("optimize", MODEL, "-o", path, "--no-verify", "-q")[0] == 0
    return path


COMMANDS = [
    (("optimize", MODEL, "-o", "OUT"), "Optimization of"),
    (("optimize", MODEL, "-o", "OUT", "--seed", "3"), "Optimization of"),  # read by Typer
    (("inspect", MODEL), "Inspection of"),
    (("bench", MODEL, "--runs", "3"), "Benchmark of"),
    (("validate", MODEL, "SMALLER"), "Validation"),
    (("diff", MODEL, "SMALLER", "--fail-on", "none"), "Difference of"),
    (("prune", MODEL, "-o", "OUT", "--ratio", "0.3", "--no-recover"), "Pruning of"),
    (("quantize", MODEL, "-o", "OUT", "--mode", "float16", "--keep-io-types"), "Quantization of"),
]


@pytest.mark.parametrize(("command", "title"), COMMANDS, ids=lambda c: c[0] if c else "")
def test_a_report_beside_the_document(
    tmp_path: Path, smaller: Path, command: tuple[str, ...], title: str
) -> None:
    places = {"OUT": str(tmp_path / "out.onnx"), "SMALLER": str(smaller)}
    args = [places.get(a, a) for a in command]
    report = tmp_path / "r.html"
    code, out, err = run(*args, "--report", report, "--json")
    assert code == 0, err
    assert json.loads(out)["command"] == command[0]
    text = report.read_text()
    assert title in text and 'id="canvas"' in text
    assert str(report) in err


def test_a_gate_that_fails_is_reported_too(tmp_path: Path, smaller: Path) -> None:
    report = tmp_path / "r.html"
    code, _, err = run("validate", MODEL, smaller, "--atol", "0", "--report", report)
    assert code == 1 and "A gate does not hold" in report.read_text(), err


@pytest.mark.parametrize("command", [("inspect", MODEL), ("optimize", MODEL, "-o", "x.onnx")])
def test_a_model_is_not_replaced_by_a_report(command: tuple[str, ...]) -> None:
    before = model_path().read_bytes()
    code, out, err = run(*command, "--report", MODEL)
    assert code == 2 and not out and "that is a model" in err and err.count("\n") == 1
    assert model_path().read_bytes() == before


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    out = tmp_path / "o.onnx"
    code, _, err = run("optimize", MODEL, "-o", out, "--report", tmp_path / "no" / "r.html")
    assert code == 2 and "does not exist" in err and not out.exists()


def test_diff_prints_a_page(smaller: Path) -> None:
    code, out, _ = run("diff", MODEL, smaller, "--format", "html")
    assert code == 1 and out.startswith("<!DOCTYPE html>") and out.endswith("</html>\n")
