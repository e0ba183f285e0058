"""Stacked matrices and matrices on the left are fitted as other layers are."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import onnxslim
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from onnxslim.passes._layers import NOT_CONSTANT
from onnxslim.passes._product import Product, read_product
from onnxslim.passes.correct_bias import CorrectBias
from onnxslim.passes.reconstruct_weights import ReconstructWeights
from tests.nets import net, random_array
from tests.pruned import Array, Axes, draws, repaired

HALF = range(0, 8, 2)
PAIR, LEFT = "h = MatMul(x, v)  y = MatMul(h, w)", "h = MatMul(v, x)  y = MatMul(w, h)"


def doubled(name: str, shape: tuple[int, ...], axis: int) -> Array:
    """Random; every odd index of the axis is -0.5 times the one before: nothing is lost by half."""
    array = np.moveaxis(random_array(name, shape), axis, 0).copy()
    array[1::2] = -0.5 * array[::2]
    return np.ascontiguousarray(np.moveaxis(array, 0, axis))


def first(body: str, x: str, **weights: tuple[int, ...]) -> ir.Node:
    model = from_proto(net(body, x=x, **weights))
    infer_shapes(model)
    return model.graph[0]


CASES: list[tuple[str, str, tuple[int, ...], tuple[int, ...], int]] = [
    (PAIR, "16,3,6,5", (3, 5, 8), (3, 8, 4), 3),
    (PAIR, "16,1,6,5", (3, 5, 8), (3, 8, 4), 3),
    (PAIR, "3,40,5", (3, 5, 8), (3, 8, 4), 2),
    (PAIR, "16,6,5", (1, 5, 8), (1, 8, 4), 2),
    (LEFT, "16,5,6", (8, 5), (4, 8), 1),
    (LEFT, "16,3,5,6", (3, 8, 5), (3, 4, 8), 2),
    (LEFT, "16,2,3,5,6", (2, 3, 8, 5), (2, 3, 4, 8), 3),
    (LEFT, "5,40", (8, 5), (4, 8), 0),
]


@pytest.mark.parametrize(("body", "x", "v", "w", "axis"), CASES)
def test_brings_back_what_the_rest_can_say(
    body: str, x: str, v: tuple[int, ...], w: tuple[int, ...], axis: int
) -> None:
    out, into = (-1, -2) if body is PAIR else (-2, -1)
    model = net(body, x=f"float[{x}]", v=doubled("v", v, out), w=w)
    axes: Axes = {"v": {len(v) + out: HALF}, "w": {len(w) + into: HALF}, "h": {axis: HALF}}
    ctx, (before, after) = repaired(
        ReconstructWeights(), model, axes, draws(tuple(map(int, x.split(","))))
    )
    assert not ctx.skipped
    assert before > 0.2
    assert after < 0.02


@pytest.mark.parametrize(
    ("body", "x", "v", "w", "axis", "shape"),
    [
        (PAIR, "16,3,6,5", (3, 5, 8), (3, 8, 4), 3, [3, 1, 4]),
        (PAIR, "16,6,5", (1, 5, 8), (1, 8, 4), 2, [1, 4]),
        (LEFT, "16,3,5,6", (3, 8, 5), (3, 4, 8), 2, [3, 4, 1]),
        (LEFT, "16,5,6", (8, 5), (4, 8), 1, [4, 1]),
    ],
)
def test_a_bias_has_the_shape_of_the_channels(
    body: str, x: str, v: tuple[int, ...], w: tuple[int, ...], axis: int, shape: list[int]
) -> None:
    """Mean outputs come back although nothing but a bias is changed."""
    body = body.replace("  y", "  r = Relu(h)  y").replace("MatMul(h, w)", "MatMul(r, w)")
    body = body.replace("MatMul(w, h)", "MatMul(w, r)")
    model = net(body, x=f"float[{x}]", v=v, w=w)
    out, into = (-1, -2) if body.startswith("h = MatMul(x") else (-2, -1)
    axes: Axes = {
        "v": {len(v) + out: HALF}, "w": {len(w) + into: HALF},
        "h": {axis: HALF}, "r": {axis: HALF},
    }  # fmt: skip
    ctx, (before, after) = repaired(
        CorrectBias(), model, axes, draws(tuple(map(int, x.split(","))))
    )
    assert after < 0.95 * before
    added = ctx.model.graph.outputs[0].producer()
    assert added is not None
    assert added.op_type == "Add"
    assert added.inputs[1] is not None
    assert list(added.inputs[1].shape or ()) == shape


@pytest.mark.parametrize("number", [(4, 1), (1,), (1, 1)])
def test_a_bias_on_the_left_goes_into_the_add_behind(number: tuple[int, ...]) -> None:
    body = "h = MatMul(v, x)  r = Relu(h)  z = MatMul(w, r)  y = Add(z, b)"
    model = net(body, x="float[16,5,6]", v=(8, 5), w=(4, 8), b=number)
    axes: Axes = {"v": {0: HALF}, "w": {1: HALF}, "h": {1: HALF}, "r": {1: HALF}}
    ctx, (before, after) = repaired(ReconstructWeights(), model, axes, draws((16, 5, 6)))
    assert after < 0.9 * before
    assert [n.op_type for n in ctx.model.graph] == ["MatMul", "Relu", "MatMul", "Add"]
    added = ctx.model.graph[3].inputs[1]
    assert added is not None
    assert list(added.shape or ()) == [4, 1]


def test_one_number_per_column_is_no_bias_on_the_left() -> None:
    """As many columns as channels: what is added to them stays what it is."""
    body = "h = MatMul(v, x)  r = Relu(h)  z = MatMul(w, r)  y = Add(z, b)"
    model = net(body, x="float[16,5,4]", v=(8, 5), w=(4, 8), b=(4,))
    axes: Axes = {"v": {0: HALF}, "w": {1: HALF}, "h": {1: HALF}, "r": {1: HALF}}
    ctx, (before, after) = repaired(ReconstructWeights(), model, axes, draws((16, 5, 4)))
    assert after < 0.9 * before
    last = ctx.model.graph.outputs[0].producer()
    assert last is not None
    assert last.inputs[1] is not None
    assert last.inputs[1].name == "b"


def test_the_residual_behind_is_made_up_for() -> None:
    """The other branch lost something, too, and lies before: the target is the sum.

    As on the right, with everything transposed.
    """
    body = "{}  r = Relu(h)  {}  t = Relu(g)  {}  y = Add(z, g)"
    left = body.format("h = MatMul(v, x)", "g = MatMul(u, r)", "z = MatMul(w, t)")
    right = body.format("h = MatMul(x, v)", "g = MatMul(r, u)", "z = MatMul(t, w)")
    arrays = {n: random_array(n, s) for n, s in {"v": (8, 5), "u": (8, 8), "w": (8, 8)}.items()}
    feeds = draws((16, 5, 6))
    axes: Axes = {"v": {0: HALF}, "u": {1: HALF}, "h": {1: HALF}, "r": {1: HALF}}
    _, (before, after) = repaired(
        ReconstructWeights(), net(left, x="float[16,5,6]", **arrays), axes, feeds
    )
    turned = {name: np.ascontiguousarray(array.T) for name, array in arrays.items()}
    others = [{"x": np.ascontiguousarray(f["x"].swapaxes(1, 2))} for f in feeds]
    axes = {"v": {1: HALF}, "u": {0: HALF}, "h": {2: HALF}, "r": {2: HALF}}
    _, (same, wanted) = repaired(
        ReconstructWeights(), net(right, x="float[16,6,5]", **turned), axes, others
    )
    assert before == pytest.approx(same, rel=1e-5)
    assert after == pytest.approx(wanted, rel=1e-4)
    assert after < 0.9 * before


@pytest.mark.parametrize(
    ("body", "x", "weights", "reason"),
    [
        ("y = MatMul(x, x)", "float[3,4,4]", {}, NOT_CONSTANT),
        ("y = MatMul(v, w)", "float[1]", {"v": (3, 4), "w": (4, 3)}, NOT_CONSTANT),
        ("y = MatMul(x, v)", "float[3,4]", {"v": (4,)}, "ranks are not known"),
        ("y = MatMul(v, x)", "float[4]", {"v": (3, 4)}, "ranks are not known"),
        ("y = MatMul(x, v)", "float[2,3,4,5]", {"v": (2, 1, 5, 6)}, "do not stand for one part"),
        ("y = MatMul(x, v)", "float[2,4,5]", {"v": (1, 2, 5, 0)}, "empty"),
        ("y = MatMul(x, v)", "double[2,4,5]", {"v": np.ones((2, 5, 6))}, ""),
        ("y = MatMul(x, v)", "int32[4,5]", {"v": np.ones((5, 6), np.int32)}, "floating point"),
    ],
)
def test_what_is_no_layer(body: str, x: str, weights: dict[str, Any], reason: str) -> None:
    found = read_product(first(body, x, **weights))
    if reason:
        assert isinstance(found, str)
        assert reason in found
    else:
        assert isinstance(found, Product)
        assert (found.groups, found.bias.size, found.left) == (2, 12, False)


def test_stored_is_the_inverse_of_matrix() -> None:
    for body, x, v, *_ in CASES:
        layer = read_product(first(body, f"float[{x}]", v=v, w=_[0]))
        assert isinstance(layer, Product)
        np.testing.assert_array_equal(layer.stored(layer.matrix(layer.weight)), layer.weight)


def test_pruning_with_data_fits_stacked_matrices() -> None:
    """Whole: the dependency graph finds the channels, least squares makes up for them."""
    body = "h = MatMul(x, v)  r = Relu(h)  z = MatMul(r, w)  y = ReduceMean<axes = [2]>(z)"
    model = net(body, x="float[N,3,6,16]", v=(3, 16, 32), w=(3, 32, 16))
    rng = np.random.default_rng(0)
    samples = {"x": rng.standard_normal((48, 3, 6, 16)).astype(np.float32)}
    settings: dict[str, Any] = {"macs": 0.6, "data": samples}
    found = onnxslim.prune(model, search=False, **settings)
    bare = onnxslim.prune(model, search=False, recover=False, criterion="obs", **settings)
    assert found.recovery == "data"
    entry = next(p for p in found.passes if p.name == "reconstruct-weights")
    assert entry.rewrites >= 1
    assert found.quality is not None
    assert bare.quality is not None
    assert worst(found.quality) > worst(bare.quality) + 3


def worst(quality: dict[str, Any]) -> float:
    """SQNR of the worst output in dB."""
    return min(float(entry["sqnr_db"]) for entry in quality["outputs"].values())


def test_a_square_weight_on_both_sides_is_left_alone() -> None:
    """One matrix stands for two layers: rows of the one are no rows of the other."""
    body = (
        "p = MatMul(x, w)  q = Transpose<perm = [0, 2, 1]>(x)  y = MatMul(w, q)  r = Relu(p)"
        "  g = MatMul(r, u)  t = Relu(g)  z = MatMul(t, k)"
    )
    model = net(body, x="float[16,4,4]", w=(4, 4), u=(4, 8), k=(8, 3))
    axes: Axes = {"u": {1: HALF}, "k": {0: HALF}, "g": {2: HALF}, "t": {2: HALF}}
    ctx, _ = repaired(ReconstructWeights(), model, axes, draws((16, 4, 4)))
    reasons = [why for _, why in ctx.skipped]
    assert "its weight is shared by layers that read it otherwise" in reasons
