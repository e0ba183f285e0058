"""What a Slice takes: read, resolved, stated again and composed, against Python's own lists."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph.load import from_proto
from onnxslim.passes._slices import TO_THE_END, Range, compose, make_slice, read_slice, state
from onnxslim.pipeline.context import PassContext
from onnxslim.testing import shared_worker
from tests.nets import net

INT32 = 2**31 - 1
POSITIONS = (-7, -6, -3, -1, 0, 1, 4, 5, 6, 7, INT32)


@pytest.mark.parametrize("step", [-3, -1, 1, 2])
@pytest.mark.parametrize("size", [0, 1, 6])
def test_resolved_as_a_list_is_cut(step: int, size: int) -> None:
    row = list(range(size))
    for start, end in itertools.product(POSITIONS, repeat=2):
        found = Range(start, end, step).resolve(size)
        first = 0 if step < 0 and start < -size else start  # ONNX starts at the first element
        assert list(found) == row[first:end:step], (start, end)
        assert all(0 <= element < size for element in found)
        assert list(state(found, size).resolve(size)) == list(found)


def test_stated() -> None:
    assert state(range(2, 5), 5) == Range(2, TO_THE_END)
    assert state(range(2, 4), 5) == Range(2, 4)
    assert state(range(0, 5, 2), 5) == Range(0, TO_THE_END, 2)
    assert state(range(4, -1, -1), 5) == Range(4, -6, -1)
    assert state(range(4, 0, -2), 5) == Range(4, 1, -2)
    assert state(range(3, 3), 5) == Range(0, 0)


@pytest.mark.parametrize(
    ("taken", "is_all"),
    [
        (Range(0, INT32), True),
        (Range(0, INT32 - 1), False),
        (Range(1, INT32), False),
        (Range(0, INT32, 2), False),
        (Range(-1, INT32), False),
    ],
)
def test_all(taken: Range, is_all: bool) -> None:
    assert taken.is_all == is_all


@pytest.mark.parametrize(
    "second", [Range(a, b, s) for a, b, s in [(0, INT32, 1), (1, -1, 1), (0, 3, 2), (-1, -9, -1)]]
)
def test_composed_is_one_after_the_other(second: Range) -> None:
    row = list(range(7))
    for start, end, step in itertools.product((-8, -2, 0, 1, 5), (-9, -1, 0, 4, INT32), (-2, 1, 2)):
        first = Range(start, end, step)
        inner = [row[i] for i in first.resolve(7)]
        both = compose(first, second, 7)
        assert both is not None
        wanted = [inner[i] for i in second.resolve(len(inner))]
        assert [row[i] for i in both.resolve(7)] == wanted, first


FORWARD = [
    Range(a, b, s)
    for a, b, s in itertools.product((0, 1, 3), (-2, -1, 0, 2, 5, INT32, TO_THE_END), (1, 2))
]


@pytest.mark.parametrize("first", [*FORWARD, Range(-2, INT32), Range(0, -9, -1)])
def test_composed_for_every_size(first: Range) -> None:
    """Where it is said without a size, it holds for each; open ends and fixed ones are known."""
    for second in (*FORWARD, Range(-1, INT32), Range(2, -9, -1)):
        both = compose(first, second, ir.SymbolicDim("N"))
        for size in range(9) if both is not None else ():
            inner = first.resolve(size)
            assert both is not None
            assert list(both.resolve(size)) == list(second_of(inner, second)), (second, size)


def second_of(inner: range, second: Range) -> Any:
    return [inner[i] for i in second.resolve(len(inner))]


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        (Range(1, INT32), Range(2, INT32), Range(3, INT32)),
        (Range(1, 9), Range(2, INT32), Range(3, 9)),
        (Range(1, -1), Range(2, INT32), Range(3, -1)),
        (Range(1, INT32, 2), Range(2, 4), Range(5, 8, 2)),
        (Range(1, 7, 2), Range(0, 9), Range(1, 7, 2)),
        (Range(1, INT32), Range(2, -3), Range(3, -3)),
        (Range(1, -2), Range(2, -3), Range(3, -5)),
        (Range(1, 9), Range(2, -3), None),
        (Range(1, -2), Range(2, 5), None),
        (Range(1, INT32, 2), Range(2, -3), None),
        (Range(1, INT32), Range(2, 2), None),
        (Range(-1, INT32), Range(1, 2), None),
        (Range(1, INT32), Range(-1, 2), None),
        (Range(1, INT32), Range(1, 0, -1), None),
        (Range(5, 0, -1), Range(1, 2), None),
        (Range(0, INT32), Range(-3, 5, 2), Range(-3, 5, 2)),
        (Range(-3, 5, 2), Range(0, INT32), Range(-3, 5, 2)),
    ],
)
def test_composed_without_a_size(first: Range, second: Range, both: Range | None) -> None:
    assert compose(first, second, None) == both


def node_of(opset: int, shape: Any = (5, 6), **given: Any) -> ir.Node:
    """A Slice with these limits, None: left out, a string: computed."""
    x = ir.Value(name="x", shape=None if shape is None else ir.Shape(shape))
    if opset < 10:
        return ir.node("Slice", [x], {n: v for n, v in given.items() if v is not None})
    inputs: list[ir.Value | None] = [x]
    for name in ("starts", "ends", "axes", "steps"):
        item = given.get(name)
        tensor = (
            None if item is None or isinstance(item, str) else ir.tensor(item, ir.DataType.INT64)
        )
        inputs.append(None if item is None else ir.Value(name=name, const_value=tensor))
    ir.Graph([x], [], nodes=[], initializers=[v for v in inputs if v and v.const_value is not None])
    return ir.node("Slice", inputs)


@pytest.mark.parametrize("opset", [9, 10])
@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"starts": [1], "ends": [3]}, {0: Range(1, 3)}),
        ({"starts": [1, 0], "ends": [3, 2]}, {0: Range(1, 3), 1: Range(0, 2)}),
        ({"starts": [1], "ends": [3], "axes": [1]}, {1: Range(1, 3)}),
        ({"starts": [1], "ends": [3], "axes": [0]}, {0: Range(1, 3)}),
        ({"starts": [1], "ends": [3], "axes": [-1]}, {1: Range(1, 3)}),
        ({"starts": [1], "ends": [3], "axes": [-2]}, {0: Range(1, 3)}),
        ({"starts": [1], "ends": [3], "axes": [2]}, None),
        ({"starts": [1], "ends": [3], "axes": [-3]}, None),
        ({"starts": [1, 2], "ends": [3, 4], "axes": [0, -2]}, None),
        ({"starts": [1, 2], "ends": [3, 4], "axes": [0]}, None),
        ({"starts": [1, 2], "ends": [3]}, None),
        ({"starts": None, "ends": [3]}, None),
        ({"starts": [1], "ends": None}, None),
    ],
)
def test_read(given: dict[str, Any], found: dict[int, Range] | None, opset: int) -> None:
    assert read_slice(node_of(opset, **given), opset) == found
    assert read_slice(node_of(opset, shape=None, **given), opset) is None


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"steps": [2]}, {0: Range(1, 3, 2)}),
        ({"steps": [-1]}, {0: Range(1, 3, -1)}),
        ({"steps": [0]}, None),
        ({"steps": [1, 1]}, None),
        ({"steps": "computed"}, None),
        ({"axes": "computed"}, None),
        ({"starts": "computed"}, None),
        ({"ends": "computed"}, None),
        ({"steps": [-1], "ends": [INT32]}, None),
        ({"steps": [-1], "ends": [INT32 - 1]}, {0: Range(1, INT32 - 1, -1)}),
        ({"steps": [1], "ends": [INT32]}, {0: Range(1, INT32)}),
    ],
)
def test_read_steps(given: dict[str, Any], found: dict[int, Range] | None) -> None:
    assert read_slice(node_of(13, **{"starts": [1], "ends": [3]} | given), 13) == found


@pytest.mark.parametrize("opset", [9, 10, 13])
@pytest.mark.parametrize("step", [1, 2])
def test_made(opset: int, step: int) -> None:
    model = from_proto(net("y = Relu(x)", opset=opset))
    ctx = PassContext(model, worker=shared_worker())
    ranges = {2: Range(1, 5, step), 0: Range(0, 1)}
    if opset < 10:
        ranges[2] = Range(1, 5)
    node = make_slice(model.graph.inputs[0], ranges, model.graph, ctx)
    model.graph.inputs[0].shape = ir.Shape([2, 4, 8, 8])
    assert read_slice(node, opset) == ranges
    if opset >= 10:
        assert len(node.inputs) == (4 if step == 1 else 5)
        assert all(v is not None and v.dtype == ir.DataType.INT64 for v in node.inputs[1:])
    else:
        assert set(node.attributes) == {"starts", "ends", "axes"}
        assert np.array_equal(node.attributes["axes"].value, [0, 2])
