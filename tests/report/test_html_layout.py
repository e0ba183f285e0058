from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.report.html.layout import GAP, ROW, Placed, isotonic, layers, place


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, int]]]:
    count = draw(st.integers(1, 30))
    box = st.integers(0, count - 1)
    return (
        draw(st.lists(st.integers(20, 200), min_size=count, max_size=count)),
        draw(st.lists(st.tuples(box, box), max_size=60)),
    )


def check(sizes: list[int], edges: list[tuple[int, int]], placed: Placed) -> None:
    """Nothing overlaps, everything is inside, routes go from end to end."""
    rows: dict[int, list[tuple[float, float]]] = {}
    for x, y, w in zip(placed.x, placed.y, sizes, strict=True):
        assert w / 2 <= x + 1 and x + w / 2 <= placed.width + 1 and 0 <= y < placed.height
        rows.setdefault(y, []).append((x - w / 2, x + w / 2))
    for row in rows.values():
        for (_, end), (start, _) in pairwise(sorted(row)):
            assert start - end >= GAP - 2
    for (a, b), route in zip(edges, placed.routes, strict=True):
        ys = [y for _, y in route]
        assert ys == sorted(ys) and (not ys or placed.y[a] < ys[0] <= ys[-1] < placed.y[b])


@given(graphs())
def test_any_graph_is_laid_out(graph: tuple[list[int], list[tuple[int, int]]]) -> None:
    sizes, edges = graph
    placed = place(sizes, edges)
    check(sizes, edges, placed)
    assert place(sizes, edges) == placed


@given(graphs())
def test_edges_without_a_cycle_point_down(graph: tuple[list[int], list[tuple[int, int]]]) -> None:
    sizes, drawn = graph
    edges = [(min(e), max(e)) for e in drawn if e[0] != e[1]]
    found = layers(len(sizes), edges)
    assert all(found[a] < found[b] for a, b in edges)


def test_a_source_sits_by_its_reader() -> None:
    assert layers(5, [(0, 1), (1, 2), (2, 3), (4, 3)]) == [0, 1, 2, 3, 2]


def test_a_chain_is_straight() -> None:
    placed = place([80] * 6, [(i, i + 1) for i in range(5)])
    assert len(set(placed.x)) == 1 and placed.y == [i * ROW for i in range(6)]


def test_a_long_edge_goes_around() -> None:
    placed = place([80] * 5, [(0, 1), (1, 2), (2, 3), (3, 4), (0, 4)])
    route = placed.routes[-1]
    assert [y for _, y in route] == [ROW, 2 * ROW, 3 * ROW]
    assert all(abs(x - placed.x[1]) >= 40 for x, _ in route)


def test_nothing() -> None:
    assert place([], []) == Placed([], [], [], 0, 0)


def test_a_large_graph_keeps_its_points_few() -> None:
    rng = random.Random(0)
    count = 3000
    edges = [(i - 1, i) for i in range(1, count)]
    edges += [(rng.randrange(i), i) for i in range(1, count)]
    placed = place([100] * count, edges)
    check([100] * count, edges, placed)
    assert sum(map(len, placed.routes)) < 40 * count * 8


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(0.1, 10)), max_size=20))
def test_isotonic(pairs: list[tuple[float, float]]) -> None:
    values, weights = [v for v, _ in pairs], [w for _, w in pairs]
    found = isotonic(values, weights)
    assert all(a <= b + 1e-9 for a, b in pairwise(found))
    total = sum(w * (f - v) for v, w, f in zip(values, weights, found, strict=True))
    assert total == pytest.approx(0, abs=1e-6 * (1 + sum(weights)) * 100)
    if all(a <= b for a, b in pairwise(values)):
        assert found == values
