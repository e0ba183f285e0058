"""Draw one group of the dependency analysis: nodes, shortcuts, and the same units in every weight.

The picture in ``docs/dependency.md`` is made by::

    .venv/bin/python docs/figures/draw_group.py onnxslim/demo/resnet_mnist.onnx OUT.svg
"""

from __future__ import annotations

import argparse
import colorsys
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dependency import Dependency, Group, Role, Site, analyze
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.edit import is_op
from onnxslim.graph.load import load
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.registry import get_pass

ROW, BOX, CELL, TOP, LEFT, STRIPS = 34, 190, 13, 64, 150, 370
WORDS = {Role.PRODUCE: "made by", Role.CONSUME: "read by", Role.SCALE: "scaled by"}
INK = {Role.PRODUCE: "#1b6e3c", Role.CONSUME: "#8a3b12", Role.SCALE: "#4a4a7a"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw one group of the dependency analysis.")
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--group", type=int, help="its number; by default the one of most layers")
    args = parser.parse_args()
    model = load(args.model)
    infer_shapes(model)
    for name in ("unshare-initializers", "eliminate-identity"):
        get_pass(name)().run(model, PassContext(model))
    infer_shapes(model)
    dependency = analyze(model)
    largest = max(dependency.groups, key=lambda group: len(group.layers))
    group = largest if args.group is None else dependency.groups[args.group]
    args.out.write_text(draw(dependency, group), encoding="utf-8")


def draw(dependency: Dependency, group: Group) -> str:
    """The picture: half of the units are shown as removed (every second one, as an example)."""
    nodes = _nodes(dependency, group)
    kept = np.arange(group.size) % 2 == 0
    height = TOP + ROW * len(nodes) + 20
    width = STRIPS + 190 + CELL * group.size + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text(LEFT, 24, f"One group of {group.size} units in {len(group.layers)} layers", size=15),
        _text(STRIPS, 46, "the axis of the weight where they stand; one colour is one unit,", 11),
        _text(STRIPS, 59, "hollow cells are an example of what leaves: the same everywhere", 11),
    ]
    rows = {node: TOP + ROW * i for i, node in enumerate(nodes)}
    parts += [line for node in nodes for line in _arrows(dependency, node, rows)]
    for node in nodes:
        parts += _row(node, rows[node], [s for s in group.sites if s.node is node], kept)
    return "\n".join([*parts, "</svg>", ""])


def _nodes(dependency: Dependency, group: Group) -> list[ir.Node]:
    """Nodes with a site, and those that carry the units from one to another."""
    members = np.flatnonzero(dependency.solved.group_of == group.id)

    def carries(value: ir.Value | None) -> bool:
        axes = None if value is None else dependency.builder.axes_of.get(value)
        return any(a is not None and np.isin(a, members).any() for a in axes or ())

    own = {site.node for site in group.sites}
    return [n for n in dependency.model.graph if n in own or any(map(carries, n.outputs))]


def _arrows(dependency: Dependency, node: ir.Node, rows: dict[ir.Node, int]) -> list[str]:
    found = []
    for value in node.inputs:
        source = None if value is None else value.producer()
        if source is None or source not in rows:
            continue
        start, end = rows[source] + 24, rows[node]
        if end - start <= ROW - 24:
            x = LEFT + BOX // 2
            path = f"M{x},{start} L{x},{end}"
        else:
            bend = LEFT - min(18 + (end - start) // 3, LEFT - 12)
            path = f"M{LEFT},{start - 12} C{bend},{start} {bend},{end} {LEFT},{end + 12}"
        found.append(f'<path d="{path}" fill="none" stroke="#777777" stroke-width="1.3"/>')
    return found


def _row(node: ir.Node, y: int, sites: list[Site], kept: np.ndarray) -> list[str]:
    linear = is_op(node, "Conv", "Gemm", "MatMul", "ConvTranspose")
    fill = "#e8eef7" if linear else "#f4f4f4"
    name = node.name or node.op_type
    short = "/".join(name.strip("/").split("/")[-3:])
    parts = [
        f'<rect x="{LEFT}" y="{y}" width="{BOX}" height="24" rx="4" fill="{fill}" '
        f'stroke="{"#5b7db1" if linear else "#b5b5b5"}"/>',
        _text(LEFT + 8, y + 16, _fit(short if linear else node.op_type), 12),
    ]
    weights = [s for s in sites if s.constant]
    if not weights:
        return parts
    first = weights[0]
    parts.append(_text(STRIPS, y + 16, f"{WORDS[first.role]} axis {first.axis}", 11,
                       INK[first.role]))  # fmt: skip
    parts.append(_text(STRIPS + 92, y + 16, f"{len(weights)} vectors" if len(weights) > 1 else
                       f"of {_sizes(first.value)}", 11, "#666666"))  # fmt: skip
    for position, unit in enumerate(first.units.tolist()):
        parts.append(_cell(STRIPS + 190 + CELL * position, y + 5, unit, kept))
    return parts


def _sizes(value: ir.Value) -> str:
    return "×".join(map(str, value.shape.numpy())) if value.shape is not None else "?"


def _cell(x: int, y: int, unit: int, kept: np.ndarray) -> str:
    red, green, blue = (
        round(255 * c) for c in colorsys.hls_to_rgb(unit / len(kept) * 0.9, 0.55, 0.6)
    )
    colour = f"#{red:02x}{green:02x}{blue:02x}"
    fill = colour if kept[unit] else "#ffffff"
    return (
        f'<rect x="{x}" y="{y}" width="{CELL - 2}" height="14" fill="{fill}" '
        f'stroke="{colour}" stroke-width="1.2"/>'
    )


def _fit(text: str, most: int = 29) -> str:
    return text if len(text) <= most else "…" + text[-most + 1 :]


def _text(x: int, y: int, text: str, size: int = 12, ink: str = "#222222") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{ink}">{escape(text)}</text>'


if __name__ == "__main__":
    main()
