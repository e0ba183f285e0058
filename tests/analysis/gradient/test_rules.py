"""Gradient rules against differences in double precision, without a model around them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.gradient import tape  # noqa: F401 (it loads the rules)
from onnxslim.analysis.gradient.rule import Call, rule_of, ruled, unbroadcast

Function = Callable[..., Any]


def pulled(
    op: str, inputs: list[Any], y: Any, pull: Any, *, opset: int = 17, **attributes: Any
) -> dict[int, Any]:
    """What the rule of an operator gives for these inputs."""
    values = [None if x is None else ir.Value(name=f"x{i}") for i, x in enumerate(inputs)]
    node = ir.node(op, values, attributes)
    known = rule_of(node)
    assert known is not None
    wanted = [known.passes(i) and x is not None for i, x in enumerate(inputs)]
    return known.rule(Call(node, inputs, [y], [pull], wanted, opset))


def slopes(function: Function, inputs: list[Any], index: int, pull: Any) -> Any:
    """Central differences of ``sum(pull * function(*inputs))`` by one input."""
    step, found = 1e-6, np.zeros(inputs[index].shape)
    for at in np.ndindex(found.shape):
        sides = []
        for sign in (1, -1):
            moved = [x.copy() if i == index else x for i, x in enumerate(inputs)]
            moved[index][at] += sign * step
            sides.append((function(*moved) * pull).sum())
        found[at] = (sides[0] - sides[1]) / (2 * step)
    return found


def erf(x: Any) -> Any:
    return np.vectorize(math.erf)(x)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def gelu_tanh(x: Any) -> Any:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


X = np.array([-4.0, -2.9, -1.3, -0.2, 0.3, 0.9, 2.8, 4.2])
"""On every piece of the piecewise functions, on none of their corners."""

UNARY: list[tuple[str, Function, dict[str, Any]]] = [
    ("Abs", np.abs, {}),
    ("Elu", lambda x: np.where(x > 0, x, np.expm1(x)), {}),
    ("Elu", lambda x: np.where(x > 0, x, 0.3 * np.expm1(x)), {"alpha": 0.3}),
    ("Erf", erf, {}),
    ("Exp", np.exp, {}),
    ("Gelu", lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))), {}),
    ("Gelu", gelu_tanh, {"approximate": "tanh"}),
    ("HardSigmoid", lambda x: np.clip(0.2 * x + 0.5, 0, 1), {}),
    ("HardSigmoid", lambda x: np.clip(0.4 * x + 0.1, 0, 1), {"alpha": 0.4, "beta": 0.1}),
    ("HardSwish", lambda x: x * np.clip(x / 6 + 0.5, 0, 1), {}),
    ("Identity", lambda x: x, {}),
    ("LeakyRelu", lambda x: np.where(x < 0, 0.01 * x, x), {}),
    ("LeakyRelu", lambda x: np.where(x < 0, 0.2 * x, x), {"alpha": 0.2}),
    ("Mish", lambda x: x * np.tanh(np.log1p(np.exp(x))), {}),
    ("Neg", np.negative, {}),
    ("Reciprocal", lambda x: 1 / x, {}),
    ("Relu", lambda x: np.maximum(x, 0), {}),
    ("Selu", lambda x: 1.0507010 * np.where(x > 0, x, 1.6732632 * np.expm1(x)), {}),
    ("Selu", lambda x: 2.0 * np.where(x > 0, x, 0.5 * np.expm1(x)), {"alpha": 0.5, "gamma": 2.0}),
    ("Sigmoid", sigmoid, {}),
    ("Softplus", lambda x: np.log1p(np.exp(x)), {}),
    ("Softsign", lambda x: x / (1 + np.abs(x)), {}),
    ("Swish", lambda x: x * sigmoid(x), {}),
    ("Swish", lambda x: x * sigmoid(1.7 * x), {"alpha": 1.7}),
    ("Tanh", np.tanh, {}),
    ("ReduceSumSquare", lambda x: np.sum(x * x), {"keepdims": 0}),
    ("ReduceL2", lambda x: np.sqrt(np.sum(x * x)), {"keepdims": 0}),
    ("ReduceMean", np.mean, {"keepdims": 0}),
    ("ReduceSum", np.sum, {"keepdims": 0}),
]


@pytest.mark.parametrize(("op", "function", "attributes"), UNARY)
def test_unary(op: str, function: Function, attributes: dict[str, Any]) -> None:
    y = np.asarray(function(X))
    pull = np.linspace(0.5, 2.0, y.size).reshape(y.shape)
    found = pulled(op, [X], y, pull, **attributes)
    np.testing.assert_allclose(found[0], slopes(function, [X], 0, pull), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("op", "function"), [("Log", np.log), ("Sqrt", np.sqrt)])
def test_unary_of_positive_numbers(op: str, function: Function) -> None:
    x = np.array([0.3, 1.0, 7.0])
    found = pulled(op, [x], function(x), np.ones(3))
    np.testing.assert_allclose(found[0], slopes(function, [x], 0, 1.0), rtol=1e-6)


def test_the_root_of_zero_has_no_slope() -> None:
    zero = np.zeros(1)
    assert pulled("Sqrt", [zero], zero, np.ones(1))[0] == 0


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(None, None, [1, 1, 1, 1]), (0, None, [0, 1, 1, 1]), (None, 2, [1, 1, 1, 0]),
     (0, 2, [0, 1, 1, 0])],
)  # fmt: skip
def test_clip_lets_its_limits_through(low: Any, high: Any, expected: list[int]) -> None:
    x = np.array([-1.0, 0.0, 2.0, 3.0])
    limits = [None if v is None else np.float64(v) for v in (low, high)]
    assert pulled("Clip", [x, *limits], x, np.ones(4))[0].tolist() == expected
    named = {name: v for name, v in (("min", low), ("max", high)) if v is not None}
    named = {name: float(v) for name, v in named.items()}
    assert pulled("Clip", [x, None, None], x, np.ones(4), **named)[0].tolist() == expected


A = np.array([[-1.5, 0.4, 2.0], [0.7, -0.6, 1.1]])
ROW, COLUMN = np.array([0.5, -1.2, 3.0]), np.array([[2.1], [-0.3]])

BINARY: list[tuple[str, Function, list[Any]]] = [
    ("Add", np.add, [A, ROW]),
    ("Add", np.add, [COLUMN, A]),
    ("Sub", np.subtract, [A, ROW]),
    ("Sub", np.subtract, [COLUMN, A]),
    ("Sum", lambda a, b, c: a + b + c, [A, ROW, COLUMN]),
    ("Mul", np.multiply, [A, ROW]),
    ("Mul", np.multiply, [COLUMN, A]),
    ("Div", np.divide, [A, ROW]),
    ("Div", np.divide, [COLUMN, A]),
    ("PRelu", lambda x, s: np.where(x < 0, x * s, x), [A, ROW]),
    ("Max", np.maximum, [A, ROW]),
    ("Min", np.minimum, [A, COLUMN]),
    ("Max", lambda a, b, c: np.maximum(np.maximum(a, b), c), [A, ROW, COLUMN]),
    ("MatMul", np.matmul, [A, A.T.copy()]),
    ("MatMul", np.matmul, [np.stack([A, 2 * A]), A.T.copy()]),
    ("MatMul", np.matmul, [A, np.stack([A.T, 2 * A.T])]),
    ("Gemm", lambda a, b, c: a @ b + c, [A, A.T.copy(), np.array([0.3, 0.4])]),
]


@pytest.mark.parametrize(("op", "function", "inputs"), BINARY)
def test_several_operands(op: str, function: Function, inputs: list[Any]) -> None:
    y = function(*inputs)
    pull = np.linspace(0.5, 2.0, y.size).reshape(y.shape)
    values = [ir.Value(name=f"x{i}", shape=ir.Shape(x.shape)) for i, x in enumerate(inputs)]
    known = rule_of(ir.node(op, values))
    assert known is not None
    every = [True] * len(inputs)
    found = known.rule(Call(ir.node(op, []), inputs, [y], [pull], every, 17))
    assert sorted(found) == list(range(len(inputs)))
    for index, gradient in found.items():
        expected = slopes(function, inputs, index, pull)
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)
        alone = [i == index for i in range(len(inputs))]
        only = known.rule(Call(ir.node(op, []), inputs, [y], [pull], alone, 17))
        assert list(only) == [index]


@pytest.mark.parametrize(("op", "taken"), [("Max", [1.0, 1.0, 0.0]), ("Min", [1.0, 0.0, 1.0])])
def test_of_equal_operands_the_first_is_taken(op: str, taken: list[float]) -> None:
    a, b = np.array([1.0, 2.0, 0.0]), np.array([1.0, 0.0, 2.0])
    y = np.maximum(a, b) if op == "Max" else np.minimum(a, b)
    found = pulled(op, [a, b], y, np.ones(3))
    assert found[0].tolist() == taken and found[1].tolist() == [1 - t for t in taken]


def test_powers() -> None:
    x = np.array([-2.0, 0.0, 3.0])
    for p, expected in ((0.0, [0, 0, 0]), (1.0, [1, 1, 1]), (2.0, [-4, 0, 6]), (3.0, [12, 0, 27])):
        assert pulled("Pow", [x, np.array(p)], x**p, np.ones(3))[0].tolist() == expected


def test_where_gives_each_side_what_it_took() -> None:
    mask = np.array([[True, False, True], [False, False, True]])
    found = pulled("Where", [mask, A, ROW], np.where(mask, A, ROW), np.ones((2, 3)))
    assert found[1].tolist() == mask.astype(float).tolist()
    assert found[2].tolist() == [1, 2, 0] and sorted(found) == [1, 2]


@pytest.mark.parametrize(("opset", "axis", "axes"), [
    (13, None, (2,)), (12, None, (1, 2)), (13, 1, (1,)), (12, 2, (2,)), (12, 0, (0, 1, 2)),
])  # fmt: skip
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_softmax(op: str, opset: int, axis: int | None, axes: tuple[int, ...]) -> None:
    def function(x: Any) -> Any:
        e = np.exp(x)
        y = e / e.sum(axis=axes, keepdims=True)
        return y if op == "Softmax" else np.log(y)

    x = np.arange(12.0).reshape(2, 3, 2) / 7 - 0.5
    pull = np.cos(np.arange(12.0)).reshape(x.shape)
    given = {} if axis is None else {"axis": axis}
    found = pulled(op, [x], function(x), pull, opset=opset, **given)
    np.testing.assert_allclose(found[0], slopes(function, [x], 0, pull), rtol=1e-5, atol=1e-7)


def test_normalizations() -> None:
    x = np.sin(np.arange(24.0)).reshape(2, 3, 4)
    scale, shift = np.array([0.5, 1.5, -2.0]), np.array([0.1, 0.2, 0.3])
    mean, var = np.array([0.2, -0.1, 0.0]), np.array([0.5, 0.01, 2.0])

    def batch(x: Any, s: Any, b: Any) -> Any:
        centred = (x - mean[:, None]) / np.sqrt(var[:, None] + 0.25)
        return centred * s[:, None] + b[:, None]

    def instance(x: Any, s: Any, b: Any) -> Any:
        centred = x - x.mean(axis=2, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=2, keepdims=True) + 0.25)
        return centred / deviation * s[:, None] + b[:, None]

    def layer(x: Any, s: Any, b: Any) -> Any:
        centred = x - x.mean(axis=(1, 2), keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=(1, 2), keepdims=True) + 0.25)
        return centred / deviation * s + b

    wide, wider = np.cos(np.arange(12.0)).reshape(3, 4), np.ones((3, 4))
    cases: list[tuple[str, Function, list[Any], list[Any], dict[str, Any]]] = [
        ("BatchNormalization", batch, [x, scale, shift], [mean, var], {}),
        ("InstanceNormalization", instance, [x, scale, shift], [], {}),
        ("LayerNormalization", layer, [x, wide, wider], [], {"axis": 1}),
    ]
    for op, function, inputs, rest, attributes in cases:
        y = function(*inputs)
        pull = np.cos(np.arange(24.0) ** 2).reshape(y.shape)
        found = pulled(op, [*inputs, *rest], y, pull, epsilon=0.25, **attributes)
        assert sorted(found) == [0, 1, 2]
        for index, gradient in found.items():
            expected = slopes(function, inputs, index, pull)
            np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


def test_the_largest_share_evenly() -> None:
    x = np.array([[3.0, 3.0, 1.0], [2.0, 5.0, 5.0]])
    y = x.max(axis=1, keepdims=True)
    found = pulled("ReduceMax", [x], y, np.array([[2.0], [4.0]]), axes=[1])
    assert found[0].tolist() == [[1, 1, 0], [0, 2, 2]]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((2, 3), [[1, 2, 3], [4, 5, 6]]), ((3,), [5, 7, 9]), ((2, 1), [[6], [15]]),
     ((1, 3), [[5, 7, 9]]), ((1,), [21]), ((), 21), ((1, 1), [[21]])],
)  # fmt: skip
def test_unbroadcast(shape: tuple[int, ...], expected: Any) -> None:
    gradient = np.array([[1.0, 2, 3], [4, 5, 6]])
    found = unbroadcast(gradient, shape)
    assert found.tolist() == expected and found.shape == shape


def test_who_has_a_rule() -> None:
    assert "Conv" in ruled() and ruled() == sorted(ruled())
    assert rule_of(ir.node("Relu", [])) is not None
    assert rule_of(ir.node("Relu", [], domain="other")) is None
    assert rule_of(ir.node("NonZero", [])) is None
    conv, where = rule_of(ir.node("Conv", [])), rule_of(ir.node("Where", []))
    assert conv is not None and [conv.passes(i) for i in range(4)] == [True, True, True, False]
    assert where is not None and [where.passes(i) for i in range(3)] == [False, True, True]
    add = rule_of(ir.node("Sum", []))
    assert add is not None and add.passes(7)
    assert rule_of(ir.node("Conv", [], {"pads": [0, 0]})) is not None
    assert rule_of(ir.node("Conv", [], {"pads": [0, -1]})) is None
    assert rule_of(ir.node("AveragePool", [], {"ceil_mode": 1})) is None
