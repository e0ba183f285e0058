"""Arithmetic with a constant as ``k x + d``, and where a layer's channels are behind moves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from onnxslim.passes._affine import (
    Affine,
    Axes,
    _through_reshape,
    find_constant,
    follow,
    per_channel,
    read_affine,
)
from tests.nets import net

C = np.array([[2.0], [-4.0]], np.float32)
X = np.arange(6.0).reshape(2, 3)


def last(body: str, **given: Any) -> ir.Node:
    model = from_proto(net(body, outputs=["y"], **{"x": "float[2,3]"} | given))
    infer_shapes(model)
    return list(model.graph)[-1]


@pytest.mark.parametrize(
    ("call", "index", "wanted"),
    [
        ("Add(x, c)", 0, X + C),
        ("Add(c, x)", 1, X + C),
        ("Sub(x, c)", 0, X - C),
        ("Sub(c, x)", 1, C - X),
        ("Mul(x, c)", 0, X * C),
        ("Mul(c, x)", 1, X * C),
        ("Div(x, c)", 0, X / C),
        ("Neg(x)", 0, -X),
    ],
)
def test_reads(call: str, index: int, wanted: Any) -> None:
    node = last(f"y = {call}", **({"c": C} if "c" in call else {}))
    found = read_affine(node)
    assert isinstance(found, Affine)
    assert (found.index, found.data.name, found.node) == (index, "x", node)
    assert found.shape == found.d.shape == (C.shape if "c" in call else ())
    assert np.array_equal(found.k * X + found.d, wanted)
    assert found.k.dtype == found.d.dtype == np.float64
    assert find_constant(node) == (1 - index if "c" in call else -1)


def test_reads_through_identities() -> None:
    found = read_affine(last("i = Identity(c)  j = Identity(i)  y = Mul(x, j)", c=C))
    assert isinstance(found, Affine) and np.array_equal(found.k, C)


@pytest.mark.parametrize(
    ("call", "given", "reason"),
    [
        ("Div(c, x)", {"c": C}, None),
        ("Add(x, x)", {}, None),
        ("Add(x, z)", {"z": "float[2,3]"}, None),
        ("Add(b, c)", {"b": C, "c": C, "x": "float"}, None),
        ("Sum(x, c, d)", {"c": C, "d": C}, None),
        ("Sum(x)", {}, None),
        ("Add(x, c)", {"x": "int32[2]", "c": np.ones(2, np.int32)}, None),
        ("Neg(x)", {"x": "int32[2]"}, None),
        ("Mul(x, c)", {"c": np.array([1, np.inf, 1], np.float32)}, "not finite"),
        ("Mul(x, c)", {"c": np.array([1, np.nan, 1], np.float32)}, "not finite"),
        ("Mul(x, c)", {"x": "float[0]", "c": np.zeros(0, np.float32)}, "empty"),
        ("Div(x, c)", {"c": np.array([1, 0, 1], np.float32)}, "divides by zero"),
    ],
)
def test_is_none(call: str, given: dict[str, Any], reason: str | None) -> None:
    if given.get("x") == "float":
        given = {name: array for name, array in given.items() if name != "x"}
        node = next(iter(from_proto(net(f"y = {call}", **given)).graph))
    else:
        node = last(f"y = {call}", **given)
    found = read_affine(node)
    assert found is None if reason is None else isinstance(found, str) and reason in found


def test_neg_of_an_unknown_type() -> None:
    assert read_affine(ir.node("Neg", [ir.Value(name="x")])) is None
    assert read_affine(ir.node("Neg", [None])) is None


FOUR = np.arange(4.0)
SIX = np.arange(6.0)


@pytest.mark.parametrize(
    ("array", "rank", "axes", "channels", "found"),
    [
        (np.float64(3), 4, ((1, 4),), 4, [3] * 4),
        (np.float64(3), None, None, 2, [3] * 2),
        (np.full((1,), 3.0), None, None, 2, None),
        (np.full((1, 1, 1), 3.0), 3, None, 1, [3]),
        (np.full((1, 1, 1), 3.0), 2, None, 1, None),
        (FOUR.reshape(4, 1, 1), 4, ((1, 4),), 4, FOUR),
        (FOUR.reshape(1, 4, 1, 1), 4, ((1, 4),), 4, FOUR),
        (FOUR.reshape(4, 1, 1), 4, None, 4, None),
        (FOUR.reshape(4, 1, 1), None, ((1, 4),), 4, None),
        (FOUR.reshape(4, 1), 4, ((1, 4),), 4, None),
        (FOUR, 2, ((1, 4),), 4, FOUR),
        (FOUR.reshape(4, 1), 2, ((1, 4),), 4, None),
        (FOUR, 2, ((1, 8),), 8, None),
        (SIX.reshape(2, 1, 3), 4, ((1, 2), (3, 3)), 6, SIX),
        (SIX.reshape(2, 1, 3), 4, ((3, 3), (1, 2)), 6, SIX.reshape(2, 3).T.reshape(-1)),
        (np.arange(2.0).reshape(2, 1, 1), 4, ((1, 2), (3, 3)), 6, [0, 0, 0, 1, 1, 1]),
        (np.arange(3.0), 4, ((1, 2), (3, 3)), 6, [0, 1, 2, 0, 1, 2]),
    ],
)
def test_per_channel(
    array: Any, rank: int | None, axes: Axes | None, channels: int, found: Any
) -> None:
    result = per_channel(np.asarray(array), rank, axes, channels)
    assert (result is None) == (found is None)
    assert result is None or np.array_equal(result, found)


@pytest.mark.parametrize(
    ("call", "axes", "found"),
    [
        ("Identity(x)", ((1, 6),), ((1, 6),)),
        ("Transpose(x)", ((1, 6),), ((1, 6),)),
        ("Transpose(x)", ((0, 2),), ((2, 2),)),
        ("Transpose<perm = [1, 2, 0]>(x)", ((0, 2), (1, 6)), ((2, 2), (0, 6))),
        ("Flatten(x)", ((1, 6),), None),
        ("Flatten(x)", ((1, 6), (2, 5)), ((1, 30),)),
        ("Flatten<axis = 2>(x)", ((0, 2), (1, 6)), ((0, 12),)),
        ("Identity(x)", None, None),
    ],
)
def test_follow(call: str, axes: Axes | None, found: Axes | None) -> None:
    assert follow(axes, last(f"y = {call}", x="float[2,6,5]")) == found


def test_follow_of_unknown_shapes() -> None:
    x = ir.Value(name="x", shape=ir.Shape([2, 6]))
    assert follow(((1, 6),), ir.node("Identity", [x])) is None
    node = ir.node("Identity", [ir.Value(name="x")])
    node.outputs[0].shape = ir.Shape([2, 6])
    assert follow(((1, 6),), node) is None


N, M = ir.SymbolicDim("N"), ir.SymbolicDim("M")


@pytest.mark.parametrize(
    ("axes", "before", "after", "found"),
    [
        (((1, 6),), [2, 6, 5], [2, 2, 3, 5], ((1, 2), (2, 3))),
        (((1, 6),), [N, 6, 5], [N, 3, 2, 5], ((1, 3), (2, 2))),
        (((1, 6),), [N, 6, 5], [N, 6, 5, 1], ((1, 6),)),
        (((1, 6),), [N, 6, 5], [N, 30], None),
        (((1, 6),), [N, 6, 5], [N, 4, 3, 5], None),
        (((1, 6),), [N, 6, 5], [N, 2, 15], None),
        (((1, 6),), [N, 6, M], [M, 6, N], None),
        (((2, 6),), [N, M, 6], [N * M, 6], ((1, 6),)),
        (((2, 6),), [N, M, 6], [N * M, 2, 3], ((1, 2), (2, 3))),
        (((2, 6),), [4, 5, 6], [20, 2, 3], ((1, 2), (2, 3))),
        (((2, 6),), [4, 5, 6], [10, 12], None),
        (((1, 2), (2, 3)), [N, 2, 3, 5], [N, 6, 5], ((1, 6),)),
        (((1, 2), (3, 3)), [N, 2, 5, 3], [N, 6, 5], None),
        (((2, 3), (1, 2)), [N, 2, 3, 5], [N, 6, 5], None),
        (((1, 6),), [4, 6, 5], [8, 3, 5], None),
        (((1, 1),), [4, 1, 5], [4, 5], None),
        ((), [4, 5], [4, 5], None),
        (((0, 6),), [6, 5], [2, 3, 5], ((0, 2), (1, 3))),
        (((0, 6),), [6], [], None),
        (((1, 6),), [N, 6], [N, M, 6], None),
        (((1, 6),), [N, 6], [N, 0, 6], None),
    ],
)
def test_through_a_reshape(
    axes: Axes, before: list[Any], after: list[Any], found: Axes | None
) -> None:
    result = _through_reshape(axes, before, after)
    assert result == found
    if result is not None:
        assert math.prod(n for _, n in result) == math.prod(n for _, n in axes)
