"""A comparison as one graph to draw: both models laid over each other, without a layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onnxslim.report.diff.flow import Flow, Output, Vertex
from onnxslim.report.diff.hunks import Region
from onnxslim.report.diff.script import Script


def picture(
    script: Script, flows: tuple[list[Flow], list[Flow]], regions: list[Region]
) -> dict[str, Any]:
    """Nodes and edges of both models; a pair is one node.

    Args:
        script: What differs.
        flows: Graphs, bodies and functions of either model.
        regions: In the order of the hunks.

    Returns:
        ``nodes``: ``id``, ``name``, ``op``, ``path`` (bodies and functions around it), ``state``
        (``same``, ``changed``, ``removed`` or ``added``), ``hunk`` (index or None). ``edges``:
        ``from``, ``to``, ``state`` (``same``, ``removed`` or ``added``).
    """
    back = {y: x for m in script.matches for x, y in m.pairs.items()}
    hunks = {v: i for i, r in enumerate(regions) for v in (*r.removed, *r.added, *r.touched)}
    vertices = [v for flow in flows[0] for v in flow.nodes]
    vertices += [v for flow in flows[1] for v in flow.nodes if v not in back]
    ids = {vertex: number for number, vertex in enumerate(vertices)}
    ids.update({y: ids[x] for y, x in back.items() if x in ids})
    removed, added = set(script.removed), set(script.added)
    old, new = (_edges(part, ids) for part in flows)
    return {
        "nodes": [
            {
                "id": ids[v],
                "name": v.name,
                "op": v.op,
                "path": v.flow.path,
                "state": _state(v, removed, added, hunks),
                "hunk": hunks.get(v),
            }
            for v in vertices
        ],
        "edges": [
            {"from": p, "to": q, "state": _edge_state((p, q), old, new)}
            for p, q in dict.fromkeys((*old, *new))
        ],
    }


def all_flows(main: Flow, functions: Mapping[str, Flow]) -> list[Flow]:
    """A graph, the functions, and every body in them."""
    found = [main, *functions.values()]
    for flow in found:  # grows while it is walked
        found += [body for vertex in flow.nodes for body in vertex.bodies.values()]
    return found


def _edges(flows: list[Flow], ids: Mapping[Vertex, int]) -> dict[tuple[int, int], None]:
    return dict.fromkeys(pair for flow in flows for pair in _pairs(flow, ids))


def _pairs(flow: Flow, ids: Mapping[Vertex, int]) -> Iterator[tuple[int, int]]:
    for vertex in flow.nodes:
        for source in (*vertex.inputs, *vertex.captured):
            if isinstance(source, Output) and source.node in ids and vertex in ids:
                yield ids[source.node], ids[vertex]


def _state(
    vertex: Vertex, removed: set[Vertex], added: set[Vertex], hunks: Mapping[Vertex, int]
) -> str:
    if vertex in removed:
        return "removed"
    if vertex in added:
        return "added"
    return "changed" if vertex in hunks else "same"


def _edge_state(
    pair: tuple[int, int], old: Mapping[tuple[int, int], None], new: Mapping[tuple[int, int], None]
) -> str:
    if pair in old:
        return "same" if pair in new else "removed"
    return "added"
