"""Weights are rounded for the output's sake."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.analysis.quantization.improve_rounding import output_error, round_to_gram


def layer(
    groups: int = 1, outputs: int = 8, inputs: int = 40, rank: int = 12, seed: int = 0
) -> tuple[Any, Any, Any, Any]:
    """Weights, scales, Gram matrix of correlated inputs, and the inputs (G, R, D)."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((groups, outputs, inputs))
    x = rng.standard_normal((groups, 400, rank)) @ rng.standard_normal((groups, rank, inputs))
    x += 0.1 * rng.standard_normal(x.shape) + 0.5
    scales = np.abs(weight).max(axis=2) / 127
    return weight, scales, x.transpose(0, 2, 1) @ x, x


def nearest(weight: Any, scales: Any) -> Any:
    return np.clip(np.rint(weight / scales[:, :, None]), -127, 127)


@pytest.mark.parametrize(
    ("groups", "outputs", "inputs"), [(1, 8, 40), (1, 3, 300), (5, 4, 9), (16, 1, 9), (1, 1, 1)]
)
def test_the_output_moves_less(groups: int, outputs: int, inputs: int) -> None:
    weight, scales, gram, x = layer(groups, outputs, inputs, rank=max(1, inputs // 3))
    found = round_to_gram(weight, scales, gram, 127)
    assert found.dtype == np.int8 and found.shape == weight.shape
    before = output_error(weight, nearest(weight, scales), scales, gram)
    after = output_error(weight, found, scales, gram)
    assert (after <= before * (1 + 1e-9) + 1e-9).all(), "never worse, row by row"
    if inputs > 1:
        assert after.sum() < 0.5 * before.sum()
    y = x @ (weight - found * scales[:, :, None]).transpose(0, 2, 1)
    np.testing.assert_allclose((y**2).sum(axis=1), after, rtol=1e-6, atol=1e-9)


def test_each_step_helps() -> None:
    weight, scales, gram, _ = layer(inputs=64, rank=20)
    errors = [
        output_error(weight, round_to_gram(weight, scales, gram, 127, sweeps=n), scales, gram).sum()
        for n in (0, 1, 2)
    ]
    assert errors[2] <= errors[1] < errors[0]
    assert errors[0] < output_error(weight, nearest(weight, scales), scales, gram).sum()


def test_independent_inputs_leave_nothing_to_gain() -> None:
    weight, scales, _, _ = layer()
    gram = np.eye(40)[None] * 7
    np.testing.assert_array_equal(round_to_gram(weight, scales, gram, 127), nearest(weight, scales))


def test_stays_within_the_limit() -> None:
    weight, scales, gram, _ = layer()
    found = round_to_gram(weight, scales / 2, gram, 63)
    assert np.abs(found.astype(int)).max() == 63


def test_inputs_that_never_occur_do_no_harm() -> None:
    weight, scales, gram, _ = layer()
    gram[:, 3], gram[:, :, 3] = 0, 0
    found = round_to_gram(weight, scales, gram, 127)
    assert np.abs(found[:, :, 3] - weight[:, :, 3] / scales).max() <= 1
    assert (round_to_gram(weight, scales, gram * 0, 127) == nearest(weight, scales)).all()


def test_groups_are_independent() -> None:
    weight, scales, gram, _ = layer(groups=3)
    together = round_to_gram(weight, scales, gram, 127)
    for g in range(3):
        part = slice(g, g + 1)
        alone = round_to_gram(weight[part], scales[part], gram[part], 127)
        np.testing.assert_array_equal(together[part], alone)
