"""Facts that passes refresh: what is known of one value reaches its readers."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from onnxslim.passes._facts import refresh
from tests.nets import net


def test_what_is_new_reaches_the_readers_and_ends_where_nothing_is() -> None:
    body = "a = Relu(x)  b = Neg(a)  c = Shape(b)  y = Neg(x)"
    outputs = {"c": "int64[2]", "y": "float[N,3]"}
    model = from_proto(net(body, outputs=outputs, x="float[N,3]"))
    infer_shapes(model)
    relu, neg, _, other = list(model.graph)
    x = model.graph.inputs[0]
    x.shape = ir.Shape((7, 3))
    refresh([relu])
    assert neg.outputs[0].shape == (7, 3)
    assert other.outputs[0].shape == ("N", 3)  # it was not asked for
    refresh([other])
    assert other.outputs[0].shape == (7, 3)
