"""Ranges from histograms: what each calibrator keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.analysis.quantization.ranges import CALIBRATORS, choose_range
from onnxslim.errors import UsageError
from onnxslim.runtime.histogram import Histogram


def facts(values: Any) -> dict[str, Any]:
    histogram = Histogram(4096)
    histogram.update(np.asarray(values, np.float32))
    return histogram.result()


def tailed(seed: int = 0) -> Any:
    """Most values near zero, one far away."""
    values = np.random.default_rng(seed).standard_normal(200_000)
    values[7] = 60.0
    return values


def squared_error(values: Any, low: float, high: float) -> float:
    scale = (high - low) / 255
    zero = round(-low / scale)
    codes = np.clip(np.rint(values / scale) + zero, 0, 255)
    return float((((codes - zero) * scale - values) ** 2).mean())


def test_minmax_is_everything_that_was_seen() -> None:
    assert choose_range(facts([-2.0, 0.5, 3.0]), "minmax") == (-2.0, 3.0)


def test_a_range_contains_zero() -> None:
    assert choose_range(facts([2.0, 3.0]), "minmax") == (0.0, 3.0)
    assert choose_range(facts([-3.0, -2.0]), "minmax") == (-3.0, 0.0)


@pytest.mark.parametrize("method", ["percentile", "mse", "entropy"])
def test_a_far_value_is_clipped(method: str) -> None:
    low, high = choose_range(facts(tailed()), method)
    assert high < 55 and low < -2


def test_entropy_is_not_minmax() -> None:
    seen = facts(tailed())
    assert choose_range(seen, "entropy") != choose_range(seen, "minmax")


def test_mse_has_less_error_than_the_others() -> None:
    values = tailed()
    seen = facts(values)
    errors = {m: squared_error(values, *choose_range(seen, m)) for m in CALIBRATORS}
    assert errors["mse"] <= 1.02 * min(errors.values())


def test_zeros_cost_nothing_and_do_not_narrow_the_range() -> None:
    """Zeros are exact in every range, so that they do not outweigh the other values."""
    values = np.random.default_rng(0).uniform(0, 1, 1000)
    alone = choose_range(facts(values), "mse")
    diluted = choose_range(facts(np.concatenate([values, np.zeros(1_000_000)])), "mse")
    assert alone == diluted


@pytest.mark.parametrize("method", CALIBRATORS)
@pytest.mark.parametrize("values", [[0.0], [5.0], [-5.0, 0.0], [1e-30, 1e30], []])
def test_odd_tensors_have_a_finite_range_around_zero(method: str, values: list[float]) -> None:
    low, high = choose_range(facts(values), method)
    assert np.isfinite([low, high]).all() and low <= 0 <= high


@pytest.mark.parametrize("method", CALIBRATORS)
def test_a_range_never_exceeds_what_was_seen(method: str) -> None:
    values = np.random.default_rng(3).gamma(0.5, 2.0, 50_000)
    low, high = choose_range(facts(values), method)
    assert low == 0 and high <= np.float32(values.max())


def test_an_unknown_calibrator_is_named() -> None:
    with pytest.raises(UsageError, match="median.*minmax, percentile, mse, entropy"):
        choose_range(facts([1.0]), "median")
