"""The mean error of quantized weights and activations goes into the bias."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.analysis.quantization.improve_bias import shift_of_means, shift_of_weights


@pytest.mark.parametrize(("group", "kernel"), [(1, ()), (1, (3, 3)), (2, (3,)), (6, (1, 1))])
def test_the_mean_of_the_output_is_restored(group: int, kernel: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((6, 6 // group, *kernel))
    quantized = weight + 0.1 * rng.random(weight.shape)
    x = rng.standard_normal((1000, 6)) + np.arange(6)
    y = np.zeros((2, 1000, 6))
    taps = int(np.prod(kernel))
    for i, w in enumerate((weight, quantized)):
        flat = w.reshape(group, 6 // group, 6 // group, taps).sum(axis=3)
        parts = np.split(x, group, axis=1)
        y[i] = np.concatenate([p @ f.T for p, f in zip(parts, flat, strict=True)], axis=1)
    shift = shift_of_weights(weight, quantized, x.mean(axis=0))
    assert np.abs((y[0] - y[1]).mean(axis=0)).max() > 0.01
    np.testing.assert_allclose((y[1] + shift).mean(axis=0), y[0].mean(axis=0))


def test_measured_means() -> None:
    wanted, found = np.array([1.0, 2.0, np.nan]), np.array([0.5, 2.1, 0.0])
    np.testing.assert_allclose(shift_of_means(wanted, found), [0.5, -0.1, 0.0])
    noise = np.array([0.1, 0.1, 0.1])
    np.testing.assert_allclose(shift_of_means(wanted, found, noise), [0.5, 0.0, 0.0])
