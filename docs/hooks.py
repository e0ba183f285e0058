"""Pages that mkdocs makes from the code: one per pass, the command line, the Python API."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "100"}


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    for path, text in pages():
        files.append(File.generated(config, path, content=text))
    return files


def pages() -> Iterator[tuple[str, str]]:
    """Path below docs/ and Markdown of every generated page."""
    sys.path.insert(0, str(ROOT))
    from onnxslim.pipeline.registry import all_passes

    classes = sorted(all_passes(), key=lambda c: c.name)
    yield "passes/index.md", index_page(classes)
    for cls in classes:
        yield f"passes/{cls.name}.md", pass_page(cls)
    yield "reference/cli.md", cli_page()
    yield "reference/api.md", api_page()
    yield "security.md", (ROOT / "SECURITY.md").read_text("utf-8")


def summary(thing: Any) -> str:
    """First line of a docstring."""
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def index_page(classes: list[type]) -> str:
    """A table of all passes."""
    rows = [
        f"| [{c.name}]({c.name}.md) | {c.numerics.name.lower()} | {summary(c)} |" for c in classes
    ]
    head = "# Passes\n\n| pass | promise | what it does |\n|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


def pass_page(cls: type[Any]) -> str:
    """Docstrings, options and the first golden case of a pass."""
    module = inspect.getmodule(cls)
    parts = [
        f"# {cls.name}",
        inspect.getdoc(cls) or "",
        f"Promise: **{cls.numerics.name.lower()}**.",
        "## How",
        inspect.getdoc(module) or "",
    ]
    options = cls().options()
    if options:
        rows = "\n".join(f"| `{name}` | `{value}` |" for name, value in options.items())
        parts += ["## Options", f"| option | default |\n|---|---|\n{rows}"]
    golden = golden_case(ROOT / "tests" / "passes" / f"test_{cls.name.replace('-', '_')}.py")
    if golden is not None:
        before, after = golden
        parts += ["## Example", "```text", before, "```", "becomes", "```text", *after, "```"]
    return "\n\n".join(p for p in parts[:5]) + "\n\n" + "\n".join(parts[5:]) + "\n"


def golden_case(file: Path) -> tuple[str, list[str]] | None:
    """Nodes before and after, of the first test that says both in plain text."""
    if not file.exists():
        return None
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "assert_pass":
            continue
        if len(node.args) < 3 or not isinstance(node.args[1], ast.Call):
            continue
        given = node.args[1].args
        try:
            before, after = ast.literal_eval(given[0]), ast.literal_eval(node.args[2])
        except (ValueError, IndexError):
            continue
        if isinstance(before, str) and isinstance(after, list):
            return "\n".join(before.split("  ")), after
    return None


def cli_page() -> str:
    """``--help`` of every command."""
    from onnxslim.cli.main import COMMANDS

    parts = ["# Command line", "```text", help_of(), "```"]
    for name in COMMANDS:
        parts += [f"## onnxslim {name}", "```text", help_of(name), "```"]
    return "\n".join(parts) + "\n"


def help_of(*words: str) -> str:
    """What ``--help`` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "onnxslim", *words, "--help"],
        env=ENVIRONMENT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def api_page() -> str:
    """Signatures and docstrings of the functions of the package."""
    import onnxslim

    parts = ["# Python"]
    for name in sorted((*onnxslim._API, "batch")):
        thing = getattr(onnxslim, name)
        kind = "class " if inspect.isclass(thing) else ""
        try:
            signature = f"{kind}onnxslim.{name}{inspect.signature(thing)}"
        except ValueError:
            signature = f"{kind}onnxslim.{name}"
        doc = inspect.getdoc(thing) or ""
        parts += [f"## {name}", "```text", signature, "```", "```text", doc, "```"]
    return "\n".join(parts) + "\n"
