"""Write a chain of Transposes and views (Reshape, Squeeze ...) with as few nodes as possible.

The chain moves blocks of axes ("atoms"). A view splits or joins neighbouring atoms, a Transpose
changes their order; axes of size 1 hold no atom. What counts is the order of the atoms after the
last node: unchanged, the chain is one Reshape or nothing; else one Transpose, with a view on one
side or on both where the axes of the Transpose are not those of the tensor::

    (N, 36, 1, 172) -> Transpose 0,2,3,1 -> Reshape (N, 172, 36) -> Unsqueeze (N, 172, 36, 1)
    == Transpose 0,3,1,2

Source: ONNX operators Transpose-13, Reshape-14.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._atoms import Dim, Movement, trace
from onnxslim.passes._transposes import is_identity
from onnxslim.passes._views import VIEWS, View, is_view
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

_LONGEST = 8
"""Nodes of a chain that are looked at together."""


@register
@dataclass(frozen=True)
class FuseTranspose(Pass):
    """Write a chain of Transposes and Reshapes with fewer nodes, at best none.

    A Transpose that only moves axes of size 1 becomes a Reshape, which copies nothing. Skipped when
    no node would be saved.
    """

    name: ClassVar[str] = "fuse-transpose"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Rewrite every chain from its last node up."""
        return sum(_rewrite(node, ctx) for node in ctx.nodes("Transpose", *VIEWS))


@dataclass(frozen=True)
class _Plan:
    """A view, a Transpose and a view; each may be missing."""

    before: View | None
    perm: tuple[int, ...] | None
    after: View | None

    @property
    def cost(self) -> tuple[int, int]:
        """Nodes and Transposes."""
        views = sum(view.nodes for view in (self.before, self.after) if view is not None)
        return views + int(self.perm is not None), int(self.perm is not None)


def _rewrite(last: ir.Node, ctx: PassContext) -> bool:
    chain = _chain(last, ctx)
    best: tuple[tuple[int, int], _Plan, list[ir.Node]] | None = None
    for start in range(len(chain)):
        part = chain[start:]
        if not any(node.op_type == "Transpose" for node in part):
            break
        plan = _plan(part)
        if plan is None:
            continue
        gone = _exclusive(part)
        saved = (len(gone) - plan.cost[0], _transposes(gone) - plan.cost[1])
        if saved > (0, 0) and saved[1] >= 0 and (best is None or saved > best[0]):
            best = saved, plan, part
    return best is not None and _apply(best[1], best[2], ctx)


def _chain(last: ir.Node, ctx: PassContext) -> list[ir.Node]:
    """The movements that end in ``last``, in graph order."""
    chain = [last]
    while len(chain) < _LONGEST:
        x = chain[-1].inputs[0]
        node = None if x is None else x.producer()
        if node is None or node.graph is not last.graph:
            break
        if not edit.is_op(node, "Transpose") and not is_view(node, ctx.opset):
            break
        chain.append(node)
    return chain[::-1]


def _exclusive(part: Sequence[ir.Node]) -> list[ir.Node]:
    """Nodes that go when the last one is replaced: nothing else reads them."""
    gone = [part[-1]]
    for node in reversed(part[:-1]):
        if edit.use_count(node.outputs[0]) > 1:
            break
        gone.append(node)
    return gone


def _transposes(nodes: Sequence[ir.Node]) -> int:
    return sum(node.op_type == "Transpose" for node in nodes)


def _plan(part: Sequence[ir.Node]) -> _Plan | None:
    x = part[0].inputs[0]
    if x is None or edit.is_constant(x):
        return None
    moved = trace(part)
    if moved is None:
        return None
    if moved.in_order:
        view = View(moved.source, moved.wanted, part)
        return _Plan(view, None, None) if view else None
    single = moved.as_transpose()
    if single is not None:
        return _Plan(None, single, None)
    return _two(moved, part) or _three(moved, part)


def _two(moved: Movement, part: Sequence[ir.Node]) -> _Plan | None:
    """A Transpose of the tensor as it is and a view, or the other way round."""
    perm = moved.transpose_first()
    if perm is not None:
        after = View([moved.source[axis] for axis in perm], moved.wanted, part)
        if after:
            return _Plan(None, perm, after)
    perm = moved.transpose_last()
    if perm is None:
        return None
    middle: list[Dim] = [1] * len(perm)
    for index, axis in enumerate(perm):
        middle[axis] = moved.wanted[index]
    before = View(moved.source, middle, part)
    return _Plan(before, perm, None) if before else None


def _three(moved: Movement, part: Sequence[ir.Node]) -> _Plan | None:
    sizes, perm = moved.units()
    before = View(moved.source, sizes, part)
    after = View([sizes[axis] for axis in perm], moved.wanted, part)
    return _Plan(before, perm, after) if before and after else None


def _apply(plan: _Plan, part: Sequence[ir.Node], ctx: PassContext) -> bool:
    x, last = part[0].inputs[0], part[-1]
    graph = last.graph
    assert x is not None and isinstance(graph, ir.Graph)
    if plan.cost[0] == 0:
        if not ctx.bypass(last, x):
            return ctx.skip(last, "a graph output needs a node: the input cannot carry its name")
        for node in reversed(part[:-1]):
            ctx.remove(node)
        return True
    new: list[ir.Node] = []
    if plan.before is not None:
        new += plan.before.build(x, graph, ctx)
    if plan.perm is not None:
        assert not is_identity(plan.perm)
        new.append(edit.new_node("Transpose", [_end(new, x)], {"perm": plan.perm}))
    if plan.after is not None:
        new += plan.after.build(_end(new, x), graph, ctx)
    ctx.replace(list(part), new)
    return True


def _end(nodes: Sequence[ir.Node], x: ir.Value) -> ir.Value:
    return nodes[-1].outputs[0] if nodes else x
