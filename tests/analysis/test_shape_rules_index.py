"""What every operator that picks elements is said to make, its edge cases, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.analysis.shape_rules_index import scaled, slice_length
from tests.analysis.facts import said

F = np.float32
X = "float[N,9] x"
END = 2**31 - 1

CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    # Slice
    ("y = Slice(x, s, e)", "float[] x", "float?", {"s": [0], "e": [1]}),
    ("y = Slice(x, s, e)", X + ", int64[1] s", "float[_d0,9]", {"e": [1]}),
    ("y = Slice(x, s, e)", X + ", int64[K] s", "float[_d0,_d1]", {"e": [1]}),
    ("y = Slice(x, s, e, a)", X + ", int64[K] s", "float[N,_d0]", {"e": [1], "a": [-1]}),
    ("y = Slice(x, s, e, a)", X + ", int64[K] e", "float[_d0,9]", {"s": [1], "a": [0]}),
    ("y = Slice(x, s, e, a, t)", X + ", int64[K] t", "float[_d0,9]",
     {"s": [1], "e": [3], "a": [0]}),
    ("y = Slice(x, s, e, a, t)", X + ", int64[1] t", "float[N,_d0]",
     {"s": [1], "e": [3], "a": [1]}),
    ("y = Slice(x, s, e, a)", X + ", int64[1] a", "float[_d0,_d1]", {"s": [0], "e": [1]}),
    ("y = Slice(x, s, e, a)", X, "float[_d0,9] | axis 2 is out of range for rank 2",
     {"s": [0], "e": [1], "a": [2]}),
    ("y = Slice(x, s, e, a)", X, "float[N,_d0] | an axis is named twice in [1, 1]",
     {"s": [0, 0], "e": [1, 1], "a": [1, -1]}),
    ("y = Slice(x, s, e, a)", X, "float[N,_d0]", {"s": [0, 0], "e": [1], "a": [1]}),
    ("y = Slice(x, s, e, a)", X, "float[N,_d0]", {"s": [0], "e": [1, 1], "a": [1]}),
    ("y = Slice(x, s, e, a, t)", X, "float[N,_d0]", {"s": [0], "e": [1], "a": [1], "t": [1, 1]}),
    ("y = Slice(x, s, e, , t)", X, "float[N - max(N - 1, 0),3]",
     {"s": [0, 0], "e": [1, 9], "t": [1, 4]}),
    ("y = Slice(x, s, e, a, t)", X, "float[N,_d0] | a step is 0",
     {"s": [0], "e": [1], "a": [1], "t": [0]}),
    ("y = Slice(x, s, e, a, t)", X, "float[N,2]", {"s": [5], "e": [1], "a": [1], "t": [-2]}),
    ("y = Slice(x, s, e, a, t)", X, "float[N,9]",
     {"s": [END], "e": [-(2**31)], "a": [1], "t": [-1]}),
    ("y = Slice(x, s, e, a, t)", X, "float[floordiv(N + 1, 2),9]",
     {"s": [-1], "e": [-(2**40)], "a": [0], "t": [-2]}),
    ("y = Slice(x, s, e, a, t)", X, "float[_d0,9]",
     {"s": [-2], "e": [-(2**40)], "a": [0], "t": [-1]}),
    ("y = Slice(x, s, e, a, t)", X, "float[_d0,9]", {"s": [-1], "e": [0], "a": [0], "t": [-1]}),
    ("y = Slice<starts=[1], ends=[3]>(x)", X, "float[max(max(N - 1, 0) - max(N - 3, 0), 0),9]",
     {"opset": 9}),
    ("y = Slice<starts=[1], ends=[3], axes=[1]>(x)", X, "float[N,2]", {"opset": 9}),
    ("y = Slice<starts=[1,0], ends=[3,2]>(x)", "float[5,9] x", "float[2,2]", {"opset": 1}),
    ("y = Slice(x, s, e)", "float[5,9] x", "float[2,9]", {"s": [1], "e": [3], "opset": 10}),
    # Gather and its kin
    ("y = Gather(x, i)", "float[] x, int64[3] i", "float?", {}),
    ("y = Gather(x, i)", "float[N] x, int64[] i", "float?", {}),
    ("y = Gather<axis=2>(x, i)", X + ", int64[3] i", "float? | axis 2 is out of range for rank 2",
     {}),
    ("y = Gather<axis=-1>(x, i)", X + ", int64[3,K] i", "float[N,3,K]", {}),
    ("y = Gather(x, i)", "float[3,N] x", "float[3,N]", {"i": [0, 2, -3]}),
    ("y = Gather(x, i)", "float[3,N] x", "float[2,N] | index 3 is out of range for size 3",
     {"i": [0, 3]}),
    ("y = Gather(x, i)", "float[3,N] x", "float[2,N] | index -4 is out of range for size 3",
     {"i": [-4, 0]}),
    ("y = GatherElements(x, i)", X + ", int64[] i", "float?", {}),
    ("y = GatherND(x, i)", "float[] x, int64[2] i", "float?", {}),
    ("y = GatherND(x, i)", X + ", int64[] i", "float?", {}),
    ("y = GatherND(x, i)", X + ", int64[3,K] i", "float?", {}),
    ("y = GatherND(x, i)", X + ", int64[3,2] i", "float[3]", {}),
    ("y = GatherND(x, i)", X + ", int64[3,3] i", "float? | indices of length 3 for data [N,9]", {}),
    ("y = GatherND<batch_dims=1>(x, i)", X + ", int64[N,1] i", "float[N]", {}),
    ("y = GatherND<batch_dims=1>(x, i)", X + ", int64[N,2] i",
     "float? | indices of length 2 for data [N,9]", {}),
    # Compress, NonZero, Unique
    ("y = Compress(x, c)", X + ", bool[9] c", "float[_d0]", {}),
    ("y = Compress<axis=0>(x, c)", X + ", bool[9] c", "float[_d0,9]", {}),
    ("y = Compress<axis=-1>(x, c)", X + ", bool[9] c", "float[N,_d0]", {}),
    ("y = Compress<axis=2>(x, c)", X + ", bool[9] c", "float? | axis 2 is out of range for rank 2",
     {}),
    ("y = Compress<axis=0>(x, c)", "float[] x, bool[9] c", "float?", {}),
    ("y = NonZero(x)", "float x", "int64[1,_d0]", {}),
    ("y = NonZero(x)", "float[N] x", "int64[1,_d0]", {}),
    ("y = NonZero(x)", "float[] x", "int64[_d0,_d1]", {}),
    ("y, i, j, k = Unique(x)", X, "float[_d0] int64[_d0] int64[_d1] int64[_d0]", {}),
    ("y, i, j, k = Unique<axis=1>(x)", X, "float[N,_d0] int64[_d0] int64[_d1] int64[_d0]", {}),
    ("y, i, j, k = Unique<axis=-2>(x)", X, "float[_d0,9] int64[_d0] int64[_d1] int64[_d0]", {}),
    ("y, i, j, k = Unique<axis=2>(x)",
     X, "float? int64[_d0] int64[_d1] int64[_d0] | axis 2 is out of range for rank 2", {}),
    ("y, i, j, k = Unique<axis=0>(x)", "float[] x", "float? int64[_d0] int64[_d1] int64[_d0]", {}),
    # TopK, OneHot
    ("y, i = TopK(x, k)", "float[] x", "float? int64?", {"k": [3]}),
    ("y, i = TopK(x, k)", X, "float[N,3] int64[N,3]", {"k": [3]}),
    ("y, i = TopK<axis=0>(x, k)", X + ", int64[1] k", "float[_d0,9] int64[_d0,9]", {}),
    ("y, i = TopK<axis=0>(x, k)", X + ", int64[K] k", "float[_d0,9] int64[_d0,9]", {}),
    ("y, i = TopK<axis=2>(x, k)", X, "float? int64? | axis 2 is out of range for rank 2",
     {"k": [3]}),
    ("y, i = TopK<k=3>(x)", X, "float[N,3] int64[N,3]", {"opset": 9}),
    ("y, i = TopK(x, k)", X, "float[N,3] int64[N,3]", {"k": [3], "opset": 10}),
    ("y = OneHot(x, d, v)", "int64[] x, double[2] v", "double?", {"d": 3}),
    ("y = OneHot<axis=-3>(x, d, v)", "int64[N,2] x, double[2] v", "double[3,N,2]", {"d": 3}),
    ("y = OneHot<axis=2>(x, d, v)", "int64[N,2] x, double[2] v", "double[N,2,3]", {"d": [3]}),
    ("y = OneHot<axis=3>(x, d, v)", "int64[N,2] x, double[2] v",
     "double? | axis 3 is out of range for rank 3", {"d": 3}),
    ("y = OneHot<axis=1>(x, d, v)", "int64[N,2] x, double[2] v, int64 d", "double[N,_d0,2]", {}),
    ("y = OneHot<axis=1>(x, d, v)", "int64[N,2] x, double[2] v, int64[] d", "double[N,_d0,2]", {}),
    ("y = OneHot(x, d, v)", "int64[N,2] x, double[2] v", "double[N,2,4]",
     {"d": np.array([4.0], F)}),
    # Resize
    ("y = Resize(x, , s)", "float[] x", "float?", {"s": np.array([1, 2], F)}),
    ("y = Resize<axes=[2]>(x, , s)", X, "float[_d0,_d1] | axis 2 is out of range for rank 2",
     {"s": np.array([2], F)}),
    ("y = Resize<axes=[-1]>(x, , s)", X, "float[N,18]", {"s": np.array([2], F)}),
    ("y = Resize(x, , s)", X, "float[_d0,_d1]", {"s": np.array([2], F)}),
    ("y = Resize(x, , , s)", X, "float[_d0,_d1]", {"s": [2]}),
    ("y = Resize(x, , , s)", X + ", int64[2] s", "float[_d0,_d1]", {}),
    ("y = Resize(x, , , s)", X + ", int64[K] s", "float[_d0,_d1]", {}),
    ("y = Resize(x, , s)", X + ", float[2] s", "float[_d0,_d1]", {}),
    ('y = Resize<keep_aspect_ratio_policy="not_larger">(x, , , s)', X, "float[_d0,_d1]",
     {"s": [2, 3]}),
    ('y = Resize<keep_aspect_ratio_policy="stretch">(x, , , s)', X, "float[2,3]", {"s": [2, 3]}),
    ('y = Resize<coordinate_transformation_mode="tf_crop_and_resize">(x, r, s)', X,
     "float[_d0,_d1]", {"r": np.zeros(4, F), "s": np.array([1, 2], F)}),
    ('y = Resize<coordinate_transformation_mode="tf_crop_and_resize">(x, r, , s)', X, "float[4,5]",
     {"r": np.zeros(4, F), "s": [4, 5]}),
    ("y = Resize(x, s)", X, "float[N,18]", {"s": np.array([1, 2], F), "opset": 10}),
    ("y = Resize(x, , s)", X, "float[N,18]", {"s": np.array([1, 2], F), "opset": 11}),
    ("y = Upsample(x, s)", X, "float[3*N,18]", {"s": np.array([3, 2], F), "opset": 9}),
    # ReverseSequence
    ("y = ReverseSequence(x, l)", X + ", int64[8] l", "float[N,9] | 8 lengths for a batch of 9",
     {}),
    ("y = ReverseSequence(x, l)", X + ", int64[9] l", "float[N,9]", {}),
    ("y = ReverseSequence<batch_axis=0, time_axis=1>(x, l)", X + ", int64[8] l", "float[N,9]", {}),
    ("y = ReverseSequence<batch_axis=0, time_axis=1>(x, l)", "float[7,9] x, int64[8] l",
     "float[7,9] | 8 lengths for a batch of 7", {}),
    ("y = ReverseSequence<batch_axis=2>(x, l)", X + ", int64[8] l",
     "float[N,9] | axis 2 is out of range for rank 2", {}),
    ("y = ReverseSequence(x, l)", X + ", int64[8,1] l", "float[N,9]", {}),
    ("y = ReverseSequence(x, l)", "float[9] x, int64[8] l", "float[9]", {}),
    ("y = ReverseSequence(x, l)", "float[] x, int64[8] l", "float?", {}),
    ("y = ReverseSequence(x, l)", X + ", int64[] l", "float[N,9]", {}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "inputs", "expected", "constants"), CASES)
def test_said(body: str, inputs: str, expected: str, constants: dict[str, Any]) -> None:
    assert said(body, inputs, **constants) == expected


LIMITS = (-12, -9, -8, -4, -1, 0, 1, 5, 8, 9, 10, END, 2**63 - 1, -(2**63))


@pytest.mark.parametrize("step", [-9, -3, -2, -1, 1, 2, 4, 9])
def test_slices_are_as_long_as_in_python(step: int) -> None:
    for size in (0, 1, 9):
        for start in LIMITS:
            for end in LIMITS:
                if step < 0 and end >= END:  # nothing by the standard, all in ONNX Runtime
                    assert slice_length(size, start, end, step) is None
                    continue
                first = max(start, -size) if step < 0 and size else start  # as ONNX Runtime does
                real = len(range(size)[first:end:step])
                if end < -size and step < 0:  # numpy clamps to the first element, ONNX behind it
                    real = len(range(size)[first::step])
                assert slice_length(size, start, end, step) == real, (size, start, end, step)


def test_slices_of_which_something_is_unknown() -> None:
    assert slice_length(9, None, 1, 1) is None
    assert slice_length(9, 1, None, 1) is None
    assert slice_length(9, 1, 1, None) is None
    assert slice_length(9, 1, 1, 0) is None


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [
        (5, 2.0, 10), (5, 0.5, 2), (5, 1.0, 5), (3, 1.7, 5), (5, 0.0, None), (5, -1.0, None),
        (5, float("inf"), None), (5, float("nan"), None), (10, 0.1, 1), (0, 3.0, 0),
    ],
)  # fmt: skip
def test_scaled(size: int, scale: float, expected: int | None) -> None:
    assert scaled(size, scale) == expected


SCALES = [
    (3.0, "3*N"), (1.5, "N + floordiv(N, 2)"), (1 / 64, "floordiv(N, 64)"), (1 / 128, "_d0"),
    (65535.0, "65535*N"), (65536.0, "_d0"), (1.2, "_d0"),
]  # fmt: skip


@pytest.mark.parametrize(("scale", "expected"), SCALES)
def test_scaled_symbols(scale: float, expected: str) -> None:
    scales = np.array([scale], F)
    assert said("y = Resize(x, , s)", "float[N] x", s=scales) == f"float[{expected}]"
