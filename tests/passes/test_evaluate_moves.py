"""Operators that only move elements: exact results, and every way in which they do not fit."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.passes._evaluate_moves import MOVES

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
EMPTY = np.zeros((2, 0, 4), np.float32)


def run(op: str, *arrays: Any, opset: int = 17, outputs: int = 1, **attributes: Any) -> Any:
    """What an operator's rule makes of arrays (None: omitted)."""
    values = [None if a is None else ir.Value(name=f"v{i}") for i, a in enumerate(arrays)]
    given = [None if a is None else np.asarray(a) for a in arrays]
    node = ir.node(op, values, attributes, num_outputs=outputs)
    return MOVES[op](node, given, opset)


@pytest.mark.parametrize(
    ("data", "wanted", "shape"),
    [
        (X, [24], (24,)),
        (X, [-1], (24,)),
        (X, [0, -1], (2, 12)),
        (X, [0, 0, 0], (2, 3, 4)),
        (X, [4, -1, 2], (4, 3, 2)),
        (X, [2, 12, -1], (2, 12, 1)),
        (X[0, 0, 0], [], ()),
        (X[0, 0, 0], [-1], (1,)),
        (EMPTY, [0, 0], (2, 0)),
        (EMPTY, [2, -1], (2, 0)),
    ],
)
def test_reshape(data: Any, wanted: list[int], shape: tuple[int, ...]) -> None:
    (found,) = run("Reshape", data, np.array(wanted, np.int64))
    assert found.shape == shape
    assert np.array_equal(found.reshape(-1), data.reshape(-1))


@pytest.mark.parametrize(
    ("data", "wanted", "allowzero", "reason"),
    [
        (X, [5], 0, "another number"),
        (X, [5, -1], 0, "another number"),
        (X, [-1, -1], 0, "another number"),
        (X, [-2, -12], 0, "another number"),
        (X, [-1, -1, -24], 0, "another number"),
        (X, [0, -1], 1, "another number"),
        (X, [2, 3, 4, 0], 0, "does not exist"),
        (X[0, 0], [1, 0], 0, "does not exist"),
        (EMPTY, [0, -1], 1, "another number"),
    ],
)
def test_reshape_that_does_not_fit(
    data: Any, wanted: list[int], allowzero: int, reason: str
) -> None:
    assert reason in run("Reshape", data, wanted, allowzero=allowzero)


def test_reshape_reads_the_shape_from_an_input_since_opset_5() -> None:
    assert run("Reshape", X, [24], opset=4) is None
    assert run("Reshape", X, [24], opset=5)[0].shape == (24,)
    assert run("Reshape", X, [24.0]) is None


@pytest.mark.parametrize(
    ("axis", "shape"), [(0, (1, 24)), (1, (2, 12)), (2, (6, 4)), (3, (24, 1)), (-1, (6, 4))]
)
def test_flatten(axis: int, shape: tuple[int, ...]) -> None:
    assert run("Flatten", X, axis=axis)[0].shape == shape
    assert run("Flatten", X)[0].shape == (2, 12)


@pytest.mark.parametrize(
    ("axes", "shape"),
    [([0], (3, 1)), ([2], (1, 3)), ([-1], (1, 3)), ([-3], (3, 1)), ([0, -1], (3,)), (None, (3,))],
)
@pytest.mark.parametrize("opset", [12, 13])
def test_squeeze(axes: list[int] | None, shape: tuple[int, ...], opset: int) -> None:
    data = np.zeros((1, 3, 1))
    given = (data,) if opset == 12 or axes is None else (data, axes)
    attributes: dict[str, Any] = {"axes": axes} if opset == 12 and axes is not None else {}
    (found,) = run("Squeeze", *given, opset=opset, **attributes)
    assert found.shape == shape


@pytest.mark.parametrize("axis", [1, -2, 3, -4])
def test_squeeze_of_what_is_not_1(axis: int) -> None:
    assert "not 1" in run("Squeeze", np.zeros((1, 3, 1)), [axis])
    assert run("Squeeze", np.zeros((1, 3, 1)), np.zeros(0, np.int64)) is None


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ([0], (1, 2, 3)),
        ([1], (2, 1, 3)),
        ([2], (2, 3, 1)),
        ([-3], (1, 2, 3)),
        ([0, -1], (1, 2, 3, 1)),
        ([3, 1], (2, 1, 3, 1)),
    ],
)
@pytest.mark.parametrize("opset", [12, 13])
def test_unsqueeze(axes: list[int], shape: tuple[int, ...], opset: int) -> None:
    data = np.zeros((2, 3))
    if opset == 12:
        (found,) = run("Unsqueeze", data, opset=opset, axes=axes)
    else:
        (found,) = run("Unsqueeze", data, axes)
    assert found.shape == shape


@pytest.mark.parametrize("axes", [[3], [-4], [0, 0], [0, -4]])
def test_unsqueeze_that_does_not_fit(axes: list[int]) -> None:
    assert "out of range" in run("Unsqueeze", np.zeros((2, 3)), axes)
    assert run("Unsqueeze", np.zeros((2, 3)), [0.0]) is None
    assert run("Unsqueeze", np.zeros((2, 3)), opset=11) is None


@pytest.mark.parametrize("perm", [None, *itertools.permutations(range(3))])
def test_transpose(perm: tuple[int, ...] | None) -> None:
    attributes: dict[str, Any] = {} if perm is None else {"perm": perm}
    (found,) = run("Transpose", X, **attributes)
    assert np.array_equal(found, np.transpose(X, perm))
    assert found.flags.c_contiguous
    assert run("Transpose", np.float32(1))[0].shape == ()


@pytest.mark.parametrize("perm", [[0, 1], [0, 1, 1], [1, 2, 3], [0, 1, 2, 3]])
def test_transpose_with_another_perm(perm: list[int]) -> None:
    assert "perm" in run("Transpose", X, perm=perm)


@pytest.mark.parametrize("axis", range(-3, 3))
def test_concat(axis: int) -> None:
    parts = X, np.delete(X, 0, axis), X
    (found,) = run("Concat", *parts, axis=axis)
    assert np.array_equal(found, np.concatenate(parts, axis))
    other = X[:, :, :1] if axis % 3 != 2 else X[:, :1]
    assert "do not fit" in run("Concat", X, X, other, axis=axis)


def test_concat_that_does_not_fit() -> None:
    assert run("Concat", X, X) is None
    assert run("Concat", X, X, axis=3) is None
    assert run("Concat", X, X, axis=-4) is None
    assert run("Concat", X, X[0], axis=0) is None


@pytest.mark.parametrize("step", [-3, -2, -1, 1, 2, 3])
def test_slice_is_that_of_a_list(step: int) -> None:
    row = np.arange(4)
    for start, end in itertools.product(range(-5, 6), repeat=2):
        (found,) = run("Slice", row, [start], [end], [0], [step])
        if start < -4 and step < 0:
            start = 0  # where ONNX starts, Python in front of the list
        wanted = row[start:end:step]
        assert np.array_equal(found, wanted), (start, end)


@pytest.mark.parametrize("opset", [9, 10])
def test_slice_of_several_axes(opset: int) -> None:
    def cut(starts: list[int], ends: list[int], *axes: list[int]) -> Any:
        if opset > 9:
            return run("Slice", X, starts, ends, *axes, opset=opset)
        names: dict[str, Any] = {"axes": axes[0]} if axes else {}
        return run("Slice", X, opset=opset, starts=starts, ends=ends, **names)

    assert np.array_equal(cut([1, 0], [2, -1])[0], X[1:2, 0:-1])
    assert np.array_equal(cut([1, 0], [2, -1], [2, -2])[0], X[:, 0:-1, 1:2])
    assert "different lengths" in cut([1], [2, 3])
    assert "different lengths" in cut([1, 1], [2])
    assert "different lengths" in cut([1], [2], [0, 1])
    assert "does not exist" in cut([1], [2], [3])
    assert "does not exist" in cut([1], [2], [-4])
    assert np.array_equal(cut([1], [2], [-3])[0], X[1:2])


def test_slice_with_steps_that_do_not_fit() -> None:
    assert "different lengths" in run("Slice", X, [0], [1], [0], [1, 1])
    assert "step of 0" in run("Slice", X, [0], [1], [0], [0])
    assert np.array_equal(run("Slice", X, [0], [2], None, [2])[0], X[0:2:2])


@pytest.mark.parametrize("end", [2**31 - 1, 2**63 - 1])
def test_slice_backwards_to_the_largest_end(end: int) -> None:
    """Nothing by the standard, everything in ONNX Runtime."""
    assert run("Slice", X, [-1], [end], [0], [-1]) is None
    assert run("Slice", X, [-1], [2**31 - 2], [0], [-1])[0].size == 0
    assert np.array_equal(run("Slice", X, [0], [end], [0], [1])[0], X)


@pytest.mark.parametrize("axis", range(-3, 3))
def test_gather(axis: int) -> None:
    size = X.shape[axis]
    for index in (-size, size - 1, [[0, -1], [1, 0]], np.zeros((0,), np.int64)):
        (found,) = run("Gather", X, index, axis=axis)
        assert np.array_equal(found, np.take(X, index, axis))
    assert "out of range" in run("Gather", X, [0, size], axis=axis)
    assert "out of range" in run("Gather", X, [-size - 1, 0], axis=axis)
    assert "out of range" in run("Gather", X, [size, -size - 1], axis=axis)


def test_gather_that_does_not_fit() -> None:
    assert run("Gather", X, [0.0]) is None
    assert run("Gather", X, None) is None
    assert run("Gather", X, 0, axis=3) is None
    assert run("Gather", X, 0, axis=-4) is None
    assert "out of range" in run("Gather", EMPTY, 0, axis=1)
    assert run("Gather", EMPTY, [1, 0])[0].shape == (2, 0, 4)
    assert run("Gather", X, 1)[0].tolist() == X[1].tolist()


@pytest.mark.parametrize(
    ("size", "parts", "opset", "sizes"),
    [
        (6, 3, 13, [2, 2, 2]),
        (6, 3, 18, [2, 2, 2]),
        (7, 3, 18, [3, 3, 1]),
        (5, 2, 18, [3, 2]),
        (4, 1, 17, [4]),
    ],
)
@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_split_evenly(size: int, parts: int, opset: int, sizes: list[int], axis: int) -> None:
    data = np.arange(size * size).reshape(size, size)
    found = run("Split", data, opset=opset, outputs=parts, axis=axis)
    assert [part.shape[axis] for part in found] == sizes
    assert np.array_equal(np.concatenate(found, axis), data)


@pytest.mark.parametrize("sizes", [[1, 3], [4, 0], [0, 4]])
def test_split_by_sizes(sizes: list[int]) -> None:
    data = np.arange(4)
    for found in (
        run("Split", data, outputs=2, split=sizes, opset=11),
        run("Split", data, sizes, outputs=2),
    ):
        assert [len(part) for part in found] == sizes
        assert np.array_equal(np.concatenate(found), data)


@pytest.mark.parametrize(
    ("sizes", "outputs", "opset", "reason"),
    [
        ([1, 2], 2, 17, "do not fit"),
        ([2, 3], 2, 17, "do not fit"),
        ([5, -1], 2, 17, "do not fit"),
        ([1, 3], 3, 17, "do not fit"),
        ([4], 2, 17, "do not fit"),
        (None, 3, 17, "unequal"),
        (None, 6, 18, "do not fit"),
    ],
)
def test_split_that_does_not_fit(
    sizes: list[int] | None, outputs: int, opset: int, reason: str
) -> None:
    arrays = (np.arange(4),) if sizes is None else (np.arange(4), sizes)
    assert reason in run("Split", *arrays, outputs=outputs, opset=opset)


@pytest.mark.parametrize("axis", [1, -2])
def test_split_of_an_axis_that_does_not_exist(axis: int) -> None:
    assert run("Split", np.arange(4), outputs=2, axis=axis) is None
