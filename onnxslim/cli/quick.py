"""The everyday forms of ``optimize`` and ``diff``, read without Typer: saves a quarter second.

What is not surely plain (help, other commands and options, mistakes) is left to Typer, which also
writes every message.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnxslim.cli.comparison import Comparison, Format
from onnxslim.cli.job import Job

_FLAGS = {
    "--force": ("force", True),
    "--no-verify": ("verify", False),
    "--json": ("json", True),
    "--quiet": ("quiet", True),
    "-q": ("quiet", True),
}
_TEXTS = {"-o": "output", "--output": "output", "--recipe": "recipe", "--report": "report"}
_LISTS = {"-p": "passes", "--pass": "passes", "--skip": "skip"}
_SIDES = 2


def parse(argv: Sequence[str]) -> Job | Comparison | None:
    """The job that a command line asks for; None when it is not for us."""
    command, rest = (argv[0], argv[1:]) if argv else ("", [])
    if command == "optimize":
        return _optimize(rest)
    return _diff(rest) if command == "diff" else None


def _optimize(argv: Sequence[str]) -> Job | None:
    found: dict[str, Any] = {}
    rest = iter(argv)
    for word in rest:
        if word in _FLAGS:
            key, value = _FLAGS[word]
            found[key] = value
        elif word in _TEXTS or word in _LISTS:
            text = next(rest, "-")
            if text.startswith("-"):
                return None
            _add(found, word, text)
        elif word.startswith("-") or not word or "model" in found:
            return None
        else:
            found["model"] = Path(word)
    return Job(**found) if {"model", "output"} <= found.keys() else None


def _add(found: dict[str, Any], option: str, text: str) -> None:
    if option in _LISTS:
        key = _LISTS[option]
        found[key] = (*found.get(key, ()), text)
    else:
        key = _TEXTS[option]
        found[key] = text if key == "recipe" else Path(text)


def _diff(argv: Sequence[str]) -> Comparison | None:
    found: dict[str, Any] = {}
    models: list[Path] = []
    rest = iter(argv)
    for word in rest:
        if word in ("--json", "--quiet", "-q"):
            found["json" if word == "--json" else "quiet"] = True
        elif word == "--format":
            text = next(rest, "")
            if text not in (Format.text, Format.json, Format.markdown):
                return None  # a page needs libraries that want their modules as ever
            found["format_"] = Format(text)
        elif word.startswith("-") or not word:
            return None
        else:
            models.append(Path(word))
    return Comparison(models[0], models[1], **found) if len(models) == _SIDES else None
