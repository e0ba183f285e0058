"""Inputs of two nodes side by side, and nodes that differ in nothing but the operator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from onnxslim.report.diff.flow import Source, Vertex, constant_of
from onnxslim.report.diff.hashing import Uses
from onnxslim.report.diff.labels import COMMUTATIVE, Labels
from onnxslim.report.diff.pairs import Match


def aligned(
    x: Vertex, y: Vertex, found: Match, labels: Labels
) -> Iterator[tuple[int, Source, Source]]:
    """Inputs of a pair side by side; of operators that commute, in the order that fits best."""
    first, second = list(x.inputs), list(y.inputs)
    if x.op in COMMUTATIVE and y.op == x.op:
        rest: list[tuple[int, Source]] = []
        for slot, p in enumerate(first):
            q = next((q for q in second if _equal(p, q, found, labels)), None)
            if q is None:
                rest.append((slot, p))
            else:
                second.remove(q)
                yield slot, p, q
        yield from _rest(rest, second)
        return
    size = max(len(first), len(second))
    first += [None] * (size - len(first))
    second += [None] * (size - len(second))
    yield from ((i, p, q) for i, (p, q) in enumerate(zip(first, second, strict=True)))


def _rest(
    rest: list[tuple[int, Source]], second: list[Source]
) -> Iterator[tuple[int, Source, Source]]:
    """Constants with constants, values with values, then whatever is left."""
    for kind in (True, False):
        for item in [r for r in rest if (constant_of(r[1]) is not None) == kind]:
            q = next((q for q in second if (constant_of(q) is not None) == kind), None)
            if q is not None:
                second.remove(q)
                rest.remove(item)
                yield item[0], item[1], q
    size = max(len(rest), len(second))
    slots = [s for s, _ in rest] + [len(rest) + i for i in range(size - len(rest))]
    lefts = [p for _, p in rest] + [None] * (size - len(rest))
    rights = second + [None] * (size - len(second))
    yield from zip(slots, lefts, rights, strict=True)


def _equal(p: Source, q: Source, found: Match, labels: Labels) -> bool:
    c, d = constant_of(p), constant_of(q)
    if c is not None and d is not None:
        return labels.constant(c) == labels.constant(d)
    return c is d and found.correspond(p, q)


def replaced(found: Match) -> Iterator[tuple[Vertex, Vertex]]:
    """Nodes without a pair that read the same and are read by the same: another operator."""
    options: dict[tuple[str, ...], list[Vertex]] = {}
    for y in found.b.flow.nodes:
        if y not in found.back:
            options.setdefault(_readers(y, found.b.uses, lambda v: v), []).append(y)
    taken: set[Vertex] = set()
    for x in found.a.flow.nodes:
        if x in found.pairs:
            continue
        for y in options.get(_readers(x, found.a.uses, found.pairs.get, found.outputs), ()):
            if y not in taken and _same_data(x, y, found):
                taken.add(y)
                yield x, y
                break


def _readers(vertex: Vertex, uses: Uses, to_b: Any, ends: Any = None) -> tuple[str, ...]:
    """Who reads a node, in terms of the second flow."""
    found: list[Any] = []
    for slot, reader, index in uses.readers[vertex]:
        other = to_b(reader)
        found.append((slot, None if other is None else other.index, index))
    for slot, index in uses.ends.get(vertex, ()):
        found.append((slot, "end", index if ends is None else ends.get(index)))
    return tuple(sorted(map(repr, found)))


def _same_data(x: Vertex, y: Vertex, found: Match) -> bool:
    """Whether both read the same values, constants aside."""
    first = [s for s in x.inputs if constant_of(s) is None]
    second = [s for s in y.inputs if constant_of(s) is None]
    if len(first) != len(second):
        return False
    return all(found.correspond(p, q) for p, q in zip(first, second, strict=True))
