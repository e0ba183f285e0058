"""What is made from shapes and numbers: exact results, and where the runtime is left the work."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.passes._evaluate_makers import MAX_ELEMENTS
from onnxslim.passes._evaluate_moves import MOVES

ZERO = np.zeros(1, np.uint8)


def run(op: str, *arrays: Any, opset: int = 17, outputs: int = 1, **attributes: Any) -> Any:
    """What an operator's rule makes of arrays (None: omitted)."""
    values = [None if a is None else ir.Value(name=f"v{i}") for i, a in enumerate(arrays)]
    given = [None if a is None else np.asarray(a) for a in arrays]
    node = ir.node(op, values, attributes, num_outputs=outputs)
    return MOVES[op](node, given, opset)


@pytest.mark.parametrize("start", range(-4, 5))
@pytest.mark.parametrize("end", range(-4, 5))
def test_shape_is_cut_like_a_list(start: int, end: int) -> None:
    (found,) = run("Shape", np.zeros((5, 6, 7)), start=start, end=end)
    assert (found.dtype, found.tolist()) == (np.int64, [5, 6, 7][start:end])


def test_shape_to_the_end_and_from_the_start() -> None:
    assert run("Shape", np.zeros((5, 6)), start=1)[0].tolist() == [6]
    assert run("Shape", np.zeros((5, 6)), end=1)[0].tolist() == [5]


@pytest.mark.parametrize(
    ("op", "arrays"),
    [
        ("Expand", (np.ones((1, 3)), [2.0, 3.0])),
        ("Expand", (np.ones((1, 3)), None)),
        ("Expand", (np.ones((1, 3)),)),
        ("Tile", (np.ones((1, 3)), [2.0, 3.0])),
        ("Tile", (np.ones((1, 3)), [2])),
        ("Tile", (np.ones((1, 3)), [2, 3, 1])),
        ("Tile", (np.ones((1, 3)), [2, -1])),
        ("ConstantOfShape", ([2.0],)),
        ("ConstantOfShape", ([2, -1],)),
        ("Range", (0, 5)),
        ("Range", (0, 5, 1, 1)),
        ("Range", ([0, 1], 5, 1)),
        ("Range", (0, 5, 1.0)),
        ("NonZero", (3,)),
        ("NonZero", (np.array(["a"], object),)),
        ("NonZero", (np.array([1j]),)),
    ],
)
def test_left_to_the_runtime(op: str, arrays: tuple[Any, ...]) -> None:
    assert run(op, *arrays) is None


def test_a_tile_of_old_opsets_is_another_operator() -> None:
    assert run("Tile", np.ones(2), [2], opset=5) is None
    assert run("Tile", np.ones(2), [2], opset=6)[0].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize(
    ("op", "arrays"),
    [
        ("Expand", lambda n: (ZERO, [n])),
        ("Tile", lambda n: (ZERO, [n])),
        ("Tile", lambda n: (np.zeros((2, 1), np.uint8), [1, -(-n // 2)])),
        ("ConstantOfShape", lambda n: ([n],)),
        ("Range", lambda n: (np.int64(0), np.int64(n), np.int64(1))),
        ("Range", lambda n: (np.int64(2 * n), np.int64(0), np.int64(-2))),
        ("Range", lambda n: (np.int64(1), np.int64(3 * n), np.int64(3))),
        ("Gather", lambda n: (ZERO, np.broadcast_to(np.int64(0), n))),
        ("Gather", lambda n: (np.zeros((2, 2), bool), np.broadcast_to(np.int64(1), -(-n // 2)))),
    ],
)
def test_results_have_a_limit(op: str, arrays: Any, over: int) -> None:
    found = run(op, *arrays(MAX_ELEMENTS + over))
    assert found is None if over else found[0].size == MAX_ELEMENTS


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((0, 5, 2), [0, 2, 4]),
        ((5, 0, -2), [5, 3, 1]),
        ((0, 4, 2), [0, 2]),
        ((4, 4, 1), []),
        ((5, 0, 1), []),
        (([1], [3], [1]), [1, 2]),
        ((0, -(10 * MAX_ELEMENTS), 1), []),
    ],
)
def test_range(numbers: tuple[Any, ...], expected: list[int]) -> None:
    (found,) = run("Range", *(np.asarray(n, np.int32) for n in numbers))
    assert (found.dtype, found.tolist()) == (np.int32, expected)
    assert "step of 0" in run("Range", 0, 5, 0)


def test_expand_gives_the_broadcast_shape() -> None:
    (found,) = run("Expand", np.arange(3).reshape(3, 1), [2, 1, 2])
    assert found.tolist() == [[[0, 0], [1, 1], [2, 2]]] * 2
    assert found.flags.c_contiguous
    assert run("Expand", np.float32(2), np.zeros(0, np.int64))[0].shape == ()
    assert "does not fit" in run("Expand", np.ones(3), [2])


def test_constant_of_shape_fills_with_its_value() -> None:
    (found,) = run("ConstantOfShape", [2])
    assert (found.dtype, found.tolist()) == (np.float32, [0.0, 0.0])
    (found,) = run("ConstantOfShape", np.zeros(0, np.int64), value=ir.tensor(np.array([7])))
    assert (found.dtype, found.shape, found.item()) == (np.int64, (), 7)


@pytest.mark.parametrize("data", [np.eye(3), np.zeros((2, 0)), np.array([True, False])])
def test_non_zero(data: Any) -> None:
    (found,) = run("NonZero", data)
    assert (found.dtype, found.tolist()) == (np.int64, [list(n) for n in np.nonzero(data)])
    assert found.shape[0] == data.ndim
