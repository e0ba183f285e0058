"""Weights that follow from the dependence of channels: exact where channels depend linearly."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.passes._layers import read_layer
from onnxslim.passes._prior import find_source, prior
from onnxslim.passes.reconstruct_weights import ReconstructWeights
from onnxslim.pipeline.reference import Reference
from onnxslim.pipeline.staged import Stages
from onnxslim.testing import shared_worker
from tests.nets import net, random_array
from tests.pruned import Array, Axes, cut, draws, outputs, repaired

HALF = range(0, 8, 2)
WIDE = [c * 36 + i for c in HALF for i in range(36)]
GROUPED = [0, 3, 4, 7]

CASES: list[tuple[str, dict[str, Any], Axes]] = [
    ("h = Conv(x, v)  y = Conv(h, w)", {}, {"w": {1: HALF}, "h": {1: HALF}}),
    (
        "h = Conv(x, v)  y = ConvTranspose<strides = [2, 2]>(h, w)",
        {"w": (8, 4, 3, 3)},
        {"w": {0: HALF}, "h": {1: HALF}},
    ),
    (
        "h = Conv(x, v)  f = Flatten(h)  y = Gemm<transB = 1>(f, w)",
        {"w": (5, 288)},
        {"w": {1: WIDE}, "h": {1: HALF}, "f": {1: WIDE}},
    ),
    (
        "h = Conv(x, v)  f = Flatten(h)  y = MatMul(f, w)",
        {"w": (288, 5)},
        {"w": {0: WIDE}, "h": {1: HALF}, "f": {1: WIDE}},
    ),
]


def producer(pattern: bool = False) -> Array:
    """(8, 4, 3, 3): the odd outputs are half the sum of the even ones next to them."""
    v = random_array("v", (8, 4, 3, 3)).copy()
    v[1::2] = (v[::2] + np.roll(v[::2], -1, axis=0)) / 2
    if pattern:  # groups of four, each with two that are multiples of the other two
        v = np.repeat(random_array("v", (4, 4, 3, 3)), 2, axis=0)
        v[1::2] *= -2
    return v


def mapped(body: str, given: dict[str, Any], axes: Axes) -> tuple[Array, Array, Array]:
    """Reference's outputs, pruned outputs, and pruned outputs with the prior's weights."""
    model = net(body, **{"x": "float[N,4,8,8]", "w": (4, 8, 3, 3), **given})
    feeds = draws((8, 4, 8, 8))
    dense, pruned, kept = cut(model, axes)
    wanted, before = outputs(dense, feeds), outputs(pruned, feeds)
    reference = Reference(dense, kept)
    layer, whole = (read_layer(list(m.graph)[-1]) for m in (pruned, dense))
    assert not isinstance(layer, str)
    assert not isinstance(whole, str)
    source = find_source(layer, whole, reference)
    assert source is not None
    names = [str(source.value.name)]
    worker = shared_worker()
    with Stages(pruned, worker, feeds, names) as own, Stages(dense, worker, feeds, names) as ref:
        own.fetch(names)
        ref.fetch(names)
        found = prior(source, layer, own, ref, 20_000, 0)
    assert found is not None
    new = np.ascontiguousarray(layer.stored(found).astype(np.float32))
    value = pruned.graph.initializers["w"]
    value.const_value = ir.Tensor(new, name="w")
    return wanted, before, outputs(pruned, feeds)


@pytest.mark.parametrize(("body", "given", "axes"), CASES)
def test_dependent_channels_are_made_up_for(body: str, given: dict[str, Any], axes: Axes) -> None:
    wanted, before, after = mapped(body, {"v": producer(), **given}, {"v": {0: HALF}, **axes})
    assert np.abs(before - wanted).max() > 0.5
    np.testing.assert_allclose(after, wanted, atol=0.02 * np.abs(wanted).max())


def test_groups_use_their_own_channels() -> None:
    given = {"v": producer(True), "w": (4, 4, 3, 3)}
    axes: Axes = {"v": {0: GROUPED}, "w": {1: range(2)}, "h": {1: GROUPED}}
    body = "h = Conv(x, v)  y = Conv<group = 2>(h, w)"
    wanted, before, after = mapped(body, given, axes)
    assert np.abs(before - wanted).max() > 0.5
    np.testing.assert_allclose(after, wanted, atol=0.02 * np.abs(wanted).max())


def test_few_samples_do_more_with_it() -> None:
    given: dict[str, Any] = {"x": "float[N,4,8,8]", "v": producer(), "w": (5, 288)}
    axes: Axes = {"v": {0: HALF}, "w": {1: WIDE}, "h": {1: HALF}, "f": {1: WIDE}}
    model = net("h = Conv(x, v)  f = Flatten(h)  y = Gemm<transB = 1>(f, w)", **given)
    feeds = draws((8, 4, 8, 8), batches=3)
    others = draws((8, 4, 8, 8), seed=1)
    ctx, (_, with_it) = repaired(ReconstructWeights(), model, axes, feeds, others)
    _, (_, without) = repaired(ReconstructWeights(priors=False), model, axes, feeds, others)
    assert with_it < 0.02
    assert without > 0.1
    assert not ctx.warnings  # 24 rows for 144 inputs, but the map has enough


@pytest.mark.parametrize(
    ("body", "given"),
    [
        ("h = Conv(x, v)  y = Conv(h, w)", {"w": (4, 8, 1, 1)}),
        ("h = Conv(x, v)  f = Flatten<axis = 2>(h)  y = Gemm(f, w)", {"w": (36, 5)}),
        ("y = Conv(x, w)", {"w": (4, 4, 3, 3)}),
    ],
)
def test_no_source_where_it_says_nothing_new(body: str, given: dict[str, Any]) -> None:
    dense, pruned, kept = cut(net(body, v=(8, 4, 3, 3), **given), {})
    layer, whole = (read_layer(list(m.graph)[-1]) for m in (pruned, dense))
    assert not isinstance(layer, str)
    assert not isinstance(whole, str)
    assert find_source(layer, whole, Reference(dense, kept)) is None
