"""Which nodes of two graphs are taken for the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from onnxslim.report.diff.flow import Flow, Input, Output, Source, Vertex
from onnxslim.report.diff.hashing import Forward, Outer, Uses


@dataclass(eq=False)
class Side:
    """One flow with what matching asks of it.

    Attributes:
        flow: The nodes.
        uses: Readers of every node.
        order: Nodes in an order that names and the file do not influence.
        before: Forward numbers, full detail.
    """

    flow: Flow
    uses: Uses
    order: list[Vertex]
    before: Forward
    place: dict[Vertex, int] = field(default_factory=dict)


@dataclass(eq=False)
class Match:
    """Pairs of two flows.

    Attributes:
        a: First flow.
        b: Second flow.
        pairs: Node of the first to node of the second.
        back: The other way round.
        inputs: Index of an input of the first to that of the second.
        outputs: The same for outputs.
        outer: The match of the flows around these.
    """

    a: Side
    b: Side
    inputs: dict[int, int]
    outputs: dict[int, int]
    outer: Match | None = None
    pairs: dict[Vertex, Vertex] = field(default_factory=dict)
    back: dict[Vertex, Vertex] = field(default_factory=dict)

    def correspond(self, x: Source, y: Source) -> bool:
        """Whether two sources are the same value, as far as pairs say; constants are not."""
        if x is None or y is None:
            return x is y
        if isinstance(x, Output) and isinstance(y, Output):
            if x.node.flow is not self.a.flow and y.node.flow is not self.b.flow:
                return self.outer is not None and self.outer.correspond(x, y)
            if x.slot == y.slot and self.pairs.get(x.node) is y.node:
                return True
            if x.node.flow is not self.a.flow or y.node.flow is not self.b.flow:
                return False
            return self.a.before.source(x) == self.b.before.source(y)
        if isinstance(x, Input) and isinstance(y, Input):
            if x.flow is self.a.flow and y.flow is self.b.flow:
                return self.inputs.get(x.index) == y.index
            return self.outer is not None and self.outer.correspond(x, y)
        return False

    def flipped(self) -> Match:
        """The other way round, without what lies around."""
        inputs, outputs = ({j: i for i, j in p.items()} for p in (self.inputs, self.outputs))
        return Match(self.b, self.a, inputs, outputs, None, self.back, self.pairs)

    def pair(self, x: Vertex, y: Vertex) -> None:
        """Take two nodes for the same."""
        self.pairs[x] = y
        self.back[y] = x

    def drop(self, x: Vertex) -> None:
        """Take back a pair."""
        del self.back[self.pairs.pop(x)]


def pair_ports(a: Sequence[str], b: Sequence[str]) -> dict[int, int]:
    """Inputs or outputs by name, and those without a namesake by position among the rest."""
    places: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(b):
        places[name].append(index)
    found = {i: places[name].pop(0) for i, name in enumerate(a) if places[name]}
    taken = set(found.values())
    rest = [i for i in range(len(b)) if i not in taken]
    found.update(zip((i for i in range(len(a)) if i not in found), rest, strict=False))
    return found


def outer_tokens(outer: Match | None) -> tuple[Outer, Outer]:
    """What stands for values of the flows around: the same for values that correspond."""
    if outer is None:
        return (lambda source: source), (lambda source: source)
    above: Match = outer
    further = outer_tokens(above.outer)

    def first(source: Output | Input) -> Hashable:
        if _flow_of(source) is not above.a.flow:
            return further[0](source)
        if isinstance(source, Input):
            return ("input", above.inputs.get(source.index, ("a", source.index)))
        other = above.pairs.get(source.node)
        if other is None:
            return ("node", above.a.before.source(source))
        return ("pair", id(other), source.slot)

    def second(source: Output | Input) -> Hashable:
        if _flow_of(source) is not above.b.flow:
            return further[1](source)
        if isinstance(source, Input):
            return ("input", source.index)
        if source.node in above.back:
            return ("pair", id(source.node), source.slot)
        return ("node", above.b.before.source(source))

    return first, second


def _flow_of(source: Output | Input) -> Flow:
    return source.node.flow if isinstance(source, Output) else source.flow


def canonical_order(flow: Flow, before: Forward) -> list[Vertex]:
    """Nodes as a walk from the outputs meets them, everything after what it reads.

    Nodes that no output needs come last, in the order of the file.
    """
    order: list[Vertex] = []
    seen: set[Vertex] = set()

    def walk(root: Source) -> None:
        stack = [(root.node, False)] if isinstance(root, Output) else []
        while stack:
            vertex, done = stack.pop()
            if done:
                order.append(vertex)
            elif vertex not in seen and vertex.flow is flow:
                seen.add(vertex)
                stack.append((vertex, True))
                sources = [s for s in (*vertex.inputs, *vertex.captured) if isinstance(s, Output)]
                stack += [(s.node, False) for s in reversed(sources) if s.node not in seen]

    for root in flow.outputs:
        walk(root)
    for vertex in reversed(flow.nodes):
        if vertex not in seen:
            walk(Output(vertex, 0))
    return order
