"""Axes and sizes of Split and Concat, and a Split in the form of each opset."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph import edit
from onnxslim.graph.load import from_proto
from onnxslim.passes._splits import axis_of, make_split, split_sizes
from onnxslim.pipeline.context import PassContext
from onnxslim.testing import shared_worker
from tests.nets import net


def node_of(op: str, ranks: list[int | None], **attributes: Any) -> ir.Node:
    values = [
        ir.Value(name=f"v{i}", shape=None if rank is None else ir.Shape([2] * rank))
        for i, rank in enumerate(ranks)
    ]
    return ir.node(op, values, attributes)


@pytest.mark.parametrize(
    ("ranks", "attributes", "default", "axis"),
    [
        ([3], {"axis": 1}, None, 1),
        ([3], {"axis": 0}, None, 0),
        ([3], {"axis": -1}, None, 2),
        ([None, 4], {"axis": -1}, None, 3),
        ([None], {"axis": -1}, None, None),
        ([None], {"axis": 1}, None, 1),
        ([3], {}, None, None),
        ([3], {}, 0, 0),
        ([3], {}, -2, 1),
    ],
)
def test_axis(
    ranks: list[int | None], attributes: dict[str, int], default: int | None, axis: int | None
) -> None:
    assert axis_of(node_of("Concat", ranks, **attributes), default) == axis


@pytest.mark.parametrize(
    ("attributes", "x", "sizes"),
    [
        ("<axis = 1>", "float[2,6]", [3, 3]),
        ("<axis = -1>", "float[2,6]", [3, 3]),
        ("", "float[2,6]", [1, 1]),
        ("", "float[N,6]", None),
        ("<axis = 1>", "float[N,6]", [3, 3]),
    ],
)
def test_sizes(attributes: str, x: str, sizes: list[int] | None) -> None:
    model = from_proto(net(f"y, z = Split{attributes}(x)", opset=13, x=x))
    infer_shapes(model)
    assert split_sizes(next(iter(model.graph))) == sizes


@pytest.mark.parametrize(
    ("opset", "sizes", "attributes", "given"),
    [
        (11, [3, 3], {"axis": 1}, None),
        (11, [2, 4], {"axis": 1, "split": (2, 4)}, None),
        (12, [2, 4], {"axis": 1, "split": (2, 4)}, None),
        (13, [2, 4], {"axis": 1}, [2, 4]),
        (17, [3, 3], {"axis": 1}, None),
        (17, [6], {"axis": 1}, None),
        (18, [3, 3], {"axis": 1, "num_outputs": 2}, None),
        (18, [2, 4], {"axis": 1}, [2, 4]),
        (18, [2, 2, 2], {"axis": 1, "num_outputs": 3}, None),
    ],
)
def test_make(
    opset: int, sizes: list[int], attributes: dict[str, Any], given: list[int] | None
) -> None:
    model = from_proto(net("y = Relu(x)", opset=opset, x="float[2,6]"))
    ctx = PassContext(model, worker=shared_worker())
    node = make_split(model.graph.inputs[0], sizes, 1, model.graph, ctx)
    found = {n: tuple(a.value) if n == "split" else a.value for n, a in node.attributes.items()}
    assert found == attributes
    array = edit.constant_array(edit.get_input(node, 1))
    assert (None if array is None else array.tolist()) == given
    assert array is None or array.dtype == np.int64
    assert (len(node.outputs), node.inputs[0]) == (len(sizes), model.graph.inputs[0])
