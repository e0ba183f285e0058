"""``onnxslim diff --git-setup``: git shows models with our comparison."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import typer

from onnxslim.errors import UsageError

_LINE = "*.onnx diff=onnx"


def set_up() -> int:
    """Register the driver in the repository of the current folder; nothing needs committing.

    Raises:
        UsageError: Outside of a repository, or without git.
    """
    attributes = Path(_git("rev-parse", "--git-path", "info/attributes"))
    driver = f"{shlex.quote(sys.executable)} -m onnxslim diff --git-driver"
    _git("config", "diff.onnx.command", driver)
    known = attributes.read_text(encoding="utf-8") if attributes.is_file() else ""
    if _LINE not in known.splitlines():
        attributes.parent.mkdir(parents=True, exist_ok=True)
        end = "" if not known or known.endswith("\n") else "\n"
        attributes.write_text(f"{known}{end}{_LINE}\n", encoding="utf-8")
    typer.echo(f"git diff shows models now (git config diff.onnx.command, {attributes})")
    typer.echo(f"for everybody: commit a .gitattributes with the line {_LINE!r}; to undo:")
    typer.echo("git config --remove-section diff.onnx")
    return 0


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    except OSError as error:
        raise UsageError(f"git cannot be run ({error.strerror}): install git first") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it failed"])[-1]
        raise UsageError(f"git {words[0]}: {said}; run this inside a repository")
    return done.stdout.strip()
