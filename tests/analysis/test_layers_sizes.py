"""Bytes, parameters and memory of odd types, weights and lifetimes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.layers import cost_text, layer_name, layers, peak_activation_bytes
from onnxslim.analysis.shapes import infer_shapes
from tests.analysis.facts import parse

F = np.float32


def made(body: str, inputs: str, outputs: str = "", **weights: Any) -> ir.Model:
    model = parse(body, inputs, **weights)
    infer_shapes(model)
    values = {v.name: v for node in model.graph for v in node.outputs}
    model.graph.outputs.extend(values[name] for name in outputs)
    return model


@pytest.mark.parametrize(
    ("kind", "size", "expected"),
    [
        (ir.DataType.FLOAT, 5, 20), (ir.DataType.DOUBLE, 5, 40), (ir.DataType.FLOAT16, 5, 10),
        (ir.DataType.BOOL, 5, 5), (ir.DataType.INT4, 5, 3), (ir.DataType.INT4, 4, 2),
        (ir.DataType.UINT2, 5, 2), (ir.DataType.STRING, 5, None), (ir.DataType.INT4, "N", None),
        (ir.DataType.FLOAT, "N", "4*N"),
    ],
)  # fmt: skip
def test_bytes_of_a_result(kind: ir.DataType, size: Any, expected: Any) -> None:
    x = ir.Value(name="x", shape=ir.Shape([size]), type=ir.TensorType(kind))
    node = ir.node("Identity", [x])
    node.outputs[0].shape, node.outputs[0].type = ir.Shape([size]), ir.TensorType(kind)
    model = ir.Model(ir.Graph([x], [], nodes=[node], opset_imports={"": 23}), ir_version=10)
    assert layers(model)[0].activation_bytes == expected


def test_results_that_are_no_tensors_have_no_size() -> None:
    found = layers(made("s = SequenceConstruct(x) y = SequenceAt(s, i)", "float[3] x, int64 i"))
    assert [x.activation_bytes for x in found] == [None, 12]


def test_several_results_add_up() -> None:
    found = layers(made("y, i = TopK(x, k)", "float[4] x", k=[3]))
    assert found[0].activation_bytes == 3 * 4 + 3 * 8 and found[0].output_type == "float"
    assert found[0].tensors == ("k", "y", "i")


def test_indices_and_numbers_are_no_parameters() -> None:
    found = layers(made("a = Gather(w, i) y = Mul(a, two)", "float[1] x", w=np.zeros((5, 4), F),
                        i=[1, 2], two=np.array(2, F)))  # fmt: skip
    assert sum(x.parameters for x in found) == 20 and sum(x.weight_bytes for x in found) == 80
    assert sum(x.zeros or 0 for x in found) == 20


def test_names() -> None:
    assert layer_name(ir.node("Relu", [], name="here")) == "here"
    node = ir.node("Relu", [])
    node.outputs[0].name = "y"
    assert layer_name(node) == "y"
    node.outputs[0].name = ""
    assert layer_name(node) == "Relu"
    assert layer_name(ir.node("Gelu", [], domain="com.microsoft", name="")) != "Relu"


@pytest.mark.parametrize(
    ("dim", "expected"),
    [(None, None), (3, 3), (0, 0), ("N", "N"), ("2*N + 1", "2*N + 1"), ("_d3", None),
     ("N + _d3", None), ("_hash_1*N", None), ("_dx", "_dx")],
)  # fmt: skip
def test_costs_as_text(dim: Any, expected: Any) -> None:
    assert cost_text(ir.SymbolicDim(dim) if isinstance(dim, str) else dim) == expected


@pytest.mark.parametrize(
    ("body", "outputs", "expected"),
    [
        ("y = Relu(x)", "y", 2),  # x and y
        ("a = Relu(x) y = Neg(a)", "y", 2),  # a frees x
        ("a = Relu(x) y = Neg(a)", "ya", 2),  # x is gone when y comes
        ("a = Relu(x) b = Neg(a) y = Add(b, x)", "y", 3),
        ("a = Relu(x) b = Neg(a) y = Add(b, a)", "y", 3),
        ("a = Relu(x) b = Neg(x) c = Exp(x) y = Relu(c)", "yabc", 4),
        ("a = Relu(x) b = Identity(a) c = Neg(b) y = Exp(c)", "y", 2),
        ("a = Relu(x) b = Identity(a) c = Neg(x) y = Add(b, c)", "y", 3),
        ("a = Relu(x) b = Identity(a) c = Squeeze(b) y = Add(c, x)", "y", 3),
        ("a = Relu(x) b = Neg(x)", "b", 2),  # nobody reads a: it is not kept
    ],
)
def test_the_most_that_is_alive(body: str, outputs: str, expected: int) -> None:
    assert peak_activation_bytes(made(body, "float[4] x", outputs)) == expected * 16


def test_memory_of_constants_and_captured_values() -> None:
    body = """k = Constant<value_floats = [1.0, 2.0, 3.0, 4.0]>() a = Relu(x)
        y = If(c) <then_branch = t () => (p) { p = Add(a, k) },
                   else_branch = e () => (q) { q = Neg(a) }> z = Exp(y)"""
    model = made(body, "float[4] x, bool c", "z")
    assert peak_activation_bytes(model) == 16 + 16 + 1
