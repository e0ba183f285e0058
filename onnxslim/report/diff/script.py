"""What the pairs of two models do not explain: the edit script, one entry per change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from onnxslim.graph.schema import get_schema
from onnxslim.report.diff.flow import Const, Flow, Input, Output, Source, Vertex, constant_of
from onnxslim.report.diff.labels import Labels, parameter
from onnxslim.report.diff.matching import match
from onnxslim.report.diff.pairs import Match, Side
from onnxslim.report.diff.slots import aligned, replaced
from onnxslim.report.diff.weights import describe, is_close, plain


@dataclass(frozen=True)
class Field:
    """One property of a pair that differs.

    Args:
        name: ``operator``, ``attribute axis``, ``input 1``, ``outputs``.
        was: Before, fit for JSON.
        now: After.
    """

    name: str
    was: Any
    now: Any

    def flipped(self) -> Field:
        """The other way round."""
        return Field(self.name, self.now, self.was)


@dataclass(frozen=True, eq=False)
class NodeChange:
    """A pair of nodes with what differs between them."""

    a: Vertex
    b: Vertex
    fields: tuple[Field, ...]


@dataclass(eq=False)
class ConstantChange:
    """Two constants of which one took the place of the other.

    Attributes:
        a: Before; None when added.
        b: After; None when removed.
        uses: Pairs of nodes that read them, with the index of the input.
    """

    a: Const | None
    b: Const | None
    uses: list[tuple[Vertex, Vertex, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Boundary:
    """A pair of nodes whose input is explained by nodes that have no pair."""

    a: Vertex
    b: Vertex
    slot: int
    was: Source
    now: Source


@dataclass(eq=False)
class Script:
    """All changes of the nodes and constants.

    Attributes:
        matches: Of the main graphs, then of bodies and functions.
        removed: Nodes of the first model without a pair.
        added: Nodes of the second.
        changed: Pairs that differ.
        constants: Constants that differ at pairs.
        boundaries: Inputs of pairs next to nodes without one.
        joins: Values of which one took the place of the other, made by nodes without a pair.
        twins: Nodes without a pair that compute what a node with a pair computes.
        ends: Outputs of flows that come from elsewhere: path, name, was, now.
    """

    matches: list[Match] = field(default_factory=list)
    removed: list[Vertex] = field(default_factory=list)
    added: list[Vertex] = field(default_factory=list)
    changed: list[NodeChange] = field(default_factory=list)
    constants: list[ConstantChange] = field(default_factory=list)
    boundaries: list[Boundary] = field(default_factory=list)
    joins: list[tuple[Source, Source]] = field(default_factory=list)
    ends: list[tuple[str, str, str, str]] = field(default_factory=list)
    twins: set[Vertex] = field(default_factory=set)

    def flipped(self) -> Script:
        """The same, from the second model to the first."""
        changed = [NodeChange(c.b, c.a, tuple(f.flipped() for f in c.fields)) for c in self.changed]
        constants = [
            ConstantChange(c.b, c.a, sorted(((y, x, i) for x, y, i in c.uses), key=_use_place))
            for c in self.constants
        ]
        return Script(
            [m.flipped() for m in self.matches],
            self.added,
            self.removed,
            sorted(changed, key=lambda c: _place(c.a)),
            sorted(constants, key=lambda c: _use_place(c.uses[0])),
            [Boundary(x.b, x.a, x.slot, x.now, x.was) for x in self.boundaries],
            [(q, p) for p, q in self.joins],
            [(path, name, now, was) for path, name, was, now in self.ends],
            self.twins,
        )


def _place(vertex: Vertex) -> tuple[str, int]:
    return vertex.flow.path, vertex.index


def _use_place(use: tuple[Vertex, Vertex, int]) -> tuple[str, int, int]:
    return (*_place(use[0]), use[2])


class Writer:
    """Compares flows and writes one script.

    Args:
        labels: Shared by both models.
        tolerance: ``(atol, rtol)`` for constants that training makes; None: exactly.
    """

    def __init__(self, labels: Labels, tolerance: tuple[float, float] | None) -> None:
        self._labels = labels
        self._tolerance = tolerance
        self.script = Script()
        self._constants: dict[tuple[bytes | None, bytes | None], ConstantChange] = {}
        self._close: dict[tuple[bytes, bytes], bool] = {}

    def compare(self, a: Flow, b: Flow, outer: Match | None = None) -> Match:
        """Match two flows and write down what differs, bodies included."""
        found = match(a, b, self._labels, outer)
        self.script.matches.append(found)
        for x, y in list(replaced(found)):
            found.pair(x, y)
        self.script.removed += [x for x in a.nodes if x not in found.pairs]
        self.script.added += [y for y in b.nodes if y not in found.back]
        self.script.twins |= _twins(found.a, found.pairs) | _twins(found.b, found.back)
        for node in a.nodes:
            if (partner := found.pairs.get(node)) is not None:
                self._pair(node, partner, found)
        for i, j in sorted(found.outputs.items()):
            self._end(a, b, i, j, found)
        return found

    def _pair(self, x: Vertex, y: Vertex, found: Match) -> None:
        if self._labels.weights == "exact" and found.a.before[x] == found.b.before[y]:
            return  # the same as far back as the inputs
        fields: list[Field] = []
        if x.op != y.op:
            fields.append(Field("operator", x.op, y.op))
        else:
            fields += self._attributes(x, y)
            if self._labels.counts_outputs(x) and len(x.outputs) != len(y.outputs):
                fields.append(Field("outputs", len(x.outputs), len(y.outputs)))
        fields += self._inputs(x, y, found)
        for name in [n for n in x.bodies if n in y.bodies]:
            self.compare(x.bodies[name], y.bodies[name], found)
        if fields:
            self.script.changed.append(NodeChange(x, y, tuple(fields)))

    def _attributes(self, x: Vertex, y: Vertex) -> Iterator[Field]:
        items = [self._labels.attributes(v) for v in (x, y)]
        first, second = ({}, {}) if items[0] == items[1] else map(dict, items)
        for name in sorted({*first, *second}):
            if first.get(name, ...) == second.get(name, ...):
                continue
            slots = _parameter_slot(x, name), _parameter_slot(y, name)
            held = [slot is not None or name in v.attributes for v, slot in _zip((x, y), slots)]
            if None not in slots or (held != [True, True] and slots != (None, None)):
                continue  # told as an input
            was, now = (_shown(v, name, slot) for v, slot in _zip((x, y), slots))
            yield Field(f"attribute {name}", was, now)
        for name in sorted({*x.bodies} ^ {*y.bodies}):
            yield Field(
                f"attribute {name}", *("a graph" if name in v.bodies else None for v in (x, y))
            )

    def _inputs(self, x: Vertex, y: Vertex, found: Match) -> Iterator[Field]:
        for slot, p, q in aligned(x, y, found, self._labels):
            if self._same(p, q, found) or self._is_attribute(x, y, slot, p, q):
                continue
            c, d = constant_of(p), constant_of(q)
            if c is not None and d is not None:
                self._constant(c, d, (x, y, slot))
            elif p is None and d is not None:
                self._constant(None, d, (x, y, slot))
            elif q is None and c is not None:
                self._constant(c, None, (x, y, slot))
            elif _is_free(p, found.a.flow, found.pairs) or _is_free(q, found.b.flow, found.back):
                self.script.boundaries.append(Boundary(x, y, slot, p, q))
                self.script.joins.append((p, q))
            else:
                yield Field(f"input {slot}", shown_source(p), shown_source(q))

    def _same(self, p: Source, q: Source, found: Match) -> bool:
        c, d = constant_of(p), constant_of(q)
        if c is None or d is None:
            return c is d and found.correspond(p, q)
        if c is d or self._labels.constant(c) == self._labels.constant(d):
            if self._tolerance is None or not c.is_weight:
                return True
        if self._tolerance is None or not (c.is_weight and d.is_weight):
            return False
        key = (c.digest, d.digest)
        if key not in self._close:
            self._close[key] = key[0] == key[1] or is_close(c, d, *self._tolerance)
        return self._close[key]

    def _is_attribute(self, x: Vertex, y: Vertex, slot: int, p: Source, q: Source) -> bool:
        """Whether this input is the attribute of the other node, compared there."""
        for vertex, source, other in ((x, p, q), (y, q, p)):
            if other is None and constant_of(source) is not None:
                name = parameter(vertex.op, vertex.version, slot)
                peer = y if vertex is x else x
                if name is not None and name in dict(self._labels.attributes(peer)):
                    return True
        return False

    def _constant(self, c: Const | None, d: Const | None, use: tuple[Vertex, Vertex, int]) -> None:
        key = (None if c is None else c.digest, None if d is None else d.digest)
        if None in key:  # one per place: what was added at two nodes is two changes
            key = (*key, use[1].path.encode(), bytes([use[2] % 256]))  # type: ignore[assignment]
        entry = self._constants.get(key)
        if entry is None:
            entry = self._constants[key] = ConstantChange(c, d)
            self.script.constants.append(entry)
        entry.uses.append(use)

    def _end(self, a: Flow, b: Flow, i: int, j: int, found: Match) -> None:
        p, q = a.outputs[i], b.outputs[j]
        if self._same(p, q, found):
            return
        if _is_free(p, a, found.pairs) or _is_free(q, b, found.back):
            self.script.joins.append((p, q))
            return
        self.script.ends.append((a.path, a.output_names[i], shown_source(p), shown_source(q)))


def _twins(side: Side, taken: dict[Vertex, Vertex]) -> set[Vertex]:
    """Nodes without a pair that compute the same as one with a pair."""
    kept = {side.before[v] for v in side.flow.nodes if v in taken}
    return {v for v in side.flow.nodes if v not in taken and side.before[v] in kept}


def _zip(nodes: Sequence[Vertex], slots: Sequence[int | None]) -> Any:
    return zip(nodes, slots, strict=True)


def _is_free(source: Source, flow: Flow, taken: dict[Vertex, Vertex]) -> bool:
    """Whether a value is made by a node without a pair."""
    return isinstance(source, Output) and source.node.flow is flow and source.node not in taken


def shown_source(source: Source) -> str:
    """``Conv_5``, ``input x``, ``constant float32[64]``."""
    if isinstance(source, Output):
        return source.node.path + (f":{source.slot}" if source.slot else "")
    if isinstance(source, Input):
        return f"input {source.flow.inputs[source.index]}"
    if source is None:
        return "nothing"
    if source.size <= 8:
        return f"constant {_rounded(plain(source))}"
    return f"constant {source.dtype}{list(source.shape)}"


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value


def _parameter_slot(vertex: Vertex, name: str) -> int | None:
    """Index of the input that stands for attribute ``name``."""
    for slot in range(1, len(vertex.inputs)):
        if parameter(vertex.op, vertex.version, slot) == name and vertex.inputs[slot] is not None:
            return slot
    return None


def _shown(vertex: Vertex, name: str, slot: int | None) -> Any:
    """The value of an attribute for JSON: given, default, or that of the input ``slot``."""
    if slot is not None:
        const = constant_of(vertex.inputs[slot])
        return None if const is None else plain(const)
    value = vertex.attributes.get(name)
    if value is None:
        domain, _, op_type = vertex.op.rpartition(":")
        schema = get_schema(domain, op_type, vertex.version)
        value = None if schema is None else dict(schema.defaults).get(name)
    return _jsonable(value)


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(f"{value:.8g}") if abs(value) < float("inf") else str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, ir.TensorProtocol):
        const = Const("", value)
        return plain(const) if const.size <= 8 else {k: v for k, v in describe(const).items() if v}
    return str(value)
