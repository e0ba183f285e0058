from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.analysis.cost import model_macs, parameter_count
from onnxslim.analysis.layers import Layer, layers, peak_activation_bytes
from onnxslim.analysis.shapes import infer_shapes
from tests.analysis.facts import parse

F = np.float32


def f(*dims: int) -> Any:
    return np.ones(dims, F)


def inferred(body: str, inputs: str, **weights: Any) -> ir.Model:
    model = parse(body, inputs, **weights)
    infer_shapes(model)
    return model


def table(body: str, inputs: str, bindings: Any = None, **weights: Any) -> dict[str, Layer]:
    found = layers(inferred(body, inputs, **weights), bindings)
    assert len({x.name for x in found}) == len(found)
    return {x.name: x for x in found}


def test_what_a_convolution_costs() -> None:
    w = f(6, 4, 3, 3)
    w[0] = 0
    conv = table("y = Conv(x, w, b)", "float[1,4,8,8] x", w=w, b=f(6))["y"]
    assert conv.op == "Conv" and conv.output_shape == (1, 6, 6, 6) and conv.output_type == "float"
    assert conv.parameters == 6 * 4 * 9 + 6 and conv.weight_bytes == 4 * conv.parameters
    assert conv.zeros == 36 and conv.weights == ((6, 4, 3, 3), (6,))
    assert conv.macs == 6 * 36 * 36 and conv.activation_bytes == 4 * 6 * 36
    assert conv.tensors == ("w", "b", "y")


def test_a_shared_weight_counts_at_its_first_reader() -> None:
    found = table("a = MatMul(x, w) y = MatMul(a, w)", "float[2,4] x", w=f(4, 4))
    assert (found["a"].parameters, found["y"].parameters) == (16, 0)
    assert found["y"].zeros == 0


def test_a_weight_made_from_constants_counts_where_it_is_used() -> None:
    body = "t = Transpose<perm=[1,0]>(w) c = Cast<to=1>(t) y = MatMul(x, c)"
    found = table(body, "float[2,4] x", w=f(5, 4))
    assert [found[n].parameters for n in "tcy"] == [0, 0, 20]
    assert found["y"].weights == ((5, 4),)


def test_a_weight_made_from_constants_counts_where_it_becomes_an_output() -> None:
    model = inferred("t = Transpose(w) y = MatMul(x, t)", "float[2,4] x", w=f(5, 4))
    model.graph.outputs.append(model.graph[0].outputs[0])
    found = {x.name: x for x in layers(model)}
    assert (found["t"].parameters, found["y"].parameters) == (20, 0)


def test_constant_nodes_are_weights_not_layers() -> None:
    found = table("k = Constant<value=float[3] {1.0, 0.0, 3.0}>() y = Add(x, k)", "float[3] x")
    assert list(found) == ["y"] and found["y"].parameters == 3 and found["y"].zeros == 1


def test_symbols_stay_and_costs_are_formulas() -> None:
    found = table("y = MatMul(x, w)", "float[N,S,4] x", {"N": 1}, w=f(4, 5))["y"]
    assert found.output_shape == ("N", "S", 5)
    assert found.macs == "20*S" and found.activation_bytes == "20*S"


def test_a_size_without_a_name_is_a_question_mark() -> None:
    found = table("y = MatMul(x, w)", "float[?,4] x", w=f(4, 5))["y"]
    assert found.output_shape == ("?", 5) and found.macs is None


def test_unknown_operators_and_ranks() -> None:
    found = table("a = custom.Foo(x) y = Conv(a, w)", "float[1,4,8,8] x", w=f(4, 4, 1, 1))
    assert found["a"].op == "custom:Foo" and found["a"].output_shape is None
    assert found["y"].macs is None and found["y"].activation_bytes is None
    assert found["y"].parameters == 16


IF = """
    y = If(c) <then_branch = t () => (float[2,5] a) { a = MatMul(x, w) },
               else_branch = e () => (float[2,5] b) { h = MatMul(x, v) b = MatMul(h, u) }>
"""


def test_subgraphs_are_listed_and_add_up() -> None:
    model = inferred(IF, "float[2,4] x, bool c", w=f(4, 5), v=f(4, 3), u=f(3, 5))
    found = layers(model)
    assert [(x.name, x.depth, x.scope) for x in found] == [
        ("y", 0, ""), ("a", 1, "y.then_branch"), ("h", 1, "y.else_branch"),
        ("b", 1, "y.else_branch"),
    ]  # fmt: skip
    assert found[0].parameters == parameter_count(model) == 20 + 12 + 15
    assert found[0].macs == model_macs(model) == 2 * 4 * 3 + 2 * 3 * 5
    assert found[0].zeros == 0


def test_nothing_is_counted_twice_in_nested_subgraphs() -> None:
    inner = "z = If(c) <then_branch = t () => (float[2,5] a) { a = MatMul(x, w) }," \
            " else_branch = e () => (float[2,5] b) { b = MatMul(x, w) }>"  # fmt: skip
    body = f"y = If(c) <then_branch = p () => (float[2,5] z) {{ {inner} }}," \
           " else_branch = q () => (float[2,5] d) { d = MatMul(x, v) }>"  # fmt: skip
    model = inferred(body, "float[2,4] x, bool c", w=f(4, 5), v=f(4, 5))
    found = layers(model)
    assert [x.depth for x in found] == [0, 1, 2, 2, 1]
    assert found[0].parameters == 40 and found[1].parameters == 20
    assert found[2].scope == "y.then_branch/z.then_branch"


def test_peak_memory() -> None:
    # x 16 B; a 16 B; b 16 B while a and x live; c only needs a and b
    model = parse("a = Relu(x) b = Neg(x) c = Add(a, b) d = Relu(c)", "float[4] x")
    infer_shapes(model)
    model.graph.outputs.append(model.graph[3].outputs[0])
    assert peak_activation_bytes(model) == 3 * 16


def test_a_view_takes_no_memory() -> None:
    model = parse("a = Relu(x) r = Flatten(a) y = Neg(r)", "float[4] x")
    infer_shapes(model)
    model.graph.outputs.append(model.graph[2].outputs[0])
    assert peak_activation_bytes(model) == 2 * 16


def test_peak_memory_of_unknown_sizes_is_unknown() -> None:
    model = parse("y = Relu(x)", "float[N,4] x")
    infer_shapes(model)
    model.graph.outputs.append(model.graph[0].outputs[0])
    assert peak_activation_bytes(model) is None
    assert peak_activation_bytes(model, {"N": 3}) == 2 * 3 * 16


def test_weights_need_not_be_read() -> None:
    found = layers(inferred("y = MatMul(x, w)", "float[2,4] x", w=f(4, 5)), count_zeros=False)
    assert found[0].zeros is None and found[0].parameters == 20
