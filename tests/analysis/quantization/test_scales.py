"""Scales, zero points, integer weights and biases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.analysis.quantization.scales import (
    affine,
    least_weight_scales,
    round_bias,
    round_weight,
    weight_scales,
)

finite = st.floats(-1e6, 1e6, width=32)


@given(finite, finite)
def test_zero_is_exact_and_the_type_holds(a: float, b: float) -> None:
    found = affine(min(a, b), max(a, b), (0, 255))
    assert 0 <= found.zero <= 255
    assert found.scale > 0 and found.scale == np.float32(found.scale)


@given(st.floats(2.0**-10, 2.0**20, width=32))
def test_integers_never_reach_beyond_a_clip(high: float) -> None:
    found = affine(0.0, high, (0, 255))
    assert found.zero == 0 and found.scale * 255 <= high


def test_a_symmetric_range_has_the_zero_point_zero() -> None:
    found = affine(-1.0, 4.0, (-127, 127), symmetric=True)
    assert found.zero == 0 and found.scale == pytest.approx(4 / 127)


def test_a_tensor_of_zeros_has_a_scale() -> None:
    assert affine(0.0, 0.0, (0, 255)).scale == 1.0


@pytest.mark.parametrize("axis", [0, 1])
def test_each_channel_has_its_own_scale(axis: int) -> None:
    weight = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    scales = weight_scales(weight, axis, 127)
    codes = round_weight(weight, scales, axis, 127)
    shape = (-1, 1) if axis == 0 else (1, -1)
    error = np.abs(codes * scales.reshape(shape) - weight)
    assert scales.shape == (weight.shape[axis],)
    assert (error <= scales.reshape(shape) * 0.5001).all()
    assert (np.abs(codes.astype(int)).max(axis=1 - axis) == 127).all()


def test_a_dead_channel_has_a_scale() -> None:
    weight = np.zeros((2, 3), np.float32)
    weight[1] = 1
    scales = weight_scales(weight, 0, 127)
    assert scales[0] == 1.0 and not round_weight(weight, scales, 0, 127)[0].any()


def test_a_bias_is_rounded_to_the_product_of_the_scales() -> None:
    bias = np.array([0.5, -2.0], np.float32)
    scales = np.array([0.01, 0.02], np.float32)
    codes, product = round_bias(bias, 0.1, scales)
    assert codes.dtype == np.int32
    assert np.allclose(product, [0.001, 0.002]) and np.allclose(codes * product, bias, atol=1e-3)


def test_scales_grow_until_the_bias_fits() -> None:
    bias = np.array([50.0], np.float32)
    weight = np.full((1, 4), 1e-12, np.float32)
    least = least_weight_scales(bias, 0.01)
    scales = weight_scales(weight, 0, 127, least)
    codes, product = round_bias(bias, 0.01, scales)
    assert abs(int(codes[0])) < 2**31 - 1
    assert codes[0] * np.float64(product[0]) == pytest.approx(50.0, rel=1e-5)
