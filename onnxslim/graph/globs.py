"""GLOB as the command line means it: a node name, a tensor name, or ``op:Conv``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import translate

from onnxslim.errors import UsageError

Matcher = Callable[[str, str, Iterable[str]], bool]
"""Takes a node's name, its operator (``Conv``, ``com.microsoft:Gelu``) and its tensors' names."""


def matcher(glob: str) -> Matcher:
    """Compile one GLOB; letters count as they are, on every platform.

    A name is compared whole first, so that ``a[0]`` finds the node called so.
    """
    pattern = re.compile(translate(glob))
    if glob.startswith("op:"):
        op = re.compile(translate(glob[3:]))
        return lambda name, kind, tensors: op.match(kind) is not None

    def match(name: str, kind: str, tensors: Iterable[str]) -> bool:
        return any(n == glob or pattern.match(n) is not None for n in (name, *tensors) if n)

    return match


def nothing_matches(option: str, glob: str) -> UsageError:
    """The error for a GLOB that matches nothing."""
    return UsageError(
        f"{option} {glob!r} matches nothing: expected a node name, a tensor name or op:TYPE of the "
        "model as given (`onnxslim inspect MODEL --all` lists them)"
    )
