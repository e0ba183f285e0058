"""What other people's scripts rely on is there: every command, option and field of a document."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxslim
from onnxslim.cli.main import COMMANDS, invoke
from onnxslim.report.entries import PassEntry
from tests.nets import classifier

RUNS = (
    "--provider --data --samples --seed --custom-ops --input-shape --dim --input-value --state "
    "--image-size --resize --channel-order --scale --mean --std --layout"
)
WRITES = "-o --output --json --force --no-verify -q -v"
OPTIONS = {
    "optimize": f"{RUNS} {WRITES} --report --recipe -p --save-recipe --fix-shape --opset "
    "--inputs --outputs --rename-dims",
    "prune": f"{RUNS} {WRITES} --report --ratio --macs --params --latency --max-drop --labels "
    "--metric --criterion --scope --keep --layer --round-to --min-channels --steps --dry-run "
    "--latency-table --time-limit --sensitivity --require-data --allow-random-calibration "
    "--executor",
    "quantize": f"{RUNS} {WRITES} --report --mode --target --format --calibrator --include "
    "--exclude --min-sqnr --max-drop --keep-io-types --strict --dry-run --labels --metric "
    "--allow-random-calibration",
    "compress": f"{RUNS} {WRITES} --report --ratio --macs --params --latency --max-drop "
    "--min-sqnr --labels --metric --target --allow-random-calibration",
    "validate": f"{RUNS} --json -q -v --report --rtol --atol --min-cosine --min-sqnr "
    "--min-agreement --max-drop --layers --labels --metric",
    "diff": "--format --json -o --output --force --ignore --weights --fail-on --git-setup "
    "--report -q -v",
    "inspect": "--json --report --input-shape --dim -q -v",
    "bench": f"{RUNS} --json --report --threads --runs --batch --table -q -v",
    "batch": f"{RUNS} {WRITES} --jobs --executor",
    "reduce": "-o --output --json --force --check -q -v",
    "passes": "--json -q -v",
    "doctor": "--json -q -v",
    "demo": "--json -o --output -q -v",
    "": "--version --install-completion --show-completion --help -h",
}


def printed(*args: str | Path, code: int = 0) -> str:
    """What a command line writes to standard output."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert invoke([str(a) for a in args]) == code, err.getvalue()
    return out.getvalue()


@pytest.mark.parametrize("command", OPTIONS, ids=[c or "onnxslim" for c in OPTIONS])
def test_every_option_is_there(command: str) -> None:
    text = printed(*filter(None, [command]), "--help")
    shown = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text))
    assert sorted(set(OPTIONS[command].split()) - shown) == []


def test_every_command_is_there() -> None:
    listed = re.findall(r"^  (\w+)  ", printed("--help").partition("Commands:")[2], re.M)
    assert sorted(listed) == sorted(COMMANDS) == sorted(filter(None, OPTIONS))


@pytest.mark.parametrize("line", ["passes", "passes fold-batchnorm", "doctor"])
def test_quiet_prints_nothing(line: str) -> None:
    assert printed(*line.split()) and printed(*line.split(), "-q") == ""
    assert json.loads(printed(*line.split(), "-q", "--json"))["command"] == line.split()[0]


def test_version_and_completion(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed("--version") == f"onnxslim {onnxslim.__version__}\n"
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    with pytest.raises(SystemExit) as ended:
        invoke(["--show-completion", "bash"])
    assert ended.value.code == 0
    assert "_ONNXSLIM_COMPLETE=complete_bash" in capsys.readouterr().out
    monkeypatch.setenv("_ONNXSLIM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "onnxslim opt")
    monkeypatch.setenv("COMP_CWORD", "1")
    with pytest.raises(SystemExit):
        invoke([])
    assert capsys.readouterr().out.split() == ["optimize"]


NUMBER = (int, float)
MAYBE = (int, float, type(None))
SUMMARY = {
    "nodes": int, "parameters": int, "macs": (int, type(None)), "bytes": int, "opset": int,
    "operators": {str: int},
}  # fmt: skip
OUTPUT = {
    "max_abs": MAYBE, "max_rel": MAYBE, "cosine": MAYBE, "sqnr_db": MAYBE, "limit": MAYBE,
    "status": str,
}  # fmt: skip
COMMON = {
    "schema": int, "command": str, "input": str, "output": str, "before": SUMMARY,
    "after": SUMMARY, "warnings": [str],
    "passes": [
        {"name": str, "options": dict, "rewrites": int, "seconds": NUMBER, "skipped": {str: int}}
    ],
    "verification": {
        "level": str, "ok": (bool, type(None)), "provider": str, "samples": int,
        "outputs": {str: OUTPUT},
    },
}  # fmt: skip
PRUNED = {
    "budget": dict, "recovery": str, "frozen": [{"layer": str, "reason": str}],
    "groups": [
        {
            "id": int, "channels_before": int, "channels_after": int, "layers": [str],
            "kept": {str: {str: [int]}},
        }
    ],
}  # fmt: skip
QUANTIZED = {
    "calibration": {"method": (str, type(None)), "samples": int},
    "layers": [
        {"name": str, "quantized": bool, "reason": (str, type(None)), "sqnr_db": MAYBE}
    ],
}  # fmt: skip
CHANGES = {"added": list, "removed": list, "changed": list}
DOCUMENTS: dict[str, dict[str, Any]] = {
    "optimize": COMMON,
    "prune": {**COMMON, **PRUNED},
    "quantize": {**COMMON, **QUANTIZED},
    "compress": {**COMMON, **PRUNED, **QUANTIZED},
    "validate": {
        "schema": int, "command": str, "ok": bool, "provider": str, "samples": int,
        "gates": [{"name": str, "limit": NUMBER, "value": MAYBE, "ok": bool}],
        "outputs": {str: OUTPUT},
        "score": {
            "metric": str, "reference": NUMBER, "candidate": NUMBER, "agreement": NUMBER, "n": int,
            "interval": [NUMBER],
        },
    },
    "diff": {
        "schema": int, "command": str, "identical": bool, "nodes": CHANGES,
        "initializers": CHANGES, "inputs": CHANGES, "outputs": CHANGES, "meta": dict,
    },
    "inspect": {
        "schema": int, "command": str, "model": SUMMARY, "inputs": list, "outputs": list,
        "layers": [
            {"name": str, "op": str, "parameters": int, "macs": MAYBE, "output_shape": list}
        ],
    },
    "bench": {
        "schema": int, "command": str, "provider": str, "threads": int,
        "models": [
            {
                "path": str, "median_ms": NUMBER, "p10_ms": NUMBER, "p90_ms": NUMBER,
                "ratio_to_first": NUMBER,
            }
        ],
    },
}  # fmt: skip


def faults(value: Any, expected: Any, where: str = "") -> list[str]:
    """Where a document is not as it should be: a type, a list of, a mapping, or fields."""
    if isinstance(expected, (type, tuple)):
        return [] if isinstance(value, expected) else [f"{where} is {value!r}"]
    if isinstance(expected, list):
        if not isinstance(value, list):
            return [f"{where} is {value!r}"]
        return [f for i, v in enumerate(value) for f in faults(v, expected[0], f"{where}[{i}]")]
    if not isinstance(value, Mapping):
        return [f"{where} is {value!r}"]
    if str in expected:
        expected = dict.fromkeys(value, expected[str])
    missing = [f"{where}.{key} is missing" for key in expected if key not in value]
    inner = [
        f for k in expected if k in value for f in faults(value[k], expected[k], f"{where}.{k}")
    ]
    return missing + inner


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that every command has something to do with, and labelled samples."""
    folder = tmp_path_factory.mktemp("contract")
    onnx.save(classifier(16), str(folder / "m.onnx"))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((24, 3, 8, 8)).astype(np.float32)
    np.savez(folder / "data.npz", x=x, y=rng.integers(0, 10, 24))
    return folder


LINES = {
    "optimize": "m.onnx -o optimized.onnx",
    "prune": "m.onnx -o pruned.onnx --ratio 0.5 --data data.npz",
    "quantize": "m.onnx -o quantized.onnx --data data.npz",
    "compress": "m.onnx -o compressed.onnx --data data.npz --ratio 0.25",
    "validate": "m.onnx m.onnx --data data.npz --labels y --min-cosine 0.9",
    "diff": "m.onnx optimized.onnx",
    "inspect": "m.onnx",
    "bench": "m.onnx optimized.onnx --runs 3",
}


@pytest.fixture(scope="module")
def documents(folder: Path) -> dict[str, dict[str, Any]]:
    """What each command prints with ``--json``."""
    found = {}
    with contextlib.chdir(folder):
        for command, line in LINES.items():
            text = printed(command, *line.split(), "--json", code=1 if command == "diff" else 0)
            found[command] = json.loads(text)
    return found


@pytest.mark.parametrize("command", DOCUMENTS)
def test_every_field_is_there(command: str, documents: dict[str, dict[str, Any]]) -> None:
    found = documents[command]
    assert faults(found, DOCUMENTS[command]) == []
    assert (found["schema"], found["command"]) == (1, command)


def test_the_documents_have_something_in_every_list(documents: dict[str, dict[str, Any]]) -> None:
    assert documents["optimize"]["passes"] and documents["optimize"]["verification"]["outputs"]
    for command in ("prune", "compress"):
        assert documents[command]["groups"] and documents[command]["groups"][0]["kept"]
        assert documents[command]["frozen"]
    assert documents["quantize"]["layers"] and documents["inspect"]["layers"]
    assert documents["validate"]["gates"] and documents["validate"]["score"]["n"] == 24
    assert len(documents["validate"]["score"]["interval"]) == 2
    assert documents["diff"]["nodes"]["removed"] and len(documents["bench"]["models"]) == 2


def test_sensitivity_takes_an_executor(folder: Path) -> None:
    line: list[str | Path] = [
        "prune",
        folder / "m.onnx",
        "--sensitivity",
        "--data",
        folder / "data.npz",
        "--json",
    ]
    alone = json.loads(printed(*line, "--samples", "16"))
    spread = json.loads(printed(*line, "--samples", "16", "--executor", "processes:1"))
    assert alone["sensitivity"] and alone == spread


def test_prune_takes_an_executor(folder: Path, tmp_path: Path) -> None:
    line: list[str | Path] = ["prune", folder / "m.onnx", "--macs", "0.6", "--min-channels", "1"]
    line += ["--data", folder / "data.npz", "--samples", "16", "--json"]
    printed(*line, "-o", tmp_path / "a.onnx")
    printed(*line, "-o", tmp_path / "b.onnx", "--executor", "processes:1")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_batch_takes_the_description_of_inputs(folder: Path) -> None:
    line: list[str | Path] = [
        "batch",
        "none",
        folder / "m.onnx",
        "-o",
        folder / "results",
        "--jobs",
        "1",
        "--json",
    ]
    found = json.loads(printed(*line, "--dim", "N=3"))
    assert [m["ok"] for m in found["models"]] == [True]
    wrong = json.loads(printed(*line, "--dim", "K=3", code=1))
    assert "no dimension 'K'" in wrong["models"][0]["error"]


def test_an_infinite_option_is_a_text() -> None:
    """JSON has no infinity: a document with one could not be printed."""
    entry = PassEntry("quantize-static", {"caution": math.inf, "sqnr": 1.5, "n": None}, 0, 0.0, {})
    assert entry.options == {"caution": "inf", "sqnr": 1.5, "n": None}


def test_the_python_interface_is_there() -> None:
    names = "load optimize prune quantize compress validate diff inspect bench save slim batch"
    assert [n for n in names.split() if not callable(getattr(onnxslim, n, None))] == []
