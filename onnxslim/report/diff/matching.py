"""Pairs of nodes of two graphs, by decreasing certainty.

First nodes with equal surroundings on both sides, then on one side, then nodes whose label is
unique, and at each step everything that follows from a pair through its neighbours. What is left
is aligned as two sequences in an order that does not depend on names or on the order in the file.
The steps are those of GumTree (Falleti et al. 2014, ASE) on a graph without cycles.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable

from onnxslim.report.diff.align import align, increasing
from onnxslim.report.diff.flow import Flow, Input, Output, Source, Vertex, constant_of
from onnxslim.report.diff.hashing import Forward, Uses, backward, forward
from onnxslim.report.diff.labels import COMMUTATIVE, FULL, KIND, OPERATOR, SHAPED, WEIGHT, Labels
from onnxslim.report.diff.pairs import Match, Side, canonical_order, outer_tokens, pair_ports

Key = Callable[[Vertex], Hashable]

_FEW = 8
"""So few nodes are paired by their neighbours, without looking at all surroundings again."""


def match(a: Flow, b: Flow, labels: Labels, outer: Match | None = None) -> Match:
    """Pair the nodes of two flows.

    Args:
        a: First.
        b: Second.
        labels: Shared by both.
        outer: Pairs of the flows around them.
    """
    if outer is None and not a.path:
        inputs, outputs = pair_ports(a.inputs, b.inputs), pair_ports(a.output_names, b.output_names)
    else:
        inputs = {i: i for i in range(min(len(a.inputs), len(b.inputs)))}
        outputs = {i: i for i in range(min(len(a.outputs), len(b.outputs)))}
    return _Matcher(a, b, labels, inputs, outputs, outer).run()


class _Matcher:
    def __init__(
        self,
        a: Flow,
        b: Flow,
        labels: Labels,
        inputs: dict[int, int],
        outputs: dict[int, int],
        outer: Match | None,
    ) -> None:
        self._labels = labels
        self._tokens = (
            [inputs.get(i, ("a", i)) for i in range(len(a.inputs))],
            [i if i in set(inputs.values()) else ("b", i) for i in range(len(b.inputs))],
        )
        self._ends = (
            [outputs.get(i, ("a", i)) for i in range(len(a.outputs))],
            [i if i in set(outputs.values()) else ("b", i) for i in range(len(b.outputs))],
        )
        self._outers = outer_tokens(outer)
        sides = [self._side(flow, i) for i, flow in enumerate((a, b))]
        self.match = Match(sides[0], sides[1], inputs, outputs, outer)
        self._starts = _input_readers(a), _input_readers(b)

    def _side(self, flow: Flow, which: int) -> Side:
        before = self._forward(flow, FULL, which)
        side = Side(flow, Uses(flow), canonical_order(flow, before), before)
        side.place = {v: i for i, v in enumerate(side.order)}
        return side

    def _forward(self, flow: Flow, level: int, which: int) -> Forward:
        return forward(
            flow, self._labels, level, outer=self._outers[which], tokens=self._tokens[which]
        )

    def run(self) -> Match:
        """All steps."""
        for level in (FULL, SHAPED, KIND):
            if not self._step(level):
                return self.match
        for level in (FULL, SHAPED, KIND):
            self._spread(level)
        self._align()
        for level in (FULL, SHAPED, KIND, OPERATOR):
            self._spread(level)
        return self.match

    def _step(self, level: int) -> bool:
        """Pair what one level of detail tells; False when nothing is left to pair."""
        if level != FULL:
            self._spread(level)
        if level == FULL or self._left() > _FEW:
            self._by_surroundings(level)
            self._unique(level)
            if level == FULL:
                self._unique(WEIGHT)
            self._spread(level)
        return self._left() > 0

    def _spread(self, level: int) -> None:
        key = self._label(level)
        self._propagate(self._frontier(), key)
        self._from_ends(level)

    def _left(self) -> int:
        """How many of the nodes without a pair have an operator that both sides have left."""
        found = self.match
        first = Counter(v.op for v in found.a.order if v not in found.pairs)
        second = Counter(v.op for v in found.b.order if v not in found.back)
        return (first & second).total()

    def _frontier(self) -> list[tuple[Vertex, Vertex]]:
        """Pairs next to a node of the first flow that has none."""
        found, flow = self.match, self.match.a.flow
        near: dict[Vertex, None] = {}
        if len(found.pairs) == len(found.a.order):
            return []
        for vertex in found.a.order:
            if vertex in found.pairs:
                continue
            for source in (*vertex.inputs, *vertex.captured):
                if type(source) is Output and source.node.flow is flow:
                    near[source.node] = None
            near.update((reader, None) for _, reader, _ in found.a.uses.readers[vertex])
        return [(x, found.pairs[x]) for x in near if x in found.pairs]

    def _label(self, level: int) -> Key:
        label = self._labels.label
        return lambda vertex: label(vertex, level)

    def _by_surroundings(self, level: int) -> None:
        a, b = self.match.a, self.match.b
        if level == FULL:
            f = {**a.before, **b.before}
        else:
            f = {**self._forward(a.flow, level, 0), **self._forward(b.flow, level, 1)}
        r = backward(a.flow, a.uses, self._labels, level, self._ends[0])
        r.update(backward(b.flow, b.uses, self._labels, level, self._ends[1]))
        self._buckets(lambda v: (f[v], r[v]))
        self._buckets(lambda v: f[v])
        self._buckets(lambda v: r[v])

    def _buckets(self, key: Key) -> None:
        """Pair nodes of equal key where both sides have as many; neighbours decide first."""
        buckets = self._group(key)
        single = [(x[0], y[0]) for x, y in buckets if len(x) == 1]
        for x, y in single:
            self.match.pair(x, y)
        self._propagate(self._frontier(), key)
        for xs, ys in buckets:
            for x in xs:
                if x in self.match.pairs:
                    continue
                while ys and ys[0] in self.match.back:
                    ys.pop(0)
                if ys:
                    self.match.pair(x, ys[0])
                    self._propagate([(x, ys[0])], key)

    def _group(self, key: Key) -> list[tuple[list[Vertex], list[Vertex]]]:
        found: dict[Hashable, tuple[list[Vertex], list[Vertex]]] = {}
        if len(self.match.pairs) in (len(self.match.a.order), len(self.match.b.order)):
            return []
        for vertex in self.match.a.order:
            if vertex not in self.match.pairs:
                found.setdefault(key(vertex), ([], []))[0].append(vertex)
        for vertex in self.match.b.order:
            if vertex not in self.match.back:
                if (bucket := found.get(key(vertex))) is not None:
                    bucket[1].append(vertex)
        return [bucket for bucket in found.values() if len(bucket[0]) == len(bucket[1])]

    def _unique(self, level: int) -> None:
        """Pair nodes whose label is the only one of its kind on both sides.

        Unless the label tells the contents of weights, only where that keeps the order.
        """
        key = self._label(level)
        found = [(x[0], y[0]) for x, y in self._group(key) if len(x) == 1]
        if level != FULL:
            found = [(x, y) for x, y in found if self._has_constant(x)]
        if level not in (FULL, WEIGHT):
            places = self.match.a.place, self.match.b.place
            spots = {(places[0][x], places[1][y]): (x, y) for x, y in found}
            found = [spots[spot] for spot in increasing(sorted(spots))]
        for x, y in found:
            if x not in self.match.pairs and y not in self.match.back:
                self.match.pair(x, y)
                self._propagate([(x, y)], key)

    @staticmethod
    def _has_constant(vertex: Vertex) -> bool:
        return any(c is not None and c.size >= 16 for c in map(constant_of, vertex.inputs))

    def _from_ends(self, level: int) -> None:
        """What reads a common input, and what makes a common output."""
        found, key = self.match, self._label(level)
        for i, j in sorted(found.outputs.items()):
            x, y = found.a.flow.outputs[i], found.b.flow.outputs[j]
            self._sources(x, y, key)
        first, second = self._starts
        for i, j in sorted(found.inputs.items()):
            self._readers(first.get(i, []), second.get(j, []), key)

    def _propagate(self, start: Iterable[tuple[Vertex, Vertex]], key: Key) -> None:
        """Pair neighbours of pairs that have the same key and are the only ones of it."""
        self._work = list(start)
        while self._work:
            x, y = self._work.pop()
            if x.op in COMMUTATIVE or y.op in COMMUTATIVE:
                self._any_order(x, y, key)
            else:
                for p, q in zip(x.inputs, y.inputs, strict=False):
                    self._sources(p, q, key, push=True)
            uses = self.match.a.uses.readers[x], self.match.b.uses.readers[y]
            if uses[0] and uses[1]:
                self._readers(
                    [(v, (s, i)) for s, v, i in uses[0]],
                    [(v, (s, i)) for s, v, i in uses[1]],
                    key,
                    push=True,
                )

    def _free(self, source: Source, of_a: bool) -> Vertex | None:
        side, taken = (self.match.a, self.match.pairs) if of_a else (self.match.b, self.match.back)
        if type(source) is not Output or source.node in taken:
            return None
        return source.node if source.node.flow is side.flow else None

    def _sources(self, p: Source, q: Source, key: Key, push: bool = False) -> None:
        if type(p) is not Output or type(q) is not Output or p.slot != q.slot:
            return
        x, y = self._free(p, True), self._free(q, False)
        if x is not None and y is not None and key(x) == key(y):
            self.match.pair(x, y)
            if push:
                self._work.append((x, y))
            else:
                self._propagate([(x, y)], key)

    def _any_order(self, x: Vertex, y: Vertex, key: Key) -> None:
        first = [v for s in x.inputs if (v := self._free(s, True)) is not None]
        second = [v for s in y.inputs if (v := self._free(s, False)) is not None]
        self._only(first, second, key, True)

    def _readers(
        self,
        first: list[tuple[Vertex, Hashable]],
        second: list[tuple[Vertex, Hashable]],
        key: Key,
        push: bool = False,
    ) -> None:
        slots = {(v, s) for v, s in first if v not in self.match.pairs}
        if not slots:
            return
        groups: dict[Hashable, tuple[list[Vertex], list[Vertex]]] = {}
        for vertex, slot in first:
            if vertex not in self.match.pairs:
                groups.setdefault(slot, ([], []))[0].append(vertex)
        for vertex, slot in second:
            if vertex not in self.match.back and slot in groups:
                groups[slot][1].append(vertex)
        for xs, ys in groups.values():
            self._only(xs, ys, key, push)

    def _only(self, first: list[Vertex], second: list[Vertex], key: Key, push: bool) -> None:
        if not first or not second:
            return
        keyed: dict[Hashable, tuple[list[Vertex], list[Vertex]]] = {}
        for vertex in dict.fromkeys(first):
            keyed.setdefault(key(vertex), ([], []))[0].append(vertex)
        for vertex in dict.fromkeys(second):
            if (bucket := keyed.get(key(vertex))) is not None:
                bucket[1].append(vertex)
        for xs, ys in keyed.values():
            if len(xs) == 1 and len(ys) == 1 and xs[0] not in self.match.pairs:
                if ys[0] not in self.match.back:
                    self.match.pair(xs[0], ys[0])
                    if push:
                        self._work.append((xs[0], ys[0]))
                    else:
                        self._propagate([(xs[0], ys[0])], key)

    def _align(self) -> None:
        found = self.match
        for x, y in align(found.a.order, found.b.order, found.pairs, self._labels):
            found.pair(x, y)


def _input_readers(flow: Flow) -> dict[int, list[tuple[Vertex, Hashable]]]:
    """Index of an input to the nodes that read it, with the slot."""
    found: dict[int, list[tuple[Vertex, Hashable]]] = defaultdict(list)
    for vertex in flow.nodes:
        for slot, source in enumerate([*vertex.inputs, *vertex.captured]):
            if isinstance(source, Input) and source.flow is flow:
                code = -1 if vertex.op in COMMUTATIVE else min(slot, len(vertex.inputs))
                found[source.index].append((vertex, code))
    return found
