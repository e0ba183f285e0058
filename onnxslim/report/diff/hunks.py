"""Changes that belong together: connected nodes without a pair, and the pairs that absorb them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from onnxslim.report.diff.flow import Output, Source, Vertex, constant_of
from onnxslim.report.diff.script import ConstantChange, NodeChange, Script


@dataclass(eq=False)
class Region:
    """Changes that belong together.

    Attributes:
        removed: Nodes of the first model.
        added: Nodes of the second.
        changed: Pairs with another operator, attribute or input.
        constants: Constants that changed at pairs.
        to_constant: Something that was computed is a constant now.
        from_constant: The other way round.
    """

    removed: list[Vertex] = field(default_factory=list)
    added: list[Vertex] = field(default_factory=list)
    changed: list[NodeChange] = field(default_factory=list)
    constants: list[ConstantChange] = field(default_factory=list)
    to_constant: bool = False
    from_constant: bool = False

    @property
    def touched(self) -> list[Vertex]:
        """Nodes of the first model whose pair differs, once each."""
        found = [c.a for c in self.changed]
        found += [use[0] for c in self.constants for use in c.uses]
        return list(dict.fromkeys(found))


class _Sets:
    """Union-find over nodes of both models; a pair is known by its first node."""

    def __init__(self) -> None:
        self._parent: dict[Vertex, Vertex] = {}

    def root(self, vertex: Vertex) -> Vertex:
        path = []
        while (above := self._parent.get(vertex, vertex)) is not vertex:
            path.append(vertex)
            vertex = above
        for passed in path:
            self._parent[passed] = vertex
        return vertex

    def join(self, x: Vertex, y: Vertex) -> None:
        self._parent[self.root(x)] = self.root(y)


def regions(script: Script) -> list[Region]:
    """All changes of a script, each in one region, in the order of the models."""
    sets = _Sets()
    removed, added = set(script.removed), set(script.added)
    for nodes, group in ((script.removed, removed), (script.added, added)):
        for vertex in nodes:
            for source in (*vertex.inputs, *vertex.captured):
                if isinstance(source, Output) and source.node in group:
                    sets.join(source.node, vertex)
    for p, q in script.joins:
        if _made_by(p, removed) and _made_by(q, added):
            sets.join(p.node, q.node)  # type: ignore[union-attr]
    for x, partner in _absorbers(script, removed, added):
        sets.join(x, partner)
    return _collect(script, sets, removed, added)


def _made_by(source: Source, nodes: set[Vertex]) -> bool:
    return isinstance(source, Output) and source.node in nodes


def _absorbers(
    script: Script, removed: set[Vertex], added: set[Vertex]
) -> Iterator[tuple[Vertex, Vertex]]:
    """Pairs that changed, with the neighbour that explains why: the next node, else the one before.

    A pair joins at most one region, so that a chain of folded layers does not become one.
    """
    touched = {u[0]: u[1] for c in script.constants for u in c.uses}
    touched.update({c.a: c.b for c in script.changed})
    before: dict[Vertex, Vertex] = {}
    for item in script.boundaries:
        for source, nodes in ((item.was, removed), (item.now, added)):
            if _made_by(source, nodes):
                before.setdefault(item.a, source.node)  # type: ignore[union-attr]
    readers: dict[Vertex, list[Vertex]] = {}
    for vertex in (*script.removed, *script.added):
        for source in vertex.inputs:
            if isinstance(source, Output):
                readers.setdefault(source.node, []).append(vertex)
    for x, y in touched.items():
        follows = [v for side in (x, y) for v in readers.get(side, ())]
        if follows:
            yield x, follows[0]
        elif x in before:
            yield x, before[x]


def _collect(script: Script, sets: _Sets, removed: set[Vertex], added: set[Vertex]) -> list[Region]:
    found: dict[Vertex, Region] = {}

    def region(vertex: Vertex) -> Region:
        return found.setdefault(sets.root(vertex), Region())

    for x in script.removed:
        region(x).removed.append(x)
    for c in script.changed:
        region(c.a).changed.append(c)
    for change in script.constants:
        region(change.uses[0][0]).constants.append(change)
    for y in script.added:
        region(y).added.append(y)
    for p, q in script.joins:
        if _made_by(p, removed) and constant_of(q) is not None:
            region(p.node).to_constant = True  # type: ignore[union-attr]
        if _made_by(q, added) and constant_of(p) is not None:
            region(q.node).from_constant = True  # type: ignore[union-attr]
    return sorted(found.values(), key=_first)


def _first(region: Region) -> tuple[str, int]:
    nodes = [*region.removed, *region.touched] or region.added
    return min((v.flow.path, v.index) for v in nodes)
