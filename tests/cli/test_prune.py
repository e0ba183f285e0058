"""``onnxslim prune`` as other programs see it."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest

from onnxslim.cli.main import invoke
from onnxslim.demo import labelled_path, model_path

MODEL = str(model_path())


def run(*args: str | Path) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = invoke(["prune", *(str(a) for a in args)])
    return code, out.getvalue(), err.getvalue()


def test_the_first_line_says_both_and_a_screen_follows(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    code, text, errors = run(MODEL, "--macs", "70%", "-o", out)
    assert code == 0, errors
    first = text.splitlines()[0]
    assert first.startswith("keeping at most 70 % of the MACs, removing about ")
    assert first.endswith(" % of the channels")
    assert "latency, one thread:" in text and "SQNR dB" in text and "recovery:" in text
    assert "PRUNED WITHOUT SAMPLE DATA" in errors
    assert out.is_file()


def test_json_is_one_document(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    code, text, errors = run(MODEL, "--ratio", "0.3", "-o", out, "--json", "--round-to", "4")
    assert (code, errors) == (0, "")
    found = json.loads(text)
    assert found["command"] == "prune" and found["output"] == str(out)
    assert found["budget"]["round_to"] == 4
    assert all(g["channels_after"] % 4 == 0 for g in found["groups"])
    assert found["after"]["bytes"] == out.stat().st_size


def test_labels_give_points(tmp_path: Path) -> None:
    code, text, errors = run(
        MODEL, "--macs", "0.8", "-o", tmp_path / "o.onnx", "--data", labelled_path(),
        "--labels", "y", "--samples", "64", "--scope", "local",
    )  # fmt: skip
    assert code == 0, errors
    assert "top1: " in text and "recovery: data" in text
    assert "WITHOUT SAMPLE DATA" not in errors


def test_a_dry_run_shows_groups_and_draws_them(tmp_path: Path) -> None:
    svg, dot = tmp_path / "g.svg", tmp_path / "g.dot"
    code, text, _ = run(MODEL, "--ratio", "0.5", "--dry-run", "--graph", svg)
    assert code == 0 and "group" in text and "graph output" in text
    code, _, _ = run(MODEL, "--ratio", "0.5", "--dry-run", "--graph", dot, "-q")
    assert code == 0
    assert svg.read_text().startswith("<svg") and dot.read_text().startswith("digraph")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["g.dot", "g.svg"]


def test_a_budget_out_of_reach_is_no_with_the_document_printed(tmp_path: Path) -> None:
    code, text, errors = run(MODEL, "--macs", "1", "--keep", "op:Conv", "-o", tmp_path / "o.onnx")
    assert code == 1 and "no channel can be pruned" in errors and not text
    code, text, errors = run(MODEL, "--macs", "0.00001", "-o", tmp_path / "p.onnx", "--json")
    assert code == 1 and "the least that pruning reaches" in errors
    assert json.loads(text)["budget"]["met"] is False
    assert not (tmp_path / "p.onnx").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--ratio", "0.5"], "prune needs -o OUT"),
        (["-o", "o.onnx"], "prune needs one budget"),
        (["--ratio", "0.5", "--macs", "0.5", "-o", "o.onnx"], "found --ratio and --macs"),
        (["--ratio", "0.5", "-o", "o.onnx", "--keep", "conv99"], "'conv99' matches nothing"),
        (["--ratio", "0.5", "-o", "o.onnx", "--layer", "op:Tanh=0.5"], "matches nothing"),
        (["--ratio", "0.5", "-o", "o.onnx", "--layer", "op:Conv"], "expected GLOB=R"),
        (["--ratio", "0.5", "-o", "o.onnx", "--round-to", "x"], "--round-to is 'x'"),
        (["--ratio", "1.5", "-o", "o.onnx"], "--ratio is 1.5"),
        (["--macs", "8ms", "-o", "o.onnx"], "--macs is '8ms'"),
        (["--ratio", "0.5", "-o", "o.onnx", "--criterion", "x"], "no criterion 'x'"),
        (["--ratio", "0.5", "-o", "o.onnx", "--require-data"], "--require-data"),
        (["--ratio", "0.5", "-o", "o.onnx", "--criterion", "wanda"], "give --data"),
        (["--ratio", "0.5", "-o", "o.onnx", "--data", "nowhere"], "no file or folder"),
    ],
)
def test_mistakes_are_one_line_and_code_2(
    args: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text, errors = run(MODEL, *args)
    assert (code, text) == (2, "")
    assert message in errors and errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
