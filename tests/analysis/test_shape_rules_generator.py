"""What operators that make tensors are said to make, and their edge cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.analysis.facts import fresh, said

F = np.float32
X = "float[N,9,2] x"


def f(value: float) -> Any:
    return np.array(value, F)


CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    # Constant, ConstantOfShape
    ("y = Constant<value_int=3>()", "", "int64[]", {}),
    ("y = Constant<value_float=3.0>()", "", "float[]", {}),
    ("y = Constant<value_ints=[1,2,3]>()", "", "int64[3]", {}),
    ('y = Constant<value_string="a">()', "", "string[]", {}),
    ('y = Constant<value_strings=["a", "b"]>()', "", "string[2]", {}),
    ("y = Constant<value = double[2,1] {1.0, 2.0}>()", "", "double[2,1]", {}),
    ("y = ConstantOfShape<value = int32[1] {1}>(s)", "", "int32[2]", {"s": [2]}),
    ("y = ConstantOfShape(s)", "int64[K] s", "float?", {}),
    ("y = ConstantOfShape(s)", "int64[] s", "float?", {}),
    ("y = ConstantOfShape(s)", "int64[64] s", f"float[{fresh(64)}]", {}),
    ("y = ConstantOfShape(s)", "int64[65] s", "float?", {}),
    ("y = ConstantOfShape(s)", "", "float[2,_d0] | its result would have shape [2,-1]",
     {"s": [2, -1]}),
    # Shape, Size
    ("y = Shape(x)", "float[] x", "int64[_d0]", {}),
    ("y = Shape<start=1>(x)", X, "int64[2]", {}),
    ("y = Shape<end=1>(x)", X, "int64[1]", {}),
    ("y = Shape<start=-2, end=-1>(x)", X, "int64[1]", {}),
    ("y = Shape<start=2, end=1>(x)", X, "int64[0]", {}),
    ("y = Shape<start=-7, end=7>(x)", X, "int64[3]", {}),
    ("y = Shape<start=3>(x)", X, "int64[0]", {}),
    ("y = Size(x)", "float[] x", "int64[]", {}),
    # Range
    ("y = Range(a, b, c)", "int64 a, int64 b, int64 c", "int64[_d0]", {}),
    ("y = Range(a, b, c)", "int64 a", "int64[_d0]", {"b": 5, "c": 1}),
    ("y = Range(a, b, c)", "int64 b", "int64[_d0]", {"a": 5, "c": 1}),
    ("y = Range(a, b, c)", "int64 c", "int64[_d0]", {"a": 0, "b": 5}),
    ("y = Range(a, b, c)", "", "int64[4]", {"a": 8, "b": 1, "c": -2}),
    ("y = Range(a, b, c)", "", "int64[0]", {"a": 1, "b": 8, "c": -2}),
    ("y = Range(a, b, c)", "", "int64[1]", {"a": 1, "b": 8, "c": 7}),
    ("y = Range(a, b, c)", "", "int64[2]", {"a": 1, "b": 8, "c": 6}),
    ("y = Range(a, b, c)", "", "int64[0]", {"a": 8, "b": 8, "c": 1}),
    ("y = Range(a, b, c)", "", "int64[_d0] | the step is 0", {"a": 0, "b": 8, "c": 0}),
    ("s = Size(x) y = Range(a, s, b)", "float[N] x", "int64[floordiv(N, 3)]", {"a": 2, "b": 3}),
    ("s = Size(x) y = Range(s, a, b)", "float[N] x", "int64[max(N - 2, 0)]", {"a": 2, "b": -1}),
    ("y = Range(a, b, c)", "", "float[4]", {"a": f(0), "b": f(1), "c": f(0.3)}),
    ("y = Range(a, b, c)", "", "float[2]", {"a": f(1), "b": f(0), "c": f(-0.5)}),
    ("y = Range(a, b, c)", "", "float[0]", {"a": f(1), "b": f(0), "c": f(0.5)}),
    ("y = Range(a, b, c)", "", "float[_d0]", {"a": f(1), "b": f(0), "c": f(0)}),
    ("y = Range(a, b, c)", "", "float[_d0]", {"a": f(0), "b": f(np.inf), "c": f(1)}),
    ("y = Range(a, b, c)", "float a", "float[_d0]", {"b": f(1), "c": f(1)}),
    ("y = Range(a, b, c)", "float b", "float[_d0]", {"a": f(1), "c": f(1)}),
    ("y = Range(a, b, c)", "float c", "float[_d0]", {"a": f(1), "b": f(1)}),
    # random numbers
    ("y = RandomNormal<shape=[2,3], dtype=11>()", "", "double[2,3]", {}),
    ("y = RandomUniform<shape=[2]>()", "", "float[2]", {}),
    ("y = RandomUniform()", "", "float?", {}),
    ("y = EyeLike(x)", "double[2,N] x", "double[2,N]", {}),
    ("y = EyeLike<dtype=6>(x)", "double[2,N] x", "int32[2,N]", {}),
    ("y = Multinomial(x)", "float[N,4] x", "int32[N,1]", {}),
    ("y = Multinomial<sample_size=5, dtype=7>(x)", "float[N,4] x", "int64[N,5]", {}),
    ("y = Multinomial(x)", "float[] x", "int32[_d0,1]", {}),
    # signals
    ("y = HannWindow(n)", "", "float[8]", {"n": 8}),
    ("y = HammingWindow<output_datatype=11>(n)", "", "double[8]", {"n": 8}),
    ("y = BlackmanWindow(n)", "int64 n", "float[_d0]", {}),
    ("y = BlackmanWindow(n)", "int64[] n", "float[_d0]", {}),
    ("y = MelWeightMatrix(b, d, r, l, h)", "int64 r, float l, float h", "float[9,8]",
     {"b": 8, "d": 17}),
    ("y = MelWeightMatrix<output_datatype=11>(b, d, r, l, h)", "int64 r, float l, float h, int64 b",
     "double[9,_d0]", {"d": 16}),
    ("y = DFT(x)", X, "float[N,9,2]", {"opset": 17}),
    ("y = DFT(x)", "float[N,9,1] x", "float[N,9,2]", {"opset": 17}),
    ("y = DFT(x)", "float[] x", "float?", {"opset": 17}),
    ("y = DFT(x)", "float[N] x", "float?", {"opset": 17}),
    ("y = DFT<axis=0>(x)", "float[9,1] x", "float[9,2]", {"opset": 17}),
    ("y = DFT<axis=3>(x)", X, "float[_d0,_d1,_d2] | axis 3 is out of range for rank 3",
     {"opset": 17}),
    ("y = DFT<onesided=1>(x)", X, "float[N,5,2]", {"opset": 17}),
    ("y = DFT<onesided=1>(x, n)", X, "float[N,9,2]", {"n": 16, "opset": 17}),
    ("y = DFT(x, n)", X, "float[N,16,2]", {"n": 16, "opset": 17}),
    ("y = DFT(x, n)", X + ", int64 n", "float[N,_d0,2]", {"opset": 17}),
    ("y = DFT<inverse=1>(x)", X, "float[N,9,2]", {"opset": 17}),
    ("y = DFT<inverse=1, onesided=1>(x)", X, "float[_d0,_d1,_d2]", {"opset": 17}),
    ("y = DFT<onesided=1>(x)", "float[N,A,B,1] x", "float[N,floordiv(A, 2) + 1,B,2]",
     {"opset": 19}),
    ("y = DFT<onesided=1>(x)", "float[N,A,B,1] x", "float[N,A,floordiv(B, 2) + 1,2]",
     {"opset": 20}),
    ("y = DFT<onesided=1>(x, , a)", "float[N,A,B,1] x", "float[N,floordiv(A, 2) + 1,B,2]",
     {"a": 1, "opset": 20}),
    ("y = DFT<onesided=1>(x, , a)", "float[N,A,B,1] x, int64 a", "float[_d0,_d1,_d2,_d3]",
     {"opset": 20}),
    ("y = STFT(x, t, w)", "float[N,100,1] x, float[16] w", "float[N,22,9,2]", {"t": 4}),
    ("y = STFT<onesided=0>(x, t, w)", "float[N,100,1] x, float[16] w", "float[N,22,16,2]",
     {"t": 4}),
    ("y = STFT(x, t, , l)", "float[N,L,1] x", "float[N,floordiv(L, 4) - 1,5,2]", {"t": 4, "l": 8}),
    ("y = STFT(x, t, w, l)", "float[N,L,1] x, float[16] w", "float[N,L - 7,5,2]", {"t": 1, "l": 8}),
    ("y = STFT(x, t, w, l)", "float[N,L,1] x, float[16] w, int64 l", "float[N,_d0,_d1,2]",
     {"t": 1}),
    ("y = STFT(x, t, w)", "float[N,L,1] x, float[16] w, int64 t", "float[N,_d0,9,2]", {}),
    ("y = STFT(x, t, w)", "float[N,L,1] x, float[16] w", "float[N,_d0,9,2]", {"t": 0}),
    ("y = STFT(x, t, w)", "float[N,L,1] x, float[] w", "float[N,_d0,_d1,2]", {"t": 4}),
    ("y = STFT(x, t)", "float[N,L,1] x", "float[N,_d0,_d1,2]", {"t": 4}),
    ("y = STFT(x, t, w)", "float[] x, float[16] w", "float[_d2,_d0,9,2]", {"t": 4}),
    ("y = STFT(x, t, w)", "float[N] x, float[16] w", "float[N,_d0,9,2]", {"t": 4}),
    ("y = STFT(x, t, w)", "float[N,20] x, float[16] w", "float[N,3,9,2]", {"t": 2}),
    # pictures and words
    ("y = NonMaxSuppression(b, s)", "float[1,5,4] b, float[1,1,5] s", "int64[_d0,3]", {}),
    ("y = ImageDecoder(x)", "uint8[N] x", "uint8[_d0,_d1,3]", {"opset": 20}),
    ('y = ImageDecoder<pixel_format="Grayscale">(x)', "uint8[N] x", "uint8[_d0,_d1,1]",
     {"opset": 20}),
    ('y = ImageDecoder<pixel_format="BGR">(x)', "uint8[N] x", "uint8[_d0,_d1,3]", {"opset": 20}),
    ("y, n = StringSplit(x)", "string[N] x", "string[N,_d0] int64[N]", {"opset": 20}),
    ("y, n = StringSplit(x)", "string[] x", "string? int64?", {"opset": 20}),
    ("y = StringNormalizer(x)", "string[N] x", "string[_d0]", {}),
    ("y = StringNormalizer(x)", "string[1,N] x", "string[1,_d0]", {}),
    ("y = StringNormalizer(x)", "string[] x", "string?", {}),
    ("y = TfIdfVectorizer<ngram_indexes=[0,5,2]>(x)", "int64[N,7] x", "float[N,6]", {}),
    ("y = TfIdfVectorizer<ngram_indexes=[0]>(x)", "int64[7] x", "float[1]", {}),
    ("y = TfIdfVectorizer(x)", "int64[N,7] x", "float[N,0]", {}),
    ("y = TfIdfVectorizer<ngram_indexes=[0]>(x)", "int64[] x", "float?", {}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "inputs", "expected", "constants"), CASES)
def test_said(body: str, inputs: str, expected: str, constants: dict[str, Any]) -> None:
    assert said(body, inputs, **constants) == expected
