"""A comparison for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxslim.report.diff.telling import facts, groups, total

if TYPE_CHECKING:
    from onnxslim.report.diff.delta import Delta


def render(delta: Delta, most: int | None = 20) -> str:
    """Lines of text; at most ``most`` lines of detail per group."""
    if delta.identical:
        same = f"{delta.a} and {delta.b} are identical: {delta.counts['a']} nodes"
        return "\n".join([same, *(f"  (not counted: {line})" for line in delta.cosmetic)])
    lines = [f"{delta.a} -> {delta.b}"]
    lines += [f"  {line}" for line in facts(delta)]
    for group in groups(delta):
        lines += ["", group.heading]
        shown = group.lines if most is None else group.lines[:most]
        lines += [f"  {line}" for line in shown]
        if len(shown) < len(group.lines):
            lines.append(f"  ... {len(group.lines) - len(shown)} more lines (--max 0 shows all)")
    return "\n".join([*lines, "", total(delta)])
