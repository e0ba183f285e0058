"""``onnxslim diff`` as scripts see it: exit codes, formats, git."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from onnxslim.cli.main import invoke
from onnxslim.demo import model_path
from tests.cli.test_commands import run, save

ONE = '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
TWO = ONE.replace("Relu", "Tanh")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return save(tmp_path, ONE, "a.onnx"), save(tmp_path, TWO, "b.onnx")


def test_exit_codes(pair: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = pair
    assert run("diff", a, a).returncode == 0
    different = run("diff", a, b)
    assert different.returncode == 1 and "Relu -> Tanh" in different.stdout
    missing = run("diff", a, tmp_path / "none.onnx")
    assert missing.returncode == 2 and missing.stdout == "" and missing.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "code"), [("any", 1), ("structure", 1), ("weights", 0), ("io", 0), ("none", 0)]
)
def test_what_fails_can_be_chosen(pair: tuple[Path, Path], option: str, code: int) -> None:
    assert run("diff", *pair, "--fail-on", option).returncode == code


def test_json_is_one_document(pair: tuple[Path, Path]) -> None:
    done = run("diff", *pair, "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1 and found["identical"] is False and found["schema"] == 1
    assert len(found["nodes"]["changed"]) == 1
    assert json.loads(run("diff", *pair, "--format", "json").stdout) == found


def test_markdown_into_a_file(pair: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "comment.md"
    done = run("diff", *pair, "--format", "markdown", "-o", target)
    assert done.returncode == 1 and done.stdout == ""
    assert target.read_text().startswith("### ")


def test_a_text_replaces_no_model_and_no_file_unasked(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    before = pair[1].read_bytes()
    over = run("diff", *pair, "-o", pair[1], "--force")
    assert over.returncode == 2 and "is a model" in over.stderr and not over.stdout
    assert pair[1].read_bytes() == before
    target = tmp_path / "d.txt"
    target.write_text("mine")
    again = run("diff", *pair, "-o", target)
    assert again.returncode == 2 and "--force" in again.stderr and target.read_text() == "mine"
    assert run("diff", *pair, "-o", target, "--force").returncode == 1
    assert "Relu -> Tanh" in target.read_text()


def test_quiet_says_nothing(pair: tuple[Path, Path]) -> None:
    done = run("diff", *pair, "-q")
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["--ignore", "colour"], "colour"),
        (["--weights", "roughly"], "roughly"),
        (["--weights", "close:1"], "close:1"),
    ],
)
def test_a_mistake_is_one_line(pair: tuple[Path, Path], args: list[str], hint: str) -> None:
    done = run("diff", *pair, *args)
    assert done.returncode == 2 and hint in done.stderr and done.stderr.count("\n") == 1


def test_one_model_is_not_enough(pair: tuple[Path, Path]) -> None:
    assert run("diff", pair[0]).returncode == 2


def test_names_cannot_reach_the_terminal(tmp_path: Path) -> None:
    bad = ONE.replace(" y = Relu", " y = Tanh")
    a, b = save(tmp_path, ONE, "a.onnx"), save(tmp_path, bad, "b.onnx")
    import onnx

    proto = onnx.load(b)
    proto.graph.node[0].name = "\x1b[31mred\x07"
    onnx.save(proto, b)
    shown = run("diff", a, b).stdout
    assert "\x1b" not in shown and "\x07" not in shown and "red" in shown


def git(folder: Path, *words: str) -> str:
    variables = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for who in ("AUTHOR", "COMMITTER"):
        variables |= {f"GIT_{who}_NAME": "t", f"GIT_{who}_EMAIL": "t@example.org"}
    done = subprocess.run(
        ["git", *words], cwd=folder, env=variables, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_shows_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q")
    model = save(tmp_path, ONE)
    git(tmp_path, "add", "m.onnx")
    git(tmp_path, "commit", "-q", "-m", "one")
    monkeypatch.chdir(tmp_path)
    assert run("diff", "--git-setup").returncode == 0
    assert run("diff", "--git-setup").returncode == 0  # again does no harm
    save(tmp_path, TWO)
    shown = git(tmp_path, "diff")
    assert "Relu -> Tanh" in shown and "a/m.onnx -> b/m.onnx" in shown
    model.write_bytes(b"broken")
    assert "not compared" in git(tmp_path, "diff")
    model.unlink()
    assert "deleted model m.onnx" in git(tmp_path, "diff")


def test_git_setup_outside_of_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    done = run("diff", "--git-setup")
    assert done.returncode == 2 and done.stderr.count("\n") == 1


def test_the_demo_before_and_after(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    assert run("optimize", model_path(), "-o", out, "--no-verify").returncode == 0
    done = run("diff", model_path(), out)
    assert done.returncode == 1 and "BatchNormalization folded into Conv" in done.stdout


def test_the_collector_of_garbage_is_left_as_it_was(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """It does not look through two models while they are compared and the result is shown."""
    for other in (*pair, Path("/nowhere.onnx")):
        invoke(["diff", str(pair[0]), str(other)])
        assert gc.isenabled() and not gc.get_freeze_count()
    assert "expected the path" in capsys.readouterr().err
