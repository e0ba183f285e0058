"""What a command imports before it does anything: that decides how long the shortest one takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from onnxslim.cli import quick
from onnxslim.cli.app import app
from onnxslim.cli.comparison import Comparison
from onnxslim.cli.job import Job

HEAVY = ("onnx", "onnx_ir", "onnxruntime", "networkx", "jinja2", "sympy")
TYPER = ("typer", "pydantic", "rich")


def imported(*args: str, code: int = 0) -> set[str]:
    """Top-level modules that one command line has imported when it ends."""
    script = (
        "import sys\nfrom onnxslim.cli.main import invoke\n"
        f"code = invoke({list(args)!r})\n"
        "print('modules', *sorted({name.split('.')[0] for name in sys.modules}))\n"
        f"sys.exit(code != {code})"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["optimize", "--help"]])
def test_help_imports_nothing_heavy(args: list[str]) -> None:
    assert not imported(*args).intersection(HEAVY)


def test_a_plain_line_is_read_without_typer(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.onnx")
    found = imported("optimize", missing, "-o", missing, "--force", code=2)
    assert "onnx_ir" in found and not found.intersection(TYPER)


def test_a_plain_comparison_is_read_without_typer() -> None:
    from onnxslim.demo import model_path

    found = imported("diff", str(model_path()), str(model_path()), "-q")
    assert "onnx_ir" in found and not found.intersection(TYPER)


def test_the_runtime_is_never_imported_here() -> None:
    from onnxslim.demo import model_path

    found = imported("optimize", str(model_path()), "-o", "/dev/null/no", "-q", code=2)
    assert "onnxruntime" not in found


PLAIN = [
    ["in.onnx", "-o", "out.onnx"],
    ["-o", "out.onnx", "in.onnx", "--force", "-q"],
    ["in.onnx", "--output", "out.onnx", "--no-verify", "--json", "--quiet"],
    ["in.onnx", "-o", "a", "-o", "b", "--recipe", "minimal"],
    ["in.onnx", "-o", "o", "-p", "fold-pad", "--pass", "fuse-clip", "--skip", "a", "--skip", "b"],
]


@pytest.mark.parametrize("args", PLAIN, ids=" ".join)
def test_typer_reads_the_same(args: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Job] = []

    def execute(job: Job) -> int:
        read.append(job)
        return 0

    monkeypatch.setattr("onnxslim.cli.job.execute", execute)
    assert app(args=["optimize", *args], standalone_mode=False) == 0
    (by_typer,) = read
    plain = quick.parse(["optimize", *args])
    assert plain is not None
    for name in ("model", "output", "recipe", "passes", "skip", "force", "verify", "json", "quiet"):
        assert getattr(plain, name) == getattr(by_typer, name), name
    assert not any(by_typer.edits.values()) and by_typer.save_recipe is None


COMPARISONS = [
    ["a.onnx", "b.onnx"],
    ["--json", "a.onnx", "b.onnx", "-q"],
    ["a.onnx", "--format", "markdown", "b.onnx", "--quiet"],
]


@pytest.mark.parametrize("args", COMPARISONS, ids=" ".join)
def test_typer_reads_the_same_comparison(args: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Comparison] = []

    def execute(job: Comparison) -> int:
        read.append(job)
        return 0

    monkeypatch.setattr("onnxslim.cli.diff.execute", execute)
    assert app(args=["diff", *args], standalone_mode=False) == 0
    assert read == [quick.parse(["diff", *args])]


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["diff", "a.onnx"],
        ["diff", "a.onnx", "b.onnx", "c.onnx"],
        ["diff", "a.onnx", "b.onnx", "--format"],
        ["diff", "a.onnx", "b.onnx", "--format", "html"],
        ["diff", "a.onnx", "b.onnx", "--max", "3"],
        ["diff", "a.onnx", "b.onnx", "--report", "r.html"],
        ["diff", "a.onnx", "b.onnx", "--help"],
        ["diff", "a.onnx", ""],
        ["validate", "a", "b"],
        ["optimize"],
        ["optimize", "in.onnx"],
        ["optimize", "in.onnx", "-o"],
        ["optimize", "in.onnx", "-o", "--force"],
        ["optimize", "in.onnx", "other", "-o", "out"],
        ["optimize", "in.onnx", "-o", "out", "--dim", "n=3"],
        ["optimize", "in.onnx", "-o=out"],
        ["optimize", "in.onnx", "-o", "out", "--help"],
        ["optimize", "--", "in.onnx", "-o", "out"],
        ["optimize", "", "-o", "out"],
    ],
    ids=" ".join,
)
def test_everything_else_is_left_to_typer(args: list[str]) -> None:
    assert quick.parse(args) is None
