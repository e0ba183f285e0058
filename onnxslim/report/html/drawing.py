"""Boxes and edges of a model, or of two models merged by their difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from onnxslim.analysis.layers import Layer, layer_name
from onnxslim.graph.edit import shape_of
from onnxslim.report.diff.delta import Delta
from onnxslim.report.diff.flow import Builder, Flow, Input, Output, Source, Vertex, constant_of
from onnxslim.report.html.layout import place

SAME, ADDED, REMOVED, CHANGED = 0, 1, 2, 3
CONTEXT = 2
"""Boxes around a change that stay visible when the rest is folded."""
MOST_FOLDED = 0.7
"""A folded view is only made when it has at most this part of the boxes."""

Facts = Mapping[str, Mapping[str, Any]]
"""Numbers and texts to show, by node name."""


@dataclass
class Box:
    """One node, or an input or output of the model.

    Args:
        name: Of the node.
        op: Operator; ``input`` and ``output`` for those.
        status: One of the four constants.
        hunk: Index of the change that it belongs to; -1 for none.
        facts: What is shown when it is chosen.
    """

    name: str
    op: str
    status: int = SAME
    hunk: int = -1
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Drawing:
    """A graph to be drawn; edges are ``(from, to, status)``."""

    boxes: list[Box] = field(default_factory=list)
    edges: list[tuple[int, int, int]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Boxes and the views of them, laid out."""
        views = {"full": _view(self.boxes, self.edges, [])}
        groups = folds(self)
        if groups:
            views["folded"] = _folded(self, groups)
        boxes = [
            {"n": b.name, "o": b.op, "s": b.status, "h": b.hunk, "f": b.facts} for b in self.boxes
        ]
        return {"boxes": boxes, "views": views}


def single(model: ir.Model, facts: Facts) -> Drawing:
    """One model."""
    drawing = Drawing()
    _Merger(drawing, facts, facts).add(Builder(model), SAME, {})
    return drawing


def merged(before: ir.Model, after: ir.Model, delta: Delta, facts: tuple[Facts, Facts]) -> Drawing:
    """Two models as one: what both have once, what is gone and what is new."""
    drawing = Drawing()
    merger = _Merger(drawing, *facts)
    merger.changed = {e["name"]: e for e in delta.nodes["changed"]}
    for key, status in (("removed", REMOVED), ("added", ADDED), ("changed", CHANGED)):
        for index, entry in enumerate(delta.nodes[key]):
            merger.hunks[(status, entry["name"])] = (key, index)
    for entry in delta.initializers["changed"]:
        for use in entry["uses"]:
            merger.weights.setdefault(use["node"], []).append(entry)
    merger.add(Builder(after), ADDED, {})
    merger.add(Builder(before), REMOVED, dict(delta.pairs))
    owner = {(k, i): n for n, h in enumerate(delta.hunks)
             for k in ("removed", "added", "changed") for i in getattr(h, k)}  # fmt: skip
    for box in drawing.boxes:
        place_ = merger.hunks.get((box.status, box.name))
        box.hunk = owner.get(place_, -1) if place_ else -1
    return drawing


class _Merger:
    """Adds models to a drawing; nodes that have a partner in it are the same box."""

    def __init__(self, drawing: Drawing, before: Facts, after: Facts) -> None:
        self._drawing, self._facts = drawing, {REMOVED: before, ADDED: after, SAME: after}
        self._by_path: dict[str, int] = {}
        self._edges: dict[tuple[int, int], int] = {}
        self.changed: dict[str, Mapping[str, Any]] = {}
        self.weights: dict[str, list[Mapping[str, Any]]] = {}
        self.hunks: dict[tuple[int, str], tuple[str, int]] = {}

    def add(self, built: Builder, status: int, partners: Mapping[str, str]) -> None:
        """Add a model; ``partners`` names the boxes that its nodes already have."""
        at: dict[Vertex, int] = {}
        ends: dict[tuple[Flow, int], int] = {}
        for index, name in enumerate(built.main.inputs):
            known = self._by_path.get(f"input {name}")
            if known is not None:
                ends[(built.main, index)] = self._kept(known)
            elif name:
                ends[(built.main, index)] = self._box(f"input {name}", Box(name, "input", status))
        for vertex in _vertices(built.main):
            if vertex.value is not None:
                continue  # a weight that a node makes: shown with its reader
            known = self._by_path.get(partners.get(vertex.path, ""))
            at[vertex] = self._box(vertex.path, self._made(vertex, status)) if known is None \
                else self._met(known, vertex)  # fmt: skip
        for vertex, target in at.items():
            for source in (*vertex.inputs, *vertex.captured, *_results(vertex)):
                start = _start(source, at, ends)
                if start is not None and start != target:
                    self._edge(start, target, status)
        self._outputs(built, status, at, ends)

    def _outputs(
        self,
        built: Builder,
        status: int,
        at: Mapping[Vertex, int],
        ends: Mapping[tuple[Flow, int], int],
    ) -> None:
        for name, source in zip(built.main.output_names, built.main.outputs, strict=True):
            start = _start(source, at, ends)
            if start is None:
                continue
            key = f"output {name}"
            box = self._by_path.get(key)
            self._edge(start, self._box(key, Box(name, "output", status)) if box is None
                       else self._kept(box), status)  # fmt: skip

    def _kept(self, index: int) -> int:
        self._drawing.boxes[index].status = SAME
        return index

    def _box(self, path: str, box: Box) -> int:
        self._drawing.boxes.append(box)
        self._by_path.setdefault(path, len(self._drawing.boxes) - 1)
        return len(self._drawing.boxes) - 1

    def _made(self, vertex: Vertex, status: int) -> Box:
        facts = self._facts[status].get(layer_name(vertex.source), {})
        return Box(vertex.path, vertex.op, status, facts={**_described(vertex), **facts})

    def _met(self, index: int, vertex: Vertex) -> int:
        """The same node in the other model: unchanged, or changed in its details."""
        box = self._drawing.boxes[index]
        box.status = SAME
        notes = []
        entry = self.changed.get(box.name)
        if entry is not None:
            for key, was in entry["was"].items():
                if key != "name":
                    notes.append(f"{key}: {was} \u2192 {entry['is'].get(key)}")
        for weight in self.weights.get(box.name, ()):
            notes.append(_weight_note(weight))
        if notes:
            box.status = CHANGED
            box.facts["changes"] = notes
        if vertex.path != box.name:
            box.facts["name before"] = vertex.path
        return index

    def _edge(self, a: int, b: int, status: int) -> None:
        known = self._edges.get((a, b))
        if known is None:
            self._edges[(a, b)] = len(self._drawing.edges)
            self._drawing.edges.append((a, b, status))
        elif self._drawing.edges[known][2] != status:
            self._drawing.edges[known] = (a, b, SAME)


def _vertices(flow: Flow) -> Iterator[Vertex]:
    """Nodes with those in their bodies, bodies first."""
    for vertex in flow.nodes:
        for body in vertex.bodies.values():
            yield from _vertices(body)
        yield vertex


def _results(vertex: Vertex) -> Iterator[Source]:
    for body in vertex.bodies.values():
        yield from body.outputs


def _start(
    source: Source, at: Mapping[Vertex, int], ends: Mapping[tuple[Flow, int], int]
) -> int | None:
    if isinstance(source, Output):
        return at.get(source.node)
    if isinstance(source, Input):
        return ends.get((source.flow, source.index))
    return None


def _described(vertex: Vertex) -> dict[str, Any]:
    found: dict[str, Any] = {}
    node = vertex.source
    shapes = [f"{v.name}: {shape_label(v)}" for v in node.outputs if v.name]
    found["outputs"] = shapes[:8]
    weights = [(s, constant_of(s)) for s in vertex.inputs]
    found["weights"] = [f"{c.name or 'constant'}: {c.dtype}{list(c.shape)}"
                        for _, c in weights if c is not None][:8]  # fmt: skip
    found["attributes"] = [f"{k} = {_short(v)}" for k, v in vertex.attributes.items()][:16]
    return {key: value for key, value in found.items() if value}


def shape_label(value: ir.Value) -> str:
    """``float32[batch, 64]``."""
    kind = "?" if value.dtype is None else value.dtype.name.lower()
    dims = shape_of(value)
    if dims is None:
        return kind
    return f"{kind}[{', '.join(_short(d if isinstance(d, int) else d.value, 24) for d in dims)}]"


def _short(value: Any, limit: int = 80) -> str:
    text = str(value)
    return text if len(text) <= limit else text[: limit - 1] + "\u2026"


def _weight_note(entry: Mapping[str, Any]) -> str:
    was, now = entry.get("was", {}), entry.get("is", {})
    if was.get("shape") != now.get("shape"):
        return f"{entry['name']}: {was.get('shape')} \u2192 {now.get('shape')}"
    numbers = [f"{k.replace('_', ' ')} {entry[k]:.3g}" for k in ("max_abs", "relative_l2")
               if isinstance(entry.get(k), float)]  # fmt: skip
    return f"{entry['name']}: other values" + (f" ({', '.join(numbers)})" if numbers else "")


# ------------------------------------------------------------------ folding


def folds(drawing: Drawing) -> list[list[int]]:
    """Groups of unchanged boxes far from every change; empty when folding would gain little.

    A group lies between the same changes on every path, so that no two groups wait for each other.
    """
    boxes, count = drawing.boxes, len(drawing.boxes)
    near: list[list[int]] = [[] for _ in range(count)]
    for a, b, _ in drawing.edges:
        near[a].append(b)
        near[b].append(a)
    shown = {i for i, box in enumerate(boxes) if box.status != SAME}
    if not shown:
        return []
    frontier = set(shown)
    for _ in range(CONTEXT):
        frontier = {j for i in frontier for j in near[i]} - shown
        shown |= frontier
    shown |= {i for i, box in enumerate(boxes) if box.op in ("input", "output")}
    depth = _depths(drawing, shown)
    found: list[list[int]] = []
    seen: set[int] = set(shown)
    for start in range(count):
        if start in seen:
            continue
        group, stack = [], [start]
        seen.add(start)
        while stack:
            i = stack.pop()
            group.append(i)
            for j in near[i]:
                if j not in seen and depth[j] == depth[start]:
                    seen.add(j)
                    stack.append(j)
        found.append(sorted(group))
    groups = [g for g in found if len(g) > 1]
    hidden = sum(len(g) - 1 for g in groups)
    return groups if hidden >= (1 - MOST_FOLDED) * count else []


def _depths(drawing: Drawing, shown: set[int]) -> list[int]:
    """How many shown boxes lie on the longest way to a box."""
    from onnxslim.report.html.layout import layers

    pairs = [(a, b) for a, b, _ in drawing.edges]
    order = layers(len(drawing.boxes), pairs)
    depth = [0] * len(drawing.boxes)
    for a, b in sorted(pairs, key=lambda e: (order[e[0]], order[e[1]])):
        depth[b] = max(depth[b], depth[a] + (1 if a in shown else 0))
    return depth


def _folded(drawing: Drawing, groups: Sequence[Sequence[int]]) -> dict[str, Any]:
    home = {i: g for g, members in enumerate(groups) for i in members}
    items = [i for i in range(len(drawing.boxes)) if i not in home]
    at = {i: n for n, i in enumerate(items)}
    at.update({i: len(items) + g for i, g in home.items()})
    edges: dict[tuple[int, int], int] = {}
    for a, b, status in drawing.edges:
        if at[a] != at[b]:
            key = (at[a], at[b])
            edges[key] = status if edges.get(key, status) == status else SAME
    boxes = [drawing.boxes[i] for i in items]
    view = _view(boxes, [(a, b, s) for (a, b), s in edges.items()], [len(g) for g in groups])
    view["box"] = [*items, *(-1 for _ in groups)]
    return view


def _view(
    boxes: Sequence[Box], edges: Sequence[tuple[int, int, int]], folded: Sequence[int]
) -> dict[str, Any]:
    """Places of boxes and of groups of folded ones."""
    labels = [f"\u22ef {n} unchanged" for n in folded]
    sizes = [box_width(b.op, b.name) for b in boxes] + [8 * len(t) + 16 for t in labels]
    placed = place(sizes, [(a, b) for a, b, _ in edges])
    return {
        "x": placed.x,
        "y": placed.y,
        "w": sizes,
        "box": list(range(len(boxes))),
        "labels": labels,
        "edges": [
            [a, b, s, [c for point in route for c in point]]
            for (a, b, s), route in zip(edges, placed.routes, strict=True)
        ],
        "width": placed.width,
        "height": placed.height,
    }


def box_width(op: str, name: str) -> int:
    """Wide enough for the operator and the end of the name."""
    return max(64, min(200, 18 + max(8 * len(op), 6 * min(len(name), 26))))


def facts_of(found: Sequence[Layer]) -> dict[str, dict[str, Any]]:
    """What layers cost, for the boxes."""
    facts = {}
    for layer in found:
        entry: dict[str, Any] = {"parameters": layer.parameters, "macs": layer.macs}
        if isinstance(layer.activation_bytes, int):
            entry["activation_bytes"] = layer.activation_bytes
        facts[layer.name] = {k: v for k, v in entry.items() if v}
    return facts
