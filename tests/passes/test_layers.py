"""A layer's matrices: unfolded inputs times the weight matrix is what ONNX Runtime gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.graph.load import from_proto
from onnxslim.passes._layers import read_layer
from onnxslim.testing import shared_worker
from tests.nets import net

CASES: list[tuple[str, dict[str, Any]]] = [
    ("Conv(x, w, b)", {}),
    ("Conv<pads = [1, 0, 2, 1]>(x, w, b)", {}),
    ("Conv<strides = [2, 3], pads = [1, 1, 1, 1]>(x, w)", {}),
    ("Conv<dilations = [2, 1], pads = [2, 1, 2, 1]>(x, w)", {}),
    ('Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(x, w)', {"w": (4, 4, 2, 3)}),
    ('Conv<auto_pad = "SAME_LOWER", strides = [2, 2]>(x, w)', {"w": (4, 4, 2, 3)}),
    ('Conv<auto_pad = "VALID">(x, w)', {}),
    ("Conv<group = 2>(x, w, b)", {"w": (6, 2, 3, 3), "b": (6,)}),
    ("Conv<group = 4, pads = [1, 1, 1, 1]>(x, w)", {"w": (8, 1, 3, 3)}),
    ("Conv<pads = [2, 2]>(x, w)", {"x": "float[2,4,9]", "w": (5, 4, 3)}),
    ("Conv(x, w)", {"x": "float[2,4,5,4,3]", "w": (3, 4, 3, 2, 1)}),
    ("ConvTranspose(x, w, b)", {}),
    ("ConvTranspose<strides = [2, 3], pads = [1, 0, 0, 1]>(x, w)", {"w": (4, 5, 3, 4)}),
    ("ConvTranspose<strides = [2, 2], output_padding = [1, 1]>(x, w)", {"w": (4, 5, 3, 3)}),
    ("ConvTranspose<dilations = [2, 2]>(x, w)", {}),
    ("ConvTranspose<group = 2, strides = [2, 2]>(x, w, b)", {"w": (4, 3, 3, 3), "b": (6,)}),
    ('ConvTranspose<auto_pad = "SAME_UPPER", strides = [2, 2]>(x, w)', {}),
    ('ConvTranspose<auto_pad = "SAME_LOWER", strides = [2, 2]>(x, w)', {"w": (4, 3, 4, 3)}),
    ("ConvTranspose<output_shape = [17, 18], strides = [2, 2]>(x, w)", {}),
    ("Gemm(x, w, b)", {"x": "float[7,5]", "w": (5, 4)}),
    ("Gemm<transB = 1, alpha = 2.0, beta = 0.5>(x, w, b)", {"x": "float[7,5]", "w": (4, 5)}),
    ("Gemm(x, w, b)", {"x": "float[7,5]", "w": (5, 4), "b": (1, 4)}),
    ("Gemm(x, w, b)", {"x": "float[7,5]", "w": (5, 4), "b": (1,)}),
    ("MatMul(x, w)", {"x": "float[2,3,5]", "w": (5, 4)}),
]


@pytest.mark.parametrize(("layer", "given"), CASES)
def test_rows_times_matrix_is_the_output(layer: str, given: dict[str, Any]) -> None:
    model = net(f"y = {layer}", **given)
    found = read_layer(next(iter(from_proto(model).graph)))
    assert not isinstance(found, str), found
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    with shared_worker().session(model.SerializeToString()) as session:
        y = session.run({"x": x})["y"]
    at = np.random.default_rng(1).permutation(found.positions(y.shape))[:50]
    matrix = found.matrix(found.weight)
    rows = found.inputs_at(x, y.shape, at)
    answer = rows @ matrix.transpose(0, 2, 1) + found.bias.reshape(found.groups, 1, -1)
    np.testing.assert_allclose(answer, found.outputs_at(y, at), atol=2e-5)
    np.testing.assert_allclose(found.stored(matrix), found.weight, rtol=1e-12)


@pytest.mark.parametrize(
    ("layer", "given", "reason"),
    [
        ("Conv(x, c)", {"c": "float[4,4,3,3]"}, "not constant"),
        ("Conv(x, w, c)", {"c": "float[4]"}, "bias is not constant"),
        ("MatMul(x, w)", {"x": "float[2,3,5]", "w": (2, 5, 4)}, "not a matrix"),
        ("Gemm<transA = 1>(x, w)", {"x": "float[5,7]", "w": (5, 4)}, "transposes"),
        ("Gemm(x, w, b)", {"x": "float[4,5]", "w": (5, 4), "b": (4, 4)}, "one number per channel"),
        ("Gemm(x, w, b)", {"x": "float[4,5]", "w": (5, 4), "b": (4, 1)}, "one number per channel"),
    ],
)
def test_refuses(layer: str, given: dict[str, Any], reason: str) -> None:
    found = read_layer(next(iter(from_proto(net(f"y = {layer}", **given)).graph)))
    assert isinstance(found, str)
    assert reason in found
