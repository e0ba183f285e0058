"""convert-opset: to a given version, or to what a refused fusion wanted."""

from __future__ import annotations

import onnx

import onnxslim
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from onnxslim.passes.convert_opset import ConvertOpset
from onnxslim.pipeline import PassContext
from onnxslim.pipeline.registry import get_pass

PASS = get_pass("convert-opset")
TEXT = """<ir_version: 7, opset_import: ["" : 13]> agraph (float[2, 4] x) => (float[2, 1] y)
    { y = ReduceMean<axes = [1]>(x) }"""


def context() -> PassContext:
    model = from_proto(onnx.parser.parse_model(TEXT))
    infer_shapes(model)
    return PassContext(model)


def test_to_a_version() -> None:
    ctx = context()
    item = ConvertOpset(version=18)
    assert item.run(ctx.model, ctx) == 1
    assert ctx.opset == 18
    assert len(ctx.model.graph.node(0).inputs) == 2
    assert item.run(ctx.model, ctx) == 0


def test_nothing_wanted_nothing_done() -> None:
    ctx = context()
    assert PASS().run(ctx.model, ctx) == 0
    assert ctx.opset == 13


def test_to_what_a_fusion_wanted() -> None:
    ctx = context()
    assert ctx.wants_opset(ctx.model.graph.node(0), 20) is False
    assert PASS().run(ctx.model, ctx) == 1
    assert ctx.opset == 20
    assert ctx.warnings == ["opset raised from 13 to 20 for a fusion"]


def test_a_node_that_cannot_be_converted_keeps_the_opset() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> agraph (float[2, 4, 1] x) =>
        (float[2, 4, 2] y) { y = DFT(x) }"""
    model = from_proto(onnx.parser.parse_model(text))
    infer_shapes(model)
    ctx = PassContext(model)
    assert ConvertOpset(version=20).run(model, ctx) == 0
    assert ctx.opset == 17
    assert "stays at 17" in ctx.warnings[0]


ERF = """<ir_version: 7, opset_import: ["" : 13]> agraph (float[2, 4] x) => (float[2, 4] y)
    <float r = {1.41421356}, float o = {1.0}, float h = {0.5}>
    { d = Div(x, r) e = Erf(d) a = Add(e, o) m = Mul(x, a) y = Mul(m, h) }"""


def test_the_recipe_aggressive_raises_the_opset_no_further_than_a_fusion_needs() -> None:
    result = onnxslim.optimize(onnx.parser.parse_model(ERF), "aggressive")
    assert [node.op_type for node in result.model.graph] == ["Gelu"]
    assert result.after.opset == 20 and result.verification.ok
    assert "opset raised from 13 to 20 for a fusion" in result.warnings
    kept = onnxslim.optimize(onnx.parser.parse_model(ERF))
    assert kept.after.opset == 13 and kept.after.nodes == 5
