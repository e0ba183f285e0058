"""Deliberately wrong rewrites, all caught; right ones that round differently, none blamed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnxslim.runtime.specs import Array
from onnxslim.runtime.worker import Worker
from tests.nets import net
from tests.verify.checking import check, same_outputs

IMAGE: dict[str, Any] = {
    "x": "float[2,4,8,8]", "w": (4, 4, 3, 3), "b": (4,), "scale": (4,), "shift": (4,),
    "mean": (4,), "var": (4,), "m": (8, 8), "k": (8,),
}  # fmt: skip

# (right, wrong) bodies over the values above
WRONG = {
    "epsilon": (
        "y = BatchNormalization(x, scale, shift, mean, var)",
        "y = BatchNormalization<epsilon = 0.001>(x, scale, shift, mean, var)",
    ),
    "swapped mean and shift": (
        "y = BatchNormalization(x, scale, shift, mean, var)",
        "y = BatchNormalization(x, scale, mean, shift, var)",
    ),
    "reduced axis": (
        "s = ReduceMean<axes = [2], keepdims = 0>(x)  y = Relu(s)",
        "s = ReduceMean<axes = [3], keepdims = 0>(x)  y = Relu(s)",
    ),
    "pads moved": (
        "y = Conv<pads = [1, 1, 1, 1]>(x, w)",
        "y = Conv<pads = [2, 1, 0, 1]>(x, w)",
    ),
    "pad value": (
        "y = Pad(x, p)",
        "y = Pad(x, p, one)",
    ),
    "dropped bias": ("y = Conv(x, w, b)", "y = Conv(x, w)"),
    "slice off by one": ("y = Slice(x, i0, i4, i3)", "y = Slice(x, i1, i5, i3)"),
    "perm": (
        "y = Transpose<perm = [0, 1, 3, 2]>(x)",
        "y = Identity(x)",
    ),
    "perm of equal sizes": (
        "y = Transpose<perm = [0, 1, 3, 2]>(x)",
        "h = Transpose<perm = [0, 1, 2, 3]>(x)  y = Identity(h)",
    ),
    "clip bound": ("y = Clip(x, n, half)", "y = Clip(x, n, third)"),
    "relu lost": ("y = Relu(x)", "y = Identity(x)"),
    "softmax axis": ("y = Softmax<axis = 3>(x)", "y = Softmax<axis = 2>(x)"),
    "alpha": ("y = LeakyRelu<alpha = 0.01>(x)", "y = LeakyRelu<alpha = 0.012>(x)"),
    "matmul side": ("y = MatMul(x, m)", "y = MatMul(m, x)"),
    "transposed weight": (
        "y = MatMul(x, m)",
        "t = Transpose<perm = [1, 0]>(m)  y = MatMul(x, t)",
    ),
    "subtraction turned": ("y = Sub(x, k)", "y = Sub(k, x)"),
    "pool kind": (
        "y = MaxPool<kernel_shape = [2, 2]>(x)",
        "y = AveragePool<kernel_shape = [2, 2]>(x)",
    ),
    "count of padding": (
        "y = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x)",
        "y = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1>(x)",
    ),
    "dilation": (
        "y = Conv<dilations = [2, 2], pads = [2, 2, 2, 2]>(x, w)",
        "y = Conv<pads = [1, 1, 1, 1]>(x, w)",
    ),
    "gelu kind": (
        "r = Div(x, r2)  e = Erf(r)  e1 = Add(e, one)  a = Mul(x, e1)  y = Mul(a, half)",
        "c = Mul(x, g)  s = Sigmoid(c)  y = Mul(x, s)",
    ),
    "reshape order": (
        "y = Reshape(x, s284)",
        "t = Transpose<perm = [0, 2, 1, 3]>(x)  y = Reshape(t, s284)",
    ),
    "division by n - 1": (
        "s = ReduceSum(x, i3)  y = Div(s, eight)",
        "s = ReduceSum(x, i3)  y = Div(s, seven)",
    ),
    "window of a normalization": (
        "y = LRN<size = 3, alpha = 0.5>(x)",
        "y = LRN<size = 5, alpha = 0.5>(x)",
    ),
}  # fmt: skip

CONSTANTS: dict[str, Any] = {
    "p": [0, 0, 1, 1, 0, 0, 1, 1], "one": np.float32(1), "n": np.float32(-1),
    "half": np.float32(0.5), "third": np.float32(0.49), "i0": [0], "i1": [1],
    "i3": [3], "i4": [4], "i5": [5],
    "r2": np.float32(2**0.5), "g": np.float32(1.702), "s284": [2, 8, 32],
    "eight": np.float32(8), "seven": np.float32(7),
}  # fmt: skip


def build(body: str, like: onnx.ModelProto | None = None) -> onnx.ModelProto:
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    given: dict[str, Any] = {k: v for k, v in {**IMAGE, **CONSTANTS}.items() if k in words}
    given.setdefault("x", IMAGE["x"])
    return net(body, **given) if like is None else same_outputs(body, like, **given)


@pytest.mark.parametrize("name", WRONG)
def test_caught(worker: Worker, name: str) -> None:
    right, wrong = WRONG[name]
    model = build(right)
    assert check(worker, model, model).ok
    assert check(worker, model, build(wrong, model)).ok is False


@pytest.mark.parametrize("name", WRONG)
def test_caught_behind_a_deep_tail(worker: Worker, name: str) -> None:
    right, wrong = WRONG[name]
    tail = "  t = Tanh(y)  q = Exp(t)  o = Neg(q)  z = Sigmoid(o)"
    model = build(right + tail)
    assert check(worker, model, build(wrong + tail, model)).ok is False


@pytest.mark.parametrize("amount", [1e-3, 1e-4])
def test_a_perturbed_weight_is_caught(worker: Worker, amount: float) -> None:
    model = net("h = Conv(x, w)  r = Relu(h)  y = MatMul(r, mm)", mm=(6, 3))
    other = onnx.ModelProto()
    other.CopyFrom(model)
    for tensor in other.graph.initializer:
        if tensor.name == "w":
            w = onnx.numpy_helper.to_array(tensor) * np.float32(1 + amount)
            tensor.CopyFrom(onnx.numpy_helper.from_array(w, "w"))
    assert check(worker, model, other).ok is False


def folded(model: onnx.ModelProto, dtype: type[Any]) -> tuple[Array, Array]:
    """Conv + BatchNormalization as one Conv, computed in ``dtype``."""
    at = {t.name: onnx.numpy_helper.to_array(t).astype(dtype) for t in model.graph.initializer}
    k = at["scale"] / np.sqrt(at["var"] + dtype(1e-5))
    w = (at["w"] * k[:, None, None, None]).astype(np.float32)
    b = (at["shift"] - at["mean"] * k).astype(np.float32)
    return w, b


def test_batchnorm_folded_in_float64_is_not_blamed(worker: Worker) -> None:
    model = net("h = Conv(x, w)  n = BatchNormalization(h, scale, shift, mean, var)  y = Relu(n)")
    w, b = folded(model, np.float64)
    other = net("n = Conv(x, w, b)  y = Relu(n)", w=w, b=b)
    found = check(worker, model, other)
    assert found.ok and found.outputs["y"].stats.max_abs > 0


RIGHT = {
    "sums in another order": (
        "a = Add(x, k)  y = Add(a, c1)", "a = Add(k, c1)  y = Add(x, a)",
    ),
    "factors joined": ("a = Mul(x, k)  y = Mul(a, c1)", "a = Mul(k, c1)  y = Mul(x, a)"),
    "division as multiplication": ("y = Div(x, eight)", "y = Mul(x, eighth)"),
    "matrix product as convolution": (
        "y = Conv(x, w1)",
        "t = Transpose<perm = [0, 2, 3, 1]>(x)  p = MatMul(t, w1t)"
        "  y = Transpose<perm = [0, 3, 1, 2]>(p)",
    ),
    "softmax written out": (
        "y = Softmax<axis = 3>(x)",
        "e = Exp(x)  s = ReduceSum(e, i3)  y = Div(e, s)",
    ),
    "layer norm written out": (
        "y = LayerNormalization(x, c1, k)",
        "u = ReduceMean<axes = [3]>(x)  d = Sub(x, u)  q = Mul(d, d)  v = ReduceMean<axes = [3]>(q)"
        "  v1 = Add(v, eps)  r = Sqrt(v1)  h = Div(d, r)  a = Mul(h, c1)  y = Add(a, k)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_not_blamed(worker: Worker, name: str) -> None:
    w1 = np.random.default_rng(5).standard_normal((4, 4)).astype(np.float32)
    given: dict[str, Any] = {
        "x": "float[2,4,8,8]", "k": (8,), "c1": (8,), "eight": np.float32(8),
        "eighth": np.float32(0.125), "w1": w1[:, :, None, None], "w1t": np.ascontiguousarray(w1.T),
        "i3": [3], "eps": np.float32(1e-5),
    }  # fmt: skip
    bodies = RIGHT[name]
    words = [set(b.replace("(", " ").replace(")", " ").replace(",", " ").split()) for b in bodies]
    model = net(bodies[0], **{k: v for k, v in given.items() if k in words[0]})
    other = same_outputs(bodies[1], model, **{k: v for k, v in given.items() if k in words[1]})
    found = check(worker, model, other)
    assert found.ok, found.failure
