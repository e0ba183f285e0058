"""The allocation on handmade costs, against every choice there is."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import pytest

from onnxslim.analysis.allocation import allocate
from onnxslim.analysis.dependency.groups import Group


@dataclass
class Item:
    """A group that may keep these numbers of units."""

    group: Group
    levels: list[int]
    ratio: float | None = None


@dataclass
class Cost:
    """Every unit of a group costs the same."""

    prices: dict[int, float]
    sizes: dict[int, int]
    out: dict[int, int] = field(default_factory=dict)

    @property
    def total(self) -> float:
        kept = {g: n - self.out.get(g, 0) for g, n in self.sizes.items()}
        return sum(self.prices[g] * n for g, n in kept.items())

    def remove(self, group: int, count: int) -> float:
        self.out[group] = count
        return self.total

    def removed(self, group: int) -> int:
        return self.out.get(group, 0)


def group(number: int, size: int) -> Group:
    return Group(number, size, np.zeros(size, np.int64), 1, (), (), "channel")


def problem(seed: int) -> tuple[list[Any], dict[int, Any], Any]:
    rng = np.random.default_rng(seed)
    items, errors, sizes = [], {}, {}
    for number in range(3):
        size = int(rng.integers(3, 6))
        items.append(Item(group(number, size), list(range(size, 0, -1))))
        errors[number] = np.concatenate([[0.0], np.cumsum(rng.uniform(0.1, 2.0, size))])
        sizes[number] = size
    prices = {n: float(rng.integers(1, 5)) for n in sizes}
    return items, errors, Cost(prices, sizes)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("part", [0.5, 0.75])
def test_no_single_exchange_makes_it_better(seed: int, part: float) -> None:
    items, errors, cost = problem(seed)
    limit = part * cost.total
    found = allocate(items, errors, cost, limit)
    assert found is not None and cost.total <= limit and found == cost.out
    own = sum(errors[g][n] for g, n in found.items())
    choices = [range(item.group.size) for item in items]
    for choice in product(*choices):
        away = [g for g, n in enumerate(choice) if n != found[g]]
        fits = sum(cost.prices[g] * (cost.sizes[g] - n) for g, n in enumerate(choice)) <= limit
        if fits and len(away) <= 2:
            assert sum(errors[g][n] for g, n in enumerate(choice)) >= own - 1e-9


def test_a_limit_that_cannot_be_met() -> None:
    items, errors, cost = problem(0)
    assert allocate(items, errors, cost, 0.5) is None


def test_a_limit_that_is_met_already() -> None:
    items, errors, cost = problem(0)
    assert allocate(items, errors, cost, cost.total) == {0: 0, 1: 0, 2: 0}
