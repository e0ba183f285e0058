"""What a repairing pass works on: layers, where each is compared, and writing their new weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.graph.reach import reads
from onnxslim.passes._layers import OPS, Layer
from onnxslim.passes._linear import constant, narrow
from onnxslim.passes._prior import Source
from onnxslim.passes._recurrent import GATES, Gates
from onnxslim.passes._targets import Target
from onnxslim.pipeline.context import PassContext

Array = npt.NDArray[Any]


@dataclass(eq=False)
class Job:
    """One weight with the layers that use it, to be repaired together.

    Attributes:
        layers: The layers (several when they share the weight).
        targets: Where each is compared; filled in when its turn comes.
        level: Layers on the longest way from an input.
        names: Of each layer's input, of the value compared, and of its other operand or "".
        source: Where the channels of its inputs are, if weights follow from them.
    """

    layers: list[Layer]
    level: int
    targets: list[Target] = field(default_factory=list)
    names: list[tuple[str, str, str]] = field(default_factory=list)
    source: Source | None = None

    @property
    def name(self) -> str:
        """Of the first layer, for messages."""
        node = self.layers[0].node
        return node.name or str(node.outputs[0].name)


def origin(value: ir.Value | None) -> ir.Value | None:
    """The initializer behind Identity nodes."""
    while value is not None and edit.is_op(value.producer(), "Identity"):
        producer = value.producer()
        assert producer is not None
        value = producer.inputs[0]
    return value


def levels_of(model: ir.Model) -> dict[ir.Node, int]:
    """For every node of the main graph, the layers on the longest way to it."""
    found: dict[ir.Node, int] = {}
    for node in model.graph:
        makers = [v.producer() for v in reads(node)]
        level = 0
        for maker in makers:
            if maker is not None and maker in found:
                level = max(level, found[maker] + edit.is_op(maker, *OPS, *GATES))
        found[node] = level
    return found


def write(job: Job, weight: Array | None, bias: Array, ctx: PassContext) -> str | None:
    """Give the layers of a job new weights (G, O, D) and biases (G, O); returns why not.

    Args:
        job: The job.
        weight: None leaves it.
        bias: Total bias.
        ctx: Edits go through it.
    """
    first = job.layers[0]
    if isinstance(first, Gates):
        return first.write(weight, bias, ctx)
    kind = first.weight.dtype
    new_bias = narrow(bias.reshape(-1), kind)
    new_weight = None if weight is None else narrow(first.stored(weight), kind)
    if new_bias is None or (weight is not None and new_weight is None):
        return f"the new weights do not fit {kind}"
    graph = first.node.graph
    assert graph is not None and not isinstance(graph, ir.Function)
    source = first.node.inputs[first.weight_at]
    stem = "weight" if source is None or source.name is None else source.name
    value = None if new_weight is None else ctx.constant(graph, stem, new_weight)
    for layer, target in zip(job.layers, job.targets, strict=True):
        if value is not None:
            ctx.set_input(layer.node, layer.weight_at, value)
        if layer.node.op_type == "MatMul":
            _write_summand(layer, target, new_bias, ctx)
        else:
            _write_bias(layer, f"{stem}_bias", new_bias, ctx)
    return None


def _write_bias(layer: Layer, stem: str, bias: Array, ctx: PassContext) -> None:
    node, graph = layer.node, layer.node.graph
    assert graph is not None and not isinstance(graph, ir.Function)
    old = edit.get_input(node, 2)
    if old is None and not bias.any():
        return
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    name = stem if old is None else old.name
    ctx.set_input(node, 2, ctx.constant(graph, name, bias))
    if node.op_type == "Gemm" and edit.attr(node, "beta", 1.0) != 1.0:
        ctx.set_attributes(node, {"beta": 1.0})


def summand(add: ir.Node, product: ir.Value) -> Array:
    """The number or numbers (M,) that an Add adds to the product."""
    array = constant(add.inputs[0 if add.inputs[1] is product else 1])
    assert array is not None
    flat = array.astype(np.float64).reshape(-1)
    size = product.shape[-1] if product.shape is not None else flat.size
    return np.asarray(np.broadcast_to(flat, (size if isinstance(size, int) else flat.size,)))


def _write_summand(layer: Layer, target: Target, bias: Array, ctx: PassContext) -> None:
    """A MatMul has no bias: into the Add behind it, else into a new one."""
    if not bias.any():
        return
    node, graph, bias = layer.node, layer.node.graph, bias.reshape(layer.bias_shape)
    assert graph is not None and not isinstance(graph, ir.Function)
    if target.adds is not None:
        index = 0 if target.adds.inputs[1] is node.outputs[0] else 1
        value, array = target.adds.inputs[index], constant(target.adds.inputs[index])
        assert value is not None
        assert array is not None
        shape = array.shape if array.size == bias.size else bias.shape
        total = (array.astype(np.float64) + bias.reshape(shape)).astype(bias.dtype)
        ctx.set_input(target.adds, index, ctx.constant(graph, value.name, total))
        return
    product = ir.node("MatMul", list(node.inputs), dict(node.attributes))
    add = ir.node("Add", [product.outputs[0], ctx.constant(graph, f"{node.name}_bias", bias)])
    ctx.replace(node, [product, add])
