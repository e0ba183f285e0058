from __future__ import annotations

import json
import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from onnxslim.runtime.specs import Array
from onnxslim.verify.compare import Stats, change, leaves


def stats(*pairs: Any) -> Stats:
    found = Stats()
    for a, b in pairs:
        found.add(a, b)
    return found


def f32(*values: Any) -> Array:
    return np.array(values, np.float32)


def test_metrics_of_a_known_difference() -> None:
    found = stats((f32(3, 4), f32(3, 3)))
    assert (found.max_abs, found.peak, found.max_rel) == (1, 4, 0.25)
    assert found.cosine == pytest.approx((9 + 12) / (5 * math.sqrt(18)))
    assert found.sqnr_db == pytest.approx(10 * math.log10(25))
    assert (found.unequal, found.size, found.exact) == (1, 2, False)


def test_accumulates_over_feeds() -> None:
    found = stats((f32(1, 2), f32(1, 2)), (f32(10, 0), f32(10, 0.5)))
    assert (found.feeds, found.max_abs, found.peak) == (2, 0.5, 10)
    assert found.sqnr_db == pytest.approx(10 * math.log10(105 / 0.25))


def test_equal_is_infinite_sqnr_and_null_in_json() -> None:
    found = stats((f32(1, 2), f32(1, 2)))
    assert found.exact and found.sqnr_db == math.inf
    assert found.to_json() == {"max_abs": 0, "max_rel": 0, "cosine": 1, "sqnr_db": None}


def test_nan_equals_nan_and_inf_the_same_inf() -> None:
    same = f32(np.nan, np.inf, -np.inf, 1)
    assert stats((same, same.copy())).max_abs == 0
    nearly = f32(np.nan, np.inf, -np.inf, 1.5)
    assert stats((same, nearly)).max_abs == 0.5


@pytest.mark.parametrize(
    ("a", "b"), [(np.nan, 1), (1, np.nan), (np.inf, -np.inf), (np.inf, np.nan), (1, np.inf)]
)
def test_other_special_values_differ_without_bound(a: Any, b: Any) -> None:
    found = stats((f32(a, 1), f32(b, 1)))
    assert found.max_abs == math.inf
    json.dumps(found.to_json(), allow_nan=False)


def test_minus_zero_is_zero() -> None:
    assert stats((f32(0.0, 1), f32(-0.0, 1))).exact


@pytest.mark.parametrize(
    "values",
    [f32(2, 2, 2), f32(), f32(np.nan, np.nan), f32(1, 1 + 1e-7), np.zeros((2, 2), np.float32)],
)
def test_vacuous(values: Any) -> None:
    assert stats((values, values)).vacuous


def test_one_number_is_vacuous_only_when_all_feeds_give_it() -> None:
    assert stats((f32(0.5), f32(0.5)), (f32(0.5), f32(0.5))).vacuous
    assert not stats((f32(0.5), f32(0.5)), (f32(0.7), f32(0.7))).vacuous
    assert not stats((f32(1, 2), f32(1, 2))).vacuous


def test_integers_strings_and_booleans_are_exact() -> None:
    found = stats((np.array([1, 2]), np.array([1, 3])))
    assert (found.unequal, found.floats, found.max_abs, found.exact) == (1, False, 1, False)
    words = np.array(["a", "b"], object)
    assert stats((words, words.copy())).exact
    assert stats((words, np.array(["a", "c"], object))).unequal == 1
    assert stats((np.array([True]), np.array([False]))).unequal == 1


def test_unsigned_differences_do_not_wrap() -> None:
    assert stats((np.array([1], np.uint8), np.array([2], np.uint8))).max_abs == 1


def test_shape_and_type() -> None:
    assert stats((f32(1), f32(1, 2))).problem == "shape"
    found = stats((f32(1), np.array([1], np.float64)))
    assert (found.problem, found.detail) == ("dtype", "float32 became float64")
    assert found.to_json()["max_abs"] is None


def test_sequences_and_optionals_element_by_element() -> None:
    assert stats(([f32(1, 2), f32(3)], [f32(1, 2), f32(4)])).max_abs == 1
    assert stats(([f32(1)], [f32(1), f32(1)])).problem == "shape"
    assert stats((None, None)).exact
    assert stats((None, f32(1))).problem == "shape"
    assert [a.tolist() for a in leaves([{"a": f32(1)}])] == [["a"], [1]]


def test_complex_numbers_are_pairs() -> None:
    found = stats((np.array([1 + 2j], np.complex64), np.array([1 + 2.5j], np.complex64)))
    assert (found.floats, found.max_abs, found.peak) == (True, 0.5, 2)


def test_small_floats_are_floats() -> None:
    x = np.array([1, 2], ml_dtypes.bfloat16)
    found = stats((x, x + x))
    assert found.floats and found.low_precision and found.max_abs == 2


def test_change_of_shape_is_infinite() -> None:
    assert change(f32(1), f32(1, 2)) == math.inf
    assert change(f32(1), f32(1.25)) == 0.25
