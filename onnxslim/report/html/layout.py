"""Layered layout of a directed graph (Sugiyama, Tagawa and Toda 1981), nearly linear in its size.

Layers by longest path; edges over several layers run through points of their own, shared by all
edges of one source; orders by barycentres; places by isotonic regression against the mean of the
neighbours (pool adjacent violators, Ayer et al. 1955).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

ROW, GAP, POINT = 58, 18, 6
"""Height of a layer, space between boxes, width of a point that edges run through."""
_SWEEPS, _PLACINGS = 8, 8
_POINTS_PER_BOX = 8


@dataclass(frozen=True)
class Placed:
    """Where everything is.

    Args:
        x: Middle of every box.
        y: Its top.
        routes: Per edge the points between its ends, from source to target.
        width: Of the whole.
        height: Of the whole.
    """

    x: list[int]
    y: list[int]
    routes: list[list[tuple[int, int]]]
    width: int
    height: int


@dataclass
class _Net:
    """Boxes and points with their links to the next layer."""

    layer: list[int]
    size: list[int]
    down: list[list[int]] = field(default_factory=list)
    up: list[list[int]] = field(default_factory=list)
    rows: list[list[int]] = field(default_factory=list)

    def add(self, layer: int) -> int:
        self.layer.append(layer)
        self.size.append(POINT)
        self.down.append([])
        self.up.append([])
        return len(self.layer) - 1

    def link(self, a: int, b: int) -> None:
        self.down[a].append(b)
        self.up[b].append(a)


def place(sizes: Sequence[int], edges: Sequence[tuple[int, int]]) -> Placed:
    """Lay out boxes of these widths, edges pointing down.

    Args:
        sizes: Width of every box; ``ROW`` is the height that each gets.
        edges: Pairs of boxes. Edges that close a cycle are drawn upwards.
    """
    count = len(sizes)
    if not count:
        return Placed([], [], [[] for _ in edges], 0, 0)
    layer = layers(count, edges)
    net = _Net(layer, list(sizes), [[] for _ in range(count)], [[] for _ in range(count)])
    chains = _points(net, edges, count)
    net.rows = [[] for _ in range(max(net.layer) + 1)]
    for item in _depth_first(net):
        net.rows[net.layer[item]].append(item)
    _order(net)
    x = _positions(net)
    left = min(x[i] - net.size[i] / 2 for i in range(len(x)))
    where = [round(v - left) for v in x]
    routes = [[(where[p], net.layer[p] * ROW) for p in chain] for chain in chains]
    width = max(where[i] + net.size[i] // 2 for i in range(len(x)))
    height = (max(net.layer) + 1) * ROW
    return Placed(where[:count], [v * ROW for v in net.layer[:count]], routes, width, height)


def layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The layer of every box: below everything it reads; what reads nothing sits by its reader."""
    out: list[list[int]] = [[] for _ in range(count)]
    waiting = [0] * count
    for a, b in edges:
        if a != b:
            out[a].append(b)
            waiting[b] += 1
    fed = [w > 0 for w in waiting]
    found = _longest(out, waiting)
    for a in range(count):
        below = [found[b] for b in out[a] if found[b] > found[a]]
        if below and not fed[a]:
            found[a] = min(below) - 1
    return found


def _longest(out: Sequence[Sequence[int]], waiting: list[int]) -> list[int]:
    """The longest way to every box; ``waiting`` counts its inputs and is used up."""
    count = len(out)
    found = [0] * count
    done = [False] * count
    ready = deque(i for i in range(count) if not waiting[i])
    scan = 0
    for _ in range(count):
        if not ready:  # a cycle: go on with the first box that is left
            while done[scan]:
                scan += 1
            ready.append(scan)
        a = ready.popleft()
        if done[a]:
            continue
        done[a] = True
        for b in out[a]:
            if not done[b]:
                found[b] = max(found[b], found[a] + 1)
                waiting[b] -= 1
                if waiting[b] == 0:
                    ready.append(b)
    return found


def _points(net: _Net, edges: Sequence[tuple[int, int]], count: int) -> list[list[int]]:
    """Give long edges points to run through; returns those of each edge."""
    spans: dict[int, int] = {}
    for a, b in edges:
        spans[a] = max(spans.get(a, 0), net.layer[b] - net.layer[a] - 1)
    budget = _POINTS_PER_BOX * count + 1000
    reach: dict[int, int] = {}
    for a in sorted(spans, key=lambda a: (spans[a], a)):
        if 0 < spans[a] <= budget:
            reach[a] = spans[a]
            budget -= spans[a]
    chains: dict[int, list[int]] = {}
    for a, span in sorted(reach.items()):
        chain = [net.add(net.layer[a] + 1 + k) for k in range(span)]
        chains[a] = chain
        for p, q in zip([a, *chain], chain, strict=False):
            net.link(p, q)
    routes = []
    for a, b in edges:
        between = net.layer[b] - net.layer[a] - 1
        route = chains[a][:between] if a in chains and between > 0 else []
        if between == 0 or route:
            net.link(route[-1] if route else a, b)
        routes.append(route)
    return routes


def _depth_first(net: _Net) -> list[int]:
    """Boxes and points in an order that keeps branches together."""
    seen = [False] * len(net.layer)
    order = []
    roots = sorted(range(len(net.layer)), key=lambda i: (net.layer[i], i))
    for root in roots:
        stack = [root]
        while stack:
            item = stack.pop()
            if seen[item]:
                continue
            seen[item] = True
            order.append(item)
            stack.extend(reversed(net.down[item]))
    return order


def _order(net: _Net) -> None:
    """Order every row by the mean place of its neighbours, downwards and upwards in turn."""
    place_of = [0.0] * len(net.layer)
    for row in net.rows:
        _number(row, place_of)
    for sweep in range(_SWEEPS):
        links = net.up if sweep % 2 == 0 else net.down
        for row in net.rows if sweep % 2 == 0 else reversed(net.rows):
            keys = {i: _mean(links[i], place_of, place_of[i]) for i in row}
            row.sort(key=keys.__getitem__)
            _number(row, place_of)


def _number(row: list[int], place_of: list[float]) -> None:
    for index, item in enumerate(row):
        place_of[item] = index - len(row) / 2


def _mean(items: list[int], values: list[float], default: float) -> float:
    return sum(values[i] for i in items) / len(items) if items else default


def _positions(net: _Net) -> list[float]:
    """Middle of every box and point: near its neighbours, without overlap."""
    x = [0.0] * len(net.layer)
    offsets: list[list[float]] = []
    for row in net.rows:
        at, starts = 0.0, []
        for index, item in enumerate(row):
            if index:
                at += (net.size[row[index - 1]] + net.size[item]) / 2 + GAP
            starts.append(at)
        offsets.append([s - at / 2 for s in starts])
        for item, start in zip(row, offsets[-1], strict=True):
            x[item] = start
    for sweep in range(_PLACINGS):
        downwards = sweep % 2 == 0
        rows = range(len(net.rows)) if downwards else range(len(net.rows) - 1, -1, -1)
        for number in rows:
            row, offset = net.rows[number], offsets[number]
            near = net.up if downwards else net.down
            if sweep >= _PLACINGS - 2:
                wish = [_mean([*net.up[i], *net.down[i]], x, x[i]) for i in row]
            else:
                wish = [_mean(near[i], x, x[i]) for i in row]
            weight = [4.0 if net.size[i] == POINT else 1.0 for i in row]
            fit = isotonic([w - o for w, o in zip(wish, offset, strict=True)], weight)
            for item, value, start in zip(row, fit, offset, strict=True):
                x[item] = value + start
    return x


def isotonic(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The non-decreasing sequence nearest to ``values`` in weighted least squares."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        mean, mass, size = value, weight, 1
        while blocks and blocks[-1][0] > mean:
            before, heavy, n = blocks.pop()
            mean = (mean * mass + before * heavy) / (mass + heavy)
            mass, size = mass + heavy, size + n
        blocks.append((mean, mass, size))
    return [mean for mean, _, size in blocks for _ in range(size)]
