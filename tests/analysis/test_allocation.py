"""Widths meet the limit with (nearly) the least predicted error of all combinations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from onnxslim.analysis.allocation import allocate, tempered
from onnxslim.analysis.dependency.groups import Group
from onnxslim.analysis.pruned_cost import CostModel, Term
from onnxslim.analysis.selection import Candidate

SIZES = {0: 8, 1: 16, 2: 12}
LAYERS = [((0,), 5.0), ((0, 1), 1.0), ((1, 2), 2.0), ((2,), 7.0)]


def candidates(portion: int = 2) -> list[Candidate]:
    found = []
    for number, size in SIZES.items():
        group = Group(number, size, np.zeros(size, np.int64), 1, (), (), "channel")
        levels = [size, *range((size - 1) // portion * portion, 0, -portion)]
        found.append(Candidate(group, np.arange(size), np.arange(size, dtype=float), levels))
    return found


def cost_model() -> CostModel:
    positions = {f"t{n}": {0: {n: np.arange(size)}} for n, size in SIZES.items()}
    terms = [Term(constant, tuple((f"t{n}", 0) for n in groups)) for groups, constant in LAYERS]
    return CostModel(terms, 10.0, positions, {n: np.arange(s) for n, s in SIZES.items()})


def curves(seed: int) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(seed)
    steps = {n: np.sort(rng.exponential(size=s)) * rng.uniform(0.1, 10) for n, s in SIZES.items()}
    return {n: np.concatenate([[0.0], np.cumsum(s)]) for n, s in steps.items()}


def total_cost(kept: dict[int, int]) -> float:
    return 10.0 + sum(c * np.prod([kept[n] for n in groups]) for groups, c in LAYERS)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("part", [0.3, 0.5, 0.8])
def test_near_the_best_of_all_combinations(seed: int, part: float) -> None:
    items, errors = candidates(), curves(seed)
    limit = part * total_cost(SIZES)
    best = min(
        sum(errors[n][SIZES[n] - kept] for n, kept in zip(SIZES, widths, strict=True))
        for widths in itertools.product(*(item.levels for item in items))
        if total_cost(dict(zip(SIZES, widths, strict=True))) <= limit
    )
    removed = allocate(items, errors, cost_model(), limit)
    assert removed is not None
    kept = {n: SIZES[n] - k for n, k in removed.items()}
    assert total_cost(kept) <= limit
    assert all(kept[item.group.id] in item.levels for item in items)
    assert sum(errors[n][k] for n, k in removed.items()) <= 1.1 * best + 1e-9


def test_a_limit_that_cannot_be_met() -> None:
    assert allocate(candidates(), curves(0), cost_model(), 20.0) is None


def test_a_ratio_of_its_own_is_kept() -> None:
    items = candidates()
    items[1] = Candidate(items[1].group, items[1].order, items[1].losses, items[1].levels, 0.5)
    removed = allocate(items, curves(1), cost_model(), 0.6 * total_cost(SIZES))
    assert removed is not None and removed[1] == 8


def test_errors_count_for_more_where_much_is_gone() -> None:
    curve = np.array([0.0, 1.0, 1.0, 2.0, 3.0])
    found = tempered({7: curve}, 2.0)[7]
    assert found.tolist() == [0.0, 1 / 0.75**2, 4.0, 32.0, 48.0]
    assert tempered({7: curve}, 0.0)[7].tolist() == curve.tolist()
    assert tempered({7: np.zeros(1)}, 1.0)[7].tolist() == [0.0]


def test_caution_keeps_a_group_from_being_cut_to_a_sliver() -> None:
    """One group seems to matter little, whatever it loses."""
    flat = {n: np.linspace(0, 0.5 if n == 1 else 20.0, s + 1) for n, s in SIZES.items()}
    left = []
    for caution in (0.0, 1.0, 4.0):
        limit = 0.6 * total_cost(SIZES)
        removed = allocate(candidates(), tempered(flat, caution), cost_model(), limit)
        assert removed is not None
        left.append(SIZES[1] - removed[1])
    assert left[0] <= left[1] < left[2]
