"""Gates of recurrent layers: rows that are seen and given, and where new numbers are written."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.dependency.groups import Kept
from onnxslim.graph import edit
from onnxslim.graph.load import from_proto
from onnxslim.passes._recurrent import Gates, read_gates
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.reference import Reference
from onnxslim.testing import shared_worker
from tests.nets import net

W, R, B = (2, 3, 5), (2, 3, 3), (2, 6)


def model_of(call: str = "RNN<hidden_size = 3", **given: Any) -> ir.Model:
    inputs = "x, w, r, b" if "b" in given else "x, w, r"
    body = f'y = {call}, direction = "bidirectional">({inputs})'
    return from_proto(net(body, **{"x": "float[4,2,5]", "w": W, "r": R} | given))


def gates_of(model: ir.Model, index: int = 1) -> Gates:
    (node,) = model.graph
    weight = edit.constant_array(node.inputs[index])
    assert weight is not None
    return Gates(node, weight, np.zeros(6), 2, index, weight.astype(np.float64))


@pytest.mark.parametrize("index", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("weight", [False, True])
def test_written_into_its_half_of_the_bias(index: int, bias: bool, weight: bool) -> None:
    model = model_of(b=B) if bias else model_of()
    layer, ctx = gates_of(model, index), PassContext(model, worker=shared_worker())
    old = edit.constant_array(edit.get_input(layer.node, 3))
    before = [edit.constant_array(v) for v in layer.node.inputs[1:3]]
    new = np.arange(6.0).reshape(2, 3)
    matrix = layer.stored(layer.matrix(layer.weight) * 2)
    assert layer.write(matrix if weight else None, new, ctx) is None
    found = edit.constant_array(layer.node.inputs[3])
    assert found is not None and found.dtype == np.float32
    mine, other = (slice(0, 3), slice(3, 6)) if index == 1 else (slice(3, 6), slice(0, 3))
    assert np.array_equal(found[:, mine], new)
    assert np.array_equal(found[:, other], np.zeros((2, 3)) if old is None else old[:, other])
    for place, array in enumerate(before, 1):
        now = edit.constant_array(layer.node.inputs[place])
        assert now is not None and array is not None
        assert np.array_equal(now, array * (2 if weight and place == index else 1))


def test_what_does_not_fit_is_not_written() -> None:
    model = model_of()
    layer, ctx = gates_of(model), PassContext(model, worker=shared_worker())
    zero = np.zeros((2, 3))
    for weight, bias in ((None, zero + 1e39), (layer.matrix(layer.weight) * 1e39, zero)):
        assert layer.write(weight, bias, ctx) == "the new weights do not fit float32"
    assert len(layer.node.inputs) == 3


def test_rows() -> None:
    model = model_of()
    at = np.array([5, 0, 3])
    x = np.arange(4 * 2 * 5.0).reshape(4, 2, 5)
    seen = gates_of(model).inputs_at(x, (), at)
    assert seen.shape == (2, 3, 5)
    assert np.array_equal(seen[0], x.reshape(8, 5)[at]) and np.array_equal(seen[1], seen[0])
    states = np.arange(4 * 2 * 2 * 3.0).reshape(4, 2, 2, 3)  # steps, samples, directions, H
    seen = gates_of(model, 2).inputs_at(states, (), at)
    given = gates_of(model).outputs_at(states.reshape(4, 2, 6), at)
    for direction in (0, 1):
        wanted = states.reshape(8, 2, 3)[at, direction]
        assert np.array_equal(seen[direction], wanted) and np.array_equal(given[direction], wanted)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"w": "float[2,3,5]"}, "a weight is not constant"),
        ({"r": "float[2,3,3]"}, "a weight is not constant"),
        ({"b": "float[2,6]"}, "a weight is not constant"),
        ({}, None),
        ({"b": B}, None),
    ],
)
def test_read(given: dict[str, Any], reason: str | None) -> None:
    model, dense = model_of(**given), model_of(b=B)
    (node,), (whole,) = model.graph, dense.graph
    found = read_gates(node, whole, Reference(dense, Kept({})))
    if reason is not None:
        assert found == reason
        return
    assert isinstance(found, list) and [layer.index for layer in found] == [1]
    bias = edit.constant_array(edit.get_input(node, 3))
    wanted = np.zeros((2, 3)) if bias is None else bias[:, :3]
    assert np.array_equal(found[0].bias, wanted.ravel())
    assert found[0].point is node.inputs[0] and found[0].groups == 2


def test_other_gates() -> None:
    dense = model_of("RNN<hidden_size = 4", w=(2, 4, 5), r=(2, 4, 4))
    (node,), (whole,) = model_of().graph, dense.graph
    assert read_gates(node, whole, Reference(dense, Kept({}))) == "the reference has other gates"
