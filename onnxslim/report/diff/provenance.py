"""What our passes recorded: which node a removed one became a part of, and which pass did it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import onnx_ir as ir

from onnxslim.graph.edit import PASSES, SOURCE, SOURCES
from onnxslim.report.diff.flow import Vertex
from onnxslim.report.diff.hunks import LINEAR, Region, touched
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
    kept = {_identity(vertex): vertex for vertex in script.removed}
    makers = {y: x for x, y in touched(script).items()}
    makers.update({y: y for y in script.added})
    found: dict[Vertex, list[Vertex]] = {}
    for y, maker in makers.items():
        places = y.source.meta.get(SOURCE, ())
        for place in places if len(places) > 1 else ():
            if place < len(known) and known[place] in kept:
                found.setdefault(kept[known[place]], []).append(maker)
    return {x: one for x, ys in found.items() if (one := _only(ys)) is not None}


_CLEANING = frozenset({"deduplicate-initializers", "eliminate-dead"})
"""What follows up other passes: nodes without a reader, constants that became equal."""


class Doers:
    """Which passes made a region of changes; none for a model read from a file.

    Args:
        second: The model after.
    """

    def __init__(self, second: ir.Model) -> None:
        done = second.meta.get(PASSES, {})
        known = second.meta.get(SOURCES, ())
        self._of_index: Mapping[int, tuple[str, ...]] = done
        self._of_node = {known[i]: names for i, names in done.items() if i < len(known)}

    def of(self, region: Region) -> tuple[str, ...]:
        """Names of passes, those of most nodes first."""
        if not self._of_index:
            return ()
        found: Counter[str] = Counter()
        for vertex in region.removed:
            found.update(self._of_node.get(_identity(vertex), ()))
        if not found:
            pairs = [c.b for c in region.changed]
            pairs += [use[1] for c in region.constants for use in c.uses]
            for vertex in dict.fromkeys((*region.added, *pairs)):
                sources = vertex.source.meta.get(SOURCE, ())
                found.update({name for i in sources for name in self._of_index.get(i, ())})
        names = [name for name, _ in found.most_common()]
        return tuple(n for n in names if n not in _CLEANING) or tuple(names)


def _identity(vertex: Vertex) -> tuple[str, str, tuple[str, ...]]:
    return vertex.source.name or "", vertex.source.op_type, vertex.outputs


def _only(options: list[Vertex]) -> Vertex | None:
    """The only one, or the only one with weights to merge into."""
    linear = [v for v in options if v.op in LINEAR]
    chosen = options if len(options) == 1 else linear
    return chosen[0] if len(chosen) == 1 else None
