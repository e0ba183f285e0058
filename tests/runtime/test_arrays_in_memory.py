"""One dict of arrays is read as an .npz file with the same arrays is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxslim.errors import DataError
from onnxslim.runtime.data import DataOptions, DataSource, open_data
from onnxslim.runtime.specs import InputSpec

F32 = np.dtype(np.float32)
X = InputSpec("x", F32, ("batch", 3, 4))
SCALE = InputSpec("scale", F32, (2,))
FIXED = InputSpec("x", F32, (4, 3))


def ramp(*shape: int) -> np.ndarray[Any, Any]:
    return np.arange(np.prod(shape)).reshape(shape).astype(np.float32)


def opened(src: Any, *specs: InputSpec, **options: Any) -> DataSource:
    return open_data(src, specs, DataOptions(**options))


@pytest.mark.parametrize(
    ("arrays", "specs", "options"),
    [
        ({"x": ramp(70, 3, 4), "y": np.arange(70)}, (X,), {"labels": "y"}),
        ({"x": ramp(70, 3, 4)}, (X,), {"samples": 40, "seed": 3}),
        ({"x": ramp(70, 3, 4)}, (X,), {"batch": 16}),
        ({"x": ramp(9, 3, 4).astype(np.int64), "scale": ramp(2)}, (X, SCALE), {}),
        ({"x": ramp(10, 3)}, (FIXED,), {}),
        ({"pixels": ramp(5, 3, 4), "y": np.arange(5)}, (X,), {}),
    ],
)
def test_as_a_file(tmp_path: Path, arrays: Any, specs: Any, options: Any) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    held, filed = opened(arrays, *specs, **options), opened(tmp_path / "d.npz", *specs, **options)
    assert (len(held), held.batch_size) == (len(filed), filed.batch_size)
    assert held.digest() == filed.digest()
    for one, other in zip(held, filed, strict=True):
        assert (one.count, one.rows) == (other.count, other.rows)
        for name, array in other.feeds.items():
            np.testing.assert_array_equal(one.feeds[name], array)
            assert one.feeds[name].dtype == array.dtype
    if filed.labels is None:
        assert held.labels is None
    else:
        np.testing.assert_array_equal(held.labels, filed.labels)


def test_one_sample_without_the_batch_axis() -> None:
    (batch,) = opened({"x": ramp(3, 4)}, X)
    assert batch.feeds["x"].shape == (1, 3, 4)
    assert batch.count == 1


def test_lists_are_arrays() -> None:
    assert [b.count for b in opened({"x": [[[1.0] * 4] * 3] * 5}, X)] == [5]


@pytest.mark.parametrize(
    ("arrays", "options", "said"),
    [
        ({}, {}, "data has no arrays"),
        ({"x": object()}, {}, "data['x'] holds Python objects"),
        ({"x": ramp(2, 2, 2, 2)}, {}, "data['x'] has shape [2, 2, 2, 2]"),
        ({"x": ramp(5, 3, 4)}, {"labels": "y"}, "--labels 'y': data has no such array"),
        ({"x": ramp(5, 3, 4), "y": ramp(4)}, {"labels": "y"}, "expected one label per sample"),
        ({"a": ramp(5, 3), "b": ramp(5, 2)}, {}, "data has no array named 'x'"),
    ],
)
def test_mistakes(arrays: Any, options: Any, said: str) -> None:
    with pytest.raises(DataError) as error:
        list(opened(arrays, X, **options))
    assert said in str(error.value)
