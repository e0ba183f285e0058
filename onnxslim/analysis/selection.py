"""Which units leave: orders from scores, widths from a budget.

Removal goes in steps of a whole portion of one group. Every step has a key; steps are taken in
the order of their keys until the budget is met:

* ``local``: the part of its group that is gone by the middle of the step: all shrink alike; of
  equal parts those first that free a block of channels, which is what makes a layer faster;
* ``global``: the mean score of the units that leave;
* ``isomorphic``: the rank of that score among groups that take part in the same kinds of places
  (Fang et al. 2024, arXiv:2407.04616).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from onnxslim.analysis.budget import BLOCK, Granularity
from onnxslim.analysis.dependency.groups import Group, Indices, Mask
from onnxslim.analysis.pruned_cost import AnyCost
from onnxslim.graph.edit import op_id

CLOSE = 0.95
"""A budget that is used to this part is used well enough."""

Scope = Literal["local", "global", "isomorphic"]
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A group with the order in which its units leave.

    Attributes:
        group: The group.
        order: (size,) units, the first to leave first; any whole number of cells keeps them equal.
        losses: (size,) scores in that order.
        levels: Numbers of units that may stay: all, then falling.
        ratio: The part that leaves whatever the budget says (``--layer``); None: as the budget.
    """

    group: Group
    order: Indices
    losses: Array
    levels: Sequence[int]
    ratio: float | None = None


@dataclass(frozen=True)
class Step:
    """From one level of a group to the next.

    Attributes:
        key: Steps are taken in ascending order of it.
        group: Id of the group.
        before: Units out before.
        after: Units out afterwards.
    """

    key: tuple[float, ...]
    group: int
    before: int
    after: int


def removal_order(group: Group, scores: Array) -> Indices:
    """(size,) the units by score, lowest first, one of every cell in turn.

    Of units with equal scores the first leaves last.

    Args:
        group: Says the cell of each unit.
        scores: (size,) one per unit.
    """
    falling = np.lexsort((-np.arange(group.size), scores))
    cells = group.cells[falling]
    turn = np.empty(group.size, np.int64)
    for cell in range(group.cell_count):
        inside = np.flatnonzero(cells == cell)
        turn[inside] = np.arange(len(inside))
    found: Indices = falling[np.lexsort((cells, turn))]
    return found


def candidate(
    group: Group, scores: Array, granularity: Granularity, ratio: float | None = None
) -> Candidate:
    """A group ready to be pruned."""
    order = removal_order(group, scores)
    return Candidate(group, order, scores[order], granularity.levels(group), ratio)


def mask(item: Candidate, removed: int) -> Mask:
    """(size,) True for units that stay when the first ``removed`` leave."""
    stays = np.ones(item.group.size, bool)
    stays[item.order[:removed]] = False
    return stays


def by_ratio(item: Candidate, ratio: float) -> int:
    """Units that leave when a part of a group shall: what stays is rounded up to a level."""
    wanted = item.group.size * (1 - ratio) - 1e-9
    kept = min((level for level in item.levels if level >= wanted), default=item.group.size)
    return item.group.size - kept


def steps_of(items: Sequence[Candidate], scope: Scope) -> list[Step]:
    """All steps in the order in which they are taken."""
    found = [step for item in items for step in _own_steps(item, scope)]
    if scope == "isomorphic":
        found = _ranked(found, {i.group.id: signature(i.group) for i in items})
    return sorted(found, key=lambda s: (s.key, s.group, s.after))


def _own_steps(item: Candidate, scope: Scope) -> list[Step]:
    found: list[Step] = []
    size, highest = item.group.size, 0.0
    for upper, lower in zip(item.levels, item.levels[1:], strict=False):
        before, after = size - upper, size - lower
        loss = float(item.losses[before:after].mean())
        highest = max(highest, loss)  # a group's steps stay in order
        idle = _blocks(upper) == _blocks(lower)
        key = ((before + after) / 2 / size, idle, loss) if scope == "local" else (highest,)
        found.append(Step(key, item.group.id, before, after))
    return found


def _blocks(channels: int) -> int:
    return -(-channels // BLOCK)


def signature(group: Group) -> str:
    """What kinds of places a group takes part in."""
    places = {f"{op_id(s.node)}.{s.role}.{s.axis}.{s.constant:d}" for s in group.sites}
    return " ".join([group.kind, *sorted(places)])


def _ranked(steps: list[Step], kinds: Mapping[int, str]) -> list[Step]:
    """Keys replaced by the part of the group's kind that is gone by the middle of the step."""
    found = []
    for kind in sorted(set(kinds.values())):
        mine = [s for s in steps if kinds[s.group] == kind]
        mine.sort(key=lambda s: (s.key, s.group, s.after))
        total, gone = sum(s.after - s.before for s in mine) or 1, 0
        for step in mine:
            width = step.after - step.before
            found.append(Step(((gone + width / 2) / total, *step.key), step.group, step.before,
                              step.after))  # fmt: skip
            gone += width
    return found


def select_ratio(items: Sequence[Candidate], ratio: float, scope: Scope) -> dict[int, int]:
    """Units that leave per group when a part of all channels shall; never more than asked.

    ``local`` takes the part from every group; the other scopes from all groups (of a kind).
    """
    removed = {i.group.id: by_ratio(i, ratio if i.ratio is None else i.ratio) for i in items}
    if scope == "local":
        return removed
    free = [i for i in items if i.ratio is None]
    pools: dict[str, list[Candidate]] = {}
    for item in free:
        removed[item.group.id] = 0
        kind = signature(item.group) if scope == "isomorphic" else ""
        pools.setdefault(kind, []).append(item)
    for pool in pools.values():
        allowance = ratio * sum(i.group.size for i in pool) + 1e-9
        closed: set[int] = set()
        for step in steps_of(pool, "global"):
            width = step.after - step.before
            if step.group in closed or width > allowance:
                closed.add(step.group)
                continue
            allowance -= width
            removed[step.group] = step.after
    return removed


def select_cost(
    items: Sequence[Candidate], cost: AnyCost, limit: float, scope: Scope
) -> dict[int, int] | None:
    """Units that leave per group so that the cost is at most ``limit``; None when it cannot be.

    Steps are taken in order until the budget is met; then the last ones are taken back where there
    is room for them. ``cost`` is left as the answer says (when None: with all that can leave out).
    """
    free = [i for i in items if i.ratio is None]
    for item in items:
        cost.remove(item.group.id, 0 if item.ratio is None else by_ratio(item, item.ratio))
    steps = steps_of(free, scope)
    _take(steps, cost, limit)
    if cost.total > limit * (1 + 1e-12):
        return None
    _take_back(steps, cost, limit)
    for item in free:
        if cost.total >= CLOSE * limit:
            break
        _trade(item.group.id, steps, cost, limit)
    return {item.group.id: cost.removed(item.group.id) for item in items}


def _take(steps: Sequence[Step], cost: AnyCost, limit: float, but: int = -1) -> None:
    """Steps in order until the limit is met; ``but`` is a group that is left as it is."""
    for step in steps:
        if cost.total <= limit:
            break
        if step.group != but and cost.removed(step.group) == step.before:
            cost.remove(step.group, step.after)


def _take_back(steps: Sequence[Step], cost: AnyCost, limit: float) -> None:
    """Undo steps, the last ones first, where there is room."""
    for step in reversed(steps):
        if cost.removed(step.group) == step.after and cost.remove(step.group, step.before) > limit:
            cost.remove(step.group, step.after)


def _trade(group: int, steps: Sequence[Step], cost: AnyCost, limit: float) -> None:
    """Undo the last step of a group and take others in its place, when that comes closer."""
    last = next((s for s in steps if s.group == group and s.after == cost.removed(group)), None)
    if last is None:
        return
    numbers = dict.fromkeys(step.group for step in steps)
    before, removed = cost.total, {number: cost.removed(number) for number in numbers}
    cost.remove(group, last.before)
    _take(steps, cost, limit, but=group)
    if cost.total <= limit:
        _take_back([s for s in steps if s.group != group], cost, limit)
    if not before < cost.total <= limit:
        for number, count in removed.items():
            cost.remove(number, count)


def unevenness(items: Sequence[Candidate], removed: Mapping[int, int]) -> float:
    """Variance of the parts of their units that groups keep."""
    parts = [1 - removed[i.group.id] / i.group.size for i in items]
    return float(np.var(parts)) if parts else 0.0
