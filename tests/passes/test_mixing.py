"""Batches between two others: every number from one of them, or a mean of both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.passes._mixing import mix

Array = np.ndarray[Any, Any]
DRAWS = 60


def pair(*shape: int, dtype: Any = np.float32, count: int | None = None) -> tuple[Array, Array]:
    """Zeros and ones."""
    return np.zeros(shape, dtype), np.ones((count or shape[0], *shape[1:]), dtype)


def mixtures(a: dict[str, Array], b: dict[str, Array]) -> list[dict[str, Array]]:
    found = [mix(a, b, np.random.default_rng(seed)) for seed in range(DRAWS)]
    assert None not in found
    return [item for item in found if item is not None]


def blends(found: Array) -> bool:
    return bool(((found != 0) & (found != 1)).any())


def spans(row: Array) -> int:
    """How many runs of ones there are in a ring."""
    return int((np.diff(np.append(row, row[0])) > 0).sum())


@pytest.mark.parametrize("shape", [(8, 1, 6, 7), (8, 12), (8, 5, 9)])
def test_spans_and_means(shape: tuple[int, ...]) -> None:
    a, b = pair(*shape)
    found = [item["x"] for item in mixtures({"x": a}, {"x": b})]
    assert {item.shape for item in found} == {shape}
    assert {item.dtype for item in found} == {np.dtype(np.float32)}
    means = [item for item in found if blends(item)]
    assert 5 <= len(means) <= 25  # a quarter of 60
    for item in means:
        flat = item.reshape(8, -1)
        assert (flat == flat[:, :1]).all()  # one weight for a sample
        assert len(np.unique(flat[:, 0])) == 8
    cuts = [item for item in found if not blends(item)]
    assert all(0 < item.mean() < 1 for item in cuts)
    assert 0.4 < np.mean([item.mean() for item in cuts]) < 0.6


def test_a_span_runs_along_one_axis_that_has_several_places() -> None:
    a, b = pair(8, 1, 6, 7, dtype=np.int64)
    axes = set()
    for item in mixtures({"x": a}, {"x": b}):
        rows, columns = item["x"].max((1, 3)), item["x"].max((1, 2))
        whole = item["x"].reshape(8, -1).all(1)
        for sample in np.flatnonzero(~whole & (rows.max(1) > 0)):
            axes.add(2 if columns[sample].all() else 3)
            line = rows[sample] if columns[sample].all() else columns[sample]
            assert spans(line) == 1
            assert item["x"][sample].sum() == line.sum() * (7 if columns[sample].all() else 6)
    assert axes == {2, 3}


def test_every_number_is_of_its_place_and_its_sample() -> None:
    a = np.arange(8 * 10).reshape(8, 10)
    b = -1 - a
    for item in mixtures({"x": a}, {"x": b}):
        old = item["x"] >= 0
        assert (item["x"][old] == a[old]).all()
        for row in item["x"]:
            taken = -1 - row[row < 0]
            assert len({int(v) // 10 for v in taken}) <= 1  # one other sample
            assert (taken % 10 == np.flatnonzero(row < 0)).all()


def test_samples_of_the_second_batch_are_shuffled() -> None:
    a, b = np.full((6, 4), -1), np.repeat(np.arange(6), 4).reshape(6, 4)
    orders = {tuple(item["x"].max(1)) for item in mixtures({"x": a}, {"x": b})}
    assert len(orders) > DRAWS // 2


def test_inputs_that_belong_together_are_cut_alike() -> None:
    ids, others = np.full((4, 9), 3), np.full((4, 9), 5)
    for item in mixtures({"ids": ids, "mask": ids % 5}, {"ids": others, "mask": others % 5}):
        assert (item["ids"] % 5 == item["mask"]).all()


def test_numbers_for_a_whole_sample_come_from_one_of_both() -> None:
    a, b = pair(50, 4, dtype=np.int64)
    lengths = np.arange(50), 100 + np.arange(50)
    for item in mixtures({"x": a, "n": lengths[0]}, {"x": b, "n": lengths[1]}):
        kept = item["n"] < 100
        assert (item["n"][kept] == np.flatnonzero(kept)).all()
        assert 0 < kept.sum() < 50
        assert (item["x"].mean(1)[kept] <= 0.5).all() and (item["x"].mean(1)[~kept] >= 0.5).all()


def test_the_smaller_batch_counts() -> None:
    a, b = pair(5, 4, count=3)
    assert {len(item["x"]) for item in mixtures({"x": a}, {"x": b})} == {3}
    assert {len(item["x"]) for item in mixtures({"x": b}, {"x": a})} == {3}


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({"x": np.zeros((2, 3))}, {"x": np.zeros((2, 4))}),
        ({"x": np.zeros((2, 3)), "s": np.zeros(())}, {"x": np.zeros((2, 3)), "s": np.zeros(())}),
        (
            {"x": np.zeros((2, 3)), "y": np.zeros((4, 3))},
            {"x": np.zeros((2, 3)), "y": np.zeros((4, 3))},
        ),
    ],
)
def test_what_does_not_fit_together(a: dict[str, Array], b: dict[str, Array]) -> None:
    assert mix(a, b, np.random.default_rng(0)) is None


def test_half_precision_and_truth_values_stay_what_they_are() -> None:
    a = {"x": np.zeros((4, 6), np.float16), "t": np.zeros((4, 6), bool)}
    b = {"x": np.ones((4, 6), np.float16), "t": np.ones((4, 6), bool)}
    for item in mixtures(a, b):
        assert (item["x"].dtype, item["t"].dtype) == (np.float16, np.bool_)
        assert (item["x"].astype(bool) == item["t"]).all()  # never a mean: not all are floats
