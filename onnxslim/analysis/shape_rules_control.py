"""Types of control flow, sequences and optionals.

A symbol made inside a body stands for one size per execution of that body: it never leaves it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from onnxslim.analysis.dims import Dim, Dims, known_equal, maximum
from onnxslim.analysis.shape_context import (
    VALUES,
    BodyInput,
    Elements,
    NodeContext,
    Rule,
    known_values,
)

INT64, BOOL = ir.DataType.INT64, ir.DataType.BOOL
MAX_RELAXED_DEPTH = 3
"""Bodies nested deeper are inferred once, carried sizes unknown: twice each would be 2**depth."""


def if_(ctx: NodeContext) -> None:
    """If: what both branches agree on, or the branch that is certainly taken."""
    then, other = ctx.attr("then_branch"), ctx.attr("else_branch")
    if then is None or other is None:
        ctx.problem("a branch is missing")
        return
    for graph in (then, other):
        ctx.engine.infer_body(graph, ())
        if len(graph.outputs) != len(ctx.outputs):
            ctx.problem(f"a branch has {len(graph.outputs)} outputs, not {len(ctx.outputs)}")
            return
    taken = _condition(ctx)
    for index, out in enumerate(ctx.outputs):
        a, b = then.outputs[index], other.outputs[index]
        if isinstance(taken, int):
            chosen = a if taken else b
            out.type, out.shape = chosen.type, chosen.shape
            _keep(out, known_values(chosen))
            continue
        out.type = a.type if a.type == b.type else None
        out.shape = _agreed(ctx, a, b)
        if out.shape is None and a.shape is not None and b.shape is not None:
            ctx.engine.open_branches = True
        _keep(out, _agreed_values(known_values(a), known_values(b)))


def _condition(ctx: NodeContext) -> Dim | None:
    """1 or 0 when one branch is taken in every run that succeeds."""
    found = ctx.elements(0)
    if found and len(found) == 1 and found[0] is not None:
        return found[0]
    forced = ctx.engine.forced.get(ctx.node)
    value = ctx.value(0)
    producer = None if value is None else value.producer()
    if forced is not None and value is not None and producer is not None:
        if producer.graph is ctx.node.graph:  # elsewhere the If may not be run at all
            value.meta[VALUES] = (forced,)
    return forced


def _keep(out: ir.Value, values: Elements | None) -> None:
    if values is not None:
        out.meta[VALUES] = values


def _agreed_values(a: Elements | None, b: Elements | None) -> Elements | None:
    if a is None or b is None or len(a) != len(b):
        return None
    pairs = zip(a, b, strict=True)
    return tuple(
        x if x is not None and y is not None and known_equal(x, y) else None for x, y in pairs
    )


def _agreed(ctx: NodeContext, a: ir.Value, b: ir.Value) -> ir.Shape | None:
    if a.shape is None or b.shape is None or len(a.shape) != len(b.shape):
        return None
    pairs = zip(a.shape.dims, b.shape.dims, strict=True)
    return ir.Shape((x if known_equal(x, y) else ctx.fresh() for x, y in pairs), frozen=True)


# -------------------------------------------------------------------- loops


def _facts(value: ir.Value | None) -> BodyInput:
    if value is None:
        return None, None
    return value.type, None if value.shape is None else value.shape.dims


def _carry(
    ctx: NodeContext,
    body: ir.Graph,
    first: Sequence[BodyInput],
    rest: Sequence[BodyInput],
    lead: Sequence[BodyInput],
    skip: int,
) -> list[BodyInput]:
    """Infer a body whose carried values start as ``first``; returns what they are throughout.

    Sizes that the body may change become unknown, and the body is inferred a second time.
    """
    mark = ctx.engine.mark
    deep = ctx.engine.depth >= MAX_RELAXED_DEPTH
    state = [_relaxed(ctx, f, None, mark) for f in first] if deep else list(first)
    for _ in range(3):
        ctx.engine.infer_body(body, [*lead, *state, *rest])
        results = [_facts(v) for v in body.outputs[skip : skip + len(state)]]
        relaxed = [
            before if _stays(before, after) else _relaxed(ctx, before, after, mark)
            for before, after in zip(state, results, strict=False)
        ]
        if deep or relaxed == state:
            return relaxed
        state = relaxed
    state = [(kind, None) for kind, _ in state]
    ctx.engine.infer_body(body, [*lead, *state, *rest])
    return state


def _stays(before: BodyInput, after: BodyInput) -> bool:
    if before[1] is None or after[1] is None or len(before[1]) != len(after[1]):
        return before[1] is None
    return all(map(known_equal, before[1], after[1]))


def _relaxed(ctx: NodeContext, before: BodyInput, after: BodyInput | None, mark: int) -> BodyInput:
    kind, dims = before
    if dims is None or (after is not None and (after[1] is None or len(after[1]) != len(dims))):
        return kind, None
    changed = after[1] if after is not None else None
    result: list[Dim] = []
    for i, dim in enumerate(dims):
        keep = changed is not None and known_equal(dim, changed[i])
        keep = keep or ctx.engine.is_younger(dim, mark)
        result.append(dim if keep else ctx.fresh())
    return kind, tuple(result)


def _outside(ctx: NodeContext, dims: Dims | None, mark: int) -> Dims | None:
    """``dims`` as seen after the loop: sizes that belong to one iteration become unknown."""
    if dims is None:
        return None
    return tuple(ctx.fresh() if ctx.engine.is_younger(d, mark) else d for d in dims)


def _set(ctx: NodeContext, index: int, kind: ir.TypeProtocol | None, dims: Dims | None) -> None:
    if index < len(ctx.outputs):
        ctx.outputs[index].type = kind
        ctx.outputs[index].shape = None if dims is None else ir.Shape(dims, frozen=True)


def loop(ctx: NodeContext) -> None:
    """Loop: carried values keep what the body keeps; scan outputs get an axis in front."""
    body = ctx.attr("body")
    carried = len(ctx.inputs) - 2
    if body is None or len(body.inputs) != carried + 2 or len(body.outputs) < carried + 1:
        ctx.problem("its body has not the inputs and outputs of the node")
        return
    mark = ctx.engine.mark
    scalar: list[BodyInput] = [(ir.TensorType(INT64), ()), (ir.TensorType(BOOL), ())]
    start = [_facts(v) for v in ctx.inputs[2:]]
    state = _carry(ctx, body, start, (), scalar, 1)
    for index, (kind, dims) in enumerate(state):
        _set(ctx, index, kind, _outside(ctx, dims, mark))
    trips = _trip_count(ctx, body)
    for index, out in enumerate(body.outputs[1 + carried :]):
        dims = _outside(ctx, _facts(out)[1], mark)
        _set(ctx, carried + index, out.type, None if dims is None else (trips, *dims))


def _trip_count(ctx: NodeContext, body: ir.Graph) -> Dim:
    found = ctx.elements(0)
    goes_on = not ctx.given(1) or ctx.ints(1) == (1,)
    going = body.outputs[0]
    producer = going.producer()
    passed = going is body.inputs[1] or (
        producer is not None
        and producer.op_type == "Identity"
        and producer.inputs[0] is body.inputs[1]
    )
    never_stops = passed or known_values(going) == (1,)
    if not found or found[0] is None or not goes_on or not never_stops:
        return ctx.fresh()
    return maximum(found[0], 0)


def scan(ctx: NodeContext) -> None:
    """Scan: states as in a loop; scanned inputs lose an axis, scanned outputs get one."""
    body, count = ctx.attr("body"), ctx.attr("num_scan_inputs", 0)
    states = len(ctx.inputs) - count
    if ctx.opset < 9 or body is None or states < 0 or len(body.inputs) != len(ctx.inputs):
        return
    mark = ctx.engine.mark
    axes = ctx.attr("scan_input_axes") or (0,) * count
    length: Dim | None = None
    slices: list[BodyInput] = []
    for value, axis in zip(ctx.inputs[states:], axes, strict=False):
        kind, dims = _facts(value)
        index = None if dims is None else ctx.axis(axis, len(dims))
        if dims is None or index is None:
            slices.append((kind, None))
            continue
        length = dims[index] if length is None else ctx.merge(length, dims[index], "scan lengths")
        slices.append((kind, (*dims[:index], *dims[index + 1 :])))
    start = [_facts(v) for v in ctx.inputs[:states]]
    state = _carry(ctx, body, start, slices, (), 0)
    for number, (kind, dims) in enumerate(state):
        _set(ctx, number, kind, _outside(ctx, dims, mark))
    _scan_outputs(ctx, body, states, length, mark)


def _scan_outputs(
    ctx: NodeContext, body: ir.Graph, states: int, length: Dim | None, mark: int
) -> None:
    outs = body.outputs[states:]
    axes = ctx.attr("scan_output_axes") or (0,) * len(outs)
    for number, (out, axis) in enumerate(zip(outs, axes, strict=False)):
        dims = _outside(ctx, _facts(out)[1], mark)
        index = None if dims is None else ctx.axis(axis, len(dims) + 1)
        result: Dims | None = None
        if dims is not None and index is not None:
            steps = ctx.fresh() if length is None else length
            result = (*dims[:index], steps, *dims[index:])
        _set(ctx, states + number, out.type, result)


RULES: Mapping[str, Rule] = {"If": if_, "Loop": loop, "Scan": scan}
