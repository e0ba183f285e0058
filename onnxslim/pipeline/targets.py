"""Quantization targets by name: those that ship, and those of plug-ins."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points

from onnxslim.analysis.quantization.targets import SHIPPED, Target
from onnxslim.errors import UsageError

GROUP = "onnxslim.targets"
"""Entry-point group; an entry is an instance of :class:`Target`."""


def get_target(name: str) -> Target:
    """The target of that name.

    Raises:
        UsageError: When there is none, or the plug-in gives something else.
    """
    for target in SHIPPED:
        if target.name == name:
            return target
    for point in entry_points(group=GROUP):
        if point.name == name:
            found = point.load()
            if isinstance(found, Target):
                return found
            raise UsageError(f"plug-in target {name!r} is a {type(found).__name__}, not a Target")
    raise UsageError(f"target {name!r} is unknown; expected one of {', '.join(target_names())}")


def target_names() -> Iterator[str]:
    """Names of all targets."""
    yield from (target.name for target in SHIPPED)
    yield from sorted(point.name for point in entry_points(group=GROUP))
