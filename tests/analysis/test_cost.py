from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.cost import batch_of_one, model_macs, node_macs, parameter_count
from onnxslim.analysis.shapes import infer_shapes
from tests.analysis.facts import parse

F = np.float32


def f(*dims: int) -> Any:
    return np.zeros(dims, F)


def macs(body: str, inputs: str, bindings: dict[str, int] | None = None, **weights: Any) -> Any:
    model = parse(body, inputs, **weights)
    infer_shapes(model)
    return model_macs(model, bindings)


@pytest.mark.parametrize(
    ("body", "inputs", "weights", "expected"),
    [
        ("y = Conv(x, w)", "float[2,4,8,8] x", {"w": f(6, 4, 3, 3)}, 2 * 6 * 6 * 6 * 4 * 9),
        ("y = Conv<group=2>(x, w)", "float[1,4,8,8] x", {"w": f(6, 2, 1, 1)}, 6 * 64 * 2),
        ("y = ConvTranspose<strides=[2,2]>(x, w)", "float[1,4,8,8] x", {"w": f(4, 5, 3, 3)},
         4 * 64 * 5 * 9),
        ("y = Gemm<transA=1>(x, w)", "float[4,3] x", {"w": f(4, 5)}, 3 * 5 * 4),
        ("y = MatMul(x, w)", "float[2,7,4] x", {"w": f(4, 5)}, 2 * 7 * 5 * 4),
        ("y = MatMul(x, w)", "float[4] x", {"w": f(4, 5)}, 20),
        ("y, h, c = LSTM<hidden_size=5>(x, w, r)", "float[7,2,3] x",
         {"w": f(1, 20, 3), "r": f(1, 20, 5)}, 7 * 2 * 20 * (3 + 5)),
        ('y, h = GRU<hidden_size=5, direction="bidirectional">(x, w, r)', "float[7,2,3] x",
         {"w": f(2, 15, 3), "r": f(2, 15, 5)}, 7 * 2 * 2 * 15 * 8),
        ("y = Relu(x)", "float[2,4] x", {}, 0),
        ("a = MatMul(x, w) y = MatMul(x, w)", "float[2,4] x", {"w": f(4, 5)}, 80),
    ],
)  # fmt: skip
def test_macs(body: str, inputs: str, weights: dict[str, Any], expected: int) -> None:
    assert macs(body, inputs, **weights) == expected


def test_dynamic_sizes() -> None:
    body, inputs = "y = MatMul(x, w)", "float[N,S,4] x"
    assert macs(body, inputs, w=f(4, 5)) is None
    assert macs(body, inputs, {"N": 1}, w=f(4, 5)) is None
    assert macs(body, inputs, {"N": 1, "S": 3}, w=f(4, 5)) == 60
    assert macs("a = custom.Foo(x) y = MatMul(a, w)", inputs, w=f(4, 5)) is None
    model = parse(body, "float[N,S,4] x, float[3] z", w=f(4, 5))
    infer_shapes(model)
    assert batch_of_one(model) == {"N": 1}
    assert str(node_macs(model.graph[0])) == "20*N*S"


def _if(then: str) -> str:
    return f"""
        y = If(c) <then_branch = t () => (float[A] a) {{ {then} }},
                   else_branch = e () => (float[B] b) {{ b = MatMul(x, w) }}>
    """


def test_the_larger_branch_counts() -> None:
    inputs = "float[2,4] x, bool c"
    assert macs(_if("a = Relu(x)"), inputs, w=f(4, 5)) == 40
    assert macs(_if("q = MatMul(x, w) a = MatMul(x, w)"), inputs, w=f(4, 5)) == 80
    assert macs(_if("a = custom.Foo(x)  o = MatMul(a, w)"), inputs, w=f(4, 5)) is None


def test_a_loop_body_counts_once() -> None:
    body = """
        y = Loop(m, , x) <body = b (int64 i, bool k, v) => (bool k2, u)
            { k2 = Identity(k)  u = MatMul(v, w) }>
    """
    assert macs(body, "float[2,4] x", m=7, w=f(4, 4)) == 32


def test_a_call_is_unknown() -> None:
    model = parse("y = l.F(x)", "float[2,4] x")
    call = ir.node("F", [], domain="l")
    inner = ir.Graph([], [], nodes=[ir.node("Relu", [None])], opset_imports={"": 17})
    model.functions[("l", "F", "")] = ir.Function("l", "F", "", graph=inner, attributes=[])
    infer_shapes(model)
    assert model_macs(model) is None and call.op_type == "F"


def test_parameters() -> None:
    model = parse(
        "a = MatMul(x, w) b = MatMul(x, w) c = Constant<value=float[3] {1.0, 2.0, 3.0}>()"
        " d = Constant<value_floats=[1.0, 2.0]>() e = Constant<value_float=1.0>()",
        "float[2,4] x",
        w=f(4, 5),
        s=[1, 2, 3],
        q=np.zeros((2, 2), np.int8),
        k=np.array(1, F),
    )
    assert parameter_count(model) == 20 + 3 + 2 + 4
