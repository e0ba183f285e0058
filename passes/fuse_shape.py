"""Fewer operators for sizes: one Shape instead of chains of Shape, Gather, Unsqueeze and Concat.

Shape inference knows small integer tensors element by element. Two values of the same content are
merged. A value that something other than shape arithmetic reads is written anew from the
dimensions of a tensor that is there before, when that takes fewer operators::

    Unsqueeze(Gather(Shape(x), 1), 0)                       ->  Shape(x) start=1 end=2
    Concat(x's batch, x's length, 64)                       ->  Concat(Shape(x) end=2, 64)
    Concat(Unsqueeze(Gather(Shape(x), 1), 0), ...the same)  ->  Gather(Shape(x), [1, 1])

Source: ONNX operators Shape-1/13/15, Gather-1/11/13, Concat-4/11/13.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.analysis.shapes import known_values
from onnxslim.graph import edit
from onnxslim.passes._shape_sources import Dims, Sources
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

Key = tuple[ir.DataType, tuple[int, ...], tuple[int | str, ...]]

_REACH = 32
"""Largest chain that is replaced at once."""


@register
@dataclass(frozen=True)
class FuseShape(Pass):
    """Merge equal sizes, and compute sizes with fewer operators.

    Only values whose every element is a number or a size that shape inference knows. Never more
    nodes than before. ``Shape`` with a range of axes is used from opset 15 on.

    Source: ONNX operators Shape-1/13/15, Gather-1/11/13, Concat-4/11/13.
    """

    name: ClassVar[str] = "fuse-shape"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Merge over all graphs, outer before inner; then rebuild graph by graph."""
        rewrites = _merge(model.graph, ChainMap(), ctx)
        return rewrites + sum(_rebuild(graph, ctx) for graph in edit.all_graphs(model))


def _contents(value: ir.Value) -> Dims | None:
    """Its elements, when all are known and one at least is not a number."""
    found = known_values(value)
    if not found or value.dtype not in (ir.DataType.INT64, ir.DataType.INT32):
        return None
    kept = tuple(e for e in found if e is not None)
    if len(kept) != len(found) or all(isinstance(e, int) for e in kept):
        return None
    return kept if all(isinstance(e, int) or e.value for e in kept) else None


# -------------------------------------------------------------------- merging


def _merge(graph: ir.Graph, outer: ChainMap[Key, ir.Value], ctx: PassContext) -> int:
    known, merged = outer.new_child(), 0
    for node in list(graph):
        for inner in edit.subgraphs(node):
            merged += _merge(inner, known, ctx)
        if len(node.outputs) != 1 or not edit.use_count(node.outputs[0]):
            continue
        key = _key(node.outputs[0])
        if key is None:
            continue
        first = known.setdefault(key, node.outputs[0])
        if first is not node.outputs[0]:
            merged += ctx.bypass(node, first)
    return merged


def _key(value: ir.Value) -> Key | None:
    contents, shape = _contents(value), edit.static_shape(value)
    if contents is None or shape is None or value.dtype is None:
        return None
    names = tuple(e if isinstance(e, int) else str(e.value) for e in contents)
    return value.dtype, shape, names


# -------------------------------------------------------------------- rebuilding


def _rebuild(graph: ir.Graph, ctx: PassContext) -> int:
    roots = [value for value in _roots(graph) if len(_chain(value, graph)) > 1]
    if not roots:
        return 0
    sources = Sources(graph, ctx.opset)
    return sum(_improve(value, graph, sources, ctx) for value in roots)


def _roots(graph: ir.Graph) -> Iterator[ir.Value]:
    """Sizes that something other than the arithmetic of sizes reads."""
    for node in graph:
        for value in node.outputs:
            if value.dtype != ir.DataType.INT64 or edit.rank_of(value) not in (0, 1):
                continue
            if _contents(value) is not None and _is_root(value):
                yield value


def _is_root(value: ir.Value) -> bool:
    if value.is_graph_output():
        return True
    return any(
        use.node.graph is not value.graph or any(_contents(v) is None for v in use.node.outputs)
        for use in value.uses()
    )


def _chain(value: ir.Value, graph: ir.Graph) -> list[ir.Node]:
    """The nodes that nothing needs when ``value`` comes from elsewhere; its producer is first."""
    first = value.producer()
    if first is None or len(first.outputs) != 1:
        return []
    dead = {first: None}
    waiting = [first]
    while waiting and len(dead) < _REACH:
        for node in waiting.pop().predecessors():
            if node.graph is graph and node not in dead and _read_by(node, dead):
                dead[node] = None
                waiting.append(node)
    return list(dead)


def _read_by(node: ir.Node, readers: Mapping[ir.Node, None]) -> bool:
    """True when only ``readers`` read the node."""
    return all(
        not value.is_graph_output() and all(use.node in readers for use in value.uses())
        for value in node.outputs
    )


def _improve(value: ir.Value, graph: ir.Graph, sources: Sources, ctx: PassContext) -> bool:
    contents, anchor = _contents(value), value.producer()
    if contents is None or anchor is None or anchor.graph is not graph:
        return False
    chain = _chain(value, graph)
    plan = sources.plan(contents, edit.rank_of(value) == 0, anchor, frozenset(chain))
    if plan is None or plan.cost >= len(chain):
        return False
    old = [node for node in reversed(chain) if node is not anchor]
    ctx.replace([*old, anchor], plan.build(graph, value.name, ctx))
    return True
