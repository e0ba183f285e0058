"""A comparison as a comment on a pull request: the groups as a list, details folded away."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from onnxslim.report.diff.telling import Group, facts, groups, total

if TYPE_CHECKING:
    from onnxslim.report.diff.delta import Delta

LIMIT: Final = 65_536
"""Characters that GitHub takes in one comment."""

_LINE: Final = 300
_LEAST: Final = 4000


def render(delta: Delta, limit: int = LIMIT) -> str:
    """Markdown of at most ``limit`` characters; details are dropped before headings are."""
    title = f"### {code(delta.a)} → {code(delta.b)}\n\n"
    if delta.identical:
        return title + f"Identical: {delta.counts['a']} nodes; only names, order and storage.\n"
    head = title + total(delta) + "\n\n"
    head += "".join(f"- {code(line)}\n" for line in facts(delta)[:100])
    found = groups(delta)
    for most in (200, 50, 20, 5, 0):
        text = head + "".join(_group(group, most) for group in found)
        if len(text) <= limit:
            return text
    kept = [_group(group, 0) for group in found]
    while kept and len(head) + sum(map(len, kept)) > limit - 100:
        kept.pop()
    text = head[: max(limit - 100, 0)] + "".join(kept)
    return text + f"\n... and {len(found) - len(kept)} more groups of changes\n"


def _group(group: Group, most: int) -> str:
    if not most:
        return f"- {code(group.heading)}\n"
    lines = [line[:_LINE] for line in group.lines[:most]]
    if len(lines) < len(group.lines):
        lines.append(f"... {len(group.lines) - len(lines)} more")
    body = "\n".join(f"    {plain(line)}" for line in lines)
    summary = plain(group.heading).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>\n"


def code(text: str) -> str:
    """As code, whatever it holds: names of a model may be anything."""
    text = plain(text)[:_LINE]
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def plain(text: str) -> str:
    """One line without control characters."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
