"""From QuantizeLinear and DequantizeLinear around an operator to one integer operator.

What has no integer form (float islands, guarded layers) keeps its pairs. The operators of domain
com.microsoft are those that ONNX Runtime itself makes of the pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.quantization.carriers import Carriers
from onnxslim.graph import edit
from onnxslim.pipeline import PassContext
from onnxslim.verify.quantized import LAYER

_CONTRIB = "com.microsoft"
_UNARY = {
    "AveragePool": "QLinearAveragePool",
    "GlobalAveragePool": "QLinearGlobalAveragePool",
    "LeakyRelu": "QLinearLeakyRelu",
    "Sigmoid": "QLinearSigmoid",
}
_BINARY = {"Add": "QLinearAdd", "Mul": "QLinearMul"}


@dataclass(frozen=True)
class _Triple:
    """Integers with their scale and zero point, and the node that gives floats of them."""

    values: tuple[ir.Value | None, ...]
    node: ir.Node


def convert(ctx: PassContext) -> None:
    """Convert what can be in the main graph."""
    done = [
        _convert(node, ctx)
        for node in list(ctx.model.graph)
        if node.graph is not None and not node.domain
    ]
    if any(done):
        ctx.model.graph.opset_imports.setdefault(_CONTRIB, 1)


def _convert(node: ir.Node, ctx: PassContext) -> bool:
    if Carriers.preserves(node):
        return _moved(node, ctx)
    if node.op_type in ("MatMul", "Gemm"):
        return _linear(node, ctx)
    if node.op_type == "Conv":
        return _conv(node, ctx)
    if node.op_type in (*_UNARY, *_BINARY, "Concat"):
        return _carrier(node, ctx)
    return False


def _triple(value: ir.Value | None) -> _Triple | None:
    """What is behind a DequantizeLinear."""
    producer = None if value is None else value.producer()
    if producer is None or not edit.is_op(producer, "DequantizeLinear"):
        return None
    return _Triple(tuple(producer.inputs), producer)


def _quantizer(node: ir.Node, output: int = 0) -> tuple[list[ir.Node], ir.Node] | None:
    """An absorbed rectifier, if there is one, and the QuantizeLinear that alone reads a result."""
    after = edit.sole_consumer(node.outputs[output])
    between = []
    if after is not None and edit.is_op(after, "Relu", "Clip"):
        between = [after]
        after = edit.sole_consumer(after.outputs[0])
    if after is None or not edit.is_op(after, "QuantizeLinear"):
        return None
    if between and edit.scalar(after.inputs[2]) != _least(after):
        return None
    return between, after


def _least(quantizer: ir.Node) -> int:
    zero = quantizer.inputs[2]
    return -128 if zero is not None and zero.dtype == ir.DataType.INT8 else 0


def _replace(
    ctx: PassContext, old: Sequence[ir.Node], new: ir.Node, before: ir.Value, key: str = ""
) -> bool:
    if key:
        new.meta[LAYER] = key
    ctx.replace(list(dict.fromkeys(old)), new, [(before, new.outputs[0])])
    return True


def _key(node: ir.Node) -> str:
    """Of the layer; it is remembered when its output was renamed."""
    return str(node.meta.get(LAYER, node.outputs[0].name or ""))


def _conv(node: ir.Node, ctx: PassContext) -> bool:
    x, w = _triple(node.inputs[0]), _triple(node.inputs[1])
    bias = edit.get_input(node, 2)
    b, found = _triple(bias), _quantizer(node)
    if x is None or w is None or found is None or (bias is not None and b is None):
        return False
    between, q = found
    inputs = [*x.values, *w.values, q.inputs[1], q.inputs[2], *(b.values[:1] if b else ())]
    new = ir.node("QLinearConv", inputs, dict(node.attributes))
    old = [x.node, w.node, *([b.node] if b else []), node, *between, q]
    return _replace(ctx, old, new, q.outputs[0], _key(node))


def _linear(node: ir.Node, ctx: PassContext) -> bool:
    x, w = _triple(node.inputs[0]), _triple(node.inputs[1])
    if x is None or w is None:
        return False
    key = _key(node)
    if node.op_type == "MatMul":
        inputs = [x.values[0], w.values[0], x.values[1], w.values[1], x.values[2], w.values[2]]
        new = ir.node("MatMulIntegerToFloat", inputs, domain=_CONTRIB)
        return _replace(ctx, [x.node, w.node, node], new, node.outputs[0], key)
    bias = edit.get_input(node, 2)
    b = _triple(bias)
    if bias is not None and b is None:
        return False
    found = _quantizer(node)
    between, q = found if found is not None else ([], None)
    attributes = {k: v for k, v in node.attributes.items() if k in ("transA", "transB", "alpha")}
    inputs = [*x.values, *w.values, b.values[0] if b else None]
    inputs += [q.inputs[1], q.inputs[2]] if q is not None else []
    new = ir.node("QGemm", inputs, attributes, domain=_CONTRIB)
    old = [x.node, w.node, *([b.node] if b else []), node, *between, *([q] if q else [])]
    return _replace(ctx, old, new, node.outputs[0] if q is None else q.outputs[0], key)


def _carrier(node: ir.Node, ctx: PassContext) -> bool:
    triples = [_triple(v) for v in node.inputs]
    data = [t for t in triples if t is not None]
    found = _quantizer(node)
    if len(data) != len(triples) or found is None:
        return False
    between, q = found
    scales = [q.inputs[1], q.inputs[2]]
    inputs = [v for t in data for v in t.values]
    attributes: dict[str, Any] = dict(node.attributes)
    if node.op_type == "Concat":
        new = ir.node("QLinearConcat", [*scales, *inputs], attributes, domain=_CONTRIB)
    else:
        kind = _UNARY.get(node.op_type) or _BINARY[node.op_type]
        new = ir.node(kind, [*inputs, *scales], attributes, domain=_CONTRIB)
    return _replace(ctx, [*(t.node for t in data), node, *between, q], new, q.outputs[0])


def _moved(node: ir.Node, ctx: PassContext) -> bool:
    """A movement of elements: the same operator on integers."""
    x = _triple(node.inputs[0])
    ends = [edit.sole_consumer(v) for v in node.outputs]
    if x is None or any(e is None or not edit.is_op(e, "QuantizeLinear") for e in ends):
        return False
    quantizers = [e for e in ends if e is not None]
    if any(not _same(q.inputs[i], x.values[i]) for q in quantizers for i in (1, 2)):
        return False
    new = ir.node(
        node.op_type,
        [x.values[0], *node.inputs[1:]],
        dict(node.attributes),
        num_outputs=len(node.outputs),
    )
    pairs = [(q.outputs[0], v) for q, v in zip(quantizers, new.outputs, strict=True)]
    ctx.replace([x.node, node, *quantizers], new, pairs)
    return True


def _same(a: ir.Value | None, b: ir.Value | None) -> bool:
    one, two = edit.constant_array(a), edit.constant_array(b)
    return one is not None and two is not None and np.array_equal(one, two)
