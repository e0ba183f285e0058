"""Shared vectors get a copy per reader; filters, scalars and integers stay shared."""

from __future__ import annotations

import numpy as np

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("unshare-initializers")()


def test_every_reader_gets_its_own_vector() -> None:
    model = net("a = Add(x, b)  c = Mul(a, b)  y = Sub(c, b)", x="float[N,4]", b=(4,))
    assert_pass(PASS, model, ["a = Add(x, b)", "c = Mul(a, b_s1)", "y = Sub(c, b_s2)"])


def test_a_vector_with_axes_of_one_counts_as_one() -> None:
    model = net("a = Add(x, b)  y = Mul(a, b)", x="float[N,4,2,2]", b=(1, 4, 1, 1))
    assert_pass(PASS, model, ["a = Add(x, b)", "y = Mul(a, b_s1)"])


def test_tied_matrices_scalars_and_integers_stay() -> None:
    matrix = net("a = MatMul(x, w)  y = MatMul(a, w)", x="float[N,4]", w=(4, 4))
    assert_pass(PASS, matrix, None)
    scalar = net("a = Mul(x, s)  y = Add(a, s)", x="float[N,4]", s=np.float32(2))
    assert_pass(PASS, scalar, None)
    shape = net("a = Reshape(x, s)  b = Relu(a)  y = Reshape(b, s)", x="float[8]", s=[2, 4])
    assert_pass(PASS, shape, None)
