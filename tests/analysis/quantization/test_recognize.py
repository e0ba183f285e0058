"""What a quantizer takes for a layer, and what it says of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.analysis.quantization.recognize import find
from onnxslim.graph.load import from_proto
from tests.nets import net

F = np.float32
IMAGE = {"x": "float[2,4,8,8]", "w": (6, 4, 3, 3)}
ROWS = {"x": "float[2,4]", "w": (4, 5)}


def found_in(body: str, op: str, given: dict[str, Any]) -> Any:
    model = from_proto(net(body, **given))
    return find(next(n for n in model.graph if n.op_type == op))


# Body, operator, what is given; the end of the layer, its clip, its bias.
LAYERS = [
    ("y = Conv(x, w)", "Conv", IMAGE, ("y", None, None, None)),
    ("y = Conv(x, w, b)", "Conv", IMAGE | {"b": (6,)}, ("y", None, None, "b")),
    ("h = Conv(x, w)  y = Relu(h)", "Conv", IMAGE, ("y", 0.0, None, None)),
    ("h = Conv(x, w)  y = Clip(h, o, s)", "Conv", IMAGE | {"o": F(0), "s": F(6)},
     ("y", 0.0, 6.0, None)),
    ("h = Conv(x, w)  y = Clip(h, o)", "Conv", IMAGE | {"o": F(0)}, ("y", 0.0, None, None)),
    ("h = Conv(x, w)  y = Clip(h, o, s)", "Conv", IMAGE | {"o": F(-1), "s": F(6)},
     ("h", None, None, None)),
    ("h = Conv(x, w)  y = Clip(h, o, s)", "Conv", IMAGE | {"o": F(0), "s": F(0)},
     ("h", None, None, None)),
    ("h = Conv(x, w)  y = Clip(h, o, s)", "Conv", IMAGE | {"o": F(0), "s": "float"},
     ("h", None, None, None)),
    ("h = Conv(x, w)  y = Clip(h, , s)", "Conv", IMAGE | {"s": F(6)}, ("h", None, None, None)),
    ("h = Conv(x, w)  y = Relu(h)  z = Neg(h)", "Conv", IMAGE, ("h", None, None, None)),
    ("h = Conv(x, w)  y = Tanh(h)", "Conv", IMAGE, ("h", None, None, None)),
    ("y = MatMul(x, w)", "MatMul", ROWS, ("y", None, None, None)),
    ("h = MatMul(x, w)  y = Add(h, b)", "MatMul", ROWS | {"b": (5,)}, ("y", None, None, "b")),
    ("h = MatMul(x, w)  y = Add(b, h)", "MatMul", ROWS | {"b": (1, 5)}, ("h", None, None, None)),
    ("h = MatMul(x, w)  y = Add(h, b)", "MatMul", ROWS | {"b": (1,)}, ("h", None, None, None)),
    ("h = MatMul(x, w)  y = Add(h, x)", "MatMul", {"x": "float[4,4]", "w": (4, 4)},
     ("h", None, None, None)),
    ("y = Gemm(x, w, b)", "Gemm", ROWS | {"b": (5,)}, ("y", None, None, "b")),
]  # fmt: skip


@pytest.mark.parametrize(("body", "op", "given", "expected"), LAYERS)
def test_a_layer(body: str, op: str, given: dict[str, Any], expected: tuple[Any, ...]) -> None:
    found = found_in(body, op, given)
    assert found is not None and not found.refusal
    bias = None if found.bias is None else found.bias.name
    assert (found.result.name, found.low, found.high, bias) == expected


REFUSED = [
    ("y = Conv(x, v)", "Conv", IMAGE | {"v": "float[6,4,3,3]"}, "its weight is no constant"),
    ("y = Conv(x, w, v)", "Conv", IMAGE | {"v": "float[6]"}, "its bias is no constant"),
    ("y = Conv(x, w)", "Conv", IMAGE | {"dtype": "float16"}, "its weight is float16, not float"),
    ("q = DequantizeLinear(i, s)  y = Conv(x, q)", "Conv",
     {"x": "float[2,4,8,8]", "i": np.ones((6, 4, 3, 3), np.int8), "s": F(0.1)},
     "it is quantized already"),
    ("y = ConvTranspose(x, w)", "ConvTranspose", {"x": "float[2,6,8,8]", "w": (6, 4, 3, 3)},
     "no integer kernel for ConvTranspose"),
    ("y = MatMul(w, x)", "MatMul", {"x": "float[4,5]", "w": (3, 4)},
     "its constant is the first operand"),
    ("y = MatMul(x, z)", "MatMul", {"x": "float[2,4]", "z": "float[4,3]"},
     "both operands are computed"),
    ("y = MatMul(x, w)", "MatMul", {"x": "float[2,3,4]", "w": (2, 4, 5)},
     "its weight has rank 3, expected 2"),
    ("y = MatMul(x, w)", "MatMul", {"x": "float[0,0]", "w": np.zeros((0, 5), F)},
     "its weight is empty"),
    ("y = Gemm<transA = 1>(x, w)", "Gemm", {"x": "float[4,2]", "w": (4, 5)},
     "Gemm with transA or alpha"),
    ("y = Gemm<alpha = 0.5>(x, w)", "Gemm", ROWS, "Gemm with transA or alpha"),
    ("y = Gemm<beta = 0.5>(x, w, b)", "Gemm", ROWS | {"b": (5,)}, "Gemm with beta"),
    ("y = Gemm(x, w, b)", "Gemm", ROWS | {"b": (2, 5)}, "its bias is no constant vector"),
    ("y, h, c = LSTM<hidden_size = 2>(x, w, r)", "LSTM",
     {"x": "float[3,1,4]", "w": (1, 8, 4), "r": (1, 8, 2)}, "only --mode dynamic"),
    ("y = ConvInteger(x, w)", "ConvInteger",
     {"x": "uint8[1,4,8,8]", "w": np.ones((6, 4, 3, 3), np.uint8)}, "it is quantized already"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "op", "given", "reason"), REFUSED)
def test_a_refusal_says_why(body: str, op: str, given: dict[str, Any], reason: str) -> None:
    found = found_in(body, op, given)
    assert found is not None and reason in found.refusal


@pytest.mark.parametrize("body", ["y = Relu(x)", "y = ai.onnx.ml.Scaler<scale = [2.0]>(x)"])
def test_other_nodes_are_no_layers(body: str) -> None:
    model = from_proto(net(body, x="float[2,3]", outputs={"y": "float[2,3]"}))
    assert find(model.graph[0]) is None
