"""Repairing passes: how deep layers lie, and where new weights and biases are written."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph import edit
from onnxslim.graph.load import from_proto
from onnxslim.passes._jobs import Job, levels_of, origin, summand, write
from onnxslim.passes._layers import Layer, read_layer
from onnxslim.passes._targets import find_target
from onnxslim.pipeline.context import PassContext
from onnxslim.testing import node_lines, shared_worker
from tests.nets import net


def job_of(body: str, **given: Any) -> tuple[Job, PassContext]:
    model = from_proto(net(body, **given))
    infer_shapes(model)
    layers = []
    for node in model.graph:
        found = read_layer(node) if edit.is_op(node, "Conv", "Gemm", "MatMul") else ""
        if isinstance(found, Layer):
            layers.append(found)
    targets = [find_target(layer, lambda value: False, None, 17) for layer in layers]
    return Job(layers, 0, targets), PassContext(model, worker=shared_worker())


FLAT = {"x": "float[3,5]", "w": (5, 4)}
CASES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("y = Conv(x, w, b)", {}, ["y = Conv(x, w_s1, b_s1)"]),
    ("y = Conv(x, w)", {}, ["y = Conv(x, w_s1, w_bias_s1)"]),
    ("y = Conv<group = 2>(x, w, b)", {"w": (4, 2, 3, 3)}, ["y = Conv(x, w_s1, b_s1) group=2"]),
    ("y = Gemm(x, w, b)", FLAT, ["y = Gemm(x, w_s1, b_s1)"]),
    ("y = Gemm<beta = 0.5>(x, w, b)", FLAT, ["y = Gemm(x, w_s1, b_s1) beta=1.0"]),
    ("y = Gemm<transB = 1, alpha = 2.0>(x, w)", FLAT | {"w": (4, 5)},
     ["y = Gemm(x, w_s1, w_bias_s1) alpha=2.0 transB=1"]),
    ("y = MatMul(x, w)", FLAT, ["y_s1 = MatMul(x, w_s1)", "y = Add(y_s1, _bias_s1)"]),
    ("h = MatMul(x, w)  y = Add(h, b)", FLAT, ["h = MatMul(x, w_s1)", "y = Add(h, b_s1)"]),
    ("h = MatMul(x, w)  y = Add(b, h)", FLAT | {"b": (1, 4)},
     ["h = MatMul(x, w_s1)", "y = Add(b_s1, h)"]),
    ("h = MatMul(x, w)  y = Add(h, b)", FLAT | {"b": ()},
     ["h = MatMul(x, w_s1)", "y = Add(h, b_s1)"]),
]  # fmt: skip


def output(model: ir.Model, x: Any) -> Any:
    with shared_worker().session(ir.to_proto(model).SerializeToString()) as session:
        return np.asarray(session.run({"x": x})["y"], np.float64)


@pytest.mark.parametrize(("body", "given", "lines"), CASES)
def test_written_where_it_belongs(body: str, given: dict[str, Any], lines: list[str]) -> None:
    job, ctx = job_of(body, **given)
    (layer,) = job.layers
    shape = edit.static_shape(ctx.model.graph.inputs[0]) or ()
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    before = output(ctx.model, x)
    matrix = layer.matrix(layer.weight)
    extra = np.arange(1.0, layer.bias.size + 1)
    held: Any = 0.0
    if job.targets[0].adds is not None:
        held = summand(job.targets[0].adds, layer.node.outputs[0])
    bias = 2 * layer.bias + held + extra  # what is added behind is added once more
    assert write(job, 2 * matrix, bias.reshape(layer.groups, -1), ctx) is None
    after = output(ctx.model, x)
    spread = extra.reshape(-1, *[1] * (before.ndim - 2))
    np.testing.assert_allclose(after, 2 * before + spread, atol=1e-4)
    assert node_lines(ctx.model.graph) == lines
    arrays = [edit.constant_array(v) for v in ctx.model.graph.initializers.values()]
    assert {a.dtype for a in arrays if a is not None} == {np.dtype(np.float32)}


@pytest.mark.parametrize("body", ["y = Conv(x, w)", "y = MatMul(x, w)", "y = Gemm(x, w)"])
def test_no_bias_where_none_is_needed(body: str) -> None:
    job, ctx = job_of(body, **({} if "Conv" in body else FLAT))
    (layer,) = job.layers
    zero = np.zeros((1, layer.bias.size))
    assert write(job, None, zero, ctx) is None
    assert node_lines(ctx.model.graph) == [body.replace("  ", " ")]
    assert write(job, layer.matrix(layer.weight), zero, ctx) is None
    assert node_lines(ctx.model.graph) == [body.replace("w)", "w_s1)")]


def test_what_does_not_fit_is_not_written() -> None:
    job, ctx = job_of("y = Conv(x, w, b)")
    (layer,) = job.layers
    matrix, bias = layer.matrix(layer.weight), layer.bias.reshape(1, -1)
    for given in ((matrix * 1e39, bias), (matrix, bias + 1e39), (None, bias + 1e39)):
        assert write(job, given[0], given[1], ctx) == "the new weights do not fit float32"
    assert node_lines(ctx.model.graph) == ["y = Conv(x, w, b)"]


def test_layers_that_share_a_weight_share_the_new_one() -> None:
    job, ctx = job_of("y = Conv(x, w)  n = Neg(x)  z = Conv(n, w)")
    layer = job.layers[0]
    assert write(job, layer.matrix(layer.weight), np.zeros((1, 4)), ctx) is None
    assert node_lines(ctx.model.graph)[::2] == ["y = Conv(x, w_s1)", "z = Conv(n, w_s1)"]
    assert job.name == "y"
    layer.node.name = "first"
    assert job.name == "first"


@pytest.mark.parametrize(
    ("x", "b", "numbers"),
    [
        ("float[3,5]", np.arange(4), [0, 1, 2, 3]),
        ("float[3,5]", np.array(7), [7, 7, 7, 7]),
        ("float[2,3,5]", np.array([7]), [7, 7, 7, 7]),
    ],
)
@pytest.mark.parametrize("call", ["Add(h, b)", "Add(b, h)"])
def test_what_an_add_adds(x: str, b: Any, numbers: list[float], call: str) -> None:
    given = {"x": x, "w": (5, 4), "b": b.astype(np.float32)}
    model = from_proto(net(f"h = MatMul(x, w)  y = {call}", **given))
    infer_shapes(model)
    matmul, add = model.graph
    assert summand(add, matmul.outputs[0]).tolist() == numbers
    matmul.outputs[0].shape = None
    assert summand(add, matmul.outputs[0]).tolist() == numbers[: b.size]


def test_levels_and_origins() -> None:
    body = "i = Identity(w)  j = Identity(i)  a = Conv(x, j)  r = Relu(a)"
    body += "  d = Conv(r, v)  y = Add(d, r)"
    model = from_proto(net(body, x="float[1,4,8,8]", v=(4, 4, 1, 1)))
    levels = {str(n.outputs[0].name): level for n, level in levels_of(model).items()}
    assert levels == {"i": 0, "j": 0, "a": 0, "r": 1, "d": 1, "y": 2}
    conv = list(model.graph)[2]
    assert origin(conv.inputs[1]) is model.graph.initializers["w"]
    assert origin(conv.inputs[0]) is model.graph.inputs[0] and origin(None) is None
