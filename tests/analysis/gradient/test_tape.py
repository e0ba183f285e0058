"""What counts as a weight of a model."""

from __future__ import annotations

from typing import Any

import pytest

from onnxslim.analysis.gradient.tape import Tape
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from tests.nets import net

CASES: list[tuple[str, dict[str, Any], set[str]]] = [
    ("y = Conv(x, w, b)", {}, {"w", "b"}),
    ("y = ConvTranspose(x, w, b)", {}, {"w", "b"}),
    ("y = Gemm(x, w, b)", {"x": "float[2,5]", "w": (5, 4)}, {"w", "b"}),
    ("y = MatMul(x, w)", {"w": (8, 3)}, {"w"}),
    ("y = MatMul(w, x)", {"w": (3, 8)}, {"w"}),
    ("h = MatMul(x, w)  y = Add(h, b)", {"w": (8, 4)}, {"w", "b"}),
    ("h = MatMul(x, w)  y = Add(b, h)", {"w": (8, 4)}, {"w", "b"}),
    ("h = MatMul(x, w)  y = Add(h, b)", {"w": (8, 4), "b": (1, 4)}, {"w"}),
    ("y = Add(x, k)", {"k": (8,)}, set()),
    ("y = BatchNormalization(x, scale, shift, mean, var)", {}, {"scale", "shift"}),
    ("y = InstanceNormalization(x, scale, shift)", {}, {"scale", "shift"}),
    ("y = LayerNormalization(x, s, t)", {"s": (8,), "t": (8,)}, {"s", "t"}),
    ("y = PRelu(x, s)", {"s": (4, 1, 1)}, {"s"}),
    ("y = Conv(x, w)", {"opset": 8}, set()),
]


@pytest.mark.parametrize(("body", "given", "weights"), CASES)
def test_weights(body: str, given: dict[str, Any], weights: set[str]) -> None:
    model = from_proto(net(body, **given))
    infer_shapes(model)
    assert {v.name for v in Tape(model, model.graph.outputs).weights} == weights
