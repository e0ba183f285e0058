"""Which node of the second model stands for a removed node of the first, as our passes recorded."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph.edit import SOURCE, SOURCES
from onnxslim.report.diff.flow import Vertex
from onnxslim.report.diff.hunks import LINEAR, touched
from onnxslim.report.diff.script import Script


def explained(script: Script, second: ir.Model) -> dict[Vertex, Vertex]:
    """Nodes without a pair, to the one changed or new node that a pass merged them into.

    The answer is empty for a model read from a file: what a node stands for is known of a model
    in memory only. A node of the second model that has a pair is given by its partner.

    Args:
        script: What differs.
        second: The model after.
    """
    known = second.meta.get(SOURCES, ())
    kept: dict[tuple[str, str, tuple[str, ...]], Vertex] = {}
    for vertex in script.removed:
        kept[vertex.source.name or "", vertex.source.op_type, vertex.outputs] = vertex
    makers = {y: x for x, y in touched(script).items()}
    makers.update({y: y for y in script.added})
    found: dict[Vertex, list[Vertex]] = {}
    for y, maker in makers.items():
        places = y.source.meta.get(SOURCE, ())
        for place in places if len(places) > 1 else ():
            if place < len(known) and known[place] in kept:
                found.setdefault(kept[known[place]], []).append(maker)
    return {x: one for x, ys in found.items() if (one := _only(ys)) is not None}


def _only(options: list[Vertex]) -> Vertex | None:
    """The only one, or the only one with weights to merge into."""
    linear = [v for v in options if v.op in LINEAR]
    chosen = options if len(options) == 1 else linear
    return chosen[0] if len(chosen) == 1 else None
