"""The everyday forms of ``optimize``, read without Typer: that saves a quarter of a second.

What is not surely plain (help, other commands and options, mistakes) is left to Typer, which also
writes every message.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def parse(argv: Sequence[str]) -> Job | None:
    """The job that a command line asks for; None when it is not for us."""
    if not argv or argv[0] != "optimize":
        return None
    found: dict[str, Any] = {}
    rest = iter(argv[1:])
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
