"""The command line as other programs see it: exit codes, one line of complaint, JSON."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx

from onnxslim.cli.main import invoke
from onnxslim.demo import labelled_path, model_path

MODEL = str(model_path())


Done = subprocess.CompletedProcess[str]


def run(*args: str | Path) -> Done:
    """One command line, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = invoke([str(a) for a in args])
    return Done(args, code, out.getvalue(), err.getvalue())


def run_apart(*args: str | Path, **env: str) -> Done:
    """One command line, in a process of its own."""
    command = [sys.executable, "-m", "onnxslim", *map(str, args)]
    variables = {**os.environ, **env}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=variables)


def document(done: Done) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


def save(tmp_path: Path, text: str, name: str = "m.onnx") -> Path:
    path = tmp_path / name
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def test_optimize_prints_one_document(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    done = run("optimize", MODEL, "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    found = document(done)
    assert found["schema"] == 1 and found["command"] == "optimize"
    assert set(found) >= {
        "input",
        "output",
        "before",
        "after",
        "passes",
        "verification",
        "warnings",
    }
    assert set(found["before"]) == {"nodes", "parameters", "macs", "bytes", "opset", "operators"}
    assert found["before"]["nodes"] > found["after"]["nodes"]
    assert found["before"]["macs"] > 1_000_000
    assert found["after"]["bytes"] == out.stat().st_size
    assert found["verification"]["level"] == "full" and found["verification"]["ok"] is True
    entry = found["verification"]["outputs"]["logits"]
    assert set(entry) >= {"max_abs", "max_rel", "cosine", "sqnr_db", "limit", "status"}
    folded = next(p for p in found["passes"] if p["name"] == "fold-batchnorm")
    assert set(folded) == {"name", "options", "rewrites", "seconds", "skipped"}
    assert folded["rewrites"] == 16


def test_no_verify_says_so(tmp_path: Path) -> None:
    done = run("optimize", MODEL, "-o", tmp_path / "out.onnx", "--no-verify", "--json")
    found = document(done)["verification"]
    assert found["level"] == "none" and found["ok"] is None
    shown = run("optimize", MODEL, "-o", tmp_path / "o2.onnx", "--no-verify")
    assert "not verified" in shown.stderr


def test_the_short_form_replaces_its_output(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    out.write_bytes(b"old")
    assert run_apart(MODEL, out).returncode == 0
    assert "BatchNormalization" not in [n.op_type for n in onnx.load(out).graph.node]


def test_a_saved_recipe_does_the_same(tmp_path: Path) -> None:
    first, second, recipe = (tmp_path / n for n in ("a.onnx", "b.onnx", "r.toml"))
    done = run(
        "optimize", MODEL, "-o", first, "-p", "fold-constants{limit=64}", "--save-recipe", recipe
    )
    assert done.returncode == 0, done.stderr
    assert run("optimize", MODEL, "-o", second, "--recipe", recipe).returncode == 0
    assert first.read_bytes() == second.read_bytes()


def test_only_the_named_pass(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    done = run(
        "optimize", MODEL, "-o", out, "--recipe", "none", "-p", "eliminate-identity", "--json"
    )
    assert [p["name"] for p in document(done)["passes"]] == ["eliminate-identity"]


def test_in_place_needs_force_and_is_safe(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model_path().read_bytes())
    refused = run("optimize", path, "-o", path)
    assert refused.returncode == 2 and "--force" in refused.stderr
    assert path.read_bytes() == model_path().read_bytes()
    assert run("optimize", path, "-o", path, "--force").returncode == 0
    onnx.checker.check_model(onnx.load(path))


TEXT = """<ir_version: 8, opset_import: ["" : 17]>
    agraph (float[batch, 4] x) => (float[batch, 2] y)
    <float[4, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}> { y = MatMul(x, w) }"""


def test_verbose_adds_the_traceback(tmp_path: Path) -> None:
    done = run_apart("optimize", tmp_path / "missing.onnx", "-o", tmp_path / "o.onnx", "-v")
    assert done.returncode == 2 and "Traceback" in done.stderr


def test_validate_with_labels_and_gates() -> None:
    done = run("validate", MODEL, MODEL, "--data", labelled_path(), "--labels", "y", "--json",
               "--max-drop", "0.5", "--min-agreement", "99", "--samples", "200")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = document(done)
    assert [g["name"] for g in found["gates"]] == ["min_agreement", "max_drop"]
    assert all(g["ok"] for g in found["gates"])
    score = found["score"]
    assert score["n"] == 200 and score["agreement"] == 100.0 and score["reference"] > 97
    assert score["interval"][0] <= 0 <= score["interval"][1]


def test_validate_says_no(tmp_path: Path) -> None:
    good = save(tmp_path, TEXT)
    bad = save(tmp_path, TEXT.replace("8}", "9}"), "bad.onnx")
    done = run("validate", good, bad, "--json", "--layers")
    assert done.returncode == 1
    found = document(done)
    assert found["ok"] is False and found["outputs"]["y"]["status"] == "exceeds"
    assert run("validate", good, bad, "--atol", "100", "--json").returncode == 0


def test_passes_lists_what_the_folder_holds() -> None:
    found = document(run("passes", "--json"))["passes"]
    root = Path(__file__).parents[2] / "passes"
    files = sorted(p.stem.replace("_", "-") for p in root.glob("[a-z]*.py"))
    assert [p["name"] for p in found] == files
    assert all(p["summary"] and p["numerics"] in ("exact", "rounding", "lossy") for p in found)
    assert "rescaling" in run("passes", "fold-batchnorm").stdout


def test_doctor_knows_the_runtime() -> None:
    found = document(run("doctor", "--json"))
    assert "CPUExecutionProvider" in found["providers"]
    assert found["packages"]["onnx"] != "not installed"


def test_the_other_distribution_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "site-packages" / "onnxslim-0.1.98.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxslim\nVersion: 0.1.98\n")
    root = str(Path(__file__).parents[2])
    done = run_apart("passes", PYTHONPATH=os.pathsep.join([root, str(folder.parent)]))
    assert done.returncode == 0
    assert "another distribution named onnxslim (0.1.98)" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_names_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(TEXT)
    model.graph.output[0].name = model.graph.node[0].output[0] = "\x1b[31mred\x1b[2J"
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    done = run("validate", path, path)
    assert "\x1b[" not in done.stdout + done.stderr
