"""What lies before and behind every node, as numbers: equal numbers, equal surroundings.

The forward number of a node stands for everything that its result depends on, the backward number
for everything that is done with it. Both take one walk over the nodes in their order. The idea is
that of Merkle trees; the numbers are handed out by a table instead of a hash function, so that
they never collide.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from onnxslim.report.diff.flow import Flow, Input, Output, Source, Vertex, constant_of
from onnxslim.report.diff.labels import COMMUTATIVE, FULL, KIND, Labels

CAPTURED, ANY_SLOT = -2, -1
"""In place of the index of an input: read by a body; one of several that commute."""

_OUTER, _NOTHING = -3, -4
"""Instead of a number: a value from outside, an omitted input."""

Outer = Callable[[Output | Input], Hashable]


class Forward(dict[Vertex, int]):
    """Forward numbers of the nodes of one flow.

    Args:
        labels: Gives the numbers.
        level: Detail of the labels.
        tokens: What stands for each input of the flow.
        outer: What stands for a value of a flow around this one.
    """

    def __init__(
        self, flow: Flow, labels: Labels, level: int, tokens: Sequence[Hashable], outer: Outer
    ) -> None:
        super().__init__()
        self._flow, self._labels, self._level = flow, labels, level
        self._tokens, self._outer = tokens, outer

    def source(self, source: Source) -> int:
        """Number of a value."""
        number = self._labels.number
        const = constant_of(source)
        if const is not None:
            if self._level == FULL:
                return number(("const", self._labels.constant(const)))
            return number("const") if self._level >= KIND else number((const.dtype, const.shape))
        if source is None:
            return number(None)
        if isinstance(source, Output):
            if source.node.flow is self._flow:
                found = self[source.node]
                return found if source.slot == 0 else number(("slot", found, source.slot))
        elif isinstance(source, Input) and source.flow is self._flow:
            return number(("input", self._tokens[source.index]))
        assert isinstance(source, (Output, Input))
        return number(("outer", self._outer(source)))

    def node(self, vertex: Vertex) -> int:
        """Number of a node whose sources have theirs."""
        inputs: list[int | None] = []
        for source in vertex.inputs:
            if constant_of(source) is not None:
                if self._level < KIND:
                    inputs.append(None)
            elif type(source) is Output and source.slot == 0 and source.node.flow is self._flow:
                inputs.append(self[source.node])
            else:
                inputs.append(self.source(source))
        if vertex.op in COMMUTATIVE:
            inputs = sorted(x for x in inputs if x is not None)  # type: ignore[assignment]
        key: tuple[Hashable, ...] = (self._labels.label(vertex, self._level), tuple(inputs))
        if vertex.bodies and self._level == FULL:
            bodies = [self._body(flow) for _, flow in sorted(vertex.bodies.items())]
            key += (tuple(bodies),)
        elif vertex.captured:
            key += (tuple(sorted({self.source(s) for s in vertex.captured})),)
        return self._labels.number(("forward", key))

    def _body(self, flow: Flow) -> Hashable:
        ids = forward(flow, self._labels, self._level, outer=self.source)
        dead = tuple(sorted(ids[v] for v in flow.nodes))
        return tuple(ids.source(s) for s in flow.outputs), dead


def forward(
    flow: Flow,
    labels: Labels,
    level: int,
    *,
    outer: Outer,
    tokens: Sequence[Hashable] | None = None,
) -> Forward:
    """Forward numbers of all nodes of a flow."""
    if tokens is None:
        tokens = [(flow.depth, i) for i in range(len(flow.inputs))]
    found = Forward(flow, labels, level, tokens, outer)
    for vertex in flow.nodes:
        found[vertex] = found.node(vertex)
    return found


class Uses:
    """Who reads the outputs of the nodes of one flow.

    Attributes:
        readers: Node to ``(output slot, reading node, input slot)``.
        ends: Node to ``(output slot, index of the output of the flow)``.
    """

    def __init__(self, flow: Flow) -> None:
        self.readers: dict[Vertex, list[tuple[int, Vertex, int]]] = {v: [] for v in flow.nodes}
        self.ends: dict[Vertex, list[tuple[int, int]]] = {}
        for vertex in flow.nodes:
            commutes = vertex.op in COMMUTATIVE
            for slot, source in enumerate(vertex.inputs):
                if type(source) is Output and source.node.flow is flow:
                    entry = (source.slot, vertex, ANY_SLOT if commutes else slot)
                    self.readers[source.node].append(entry)
            for source in vertex.captured:
                if type(source) is Output and source.node.flow is flow:
                    self.readers[source.node].append((source.slot, vertex, CAPTURED))
        for index, source in enumerate(flow.outputs):
            if isinstance(source, Output) and source.node.flow is flow:
                self.ends.setdefault(source.node, []).append((source.slot, index))


def backward(
    flow: Flow, uses: Uses, labels: Labels, level: int, tokens: Sequence[Hashable]
) -> dict[Vertex, int]:
    """Backward numbers of all nodes of a flow.

    Args:
        flow: The nodes.
        uses: Of the same flow.
        labels: Gives the numbers.
        level: Detail of the labels.
        tokens: What stands for each output of the flow.
    """
    found: dict[Vertex, int] = {}
    for vertex in reversed(flow.nodes):
        readers = [(slot, found[v], index) for slot, v, index in uses.readers[vertex]]
        if len(readers) > 1:
            readers.sort()
        ends = sorted((slot, repr(tokens[i])) for slot, i in uses.ends.get(vertex, ()))
        key = (labels.label(vertex, level), tuple(readers), tuple(ends))
        found[vertex] = labels.number(("backward", key))
    return found


def fingerprint(flow: Flow, labels: Labels) -> int:
    """A number for everything but names: the same in every process, whatever the order of nodes."""
    found: dict[Vertex, int] = {}

    def of(source: Source) -> int:
        const = constant_of(source)
        if const is not None:
            return labels.stable(labels.constant(const))
        if isinstance(source, Output):
            return hash((found.get(source.node, _OUTER), source.slot))
        return source.index if isinstance(source, Input) else _NOTHING

    for vertex in flow.nodes:
        inputs = [of(source) for source in vertex.inputs]
        if vertex.op in COMMUTATIVE:
            inputs.sort()
        parts = [labels.stable((vertex.op, labels.attributes(vertex))), *inputs]
        for name, body in sorted(vertex.bodies.items()):
            parts += [labels.stable(name), fingerprint(body, labels)]
        found[vertex] = hash(tuple(parts))
    return hash((*(of(source) for source in flow.outputs), *sorted(found.values())))
