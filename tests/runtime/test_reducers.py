"""Reducers against plain numpy, whole and in pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.errors import DataError, UsageError
from onnxslim.runtime.histogram import Histogram
from onnxslim.runtime.reducers import Gram, MinMax, Reducer, make


def data(seed: int, scale: float = 1.0, shape: tuple[int, ...] = (7, 5, 3)) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def through(reducer: Reducer, batches: list[Any]) -> Reducer:
    for batch in batches:
        reducer.update(*batch) if isinstance(batch, tuple) else reducer.update(batch)
    return reducer


BATCHES = [data(0), data(1, 100), data(2, 1e-3), np.zeros((2, 5, 3), np.float32)]


def test_minmax_whole() -> None:
    result = through(MinMax(), BATCHES).result()
    flat = np.concatenate([batch.reshape(-1) for batch in BATCHES])
    assert (result["min"], result["max"]) == (float(flat.min()), float(flat.max()))
    assert result["mean"] == pytest.approx(flat.astype(float).mean(), rel=1e-12)
    assert (result["count"], result["nonfinite"]) == (flat.size, 0)


@pytest.mark.parametrize("axis", [1, -1])
def test_minmax_by_axis(axis: int) -> None:
    result = through(MinMax(axis=axis), BATCHES).result()
    whole = np.moveaxis(np.concatenate(BATCHES), axis, 0)
    rows = whole.reshape(whole.shape[0], -1)
    assert result["min"].tolist() == rows.min(axis=1).tolist()
    assert result["max"].tolist() == rows.max(axis=1).tolist()
    assert np.allclose(result["mean"], rows.mean(axis=1, dtype=float), rtol=1e-9, atol=1e-12)


def test_minmax_leaves_out_what_is_not_finite() -> None:
    batch = np.array([1, np.nan, -3, np.inf, -np.inf], np.float16)
    result = through(MinMax(), [batch]).result()
    assert (result["min"], result["max"], result["mean"]) == (-3, 1, -1)
    assert (result["count"], result["nonfinite"]) == (2, 3)


def test_minmax_of_integers_and_of_nothing() -> None:
    assert through(MinMax(), [np.array([3, -200], np.int16)]).result()["min"] == -200
    assert through(MinMax(), [np.zeros((0, 3))]).result()["count"] == 0


def test_minmax_needs_a_fixed_axis() -> None:
    with pytest.raises(DataError, match="axis 1"):
        through(MinMax(axis=1), [np.zeros((2, 3)), np.zeros((2, 4))])
    with pytest.raises(DataError, match="axis 4"):
        through(MinMax(axis=4), [np.zeros((2, 3))])


def test_histogram_is_numpys() -> None:
    result = through(Histogram(bins=64), BATCHES).result()
    flat = np.concatenate([batch.reshape(-1) for batch in BATCHES]).astype(float)
    edges = result["edges"]
    assert edges.size == 65 and edges[0] == -edges[-1] and np.log2(edges[-1]) % 1 == 0
    expected, _ = np.histogram(flat[flat != 0], bins=edges)
    assert result["counts"].tolist() == expected.tolist()
    assert result["zeros"] == int((flat == 0).sum())
    assert (result["min"], result["max"]) == (flat.min(), flat.max())


numbers = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, 1.0, -1.0, 0.5, 2.0**-30])
arrays = st.lists(st.lists(numbers, min_size=1, max_size=20), min_size=1, max_size=6)


@settings(max_examples=100, deadline=None)
@given(arrays, st.randoms(use_true_random=False), st.integers(0, 6))
def test_histograms_do_not_depend_on_order_or_cut(
    batches: list[list[float]], random: Any, cut: int
) -> None:
    made = [np.array(batch, np.float32) for batch in batches]
    whole = through(Histogram(bins=32), [np.concatenate(made)])
    shuffled = list(made)
    random.shuffle(shuffled)
    left, right = Histogram(bins=32), Histogram(bins=32)
    through(left, shuffled[:cut])
    through(right, shuffled[cut:])
    left.merge(right)
    for key, value in whole.state().items():
        if not key.endswith("sum"):
            assert np.array_equal(left.state()[key], value), key


@pytest.mark.parametrize("size", [1001, 1_000_001])
def test_histogram_of_some_values_keeps_the_exact_range(size: int) -> None:
    batch = np.arange(1, size, dtype=np.float32)
    batch[size // 2] = -7  # beside what is counted
    result = through(Histogram(most=size // 20), [batch]).result()
    assert result["counts"].sum() == -(-(size - 1) // 19)
    assert (result["min"], result["max"]) == (-7, size - 1)


def test_histogram_of_some_values_meets_every_channel_and_column() -> None:
    for width in (3, 7, 12, 32, 56, 96, 224, 320, 768):
        batch = np.zeros((4096, width), np.float32)
        for channel in range(width):
            batch[:, channel] = channel + 1
        found = through(Histogram(bins=4096, most=2 * width), [batch]).result()
        assert np.count_nonzero(found["counts"]) == width, width


def test_histogram_of_some_values_starts_elsewhere_in_every_batch() -> None:
    batch = np.tile(np.arange(1, 8, dtype=np.float32), 100)  # seven channels, one in seven counted
    found = through(Histogram(most=100), [batch] * 7).result()
    assert sorted(found["counts"][found["counts"] > 0]) == [100] * 7


@pytest.mark.parametrize("options", [{"bins": 100}, {"bins": 2}, {"most": -1}])
def test_histogram_refuses(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="expected|needs"):
        Histogram(**options)


@pytest.mark.parametrize("axis", [1, -1])
def test_gram(axis: int) -> None:
    result = through(Gram(axis=axis), BATCHES).result()
    whole = np.moveaxis(np.concatenate(BATCHES), axis, -1)
    x = whole.reshape(-1, whole.shape[-1]).astype(float)
    assert np.allclose(result["gram"], x.T @ x, rtol=1e-12)
    assert np.allclose(result["sum"], x.sum(axis=0)) and result["count"] == len(x)


def test_gram_of_two_values() -> None:
    pairs = [(data(0), data(1, shape=(7, 4, 5))), (data(2), data(3, shape=(7, 4, 5)))]
    result = through(Gram(other="y", other_axis=1), pairs).result()
    x = np.concatenate([a for a, _ in pairs]).reshape(-1, 3).astype(float)
    y = np.moveaxis(np.concatenate([b for _, b in pairs]), 1, -1).reshape(-1, 4).astype(float)
    assert np.allclose(result["cross"], x.T @ y)
    assert np.allclose(result["other_sum"], y.sum(axis=0))
    assert np.allclose(result["other_square"], (y * y).sum(axis=0))


def test_gram_works_in_pieces_and_leaves_out_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxslim.runtime import reducers

    monkeypatch.setattr(reducers, "_CHUNK", 4)
    x = data(5, shape=(50, 3))
    x[7, 1] = np.nan
    good = np.delete(x, 7, axis=0).astype(float)
    result = through(Gram(), [x]).result()
    assert result["count"] == 49 and np.allclose(result["gram"], good.T @ good)
    assert through(Gram(max_rows=10), [x]).result()["count"] == 10  # every fifth
    assert through(Gram(max_rows=7), [x]).result()["count"] == 7  # every eighth


def test_gram_refuses() -> None:
    with pytest.raises(DataError, match="rows"):
        Gram(other="y").update(np.zeros((2, 3)), np.zeros((3, 3)))
    with pytest.raises(DataError, match="two arrays"):
        Gram(other="y").update(np.zeros((2, 3)))
    with pytest.raises(DataError, match="changed its size"):
        through(Gram(), [np.zeros((2, 3)), np.zeros((2, 4))])
    with pytest.raises(DataError, match="axis"):
        Gram(axis=3).update(np.zeros((2, 3)))


@pytest.mark.parametrize("reducer", [MinMax(), MinMax(axis=1), Histogram(bins=16), Gram(axis=1)])
def test_state_merge_and_fresh(reducer: Reducer) -> None:
    whole = through(reducer.fresh(), BATCHES)
    parts = [through(reducer.fresh(), BATCHES[:2]), through(reducer.fresh(), BATCHES[2:])]
    merged = reducer.fresh()
    for part in parts:
        merged.merge(make(part.kind, part.options()).load(part.state()))
    merged.merge(reducer.fresh())  # one that saw nothing
    for key, value in whole.state().items():
        assert np.allclose(merged.state()[key], value, rtol=1e-12), key


def test_make_names_what_there_is() -> None:
    with pytest.raises(UsageError, match="minmax, histogram, gram"):
        make("median", {})


@pytest.mark.parametrize("sign", [1, -1])
def test_histogram_of_one_sign_is_numpys_too(sign: int) -> None:
    """What is never negative is counted on a shorter way; else on the long one."""
    batches = [sign * np.abs(batch) for batch in (*BATCHES, data(3, 30, (40, 30, 20)))]
    for more in ([], [data(4, 200)], [np.array([-0.0, 2.0**-40, -(2.0**-40)], np.float32)]):
        flat = np.concatenate([batch.reshape(-1) for batch in (*batches, *more)]).astype(float)
        result = through(Histogram(bins=64), [*batches, *more]).result()
        expected, _ = np.histogram(flat[flat != 0], bins=result["edges"])
        assert result["counts"].tolist() == expected.tolist()
        assert result["zeros"] == int((flat == 0).sum())
        assert (result["min"], result["max"]) == (flat.min(), flat.max())


def test_histogram_leaves_out_what_is_not_finite() -> None:
    batch = np.array([1, np.nan, -3, np.inf, -np.inf, 0], np.float16)
    result = through(Histogram(bins=16), [batch, batch[3:5]]).result()
    assert (result["min"], result["max"], result["nonfinite"]) == (-3, 1, 5)
    assert (result["count"], result["counts"].sum(), result["zeros"]) == (3, 2, 1)
    nothing = through(Histogram(), [batch[3:5]])
    assert nothing.result()["min"] is None and nothing.result()["nonfinite"] == 2
    assert nothing.fresh().load(nothing.state()).result()["nonfinite"] == 2


def test_histogram_is_handed_over_as_little() -> None:
    """Two arrays, of the bins in use, no wider than the counts: packing is what costs."""
    made = through(Histogram(), [np.linspace(1, 2, 3000, dtype=np.float32)])
    state = made.state()
    assert [array.nbytes for array in state.values()] == [7 * 8, 1025 // 2 + 1]
    again = made.fresh().load(state).result()
    assert all(np.array_equal(value, again[key]) for key, value in made.result().items())
