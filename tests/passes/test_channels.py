"""Means and variances over batches are those of all samples together."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.graph.load import from_proto
from onnxslim.passes._channels import Channels, depth_of
from tests.nets import net


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_of_several_batches(axis: int) -> None:
    rng = np.random.default_rng(0)
    shape = [2, 3, 5]
    shape[axis] = 4
    batches = [rng.normal(1e4 + i, 0.1, shape) for i in range(3)]
    channels = Channels()
    for batch in batches:
        channels.add(batch, axis)
    rows = np.concatenate([np.moveaxis(b, axis, 0).reshape(4, -1) for b in batches], axis=1)
    assert channels.count == rows.shape[1]
    np.testing.assert_allclose(channels.mean, rows.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(channels.var, rows.var(axis=1), rtol=1e-9)


def test_the_input_stays_and_single_precision_is_enough() -> None:
    batch = np.float32(1e6) + np.arange(8, dtype=np.float32).reshape(1, 2, 4)
    given, channels = batch.copy(), Channels()
    channels.add(batch, 1)
    assert np.array_equal(batch, given)
    assert channels.mean.tolist() == [1e6 + 1.5, 1e6 + 5.5]
    assert channels.var.tolist() == [1.25, 1.25]
    double = np.ones((1, 2, 4))
    channels.add(double, 1)
    assert (double == 1).all()


def test_of_nothing() -> None:
    channels = Channels()
    assert (channels.mean.size, channels.var.size) == (0, 0)
    channels.add(np.zeros((0, 3)), 1)
    assert (channels.count, channels.mean.tolist(), channels.var.tolist()) == (0, [0] * 3, [0] * 3)


def test_a_constant_has_no_variance() -> None:
    channels = Channels()
    for number in (0.1, 0.1):
        channels.add(np.full((3, 1), number), 1)
    assert channels.var.tolist() == [0.0]
    channels.add(np.array([[0.4]]), 1)
    np.testing.assert_allclose(channels.var, np.var([0.1] * 6 + [0.4]))


def test_depth_is_that_of_the_longest_way() -> None:
    body = "a = Relu(x)  b = Neg(a)  c = Add(a, b)  d = Mul(x, c)  y = Abs(d)  z = Exp(x)"
    model = from_proto(net(body))
    relu, neg, add, mul, abs_, exp = list(model.graph)
    found = depth_of(model, frozenset({relu, add, abs_}))
    assert found == {relu: 0, neg: 1, add: 1, mul: 2, abs_: 2, exp: 0}
