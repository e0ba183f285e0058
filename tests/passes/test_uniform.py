"""Which values are one number everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.graph.load import from_proto
from onnxslim.passes._uniform import uniform
from tests.nets import net

F = np.float32


def filling(body: str, **given: Any) -> Any:
    model = from_proto(net(body, outputs=["y"], **given))
    return uniform(next(v for node in model.graph for v in node.outputs if v.name == "y"))


@pytest.mark.parametrize(
    ("array", "number"),
    [
        (np.full((2, 3), 2.5, F), 2.5),
        (np.array([1, 1, 2], F), None),
        (np.array([2, 1, 1], F), None),
        (np.zeros(0, F), None),
        (np.array([0.0, -0.0], F), None),
        (np.array([-0.0, -0.0], F), -0.0),
        (np.array([0, 0]), 0),
        (np.array([True, True]), True),
        (np.array([3, 3], np.uint8), 3),
        (np.array([np.nan], F), None),
        (np.float32(7), 7),
    ],
)
def test_of_a_constant(array: Any, number: float | None) -> None:
    found = filling("y = Identity(k) t = Reshape(k, s)", k=array, s=[-1])
    assert found is None  # an Identity is not looked through: it is removed elsewhere
    found = filling("y = Reshape(k, s)", k=array, s=[-1])
    assert (found is None) == (number is None)
    assert found == number
    assert number is None or np.signbit(found) == np.signbit(number)
    assert found is None or found.dtype == array.dtype


@pytest.mark.parametrize(
    ("body", "given", "number"),
    [
        ("y = ConstantOfShape(s)", {"s": "int64[2]"}, 0),
        ("y = ConstantOfShape<value = int64[1] {7}>(s)", {"s": "int64[2]"}, 7),
        ("k = ConstantOfShape(s)  y = Neg(k)", {"s": "int64[2]"}, None),
        ("y = Expand(k, s)", {"k": F(3), "s": "int64[2]"}, 3),
        ("y = Add(k, s)", {"k": F(3), "s": "float[2]"}, None),
        ("y = Relu(x)", {}, None),
        ("y = Transpose(x)", {}, None),
        ("a = Expand(k, s)  b = Squeeze(a)  y = Transpose(b)", {"k": F(3), "s": "int64[2]"}, 3),
    ],
)
def test_through_what_keeps_it(body: str, given: dict[str, Any], number: float | None) -> None:
    assert filling(body, **given) == number


@pytest.mark.parametrize(("length", "known"), [(15, True), (16, False)])
def test_a_long_way_is_not_followed(length: int, known: bool) -> None:
    steps = [f"a{i + 1} = Transpose(a{i})" for i in range(length - 1)]
    body = "  ".join(["a0 = Transpose(k)", *steps, f"y = Identity(a{length - 1})"])
    model = from_proto(net(body, k=np.ones((2, 2), F)))
    last = list(model.graph)[-1].inputs[0]
    assert (uniform(last) == 1) == known


@pytest.mark.parametrize(("size", "known"), [(1 << 22, True), ((1 << 22) + 1, False)])
def test_of_large_constants_nothing_is_read(size: int, known: bool) -> None:
    found = filling("y = Reshape(k, s)", k=np.ones(size, np.int8), s=[-1])
    assert (found == 1) == known
