"""Pairs between what is left of two sequences of nodes, keeping their order.

Between two neighbouring pairs that both sequences have in the same order lies a gap; each gap is
aligned by dynamic programming, or greedily when that would take too long.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

from onnxslim.report.diff.flow import Vertex
from onnxslim.report.diff.labels import FULL, KIND, OPERATOR, SHAPED, Labels

_CELLS = 400_000
"""Most cells of one table of the dynamic programming, about half a second."""

_BUDGET = 2_000_000
"""Most cells of all tables of one comparison."""

_WINDOW = 60
"""How far the greedy alignment looks ahead."""

Pair = tuple[Vertex, Vertex]


def align(
    first: Sequence[Vertex],
    second: Sequence[Vertex],
    pairs: Mapping[Vertex, Vertex],
    labels: Labels,
) -> Iterator[Pair]:
    """Yield pairs of nodes that have none yet, of the same operator and in the same order.

    Args:
        first: Nodes of the first graph.
        second: Nodes of the second.
        pairs: What is known.
        labels: Of the nodes.
    """
    budget = _BUDGET
    for xs, ys in _gaps(first, second, pairs):
        if not xs or not ys:
            continue
        cells = len(xs) * len(ys)
        if cells <= min(_CELLS, budget):
            budget -= cells
            yield from _best(xs, ys, labels)
        else:
            yield from _greedy(xs, ys, labels)


def _gaps(
    first: Sequence[Vertex], second: Sequence[Vertex], pairs: Mapping[Vertex, Vertex]
) -> Iterator[tuple[list[Vertex], list[Vertex]]]:
    """The free nodes between anchors: the longest run of pairs in the same order."""
    places = {v: i for i, v in enumerate(second)}
    known = [(i, places[pairs[x]]) for i, x in enumerate(first) if x in pairs]
    taken = set(pairs.values())
    i = j = 0
    for p, q in [*increasing(known), (len(first), len(second))]:
        yield (
            [x for x in first[i:p] if x not in pairs],
            [y for y in second[j:q] if y not in taken],
        )
        i, j = p + 1, q + 1


def increasing(items: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest subsequence whose second numbers increase (patience sorting)."""
    tails: list[int] = []
    ends: list[int] = []
    previous: list[int] = []
    for index, (_, value) in enumerate(items):
        place = bisect_left(tails, value)
        previous.append(ends[place - 1] if place else -1)
        if place == len(tails):
            tails.append(value)
            ends.append(index)
        else:
            tails[place], ends[place] = value, index
    chain = []
    at = ends[-1] if ends else -1
    while at >= 0:
        chain.append(items[at])
        at = previous[at]
    return chain[::-1]


def _keys(vertices: Sequence[Vertex], labels: Labels) -> list[tuple[int, ...]]:
    levels = (OPERATOR, KIND, SHAPED, FULL)
    return [tuple(labels.label(v, level) for level in levels) for v in vertices]


def _likeness(x: Vertex, y: Vertex, p: tuple[int, ...], q: tuple[int, ...]) -> int:
    """0 for different operators; more for every further thing that two nodes share."""
    if p[0] != q[0]:
        return 0
    score = 4 + 2 * (p[1] == q[1]) + 4 * (p[2] == q[2]) + 8 * (p[3] == q[3])
    return score + (x.name == y.name) + (bool(x.outputs) and x.outputs[:1] == y.outputs[:1])


def _best(xs: list[Vertex], ys: list[Vertex], labels: Labels) -> Iterator[Pair]:
    """The alignment of greatest total likeness (Needleman and Wunsch 1970)."""
    ps, qs = _keys(xs, labels), _keys(ys, labels)
    table = [[0] * (len(ys) + 1)]
    for x, p in zip(xs, ps, strict=True):
        above = table[-1]
        row = [0]
        for j, q in enumerate(qs):
            best = above[j + 1] if above[j + 1] >= row[j] else row[j]
            if p[0] == q[0]:
                best = max(best, above[j] + _likeness(x, ys[j], p, q))
            row.append(best)
        table.append(row)
    i, j, found = len(xs), len(ys), []
    while i and j:
        gain = _likeness(xs[i - 1], ys[j - 1], ps[i - 1], qs[j - 1])
        if gain and table[i][j] == table[i - 1][j - 1] + gain:
            found.append((xs[i - 1], ys[j - 1]))
            i, j = i - 1, j - 1
        elif table[i][j] == table[i - 1][j]:
            i -= 1
        else:
            j -= 1
    yield from reversed(found)


def _greedy(xs: list[Vertex], ys: list[Vertex], labels: Labels) -> Iterator[Pair]:
    """Step along both; where they differ, skip as little as possible to the next likeness."""
    ps, qs = _keys(xs, labels), _keys(ys, labels)
    i = j = 0
    while i < len(xs) and j < len(ys):
        if ps[i][0] == qs[j][0]:
            yield xs[i], ys[j]
            i, j = i + 1, j + 1
            continue
        step = _skip(ps[i : i + _WINDOW], qs[j : j + _WINDOW])
        i, j = i + step[0], j + step[1]


def _skip(ps: list[tuple[int, ...]], qs: list[tuple[int, ...]]) -> tuple[int, int]:
    """The fewest steps on both sides to nodes with the same attributes, or past everything."""
    nearest: dict[int, int] = {}
    for j, q in enumerate(qs):
        nearest.setdefault(q[1], j)
    options = [(i + nearest[p[1]], i, nearest[p[1]]) for i, p in enumerate(ps) if p[1] in nearest]
    if not options:
        return len(ps), len(qs)
    _, i, j = min(options)
    return i, j
