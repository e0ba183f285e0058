"""Parameters of their own for readers that share one only because the values are equal."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.pipeline.context import PassContext


def privatize(ctx: PassContext) -> int:
    """Give every reader of a shared bias, scale or shift its own copy; returns the copies made.

    Exporters merge parameters that happen to be equal (every trained ResNet has some). Tensors with
    two or more real axes stay shared: those are tied on purpose. An ``Identity`` of such a tensor
    becomes an initializer of its name, as the framework calls it.
    """
    count = 0
    for value in list(ctx.model.graph.initializers.values()):
        tensor = edit.constant_tensor(value)
        if tensor is None or sum(n > 1 for n in tensor.shape.numpy()) != 1:
            continue
        count += _split_aliases(ctx, value, tensor)
        uses = [(u.node, u.idx) for u in value.uses() if u.node.graph is ctx.model.graph]
        for node, index in uses[1:] if len(uses) == len(value.uses()) else uses:
            copy = ctx.constant(ctx.model.graph, value.name, tensor)
            ctx.set_input(node, index, copy)
            count += 1
    return count


def _split_aliases(ctx: PassContext, value: ir.Value, tensor: ir.TensorProtocol) -> int:
    """Replace each ``Identity`` of a parameter in the main graph by a parameter of its name."""
    graph, count = ctx.model.graph, 0
    for node in [use.node for use in value.uses()]:
        if not edit.is_op(node, "Identity") or node.graph is not graph:
            continue
        output = node.outputs[0]
        if output.is_graph_output() or not output.name:
            continue
        name, copy = output.name, ctx.constant(graph, output.name, tensor)
        if ctx.bypass(node, copy):
            graph.initializers.pop(copy.name or "")
            copy.name = name
            copy.const_value = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=name)
            graph.register_initializer(copy)
            count += 1
    return count
