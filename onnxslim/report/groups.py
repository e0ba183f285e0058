"""Which layers depend on which, drawn: DOT text, or a self-contained SVG."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from onnxslim.analysis.dependency.groups import Role
from onnxslim.graph.edit import op_id
from onnxslim.graph.temporary import TemporaryFile

if TYPE_CHECKING:
    from onnxslim.pipeline.pruning import Decision

_COLOURS = ("#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#e15759", "#76b7b2", "#9c755f", "#edc948")
_LINE, _LEFT, _BOX, _GAP = 22, 20, 300, 220


@dataclass(frozen=True)
class Picture:
    """What is drawn.

    Attributes:
        layers: Name, operator, and why it stays whole (empty when it does not), in graph order.
        groups: Label per group.
        edges: Number of a layer, number of a group, and whether the layer makes the units.
    """

    layers: tuple[tuple[str, str, str], ...]
    groups: tuple[str, ...]
    edges: tuple[tuple[int, int, bool], ...]


def picture(decision: Decision) -> Picture:
    """Layers and groups of a decision."""
    frozen = {f.layer: f.reason for f in decision.frozen}
    nodes: dict[ir.Node, None] = {}
    links: dict[tuple[ir.Node, int], bool] = {}
    for number, (group, _) in enumerate(decision.groups):
        for site in group.sites:
            if site.role in (Role.PRODUCE, Role.CONSUME):
                key = site.node, number
                links[key] = links.get(key, False) or site.role is Role.PRODUCE
                nodes[site.node] = None
    order = [n for n in decision.dependency.model.graph if n in nodes or _name(n) in frozen]
    place = {node: i for i, node in enumerate(order)}
    return Picture(
        tuple((_name(n), op_id(n), frozen.get(_name(n), "")) for n in order),
        tuple(
            f"group {group.id}: {group.size} -> {int(stays.sum())} {group.kind}s"
            for group, stays in decision.groups
        ),
        tuple((place[node], group, made) for (node, group), made in links.items()),
    )


def _name(node: ir.Node) -> str:
    return node.name or node.outputs[0].name or op_id(node)


def draw(decision: Decision, path: Path) -> None:
    """Write the picture: DOT for ``.dot`` and ``.gv``, else SVG.

    Raises:
        OSError: When the file cannot be written.
    """
    found = picture(decision)
    text = dot(found) if path.suffix.lower() in (".dot", ".gv") else svg(found)
    with TemporaryFile(path.parent, path.name) as file:
        file.write(text.encode())
        file.rename(path)


def dot(found: Picture) -> str:
    """Graphviz text: layers as boxes, groups as ellipses, arrows from makers and to readers."""
    lines = ["digraph dependencies {", "  rankdir=LR;", "  node [fontname=Helvetica];"]
    for i, (name, op, reason) in enumerate(found.layers):
        style = ", style=dashed" if reason else ""
        note = f"\\n{_escaped(reason)}" if reason else ""
        lines.append(f'  l{i} [shape=box{style}, label="{_escaped(name)}\\n{_escaped(op)}{note}"];')
    for i, label in enumerate(found.groups):
        colour = _COLOURS[i % len(_COLOURS)]
        lines.append(f'  g{i} [color="{colour}", label="{_escaped(label)}"];')
    for layer, group, made in found.edges:
        ends = (f"l{layer}", f"g{group}") if made else (f"g{group}", f"l{layer}")
        lines.append(f'  {ends[0]} -> {ends[1]} [color="{_COLOURS[group % len(_COLOURS)]}"];')
    return "\n".join([*lines, "}", ""])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def svg(found: Picture) -> str:
    """Layers in a column in graph order, groups in a column beside their middle."""
    heights = _group_heights(found)
    rows = max(len(found.layers), 1)
    height = max(rows * _LINE, max(heights, default=0) + _LINE) + 2 * _LEFT
    right = _LEFT + _BOX + _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{right + _BOX}" height="{height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for layer, group, made in found.edges:
        colour = _COLOURS[group % len(_COLOURS)]
        y1, y2 = _LEFT + layer * _LINE + 9, heights[group] + 9
        dash = "" if made else ' stroke-dasharray="4 3"'
        middle = _LEFT + _BOX + _GAP / 2
        parts.append(
            f'<path d="M {_LEFT + _BOX} {y1} C {middle} {y1} {middle} {y2} {right} {y2}" '
            f'fill="none" stroke="{colour}"{dash}/>'
        )
    for i, (name, op, reason) in enumerate(found.layers):
        fill = "#eeeeee" if reason else "#f7fbff"
        title = f"<title>{html.escape(f'{name} ({op}) {reason}')}</title>"
        parts.append(
            f'<g>{title}<rect x="{_LEFT}" y="{_LEFT + i * _LINE}" width="{_BOX}" height="18" '
            f'fill="{fill}" stroke="#999"/><text x="{_LEFT + 5}" y="{_LEFT + i * _LINE + 13}">'
            f"{html.escape(_short(name))} <tspan fill='#777'>{html.escape(op)}</tspan></text></g>"
        )
    for i, label in enumerate(found.groups):
        colour = _COLOURS[i % len(_COLOURS)]
        parts.append(
            f'<rect x="{right}" y="{heights[i]}" width="{_BOX - 2 * _LEFT}" height="18" rx="9" '
            f'fill="white" stroke="{colour}"/><text x="{right + 8}" y="{heights[i] + 13}">'
            f"{html.escape(label)}</text>"
        )
    return "\n".join([*parts, "</svg>", ""])


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:12]}...{name[-25:]}"


def _group_heights(found: Picture) -> list[int]:
    """Beside the mean of their layers, none over another."""
    wanted = []
    for group in range(len(found.groups)):
        own: Sequence[int] = [layer for layer, g, _ in found.edges if g == group]
        wanted.append(_LEFT + int(sum(own) / max(len(own), 1) * _LINE))
    heights = [0] * len(wanted)
    free = _LEFT
    for group in sorted(range(len(wanted)), key=lambda g: (wanted[g], g)):
        heights[group] = max(wanted[group], free)
        free = heights[group] + _LINE
    return heights
