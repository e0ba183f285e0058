"""An LSTM as ONNX Runtime's DynamicQuantizeLSTM.

Weights are transposed to (directions, inputs, 4 * hidden) and (directions, hidden, 4 * hidden),
int8 with one scale per direction and column, shape (directions, 4 * hidden), and zero points 0.

Source: ONNX Runtime contrib operator com.microsoft:DynamicQuantizeLSTM-1.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.quantization.scales import round_weight, weight_scales
from onnxslim.graph import edit
from onnxslim.pipeline.context import PassContext


def quantize_lstm(node: ir.Node, largest: int, ctx: PassContext) -> None:
    """Replace an LSTM with constant weights."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    inputs: list[ir.Value | None] = [edit.get_input(node, i) for i in range(8)]
    extra: list[ir.Value] = []
    for index in (1, 2):
        value = inputs[index]
        array = edit.constant_array(value)
        assert value is not None and array is not None
        owner = value.graph if isinstance(value.graph, ir.Graph) else graph
        turned = np.swapaxes(array.astype(np.float64), 1, 2)
        scale = np.stack([weight_scales(one, 1, largest) for one in turned])
        pairs = zip(turned, scale, strict=True)
        integers = np.stack([round_weight(one, s, 1, largest) for one, s in pairs])
        inputs[index] = ctx.constant(owner, f"{value.name}_quantized", integers)
        extra.append(ctx.constant(owner, f"{value.name}_scale", scale))
        zero = np.zeros(scale.shape, np.int8)
        extra.append(ctx.constant(owner, f"{value.name}_zero_point", zero))
    kept = {k: v for k, v in node.attributes.items() if k not in ("layout", "output_sequence")}
    new = ir.node(
        "DynamicQuantizeLSTM",
        [*inputs, *extra],
        kept,
        domain="com.microsoft",
        num_outputs=len(node.outputs),
    )
    ctx.replace(node, new)
