"""Fits on plain arrays: what has an exact answer is found, what makes things worse is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from onnxslim.analysis.reconstruction.fit import Chunk, Options, Problem, fit
from onnxslim.analysis.reconstruction.moments import Moments
from onnxslim.analysis.reconstruction.ridge import choose, ridge

Array = np.ndarray[Any, np.dtype[Any]]


def moments(x: Array, y: Array) -> Moments:
    found = Moments.empty(x.shape[0], x.shape[2], y.shape[2])
    half = x.shape[1] // 2
    found.add(x[:, :half], y[:, :half])
    found.add(x[:, half:], y[:, half:])
    return found


def rows(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def test_error_is_that_of_the_rows() -> None:
    x, y, w, b = rows(0, 2, 50, 5), rows(1, 2, 50, 3), rows(2, 2, 3, 5), rows(3, 2, 3)
    wanted = ((y - x @ w.transpose(0, 2, 1) - b[:, None]) ** 2).mean(axis=1)
    np.testing.assert_allclose(moments(x, y).error(w, b), wanted)


def test_sums_of_parts_are_the_whole() -> None:
    x, y = rows(0, 1, 40, 4), rows(1, 1, 40, 2)
    parts = moments(x[:, :17], y[:, :17]) + moments(x[:, 17:], y[:, 17:])
    for found, wanted in zip(parts.centred(), moments(x, y).centred(), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_ridge_finds_the_layer_and_its_bias() -> None:
    x, w, b = rows(0, 3, 60, 5) + 2, rows(1, 3, 4, 5), rows(2, 3, 4)
    found = ridge(moments(x, x @ w.transpose(0, 2, 1) + b[:, None]), np.zeros_like(w), 1e-9)
    np.testing.assert_allclose(found.weight, w, atol=1e-5)
    np.testing.assert_allclose(found.bias, b, atol=1e-5)


def test_ridge_pulls_towards_the_given_weights() -> None:
    """An input that never changes keeps its weight; the strongest pull keeps all of them."""
    x, start = rows(0, 1, 60, 3), rows(1, 1, 2, 3)
    x[:, :, 1] = 0
    data = moments(x, rows(2, 1, 60, 2))
    np.testing.assert_allclose(ridge(data, start, 1e-3).weight[..., 1], start[..., 1], rtol=1e-9)
    assert not np.allclose(ridge(data, start, 1e-3).weight, start, atol=1e-2)
    np.testing.assert_allclose(ridge(data, start, 1e6).weight, start, atol=1e-4)
    np.testing.assert_array_equal(ridge(data, start, math.inf).weight, start)


def test_the_strength_that_holds_on_other_rows_is_chosen() -> None:
    w = rows(0, 1, 1, 30)
    x, noise = rows(1, 1, 40, 30), 3 * rows(2, 1, 40, 1)
    far, near = np.zeros_like(w), w + 0.01 * rows(3, 1, 1, 30)
    other = rows(4, 1, 500, 30)
    held, ones = moments(other, other @ w.transpose(0, 2, 1)), np.ones((1, 1))
    exact = moments(x, x @ w.transpose(0, 2, 1))
    noisy = moments(x, x @ w.transpose(0, 2, 1) + noise)
    index, found = choose(exact, held, [far], ones)
    assert (index, found.strength) == (0, 1e-4)
    index, found = choose(noisy, held, [far, near], ones)
    assert (index, found.strength) == (1, math.inf)


def problem(x: Array, target: Array, **more: Any) -> Problem:
    g, d, o = x.shape[0], x.shape[2], target.shape[2]
    cut = x.shape[1] * 3 // 4
    given: dict[str, Any] = {
        "weight": np.zeros((g, o, d)), "bias": np.zeros((g, o)),
        "scale": np.ones((g, o)), "shift": np.zeros((g, o)), **more,
    }  # fmt: skip
    other = given.pop("other", None)

    def chunks() -> list[Chunk]:
        return [
            Chunk(x[:, s], target[:, s], None if other is None else other[:, s], held)
            for s, held in ((slice(0, cut), False), (slice(cut, None), True))
        ]

    return Problem(chunks, **given)


def test_what_lies_behind_the_layer_is_taken_off() -> None:
    x, w, b = rows(0, 2, 80, 4), rows(1, 2, 3, 4), rows(2, 2, 3)
    scale, shift, other = rows(3, 2, 3), rows(4, 2, 3), rows(5, 2, 80, 3)
    y = x @ w.transpose(0, 2, 1) + b[:, None]
    target = scale[:, None] * y + shift[:, None] + other
    found = fit(problem(x, target, scale=scale, shift=shift, other=other), Options((1e-9,)))
    np.testing.assert_allclose(found.weight, w, atol=1e-5)
    np.testing.assert_allclose(found.bias, b, atol=1e-5)
    assert found.after < 1e-9 < found.before


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("low", "high"), [(0.0, math.inf), (-1.0, 1.0)])
def test_behind_a_limit_anything_goes(sign: int, low: float, high: float) -> None:
    """Targets bend away where they are clipped: only a fit that knows of it is exact."""
    x, w = rows(0, 1, 400, 3), rows(1, 1, 2, 3)
    line = x @ w.transpose(0, 2, 1) + 0.3
    target = np.where(line < low, low - 4 * (line - low) ** 2, line)
    if high < math.inf:
        target = np.where(line > high, high + (line - high) / 9, target)
    scale = np.full((1, 2), float(sign))
    given = problem(x, target, scale=scale, low=low, high=high)
    knows = fit(given, Options((1e-9,), rounds=200))
    plain = fit(given, Options((1e-9,), rounds=0))
    assert knows.after < 0.02 * plain.after
    np.testing.assert_allclose(knows.weight, sign * w, atol=0.05)


def test_an_output_that_is_multiplied_by_nothing_keeps_its_weights() -> None:
    x = rows(0, 1, 80, 4)
    scale = np.array([[1.0, 0.0]])
    found = fit(problem(x, rows(1, 1, 80, 2), scale=scale, weight=np.ones((1, 2, 4))))
    np.testing.assert_array_equal(found.weight[:, 1], np.ones((1, 4)))
    assert np.isfinite(found.weight).all()
    assert not np.allclose(found.weight[:, 0], 1)


def test_a_fit_on_noise_is_no_better_than_good_weights() -> None:
    x, w = rows(0, 1, 40, 35), rows(1, 1, 1, 35)
    target = x @ w.transpose(0, 2, 1)
    target[:, :30] += 20 * rows(2, 1, 30, 1)
    found = fit(problem(x, target, weight=w + 1e-3), Options((1e-6,)))
    assert found.after > found.before


def test_a_layer_that_is_too_wide_takes_the_best_weights_and_a_bias() -> None:
    x, w = rows(0, 1, 200, 6), rows(1, 1, 2, 6)
    target = x @ w.transpose(0, 2, 1) + 3
    given = problem(x, target, priors=(w + 0.01, w - 5))
    found = fit(given, Options(widest=5))
    assert found.start == 1
    np.testing.assert_array_equal(found.weight, w + 0.01)
    np.testing.assert_allclose(found.bias, 3, atol=0.05)
    assert found.after < 0.01 < found.before
    only = fit(problem(x, target), Options(strengths=(math.inf,)))
    np.testing.assert_array_equal(only.weight, 0 * w)
    np.testing.assert_allclose(only.bias, target.mean(axis=1), rtol=1e-6)


def test_the_better_start_wins_when_rows_are_few() -> None:
    x, w = rows(0, 1, 24, 30), rows(1, 1, 2, 30)
    target = x @ w.transpose(0, 2, 1)
    assert fit(problem(x, target, priors=(w + 0.01 * rows(2, 1, 2, 30),))).start == 1
    assert fit(problem(x, target, weight=w + 0.01, priors=(0 * w,))).start == 0


def test_constant_inputs_are_counted() -> None:
    x = rows(0, 1, 40, 3)
    x[:, :, 1] = 5
    assert fit(problem(x, rows(1, 1, 40, 1))).constant == 1
    assert fit(problem(np.ones((1, 40, 3)), rows(1, 1, 40, 1))).constant == 3
