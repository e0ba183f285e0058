"""Views: axes of Squeeze and Unsqueeze, targets of Reshapes, and what they do to numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph import edit
from onnxslim.graph.load import from_proto
from onnxslim.passes._views import (
    View,
    axes_of,
    flatten_axis,
    is_view,
    make_axes_node,
    make_reshape,
    reshape_target,
)
from onnxslim.pipeline.context import PassContext
from onnxslim.testing import shared_worker
from tests.nets import net

N, M = ir.SymbolicDim("N"), ir.SymbolicDim("M")


def axes_node(op: str, axes: list[int] | None, opset: int, shape: Any = (1, 3, 1)) -> ir.Node:
    x = ir.Value(name="x", shape=None if shape is None else ir.Shape(shape))
    if axes is None:
        return ir.node(op, [x])
    if opset < 13:
        return ir.node(op, [x], {"axes": axes})
    array = np.array(axes, np.int64)
    given = ir.Value(name="axes", const_value=ir.tensor(array, name="axes"))
    ir.Graph([x], [], nodes=[], initializers=[given])
    return ir.node(op, [x, given])


@pytest.mark.parametrize("opset", [11, 12, 13])
@pytest.mark.parametrize(
    ("op", "axes", "found"),
    [
        ("Squeeze", [0], [0]),
        ("Squeeze", [2, 0], [0, 2]),
        ("Squeeze", [-1, 0], [0, 2]),
        ("Squeeze", [-3], [0]),
        ("Squeeze", [3], None),
        ("Squeeze", [-4], None),
        ("Squeeze", [0, -3], None),
        ("Squeeze", None, [0, 2]),
        ("Unsqueeze", [0], [0]),
        ("Unsqueeze", [-1], [3]),
        ("Unsqueeze", [3], [3]),
        ("Unsqueeze", [4], None),
        ("Unsqueeze", [4, 0], [0, 4]),
        ("Unsqueeze", [-5, 2], [0, 2]),
        ("Unsqueeze", [-6, 2], None),
        ("Unsqueeze", None, None),
    ],
)
def test_axes(op: str, axes: list[int] | None, found: list[int] | None, opset: int) -> None:
    assert axes_of(axes_node(op, axes, opset), opset, 3) == found


def test_axes_that_are_not_known() -> None:
    given: dict[str, Any] = {"x": "float[1,1,3]", "a": "int64[1]", "outputs": {"y": "float[1,3]"}}
    graph = from_proto(net("y = Squeeze(x, a)", **given)).graph
    assert [axes_of(next(iter(graph)), opset, 3) for opset in (13, 17)] == [None, None]
    assert axes_of(axes_node("Squeeze", None, 13, None), 13, 3) is None
    assert axes_of(axes_node("Squeeze", None, 13, (1, "N")), 13, 2) is None


@pytest.mark.parametrize("op", ["Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"])
def test_is_view(op: str) -> None:
    node = ir.node(op, [ir.Value(name="x")])
    assert [is_view(node, opset) for opset in (4, 5, 17)] == [False, *[op != "Transpose"] * 2]
    assert not is_view(None, 17)
    node.domain = "other"
    assert not is_view(node, 17)


@pytest.mark.parametrize(
    ("source", "wanted", "target"),
    [
        ([2, 3], [6], [6]),
        ([N, 3], [N, 3, 1], [0, 3, 1]),
        ([N, 3], [3, N], [3, -1]),
        ([N, M], [M, N], None),
        ([N, M, 2], [N, M, 1, 2], [0, 0, 1, 2]),
        ([N, M], [N * 2, M], None),  # M may be 0
        ([2, N], [N, 2], [-1, 2]),
        ([N, 0], [N, 0, 1], [0, 0, 1]),
        ([2, 0], [0, 2], [-1, 2]),
        ([N, 0], [0, N], None),
        ([0], [0, 2], [0, 2]),
        ([2, 0], [2, 2, 0], [2, 2, -1]),
        ([], [1, 1], [1, 1]),
        ([1], [], []),
    ],
)
def test_reshape_target(source: list[Any], wanted: list[Any], target: list[int] | None) -> None:
    assert reshape_target(source, wanted) == target


@pytest.mark.parametrize(
    ("given", "shape", "target"),
    [
        ([0, -1], ["Z", "B"], [-1, 0]),
        ([0, -1], ["Q", "B"], None),
        ([0, 1], ["Z", "B"], None),
        ([0, -1, 1], ["Z", "B"], None),
    ],
)
def test_a_minus_one_beside_what_may_be_0(
    given: list[int], shape: list[Any], target: list[int] | None
) -> None:
    """Allowed only where a replaced Reshape has a -1 beside the same dimensions."""
    z, n = ir.SymbolicDim("Z"), ir.SymbolicDim("N")
    model = from_proto(
        net("y = Reshape(x, s)", x="float[6,M,Z]", s=given, outputs={"y": "float[A,B]"})
    )
    node = next(iter(model.graph))
    node.outputs[0].shape = ir.Shape(shape)
    source, wanted = [M, z], [n, z]
    assert reshape_target(source, wanted) is None
    assert reshape_target(source, wanted, [node]) == target
    node.outputs[0].shape = None
    assert reshape_target(source, wanted, [node]) is None


@pytest.mark.parametrize(
    ("source", "wanted", "axis"),
    [
        ([2, 3, 4], [1, 24], 0),
        ([2, 3, 4], [2, 12], 1),
        ([2, 3, 4], [6, 4], 2),
        ([2, 3, 4], [24, 1], 3),
        ([2, 3, 4], [4, 6], None),
        ([2, 3, 4], [2, 11], None),
        ([2, 3, 4], [3, 12], None),
        ([2, 3], [6], None),
        ([N, M], [N, M], 1),
        ([N, M], [1, M * N], 0),
    ],
)
def test_flatten_axis(source: list[Any], wanted: list[Any], axis: int | None) -> None:
    assert flatten_axis(source, wanted) == axis


@pytest.mark.parametrize(
    ("source", "wanted", "line"),
    [
        ([2, 3], [2, 3], None),
        ([N, M], [N, M], None),
        ([2, 3], [3, 2], "Reshape"),
        ([N, 3], [N, 3, 1], "Reshape"),
        ([N, M], [N, M, 1], "Reshape"),
    ],
)
def test_view(source: list[Any], wanted: list[Any], line: str | None) -> None:
    model = from_proto(net("y = Relu(x)"))
    ctx = PassContext(model, worker=shared_worker())
    view = View(source, wanted)
    built = view.build(model.graph.inputs[0], model.graph, ctx)
    assert bool(view)
    assert view.nodes == len(built) == (line is not None)
    assert [n.op_type for n in built] == ([] if line is None else [line])
    assert all(n.inputs[0] is model.graph.inputs[0] for n in built)


def test_there_is_no_view() -> None:
    assert not View([N, M], [M, N])
    assert View([N, M], [M, N]).nodes == 1


@pytest.mark.parametrize("opset", [12, 13])
def test_made_nodes(opset: int) -> None:
    model = from_proto(net("y = Relu(x)", opset=opset))
    ctx = PassContext(model, worker=shared_worker())
    x = model.graph.inputs[0]
    for op in ("Squeeze", "Unsqueeze"):
        node = make_axes_node(op, x, [0, 2], model.graph, ctx)
        assert (node.op_type, node.inputs[0]) == (op, x)
        assert axes_of(node, opset, 4) == [0, 2]
        assert len(node.inputs) == (1 if opset < 13 else 2)
    reshape = make_reshape(x, [2, -1], model.graph, ctx)
    assert reshape.op_type == "Reshape" and edit.ints(reshape.inputs[1]) == [2, -1]
