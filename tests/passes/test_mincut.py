"""Minimum cuts: the value and the side of the sink, against all cuts of small graphs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from onnxslim.passes._mincut import UNCUTTABLE, Cut

Edges = list[tuple[int, int, int]]
SOURCE, SINK = 0, 1


def solve(edges: Edges) -> tuple[int, set[object]]:
    cut = Cut(SOURCE, SINK)
    for edge in edges:
        cut.edge(*edge)
    value, side = cut.solve()
    return value, set(side)


def best(edges: Edges, nodes: int) -> tuple[int, set[int]]:
    """By trying every side of the sink; of equal cuts the smallest."""
    found = []
    for count in range(nodes - 1):
        for chosen in itertools.combinations(range(2, nodes), count):
            side = {SINK, *chosen}
            found.append((sum(c for a, b, c in edges if a not in side and b in side), side))
    value = min(v for v, _ in found)
    return value, min((s for v, s in found if v == value), key=len)


@pytest.mark.parametrize("seed", range(20))
def test_as_found_by_trying_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = [
        (int(a), int(b), int(rng.integers(0, 6)))
        for a, b in itertools.permutations(range(6), 2)
        if rng.random() < 0.5
    ]
    assert solve(edges) == best(edges, 6)


def test_capacities_add_up_to_what_cannot_be_cut() -> None:
    assert solve([(0, 2, 2), (0, 2, 3), (2, 1, 9)]) == (5, {1, 2})
    assert solve([(0, 2, UNCUTTABLE), (0, 2, UNCUTTABLE), (2, 1, 4)]) == (4, {1})
    assert solve([(0, 1, UNCUTTABLE), (0, 1, 1)]) == (UNCUTTABLE, {1})


def test_edges_without_capacity_and_loops_do_not_count() -> None:
    assert solve([(0, 2, 1), (2, 2, 5), (2, 1, 0), (2, 1, -3)]) == (0, {1})
    assert solve([]) == (0, {1})
    assert solve([(0, 2, 1), (2, 1, 1)]) == (1, {1})
