"""Changes that belong together: connected nodes without a pair, and the pairs that absorb them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from onnxslim.report.diff.flow import Output, Source, Vertex, constant_of
from onnxslim.report.diff.script import Boundary, ConstantChange, NodeChange, Script

AFFINE = frozenset({"BatchNormalization", "Mul", "Div", "Add", "Sub"})
"""Arithmetic that weights can take in."""

LINEAR = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators whose weights can take it."""

_QUIET = frozenset({"Identity", "Dropout", "Shape", "Size", "Cast", "CastLike"})
"""Operators that explain no change of the nodes around them: they compute nothing with data."""

_ASIDE = frozenset({"Shape", "Size"})
"""Operators that begin a computation of their own: of sizes, not of data."""

_MOVES = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity"})
_STEPS = 4


@dataclass(eq=False)
class Region:
    """Changes that belong together.

    Attributes:
        removed: Nodes of the first model.
        added: Nodes of the second.
        changed: Pairs with another operator, attribute or input.
        constants: Constants that changed at pairs.
        inputs: Inputs of pairs that were computed and are constant now, or the other way round.
        are_twins: The nodes compute what others do that are on both sides.
        to_constant: Something that was computed is a constant now.
        from_constant: The other way round.
    """

    removed: list[Vertex] = field(default_factory=list)
    added: list[Vertex] = field(default_factory=list)
    changed: list[NodeChange] = field(default_factory=list)
    constants: list[ConstantChange] = field(default_factory=list)
    inputs: list[Boundary] = field(default_factory=list)
    are_twins: bool = False
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


def regions(script: Script, known: Mapping[Vertex, Vertex] | None = None) -> list[Region]:
    """All changes of a script, each in one region, in the order of the models.

    Args:
        script: What differs.
        known: Nodes without a pair, to what they were merged into.
    """
    sets = _Sets()
    removed, added = set(script.removed), set(script.added)
    folded = {**dict(_folded(script, removed, added)), **(known or {})}
    for nodes, group in ((script.removed, removed), (script.added, added)):
        for vertex in nodes:
            for source in (*vertex.inputs, *vertex.captured) if vertex.op not in _ASIDE else ():
                maker = _maker(source, group)
                if maker is not None and maker not in folded:
                    sets.join(maker, vertex)
    for p, q in script.joins:
        x, y = _maker(p, removed), _maker(q, added)
        if x is not None and y is not None and x not in folded and y not in folded:
            sets.join(x, y)
    for vertex, x in folded.items():
        sets.join(vertex, x)
    done = set(folded.values())
    for maker, x in _stored(script, added | removed):
        sets.join(maker, x)
        done.add(x)
    _absorb(script, sets, (removed, added), done)
    return _collect(script, sets, removed, added)


def _maker(source: Source, nodes: set[Vertex]) -> Vertex | None:
    """The node among ``nodes`` that makes a value."""
    return source.node if isinstance(source, Output) and source.node in nodes else None


def touched(script: Script) -> dict[Vertex, Vertex]:
    """Pairs with a difference of their own, or a constant next to something computed."""
    found = {u[0]: u[1] for c in script.constants for u in c.uses}
    found.update({c.a: c.b for c in script.changed})
    found.update({i.a: i.b for i in script.boundaries if _is_part(i) and i.slot})
    return found


def _is_part(item: Boundary) -> bool:
    """Whether one of the two sources is a constant or missing."""
    return any(s is None or constant_of(s) is not None for s in (item.was, item.now))


def _folded(
    script: Script, removed: set[Vertex], added: set[Vertex]
) -> Iterator[tuple[Vertex, Vertex]]:
    """BatchNormalization nodes on one side, with the pair before them that has their factors."""
    near = touched(script)
    back = {y: x for x, y in near.items()}
    for nodes in (removed, added):
        for vertex in [v for v in (*script.removed, *script.added) if v in nodes]:
            source = vertex.inputs[0] if vertex.inputs else None
            if vertex.op == "BatchNormalization" and isinstance(source, Output):
                x = source.node if nodes is removed else back.get(source.node)
                if x in near and x is not None:
                    yield vertex, x


def _stored(script: Script, free: set[Vertex]) -> Iterator[tuple[Vertex, Vertex]]:
    """Nodes without a pair that only decode a constant, with the pair that reads them."""
    for item in script.boundaries:
        for source in (item.was, item.now):
            maker = _maker(source, free)
            if maker is not None and is_decoder(maker):
                yield maker, item.a


def is_decoder(vertex: Vertex) -> bool:
    """Whether a node makes numbers of a constant in another form: ``DequantizeLinear``."""
    if vertex.op.split(":")[-1] != "DequantizeLinear":
        return False
    return all(source is None or constant_of(source) is not None for source in vertex.inputs)


def _absorb(
    script: Script,
    sets: _Sets,
    groups: tuple[set[Vertex], set[Vertex]],
    done: set[Vertex],
) -> None:
    """Join pairs that changed to the neighbour that explains why: the next, else the one before.

    A pair joins one region, and a region that a pair before it explains takes none after it, so
    that a chain of folded layers does not become one.
    """
    before, readers = _neighbours(script, groups)
    every = touched(script)
    changed = {x: y for x, y in every.items() if x not in done}
    far = _far_readers(script, readers)
    claimed = {sets.root(x) for x in done}
    for x, y in changed.items():
        follows = [v for side in (x, y) for v in readers.get(side, ())] or far.get(x, [])
        follows.sort(key=lambda v: v.op not in AFFINE)
        if follows:
            sets.join(x, follows[0])
            claimed.add(sets.root(x))
            before.pop(x, None)
    for x in every:
        if x in before and sets.root(before[x]) not in claimed:
            if x in changed or before[x].op in AFFINE:
                sets.join(before[x], x)


def _neighbours(
    script: Script, groups: tuple[set[Vertex], set[Vertex]]
) -> tuple[dict[Vertex, Vertex], dict[Vertex, list[Vertex]]]:
    """Nodes without a pair: one before each pair, and those that read each node."""
    before: dict[Vertex, Vertex] = {}
    for item in script.boundaries:
        for source, nodes in zip((item.was, item.now), groups, strict=True):
            maker = _maker(source, nodes)
            if maker is not None and maker.op not in _QUIET:
                before.setdefault(item.a, maker)
    readers: dict[Vertex, list[Vertex]] = {}
    for vertex in (*script.removed, *script.added):
        for source in vertex.inputs if vertex.op not in _QUIET else ():
            if isinstance(source, Output):
                readers.setdefault(source.node, []).append(vertex)
    return before, readers


def _far_readers(script: Script, readers: dict[Vertex, list[Vertex]]) -> dict[Vertex, list[Vertex]]:
    """Removed arithmetic behind a linear operator, with only moves of data in between."""
    uses = {v: m.a.uses.readers[v] for m in script.matches for v in m.a.flow.nodes}
    found: dict[Vertex, list[Vertex]] = {}
    for start in uses:
        if start.op not in LINEAR or start in readers:
            continue
        vertex, steps = start, 0
        while steps < _STEPS and len(uses[vertex]) == 1 and vertex not in readers:
            vertex, steps = uses[vertex][0][1], steps + 1
            if vertex.op not in _MOVES:
                break
        ends = [v for v in readers.get(vertex, ()) if v.op in AFFINE]
        if ends:
            found[start] = ends
    return found


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
    for item in script.boundaries:
        made = _maker(item.was, removed) or _maker(item.now, added)
        if _is_part(item) and made is not None:
            region(made).inputs.append(item)
    _mark(script, region, removed, added)
    return sorted(found.values(), key=_first)


def _mark(
    script: Script,
    region: Callable[[Vertex], Region],
    removed: set[Vertex],
    added: set[Vertex],
) -> None:
    """Say where something computed became a constant, or the other way round."""
    for found in {id(r): r for r in map(region, (*script.removed, *script.added))}.values():
        nodes = [v for v in (*found.removed, *found.added) if v.value is None]
        found.are_twins = bool(nodes) and all(v in script.twins for v in nodes)
    for p, q in script.joins:
        x, y = _maker(p, removed), _maker(q, added)
        if x is not None and constant_of(q) is not None:
            region(x).to_constant = True
        if y is not None and constant_of(p) is not None:
            region(y).from_constant = True


def _first(region: Region) -> tuple[str, int]:
    nodes = region.touched or region.removed or region.added
    return min((v.flow.path, v.index) for v in nodes)
