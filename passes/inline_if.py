"""Replace an If by the branch that is certainly taken.

A condition is known when it is a constant, or when shape inference knows its content: comparisons
of ranks and of fixed dimensions. Three more things decide an If:

* both branches are the same;
* it stands inside a branch of another If on the same condition;
* one branch is impossible: with it, a node that certainly runs afterwards certainly fails (a
  recurrent layer on data with five axes). On inputs where the model fails nothing is promised.

Source: ONNX operator If-11 to If-25.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.shapes import infer_shapes, known_values
from onnxslim.graph import edit
from onnxslim.passes._same_graph import same_graph
from onnxslim.passes._speculate import certainly_fails
from onnxslim.passes._splice import splice
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext


@register
@dataclass(frozen=True)
class InlineIf(Pass):
    """Replace an If by its only possible branch.

    The branch's nodes move into the graph around the If under fresh value names. Inside a branch
    the condition itself becomes a constant.

    Args:
        reach: Nodes looked at after an If to find that a branch is impossible; 0 leaves it out.

    Source: ONNX operator If-11 to If-25.
    """

    reach: int = 100

    name: ClassVar[str] = "inline-if"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Inline outer Ifs before inner ones, again as long as new facts decide more."""
        total = 0
        while rewrites := sum(self._decide(node, ctx) for node in ctx.nodes("If")):
            total += rewrites
            infer_shapes(model)
        return total

    def _decide(self, node: ir.Node, ctx: PassContext) -> int:
        branches = [edit.attr(node, name) for name in ("then_branch", "else_branch")]
        count = len(node.outputs)
        if any(not isinstance(b, ir.Graph) or len(b.outputs) != count for b in branches):
            return 0
        if not any(edit.use_count(value) for value in node.outputs):
            return 0
        taken = self._taken(node, branches)
        if taken is None:
            return _settle_inside(node, branches, ctx)
        body = branches[0] if taken else branches[1]
        splice(node, body, list(body.outputs), ctx)
        return 1

    def _taken(self, node: ir.Node, branches: list[ir.Graph]) -> bool | None:
        content = known_values(node.inputs[0])
        if content is not None and len(content) == 1 and isinstance(content[0], int):
            return bool(content[0])
        if same_graph(branches[0], branches[1]):
            return True
        if self.reach and _disagree(branches):
            for taken, body in ((False, branches[0]), (True, branches[1])):
                if certainly_fails(node, body, self.reach):
                    return taken
        return None


def _disagree(branches: list[ir.Graph]) -> bool:
    """True when an output's rank, known in both branches, depends on the branch."""
    pairs = zip(branches[0].outputs, branches[1].outputs, strict=True)
    ranks = [(edit.rank_of(a), edit.rank_of(b)) for a, b in pairs]
    return any(a is not None and b is not None and a != b for a, b in ranks)


def _settle_inside(node: ir.Node, branches: list[ir.Graph], ctx: PassContext) -> int:
    """Inside a branch the condition is known."""
    condition = node.inputs[0]
    shape = edit.static_shape(condition)
    if condition is None or shape is None or len(condition.uses()) < 2:
        return 0
    changed = 0
    for body, truth in zip(branches, (True, False), strict=True):
        inside = {body, *body.subgraphs()}
        uses = [use for use in condition.uses() if use.node.graph in inside]
        if uses:
            constant = ctx.constant(body, condition.name, np.full(shape, truth))
            for use in uses:
                ctx.set_input(use.node, use.idx, constant)
            changed += len(uses)
    return changed
