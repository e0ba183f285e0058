"""Replace a Loop by its body when it runs exactly once, by its inputs when it never runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.shapes import infer_shapes, known_values
from onnxslim.graph import edit
from onnxslim.passes._splice import splice
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext


@register
@dataclass(frozen=True)
class InlineLoop(Pass):
    """Replace a Loop that runs once by the nodes of its body, one that never runs by its inputs.

    Once: the trip count is 1 and the loop starts, or the loop starts and its body says stop.
    Never: the trip count is 0 (or less) or the condition is false. Scan outputs of a loop that
    runs once get their axis from an Unsqueeze. Skipped when that needs more nodes than before, or
    when a loop that never runs has scan outputs.

    Source: ONNX operator Loop-1 to Loop-25.
    """

    name: ClassVar[str] = "inline-loop"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Outer loops before inner ones."""
        rewrites = sum(_inline(node, ctx) for node in ctx.nodes("Loop"))
        if rewrites:
            infer_shapes(model)
        return rewrites


def _inline(node: ir.Node, ctx: PassContext) -> bool:
    body = edit.attr(node, "body")
    carried = len(node.inputs) - 2
    if not isinstance(body, ir.Graph) or len(body.inputs) != carried + 2:
        return False
    if len(body.outputs) != len(node.outputs) + 1 or len(node.outputs) < carried:
        return False
    trips = _trips(node, body)
    if trips is None or not any(map(edit.use_count, node.outputs)):
        return False
    if any(value is None for value in node.inputs[2:]):
        return False
    read = [v for v in node.outputs[carried:] if edit.use_count(v)]
    if trips == 0:
        if read:
            return ctx.skip(node, "a loop that never runs has scan outputs")
        return _never(node, carried, ctx)
    if len(read) > 1 + _dropped(body):
        return ctx.skip(node, "its scan outputs would need more nodes than the loop has")
    return _once(node, body, carried, ctx)


def _trips(node: ir.Node, body: ir.Graph) -> int | None:
    """0 or 1 when the loop certainly runs that often, else None."""
    limit = _content(edit.get_input(node, 0))
    start = _content(edit.get_input(node, 1))
    if (isinstance(limit, int) and limit <= 0) or start == 0:
        return 0
    unlimited = edit.get_input(node, 0) is None
    starts = edit.get_input(node, 1) is None or start == 1
    if not starts or not (unlimited or isinstance(limit, int)):
        return None
    stops = _content(body.outputs[0]) == 0
    return 1 if limit == 1 or stops else None


def _content(value: ir.Value | None) -> object:
    found = known_values(value)
    return found[0] if found is not None and len(found) == 1 else None


def _dropped(body: ir.Graph) -> int:
    """Nodes that only the body's condition reads (at least so many)."""
    going = body.outputs[0]
    alone = edit.use_count(going) == body.outputs.count(going) == 1
    return int(alone and going.producer() is not None)


def _never(node: ir.Node, carried: int, ctx: PassContext) -> bool:
    pairs = list(zip(node.outputs[:carried], node.inputs[2:], strict=True))
    copies = [ir.node("Identity", [value]) for out, value in pairs if edit.use_count(out)]
    outs = [out for out, _ in pairs if edit.use_count(out)]
    ctx.replace(node, copies, [(o, c.outputs[0]) for o, c in zip(outs, copies, strict=True)])
    return True


def _once(node: ir.Node, body: ir.Graph, carried: int, ctx: PassContext) -> bool:
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    results = list(body.outputs[1:])
    count, going = body.inputs[:2]
    given: dict[ir.Value, ir.Value] = {
        formal: actual
        for formal, actual in zip(body.inputs[2:], node.inputs[2:], strict=True)
        if actual is not None
    }
    for formal, content in ((count, np.array(0, np.int64)), (going, np.array(True))):
        if formal.uses() or formal in results:
            given[formal] = ctx.constant(graph, formal.name, content)
    scans = [i for i in range(carried, len(results)) if edit.use_count(node.outputs[i])]
    splice(node, body, results, ctx, inputs=given, stack=scans)
    return True
