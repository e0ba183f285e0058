"""Replace calls of model-local functions by the nodes of their bodies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import UnsupportedModelError
from onnxslim.graph import edit
from onnxslim.graph.schema import get_schema
from onnxslim.passes._clone import Cloner
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext

Key = tuple[str, str, str]


@register
@dataclass(frozen=True)
class InlineFunctions(Pass):
    """Replace every call of a model-local function by the function's nodes.

    Nested calls, attribute references and their defaults, omitted inputs and unused outputs are
    resolved; nodes and values get fresh names. Skipped when the function imports another version
    of an operator set than the model and one of its operators changed in between. Refused, before
    anything is done, when functions call themselves or the result had more than ``limit`` nodes.

    Args:
        limit: Most nodes that all calls together may become.

    Source: ONNX IR specification, section Functions.
    """

    limit: int = 100_000

    name: ClassVar[str] = "inline-functions"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Inline calls, outer ones first, until only refused ones are left."""
        if not model.functions:
            return 0
        self._check_size(model)
        ops = {f"{domain}:{op}" if domain else op for domain, op, _ in model.functions}
        rewrites = sum(_inline(node, model, ctx) for node in ctx.nodes(*sorted(ops)))
        if rewrites:
            infer_shapes(model)
        return rewrites

    def _check_size(self, model: ir.Model) -> None:
        sizes = _sizes(model)
        total = sum(sizes.get(node.op_identifier(), 0) for node in model.graph.all_nodes())
        if total > self.limit:
            raise UnsupportedModelError(
                f"the functions of the model stand for {_large(total)} nodes, expected at most "
                f"{self.limit}: leave them in place with --skip inline-functions"
            )


def _large(number: int) -> str:
    """A number that may have thousands of digits."""
    bits = number.bit_length()
    return str(number) if bits < 64 else f"more than 2**{bits - 1}"


def _sizes(model: ir.Model) -> dict[Key, int]:
    """How many nodes a call of each function that the model uses becomes.

    Raises:
        UnsupportedModelError: When a function calls itself.
    """
    sizes: dict[Key, int] = {}
    open_: dict[Key, None] = {}
    waiting = [n.op_identifier() for n in model.graph.all_nodes()]
    while waiting:
        key = waiting[-1]
        if key in sizes or key not in model.functions:
            waiting.pop()
            continue
        called = [node.op_identifier() for node in model.functions[key].all_nodes()]
        missing = [k for k in dict.fromkeys(called) if k in model.functions and k not in sizes]
        if not missing:
            sizes[key] = sum(sizes.get(k, 1) for k in called)
            open_.pop(key, None)
            waiting.pop()
            continue
        open_[key] = None
        if any(k in open_ for k in missing):
            name = ":".join(part for part in key if part)
            raise UnsupportedModelError(
                f"function {name} calls itself, directly or through others: ONNX forbids recursion"
            )
        waiting.extend(missing)
    return sizes


def _inline(call: ir.Node, model: ir.Model, ctx: PassContext) -> bool:
    function = model.functions.get(call.op_identifier())
    if function is None:
        return False
    refusal = _not_inlinable(call, function, model)
    if refusal is not None:
        return ctx.skip(call, refusal)
    for domain, version in function.opset_imports.items():
        model.graph.opset_imports.setdefault(domain, version)
    cloner = Cloner(_attributes(call, function), ctx.names, call.meta.get(edit.SOURCE, ()))
    for index, formal in enumerate(function.inputs):
        cloner.values[formal] = edit.get_input(call, index)
    nodes = [cloner.node(node) for node in function]
    pairs, taken = [], set(call.inputs)
    for out, formal in zip(call.outputs, function.outputs, strict=False):
        value = cloner.values[formal]
        if value in taken:
            nodes.append(ir.node("Identity", [value]))
            value = nodes[-1].outputs[0]
        assert value is not None
        taken.add(value)
        pairs.append((out, value))
    ctx.replace(call, nodes, pairs)
    return True


def _attributes(call: ir.Node, function: ir.Function) -> dict[str, ir.Attr]:
    """What attribute references of the body mean: the call's attributes, else the defaults."""
    defaults = {n: a for n, a in function.attributes.items() if a.value is not None}
    return {**defaults, **call.attributes}


def _not_inlinable(call: ir.Node, function: ir.Function, model: ir.Model) -> str | None:
    if len(call.inputs) > len(function.inputs) or len(call.outputs) > len(function.outputs):
        return "the call has more inputs or outputs than the function"
    given: Mapping[ir.Value, ir.Value | None] = {
        formal: edit.get_input(call, index) for index, formal in enumerate(function.inputs)
    }
    if any(formal in given and given[formal] is None for formal in function.outputs):
        return "the function returns an input that the call leaves out"
    own = model.graph.opset_imports
    for node in function.all_nodes():
        if node.op_identifier() in model.functions:
            continue
        there, here = function.opset_imports.get(node.domain), own.get(node.domain)
        if there is None or here is None or there == here:
            continue
        old, new = (get_schema(node.domain, node.op_type, v) for v in (there, here))
        if old is None or new is None or old.since != new.since:
            return f"{node.op_type} differs between opset {there} of the function and {here}"
    return None
