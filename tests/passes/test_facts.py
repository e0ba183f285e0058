"""Facts that passes refresh: what is known of one value reaches its readers."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from onnxslim.passes._facts import (
    broadcast_keeps,
    drop_unread,
    is_filled_with,
    refresh,
    same_shape,
    tensor_bytes,
)
from onnxslim.pipeline.context import PassContext
from onnxslim.testing import shared_worker
from tests.nets import net


def test_what_is_new_reaches_the_readers_and_ends_where_nothing_is() -> None:
    body = "a = Relu(x)  b = Neg(a)  c = Shape(b)  y = Neg(x)"
    outputs = {"c": "int64[2]", "y": "float[N,3]"}
    model = from_proto(net(body, outputs=outputs, x="float[N,3]"))
    infer_shapes(model)
    relu, neg, _, other = list(model.graph)
    x = model.graph.inputs[0]
    x.shape = ir.Shape((7, 3))
    refresh([relu])
    assert neg.outputs[0].shape == (7, 3)
    assert other.outputs[0].shape == ("N", 3)  # it was not asked for
    refresh([other])
    assert other.outputs[0].shape == (7, 3)


@pytest.mark.parametrize(
    ("constant", "shape", "keeps"),
    [
        ((), None, True),
        ((1,), None, False),
        ((1, 1), (3,), False),
        ((3,), (3,), True),
        ((1,), (3,), True),
        ((3,), (1,), False),
        ((3,), ("N",), False),
        ((1,), ("N",), True),
        ((2, 3), ("N", 2, 3), True),
        ((3, 2), ("N", 2, 3), False),
        ((2, 1), ("N", 2, "M"), True),
    ],
)
def test_broadcasts_that_keep_a_shape(
    constant: tuple[int, ...], shape: tuple[int | str, ...] | None, keeps: bool
) -> None:
    x = ir.Value(name="x", shape=None if shape is None else ir.Shape(shape))
    assert broadcast_keeps(x, constant) is keeps


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [
        (ir.DataType.FLOAT, (2, 3), 24),
        (ir.DataType.FLOAT, (), 4),
        (ir.DataType.INT64, (0, 3), 0),
        (ir.DataType.INT4, (3,), 2),
        (ir.DataType.INT4, (4,), 2),
        (ir.DataType.BOOL, (5,), 5),
        (ir.DataType.STRING, (2,), None),
        (None, (2,), None),
        (ir.DataType.FLOAT, ("N",), None),
        (ir.DataType.FLOAT, None, None),
    ],
)
def test_bytes_of_a_tensor(
    dtype: ir.DataType | None, shape: tuple[int | str, ...] | None, size: int | None
) -> None:
    kind = None if dtype is None else ir.TensorType(dtype)
    value = ir.Value(name="x", type=kind, shape=None if shape is None else ir.Shape(shape))
    assert tensor_bytes(value) == size


@pytest.mark.parametrize(
    ("array", "number", "filled"),
    [
        (np.array([1.0, 1.0]), 1, True),
        (np.array([1.0, 2.0]), 1, False),
        (np.zeros(0), 0, False),
        (np.array([-0.0]), 0, True),
        (np.array([np.nan]), np.nan, False),
        (np.array([1], object), 1, False),
        (np.array(True), 1, True),
    ],
)
def test_filled(array: np.ndarray, number: float, filled: bool) -> None:
    assert is_filled_with(array, number) is filled


def test_equal_shapes() -> None:
    known, other = (ir.Value(name=n, shape=ir.Shape(("N", 3))) for n in "ab")
    assert same_shape(known, other)
    for shape in ((3, "N"), ("N", 3, 1), ("N",), ("M", 3)):
        assert not same_shape(known, ir.Value(name="c", shape=ir.Shape(shape)))
    assert not same_shape(known, ir.Value(name="d")) and not same_shape(None, known)


def test_what_is_unread_goes_with_all_that_only_it_read() -> None:
    body = "a = Relu(x)  b = Neg(a)  d = Abs(a)  e = Exp(b)  y = Log(d)  z = Sin(e)"
    model = from_proto(net(body))
    nodes = list(model.graph)
    ctx = PassContext(model, worker=shared_worker())
    drop_unread(nodes, ctx)
    assert len(model.graph) == 6
    model.graph.outputs.pop()
    drop_unread([nodes[5]], ctx)
    assert [node.op_type for node in model.graph] == ["Relu", "Abs", "Log"]
