"""How many units each group loses, so that a cost is met with the least predicted error.

Cost is a sum of products of widths, so that what a step saves depends on what was taken before:
steps are chosen one by one by error per cost saved at the current widths, then pairs of groups
exchange steps until that helps no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from onnxslim.analysis.pruned_cost import AnyCost
from onnxslim.analysis.selection import Candidate, by_ratio

Array = npt.NDArray[np.float64]

_EXCHANGES = 200
_REACH, _FEW = 4, 40
"""Steps that are exchanged at once, in models of few groups."""


def allocate(
    items: Sequence[Candidate],
    errors: Mapping[int, Array],
    cost: AnyCost,
    limit: float,
) -> dict[int, int] | None:
    """Units that leave per group; None when the limit cannot be met.

    Args:
        items: The groups with the numbers of units they may keep.
        errors: By group id: (size + 1,) predicted error when the first k units are out, rising.
        cost: Left as the answer says.
        limit: The largest cost allowed.
    """
    for item in items:
        cost.remove(item.group.id, 0 if item.ratio is None else by_ratio(item, item.ratio))
    search = _Search([i for i in items if i.ratio is None], errors, cost, limit)
    if not search.descend():
        return None
    for _ in range(_EXCHANGES):
        if not (search.give_back() or search.exchange()):
            break
    return {item.group.id: cost.removed(item.group.id) for item in items}


def tempered(errors: Mapping[int, Array], caution: float) -> dict[int, Array]:
    """Predicted errors, larger where a group loses much.

    They come from one layer each and from the samples that it was fitted on: the more of a group is
    gone, the more they are too low, so that groups would be cut to a sliver whose loss others feel.

    Args:
        errors: By group id: (size + 1,).
        caution: Powers of the part that stays by which they are divided.
    """
    found = {}
    for group, curve in errors.items():
        size = max(len(curve) - 1, 1)
        stays = np.maximum(size - np.arange(len(curve)), 1) / size
        found[group] = np.asarray(curve / stays**caution, np.float64)
    return found


class _Search:
    """Widths on the way to the limit."""

    def __init__(
        self,
        items: Sequence[Candidate],
        errors: Mapping[int, Array],
        cost: AnyCost,
        limit: float,
    ) -> None:
        self.cost, self.limit = cost, limit
        self.steps = {i.group.id: [i.group.size - level for level in i.levels] for i in items}
        self.at = dict.fromkeys(self.steps, 0)
        self.errors = {
            group: np.maximum.accumulate(errors[group][steps])
            for group, steps in self.steps.items()
        }

    def move(self, group: int, to: int) -> float:
        """Put a group at a level; returns the total cost."""
        self.at[group] = to
        return self.cost.remove(group, self.steps[group][to])

    def descend(self) -> bool:
        """Take the steps with the least error per cost saved until the limit is met."""
        while self.cost.total > self.limit * (1 + 1e-12):
            best: tuple[float, int, int] | None = None
            for group, steps in self.steps.items():
                for to, slope in self._slopes(group, len(steps)):
                    if best is None or (slope, group, to) < best:
                        best = (slope, group, to)
            if best is None:
                return False
            self.move(best[1], best[2])
        return True

    def _slopes(self, group: int, count: int) -> list[tuple[int, float]]:
        """Error per cost saved of every level below the current one."""
        now, start = self.at[group], self.cost.total
        found = []
        for to in range(now + 1, count):
            saved = start - self.cost.remove(group, self.steps[group][to])
            if saved > 0:
                rise = float(self.errors[group][to] - self.errors[group][now])
                found.append((to, rise / saved))
        self.cost.remove(group, self.steps[group][now])
        return found

    def give_back(self) -> bool:
        """Undo the step with the largest error for which there is room."""
        best: tuple[float, int] | None = None
        for group, now in self.at.items():
            if not now:
                continue
            fits = self.move(group, now - 1) <= self.limit
            self.move(group, now)
            gain = float(self.errors[group][now] - self.errors[group][now - 1])
            if fits and (best is None or gain > best[0]):
                best = (gain, group)
        if best is None:
            return False
        self.move(best[1], self.at[best[1]] - 1)
        return True

    def exchange(self) -> bool:
        """Let one group have steps back that another takes instead, if the error falls."""
        best: tuple[float, int, int, int, int] | None = None
        reach = _REACH if len(self.steps) <= _FEW else 1
        for first, now in list(self.at.items()):
            for up in range(max(now - reach, 0), now):
                gain = float(self.errors[first][now] - self.errors[first][up])
                self.move(first, up)
                for second in self.steps:
                    down = None if second == first else self._down(second, gain, reach)
                    if down is not None and (best is None or gain - down[1] > best[0]):
                        best = (gain - down[1], first, up, second, down[0])
                self.move(first, now)
        if best is None:
            return False
        self.move(best[1], best[2])
        self.move(best[3], best[4])
        return True

    def _down(self, group: int, gain: float, reach: int) -> tuple[int, float] | None:
        """The next level of a group that meets the limit for less error than was gained."""
        now = self.at[group]
        found = None
        for to in range(now + 1, min(now + reach, len(self.steps[group]) - 1) + 1):
            rise = float(self.errors[group][to] - self.errors[group][now])
            if rise >= gain * (1 - 1e-9):
                break
            if self.move(group, to) <= self.limit:
                found = (to, rise)
                break
        self.move(group, now)
        return found
