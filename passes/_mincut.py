"""Minimum cut of a small directed graph with integer capacities (Edmonds and Karp 1972)."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

UNCUTTABLE = 1 << 60


class Cut:
    """Capacities between nodes of any hashable kind; an edge counts when it leads out of the
    source's side."""

    def __init__(self, source: Hashable, sink: Hashable) -> None:
        self.source = source
        self.sink = sink
        self._left: dict[Hashable, dict[Hashable, int]] = {source: {}, sink: {}}

    def edge(self, a: Hashable, b: Hashable, capacity: int) -> None:
        """Add capacity from ``a`` to ``b``."""
        if a == b or capacity <= 0:
            return
        forward, back = self._left.setdefault(a, {}), self._left.setdefault(b, {})
        forward[b] = min(forward.get(b, 0) + capacity, UNCUTTABLE)
        back.setdefault(a, 0)

    def solve(self) -> tuple[int, dict[Hashable, None]]:
        """The cut's capacity and the smallest possible set of nodes on the sink's side."""
        total = 0
        while (path := self._path()) is not None:
            flow = min(self._left[a][b] for a, b in path)
            for a, b in path:
                self._left[a][b] -= flow
                self._left[b][a] += flow
            total += flow
        return total, self._sink_side()

    def _path(self) -> list[tuple[Hashable, Hashable]] | None:
        before: dict[Hashable, Hashable] = {self.source: self.source}
        queue = deque([self.source])
        while queue and self.sink not in before:
            a = queue.popleft()
            for b, left in self._left[a].items():
                if left > 0 and b not in before:
                    before[b] = a
                    queue.append(b)
        if self.sink not in before:
            return None
        path, b = [], self.sink
        while b != self.source:
            path.append((before[b], b))
            b = before[b]
        return path

    def _sink_side(self) -> dict[Hashable, None]:
        found: dict[Hashable, None] = {self.sink: None}
        queue = deque([self.sink])
        while queue:
            b = queue.popleft()
            for a in self._left[b]:
                if a not in found and self._left[a].get(b, 0) > 0:
                    found[a] = None
                    queue.append(a)
        return found
