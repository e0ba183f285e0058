"""Orders, levels and budgets on groups put together by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.analysis.budget import Granularity
from onnxslim.analysis.dependency.groups import Group, Role, Site
from onnxslim.analysis.pruned_cost import BlockedCost, CostModel, Term
from onnxslim.analysis.selection import (
    Candidate,
    Scope,
    by_ratio,
    candidate,
    mask,
    removal_order,
    select_cost,
    select_ratio,
    steps_of,
    unevenness,
)

FINE = Granularity(1, 1)


def group(
    id: int, size: int, cells: Sequence[int] | None = None, sites: tuple[Site, ...] = ()
) -> Group:
    blocks = np.zeros(size, np.int64) if cells is None else np.asarray(cells)
    return Group(id, size, blocks, 1, sites, (), "channel")


def item(id: int, scores: Sequence[float], grain: Granularity = FINE) -> Candidate:
    return candidate(group(id, len(scores)), np.asarray(scores, float), grain)


def test_the_lowest_score_leaves_first_and_of_equals_the_last() -> None:
    assert removal_order(group(0, 5), np.array([2.0, 1, 3, 1, 1])).tolist() == [4, 3, 1, 0, 2]


def test_cells_lose_one_unit_in_turn() -> None:
    made = group(0, 6, [0, 0, 0, 1, 1, 1])
    order = removal_order(made, np.array([1.0, 2, 3, 9, 8, 7])).tolist()
    assert order == [0, 5, 1, 4, 2, 3]
    found = candidate(made, np.array([1.0, 2, 3, 9, 8, 7]), FINE)
    for level in found.levels:
        kept = mask(found, 6 - level)
        assert kept.sum() == level and kept[:3].sum() == kept[3:].sum()


def test_a_ratio_rounds_what_stays_up() -> None:
    coarse = item(0, range(32), Granularity())
    assert [by_ratio(coarse, r) for r in (0.0, 0.1, 0.25, 0.5, 0.7, 0.9)] == [0, 0, 8, 16, 16, 24]
    assert by_ratio(item(0, range(10)), 0.3) == 3, "no rounding error decides"


def test_local_takes_the_same_part_of_every_group() -> None:
    items = [item(0, range(8)), item(1, range(100, 104))]
    assert select_ratio(items, 0.5, "local") == {0: 4, 1: 2}


def test_of_equal_parts_the_one_that_frees_a_block_goes_first() -> None:
    """Where 16 channels are computed at once, 8 of 16 leave for nothing, 16 of 32 do not."""
    grain = Granularity(blocks="all")
    items = [item(0, [0.0] * 16, grain), item(1, [9.0] * 32, grain)]
    steps = steps_of(items, "local")
    assert [(s.group, s.before, s.after) for s in steps[:2]] == [(1, 0, 16), (0, 0, 8)]


def test_unevenness_is_that_of_the_parts_kept() -> None:
    items = [item(0, range(8)), item(1, range(32))]
    assert unevenness(items, {0: 4, 1: 16}) == 0
    assert unevenness(items, {0: 0, 1: 16}) == pytest.approx(1 / 16)


def test_global_takes_the_lowest_scores_of_all() -> None:
    items = [item(0, [0.1, 0.2, 0.3, 9]), item(1, [0.25, 5, 6, 7])]
    assert select_ratio(items, 0.5, "global") == {0: 3, 1: 1}
    assert select_ratio(items, 0.49, "global") == {0: 2, 1: 1}, "never more than asked"


def test_isomorphic_ranks_groups_of_one_kind_together(role: Role = Role.CONSUME) -> None:
    import onnx_ir as ir

    node = ir.node("Conv", [])
    site = Site(node, role, ir.Value(name="w"), 1, np.arange(4))
    alike = [group(0, 4, sites=(site,)), group(1, 4, sites=(site,))]
    items = [
        candidate(alike[0], np.array([0.1, 0.2, 0.3, 0.4]), FINE),
        candidate(alike[1], np.array([5.0, 6, 7, 8]), FINE),
        candidate(group(2, 4), np.array([90.0, 91, 92, 93]), FINE),
    ]
    assert select_ratio(items, 0.25, "isomorphic") == {0: 2, 1: 0, 2: 1}
    assert select_ratio(items, 0.25, "global") == {0: 3, 1: 0, 2: 0}


def test_local_steps_are_ordered_by_the_part_of_their_group_that_is_gone() -> None:
    steps = steps_of([item(0, [3.0, 1, 2, 4]), item(1, [5.0, 6])], "local")
    assert [(s.group, s.key[0]) for s in steps] == [(0, 1 / 8), (1, 1 / 4), (0, 3 / 8), (0, 5 / 8)]


def test_isomorphic_steps_are_ordered_by_the_part_of_their_kind_that_is_gone() -> None:
    """At the middle of a step, of all units of the kind that can leave."""
    items = [item(0, [3.0, 1, 2, 4]), item(1, [5.0, 6])]
    steps = steps_of(items, "isomorphic")
    parts = [(s.group, s.before, round(s.key[0] * 8, 6)) for s in steps]
    removable = sum(s.after - s.before for s in steps)
    assert removable == 4 and parts == [(0, 0, 1), (0, 1, 3), (0, 2, 5), (1, 0, 7)]


def test_a_layer_with_a_ratio_of_its_own_keeps_to_it() -> None:
    one = item(0, range(8))
    own = Candidate(one.group, one.order, one.losses, one.levels, 0.25)
    other = candidate(group(1, 8), np.arange(8.0), FINE)
    for scope in ("local", "global"):
        assert select_ratio([own, other], 0.5, scope)[0] == 2
    cost = chain_cost([own, other])
    found = select_cost([own, other], cost, 0.3 * 64, "local")
    assert found is not None and found[0] == 2


def chain_cost(items: Sequence[Candidate], block: int = 1) -> CostModel:
    """The product of the widths of neighbours, as in a chain of dense layers."""
    positions = {f"w{i.group.id}": {0: {i.group.id: np.arange(i.group.size)}} for i in items}
    names = sorted(positions)
    terms = [Term(1.0, ((a, 0), (b, 0))) for a, b in zip(names, names[1:], strict=False)]
    return CostModel(terms, 0.0, positions, {i.group.id: i.order for i in items}, block)


def test_channels_that_fill_a_block_badly_count_as_the_block() -> None:
    """Sizes 48, 32: 17 to 32 channels take the time of 32, up to 16 what they are."""
    items = [item(0, range(48)), item(1, range(32))]
    cost = BlockedCost(chain_cost(items), chain_cost(items, block=16), 1.0)
    assert cost.total == 48 * 32
    assert cost.remove(0, 8) == 48 * 32, "40 are computed as 48"
    assert cost.remove(0, 16) == 32 * 32
    assert (cost.remove(1, 20), cost.removed(1)) == (32 * 12, 20), "up to a block as they are"
    assert cost.plain.total == 32 * 12
    loose = BlockedCost(chain_cost(items), chain_cost(items, block=16), 1.2)
    assert loose.remove(0, 8) == 40 * 32, "within the slack the plain cost decides"


@pytest.mark.parametrize("scope", ["local", "global", "isomorphic"])
def test_a_budget_is_met_and_used(scope: Scope) -> None:
    rng = np.random.default_rng(0)
    items = [candidate(group(i, 32), rng.uniform(size=32), FINE) for i in range(4)]
    dense = chain_cost(items).total
    for part in (0.9, 0.5, 0.2, 0.05):
        cost = chain_cost(items)
        found = select_cost(items, cost, part * dense, scope)
        assert found is not None
        assert 0.9 * part * dense <= cost.total <= part * dense
        for each in items:
            assert cost.remove(each.group.id, found[each.group.id]) == cost.total
    assert chain_cost(items).total == dense == 3 * 32 * 32


def test_local_budgets_shrink_all_alike() -> None:
    items = [item(0, range(64)), item(1, range(16)), item(2, range(32))]
    found = select_cost(items, chain_cost(items), 0.25 * (64 * 16 + 16 * 32), "local")
    assert found is not None
    parts = [found[i.group.id] / i.group.size for i in items]
    assert max(parts) - min(parts) < 0.1 and 0.4 < min(parts)


def test_room_that_is_left_is_used() -> None:
    """The last step frees far more than needed; a cheap one before it is taken back."""
    big, small = item(0, [0.5] * 2), item(1, [0.4, 0.4])
    positions = {"b": {0: {0: np.arange(2)}}, "s": {0: {1: np.arange(2)}}}
    orders = {0: big.order, 1: small.order}
    cost = CostModel([Term(10.0, (("b", 0),)), Term(1.0, (("s", 0),))], 0.0, positions, orders)
    assert cost.total == 22
    assert select_cost([big, small], cost, 13, "global") == {0: 1, 1: 0}
    assert cost.total == 12


def test_a_budget_that_cannot_be_met_says_what_was_reached() -> None:
    items = [item(0, range(8), Granularity(8, 8)), item(1, range(32), Granularity(8, 8))]
    cost = chain_cost(items)
    assert select_cost(items, cost, 1.0, "local") is None
    assert cost.total == 8 * 8


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_the_cost_is_kept_up_to_date(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(2, 9), min_size=2, max_size=4))
    items = [item(i, range(n)) for i, n in enumerate(sizes)]
    cost = chain_cost(items)
    widths = list(sizes)
    for _ in range(6):
        index = data.draw(st.integers(0, len(sizes) - 1))
        out = data.draw(st.integers(0, sizes[index] - 1))
        widths[index] = sizes[index] - out
        expected = sum(a * b for a, b in zip(widths, widths[1:], strict=False))
        assert cost.remove(index, out) == expected


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=40), st.sampled_from([1, 2, 4]))
def test_steps_of_a_group_come_in_order(scores: list[float], multiple: int) -> None:
    made = [item(0, scores, Granularity(multiple, 1)), item(1, scores[::-1], Granularity(1, 2))]
    for scope in ("local", "global", "isomorphic"):
        for number in (0, 1):
            own = [s for s in steps_of(made, scope) if s.group == number]
            assert [s.before for s in own[1:]] == [s.after for s in own[:-1]]


def test_a_large_step_is_traded_for_small_ones() -> None:
    """The big group's step would free twice what is asked for; four small ones free just enough."""
    big, small = item(0, [0.1, 0.1]), item(1, [0.5] * 8)
    positions = {"b": {0: {0: np.arange(2)}}, "s": {0: {1: np.arange(8)}}}
    orders = {0: big.order, 1: small.order}
    cost = CostModel([Term(80.0, (("b", 0),)), Term(10.0, (("s", 0),))], 0.0, positions, orders)
    assert cost.total == 240
    assert select_cost([big, small], cost, 200, "global") == {0: 0, 1: 4}
    assert cost.total == 200
