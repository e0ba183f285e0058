"""Every thing that certainly cannot run is named; what may run is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.analysis.facts import infer, problem

X = "float[1,4,8,8] x"
F = np.float32
w = np.zeros((4, 4, 3, 3), F)

BAD: list[tuple[str, str, str, dict[str, Any]]] = [
    ("y = Add(x, z)", "float[4] x, int64[4] z", "different types, FLOAT and INT64", {}),
    ("y = Add(x, z)", "float[4] x, float[3] z", "cannot broadcast [4] with [3]", {}),
    ("y = Add(x, z)", "float[N,4] x, float[N,3] z", "cannot broadcast [N,4] with [N,3]", {}),
    ("y = Cast<to=99>(x)", X, "type 99 does not exist", {}),
    ("y = Transpose<perm=[0,7,1,2]>(x)", X, "no permutation of 4 axes", {}),
    ("y = Transpose<perm=[0,0,1,1]>(x)", X, "no permutation of 4 axes", {}),
    ("y = Concat<axis=99>(x, x)", X, "axis 99 is out of range for rank 4", {}),
    ("y = Concat<axis=0>(x, z)", X + ", float[2] z", "different ranks, 1 and 4", {}),
    ("y = Concat<axis=0>(x, z)", "float[2,3] x, float[2,4] z", "axis 1 are 3 and 4", {}),
    ("y = Reshape(x, s)", "float[4] x", "more than one -1", {"s": [-1, -1]}),
    ("y = Reshape(x, s)", "float[4] x", "cannot reshape [4] to [3]", {"s": [3]}),
    ("y = Reshape(x, s)", "float[4] x", "cannot reshape [4]: 4 elements by 3", {"s": [3, -1]}),
    ("y = Reshape(x, s)", "float[4] x", "4 elements by 3", {"s": [3, -1]}),
    ("y = Reshape(x, s)", "float[4] x", "copies dimension 1", {"s": [4, 0]}),
    ("y = Flatten<axis=5>(x)", X, "axis 5 is out of range", {}),
    ("y = Softmax<axis=4>(x)", X, "axis 4 is out of range", {}),
    ("y = BatchNormalization(x, v, v, v, v)", "float[7] x", "shape [2] for 1 channels",
     {"v": np.ones(2, F)}),
    ("y = Squeeze(x, a)", X, "cannot squeeze axis 1", {"a": [1]}),
    ("y = Unsqueeze(x, a)", X, "named twice", {"a": [1, 1]}),
    ("y = Expand(x, s)", X, "cannot broadcast", {"s": [3, 8]}),
    ("y = Split<num_outputs=0>(x)", "float[4] x", "num_outputs is 0", {}),
    ("y, z = Split(x, s)", "float[4] x", "do not add up to 4", {"s": [2, 3]}),
    ("y, z = Split(x, s)", "float[4] x", "3 sizes for 2 outputs", {"s": [2, 1, 1]}),
    ("y = Slice(x, s, e, a, t)", "float[4] x", "a step is 0",
     {"s": [0], "e": [4], "a": [0], "t": [0]}),
    ("y = Pad(x, p)", "float[4] x", "3 pads for 1 axes", {"p": [1, 1, 1]}),
    ("y = Pad(x, p)", "float[4] x", "would have shape [-2]", {"p": [-3, -3]}),
    ("y = Pad(x, p)", "float[4] x", "too large", {"p": [2**40, 0]}),
    ("y = Tile(x, r)", "float[4] x", "would have shape [9223372036854775808]", {"r": [2**61]}),
    ("y = Gather(x, i)", "float[3] x", "index 1000 is out of range for size 3", {"i": 1000}),
    ("y = GatherND(x, i)", "float[3] x", "indices of length 2", {"i": [[0, 0]]}),
    ("y = DepthToSpace<blocksize=0>(x)", X, "blocksize is 0", {}),
    ("y = SpaceToDepth<blocksize=0>(x)", X, "blocksize is 0", {}),
    ("y = MatMul(x, z)", "float[2,3] x, float[4,5] z", "cannot multiply [2,3] by [4,5]", {}),
    ("y = Gemm(x, z)", "float[2,3] x, float[4,5] z", "cannot multiply [2,3] by [4,5]", {}),
    ("y = Gemm(x, x)", X, "not matrices", {}),
    ("y = Gemm(x, z, b)", "float[2,3] x, float[3,5] z", "to [2,5]", {"b": np.zeros(4, F)}),
    ("y = Conv<group=0>(x, w)", X, "group is 0", {"w": w}),
    ("y = Conv<group=2>(x, w)", X, "4 channels for weight [4,4,3,3] in 2 group(s)", {"w": w}),
    ("y = Conv<group=2>(x, w)", X, "3 output channels in 2 groups",
     {"w": np.zeros((3, 2, 1, 1), F)}),
    ("y = Conv<strides=[0,0]>(x, w)", X, "strides is [0, 0]", {"w": w}),
    ("y = Conv<dilations=[1]>(x, w)", X, "dilations has 1 entries", {"w": w}),
    ("y = Conv<kernel_shape=[5,5]>(x, w)", X, "kernel_shape [5, 5]", {"w": w}),
    ("y = Conv<pads=[1099511627776,0,0,0]>(x, w)", X, "too large", {"w": w}),
    ("y = Conv(x, w, b)", X, "bias [3] for 4 output channels", {"w": w, "b": np.zeros(3, F)}),
    ("y = Conv(x, w)", X, "does not fit data of rank 4", {"w": np.zeros((4, 4, 3), F)}),
    ("y = ConvTranspose(x, w)", X, "4 channels for weight", {"w": np.zeros((3, 4, 3, 3), F)}),
    ("y = MaxPool<kernel_shape=[2,2], strides=[0,0]>(x)", X, "strides is [0, 0]", {}),
    ("y = AveragePool<kernel_shape=[0,0]>(x)", X, "kernel has shape [0,0]", {}),
    ("y = MaxPool<kernel_shape=[2]>(x)", X, "kernel_shape [2] for data [1,4,8,8]", {}),
    ("y = BatchNormalization(x, s, b, b, b)", X, "parameter 1 has shape [2] for 4 channels",
     {"s": np.zeros(2, F), "b": np.zeros(4, F)}),
    ("y = ReduceSum(x, a)", X, "axis 4 is out of range", {"a": [4]}),
    ("y = Softmax<axis=7>(x)", X, "axis 7 is out of range", {}),
    ("y, h = GRU<hidden_size=1>(x, w, r)", X, "has not three axes",
     {"w": np.zeros((1, 3, 4), F), "r": np.zeros((1, 3, 1), F)}),
    ('y = Einsum<equation="ijk->i">(x)', X, "does not fit", {}),
    ("y = Range(a, a, b)", "", "the step is 0", {"a": 1, "b": 0}),
    ("y = ConstantOfShape(s)", "", "would have shape [-1]", {"s": [-1]}),
    ("y = If(c) <then_branch = g () => (float[4] a) { a = Relu(x) }>", "float[4] x, bool c",
     "a branch is missing", {}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "inputs", "expected", "constants"), BAD)
def test_named(body: str, inputs: str, expected: str, constants: dict[str, Any]) -> None:
    found = problem(body, inputs, **constants)
    assert expected in found
    assert found.startswith(f"{body.split('= ')[1].split('(')[0].split('<')[0]} '")


MAY_RUN: list[tuple[str, str, dict[str, Any]]] = [
    ("y = Add(x, z)", "float[N] x, float[M] z", {}),
    ("y = Add(x, z)", "float[N] x, float[3] z", {}),
    ("y = Concat<axis=0>(x, z)", "float[2,N] x, float[2,4] z", {}),
    ("y = Reshape(x, s)", "float[N] x", {"s": [3]}),
    ("y = Reshape(x, s)", "float[N] x", {"s": [3, -1]}),
    ("y = Squeeze(x, a)", "float[N] x", {"a": [0]}),
    ("y = MatMul(x, z)", "float[2,N] x, float[4,5] z", {}),
    ("y = Conv(x, w)", "float[1,C,8,8] x", {"w": w}),
    ("y = Pad(x, p)", "float[N] x", {"p": [-3, 0]}),
    ("y = Gather(x, i)", "float[N] x", {"i": 1000}),
    ("y = Softmax<axis=-1>(x)", "float[N] x", {}),
    ("y = Split<num_outputs=1>(x)", "float[N] x", {}),
    ("y = BatchNormalization(x, v, v, v, v)", "float[7] x", {"v": np.ones(1, F)}),
]


@pytest.mark.parametrize(("body", "inputs", "constants"), MAY_RUN)
def test_what_may_run_is_not_named(body: str, inputs: str, constants: dict[str, Any]) -> None:
    assert infer(body, inputs, **constants)[1] == []


def test_a_branch_that_may_never_run_is_no_problem() -> None:
    body = """
        y = If(c) <then_branch = t () => (float[4] a) { a = Squeeze(x, ax) },
                   else_branch = e () => (float[4] b) { b = Identity(x) }>
    """
    assert infer(body, "float[4] x, bool c", ax=[0])[1] == []
