"""Every price of a layer by itself: the other costs are 0."""

from __future__ import annotations

from typing import Any

import pytest

from onnxslim.analysis.quantization.targets import Costs
from onnxslim.analysis.quantization.worth import Worth
from tests.analysis.quantization.test_worth import layers

NOTHING: dict[str, Any] = {
    "float_mac": 0.0, "float_element": 0.0, "integer_mac": 0.0, "integer_element": 0.0,
    "patch": 0.0, "position": 0.0, "depthwise": (0.0, 0.0), "tap": (0.0, 0.0),
    "float_weight": 0.0, "integer_weight": 0.0, "node": 0.0, "conversion": 0.0, "layout": 0.0,
    "pooled": 0.0,
}  # fmt: skip

SQUARE = ("Conv(x, w)", "float[2,16,6,6]", (32, 16, 3, 3))  # 2 * 32 * 4 * 4 results
POINT = ("Conv(x, w)", "float[1,16,4,4]", (32, 16, 1, 1))
FEW = ("Conv(x, w)", "float[1,3,4,4]", (5, 3, 2, 2))
GROUPS = ("Conv<group = 2>(x, w)", "float[1,32,4,4]", (64, 16, 1, 1))
ODD = ("Conv<group = 2>(x, w)", "float[1,36,4,4]", (36, 18, 1, 1))
DEPTH = ("Conv<group = 8>(x, w)", "float[1,8,4,4]", (8, 1, 2, 2))
DEPTH6 = ("Conv<group = 6>(x, w)", "float[1,6,4,4]", (6, 1, 2, 2))
WIDE = ("Conv(x, w)", "float[1,18,4,4]", (16, 18, 1, 1))
PRODUCT = ("MatMul(x, w)", "float[3,8]", (8, 5))

TERMS: list[tuple[tuple[str, str, tuple[int, ...]], str, Any, float]] = [
    (SQUARE, "integer_mac", 1.0, -(1024 * 16 * 9)),
    (SQUARE, "float_mac", 1.0, 1024 * 16 * 9 * (1 + 12 / 32)),
    (SQUARE, "float_element", 1.0, 1024), (SQUARE, "integer_element", 1.0, -1024),
    (SQUARE, "patch", 1.0, -(32 * 9)), (SQUARE, "position", 1.0, -32),
    (POINT, "patch", 1.0, 0), (POINT, "position", 1.0, -16),
    (POINT, "float_mac", 1.0, 512 * 16 * (1 + 12 / 32)),
    (FEW, "patch", 1.0, -(9 * 4 * 2)), (FEW, "integer_mac", 1.0, -(45 * 3 * 4)),
    (FEW, "float_mac", 1.0, 45 * 3 * 4 * (1 + 12 / 16) * 16 / 5),
    (GROUPS, "patch", 1.0, -(16 * 2)), (GROUPS, "position", 1.0, -(16 * 2)),
    (GROUPS, "float_mac", 1.0, 16 * 64 * 16 * (1 + 12 / 32)),
    (ODD, "patch", 1.0, 16 * 2 / 2 - 16 * 2), (ODD, "position", 1.0, -(16 * 2)),
    (ODD, "float_mac", 1.0, 16 * 36 * 18 * (1 + 12 / 32)),
    (WIDE, "float_mac", 1.0, 16 * 16 * 18 * (1 + 12 / 16)), (WIDE, "patch", 1.0, 0),
    (DEPTH, "depthwise", (1.0, 0.0), 72), (DEPTH, "depthwise", (0.0, 1.0), -72),
    (DEPTH, "tap", (1.0, 0.0), 72 * 4), (DEPTH, "tap", (0.0, 1.0), -72 * 4),
    (DEPTH, "float_mac", 1.0, 0), (DEPTH6, "tap", (1.0, 0.0), 10 * 54 * 4),
    (DEPTH6, "tap", (0.0, 1.0), -54 * 4),
    (PRODUCT, "float_mac", 1.0, 120), (PRODUCT, "integer_mac", 1.0, -120),
    (PRODUCT, "float_weight", 1.0, 40), (PRODUCT, "integer_weight", 1.0, -40),
    (PRODUCT, "float_element", 1.0, -15), (PRODUCT, "node", 1.0, -1),
    (PRODUCT, "integer_element", 1.0, 0),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "name", "price", "expected"), TERMS)
def test_one_term(
    layer: tuple[str, str, tuple[int, ...]], name: str, price: Any, expected: float
) -> None:
    body, data, weight = layer
    _, found = layers(f"y = {body}", x=data, w=weight)
    costs = Costs(**{**NOTHING, name: price})
    assert Worth(costs, {}).gain(found[0]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "between", "expected"),
    [("node", False, 1), ("conversion", False, 1024), ("layout", False, 0), ("layout", True, 1024),
     ("conversion", True, 1024), ("pooled", True, 0)],
)  # fmt: skip
def test_a_conversion(name: str, between: bool, expected: float) -> None:
    _, found = layers(f"y = {SQUARE[0]}", x=SQUARE[1], w=SQUARE[2])
    worth = Worth(Costs(**{**NOTHING, name: 1.0}), {})
    assert worth.conversion(found[0].node.outputs[0], between=between) == expected


def test_sizes() -> None:
    model, _ = layers("y = Relu(x) z = Relu(v)", x="float[N,4]", v="float[2,3]")
    x, v = model.graph.inputs
    assert Worth(Costs(), {"N": 5}).elements(x) == 20 and Worth(Costs(), {}).elements(x) is None
    assert Worth(Costs(), {}).elements(v) == 6 and Worth(Costs(), {}).elements(None) is None
    assert Worth(Costs(), {}).conversion(x, between=True) == 0.0
