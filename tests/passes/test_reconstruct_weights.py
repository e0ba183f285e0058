"""What pruning took from the layers comes back from what is left, where it can."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import CalibrationError, PreconditionError
from onnxslim.graph.load import from_proto
from onnxslim.passes.reconstruct_weights import ReconstructWeights
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.reference import Reference
from onnxslim.testing import node_lines, shared_worker
from tests.nets import net, random_array
from tests.pruned import Array, Axes, cut, distance, draws, repaired

PASS = ReconstructWeights()
HALF = range(0, 8, 2)


def doubled(name: str, shape: tuple[int, ...], axis: int = 0) -> Array:
    """Random; every odd index of the axis is -0.5 times the one before: nothing is lost by half."""
    array = np.moveaxis(random_array(name, shape), axis, 0).copy()
    array[1::2] = -0.5 * array[::2]
    return np.ascontiguousarray(np.moveaxis(array, 0, axis))


CHAINS: list[tuple[str, dict[str, Any], Axes]] = [
    (
        "h = Conv(x, v)  y = Conv(h, w)",
        {"v": doubled("v", (8, 4, 3, 3)), "w": (4, 8, 3, 3)},
        {"v": {0: HALF}, "w": {1: HALF}, "h": {1: HALF}},
    ),
    (
        "h = Conv<strides = [2, 2]>(x, v, u)  s = Sigmoid(h)  y = Conv<pads = [1, 1, 1, 1]>(s, w)",
        {
            "v": np.repeat(random_array("v", (4, 4, 3, 3)), 2, axis=0),
            "u": np.repeat(random_array("u", (4,)), 2),
            "w": (4, 8, 3, 3),
        },
        {"v": {0: HALF}, "u": {0: HALF}, "w": {1: HALF}, "h": {1: HALF}, "s": {1: HALF}},
    ),
    (
        "h = Gemm(x, v)  y = Gemm<transB = 1, alpha = 2.0>(h, w, b)",
        {"x": "float[N,5]", "v": doubled("v", (5, 8), 1), "w": (4, 8)},
        {"v": {1: HALF}, "w": {1: HALF}, "h": {1: HALF}},
    ),
    (
        "h = MatMul(x, v)  y = MatMul(h, w)",
        {"x": "float[N,3,5]", "v": doubled("v", (5, 8), 1), "w": (8, 4)},
        {"v": {1: HALF}, "w": {0: HALF}, "h": {2: HALF}},
    ),
    (
        "h = Conv(x, v)  y = ConvTranspose<strides = [2, 2]>(h, w, b)",
        {"v": doubled("v", (8, 4, 3, 3)), "w": (8, 4, 3, 3)},
        {"v": {0: HALF}, "w": {0: HALF}, "h": {1: HALF}},
    ),
    (
        "h = Conv(x, v)  y = Conv<group = 2>(h, w, b)",
        {"v": doubled("v", (8, 4, 3, 3)), "w": (4, 4, 3, 3)},
        {"v": {0: HALF}, "w": {1: range(0, 4, 2)}, "h": {1: HALF}},
    ),
]


def shape_for(body: str, given: dict[str, Any]) -> tuple[int, ...]:
    del body
    text = given.get("x", "float[2,4,8,8]")
    return tuple(16 if d == "N" else int(d) for d in text[6:-1].split(","))


@pytest.mark.parametrize(("body", "given", "axes"), CHAINS)
def test_brings_back_what_the_rest_can_say(body: str, given: dict[str, Any], axes: Axes) -> None:
    model = net(body, **given)
    _, (before, after) = repaired(PASS, model, axes, draws(shape_for(body, given)))
    assert before > 0.2
    assert after < 0.02


BLOCK = (
    "h = Conv<pads = [1, 1, 1, 1]>(x, v)  r = Relu(h)  g = Conv<pads = [1, 1, 1, 1]>(r, u)"
    "  n = BatchNormalization(g, scale, shift, mean, var)  a = Add(n, x)  y = Conv(a, w)"
)
BLOCK_GIVEN: dict[str, Any] = {"v": (8, 4, 3, 3), "u": (4, 8, 3, 3)}
BLOCK_AXES: Axes = {"v": {0: HALF}, "u": {1: HALF}, "h": {1: HALF}, "r": {1: HALF}}


def test_through_batchnorm_and_residual_addition() -> None:
    ctx, (before, after) = repaired(
        PASS, net(BLOCK, **BLOCK_GIVEN), BLOCK_AXES, draws((2, 4, 8, 8))
    )
    assert after < 0.75 * before
    lines = node_lines(ctx.model.graph)
    assert lines[2].startswith("g = Conv(r, u_s1, u_bias_s1)")


def test_the_activation_behind_is_taken_into_account() -> None:
    body = "h = Conv(x, v)  r = Relu(h)  z = Conv(r, w, b)  y = Relu(z)"
    given: dict[str, Any] = {"x": "float[N,4,8,8]", "v": (8, 4, 3, 3), "w": (4, 8, 3, 3)}
    given["b"] = np.full(4, -3, np.float32)
    axes: Axes = {"v": {0: HALF}, "w": {1: HALF}, "h": {1: HALF}, "r": {1: HALF}}
    feeds = draws((8, 4, 8, 8))
    _, (_, plain) = repaired(ReconstructWeights(rounds=0), net(body, **given), axes, feeds)
    _, (_, clipped) = repaired(PASS, net(body, **given), axes, feeds)
    assert clipped < plain


def test_inputs_come_from_the_repaired_layers() -> None:
    """The second layer of three is repaired on what the first gives now, not on what it gave."""
    body = "h = Conv(x, v)  g = Tanh(h)  z = Conv(g, u)  t = Tanh(z)  y = Conv(t, w)"
    given: dict[str, Any] = {
        "x": "float[N,4,12,12]", "v": (8, 4, 3, 3), "u": (8, 8, 3, 3), "w": (4, 8, 3, 3),
    }  # fmt: skip
    axes: Axes = {
        "v": {0: HALF}, "u": {0: HALF, 1: HALF}, "w": {1: HALF},
        **{name: {1: HALF} for name in ("h", "g", "z", "t")},
    }  # fmt: skip
    ctx, (before, after) = repaired(PASS, net(body, **given), axes, draws((8, 4, 12, 12)))
    assert after < 0.9 * before
    assert not ctx.skipped


def test_a_shared_weight_stays_shared() -> None:
    body = "p = Conv(x, u)  q = Conv(x, v)  a = Conv(p, w)  b1 = Conv(q, w)  y = Add(a, b1)"
    given = {"u": doubled("u", (8, 4, 3, 3)), "v": doubled("v", (8, 4, 3, 3)), "w": (4, 8, 1, 1)}
    axes: Axes = {
        "u": {0: HALF}, "v": {0: HALF}, "w": {1: HALF}, "p": {1: HALF}, "q": {1: HALF},
    }  # fmt: skip
    ctx, (before, after) = repaired(PASS, net(body, **given), axes, draws((2, 4, 8, 8)))
    nodes = list(ctx.model.graph)
    assert nodes[2].inputs[1] is nodes[3].inputs[1]
    assert after < 0.02 < before


def test_a_weight_used_in_sequence_is_left_alone() -> None:
    model = net("a = Conv(x, w)  y = Conv(a, w)", w=(4, 4, 1, 1))
    ctx, _ = repaired(PASS, model, {}, draws((2, 4, 8, 8)))
    assert any("used again" in reason for _, reason in ctx.skipped)


def test_a_layer_that_is_right_is_left_alone() -> None:
    model = net("y = Conv(x, w)")
    dense, pruned, kept = cut(model, {})
    feeds = [{"x": np.zeros((2, 4, 8, 8), np.float32)}]
    ctx = PassContext(
        pruned, worker=shared_worker(), calibration=feeds, reference=Reference(dense, kept)
    )
    assert PASS.run(pruned, ctx) == 0
    assert node_lines(pruned.graph) == ["y = Conv(x, w)"]
    assert any("never changes" in warning for warning in ctx.warnings)


def test_too_few_samples_are_named() -> None:
    model = net("y = Gemm(x, w)", x="float[N,9]", w=(9, 4))
    dense, pruned, kept = cut(model, {})
    ctx = PassContext(
        pruned,
        worker=shared_worker(),
        calibration=draws((4, 9), batches=2),
        reference=Reference(dense, kept),
    )
    PASS.run(pruned, ctx)
    assert any("8 rows for 9 inputs" in warning for warning in ctx.warnings)


@pytest.mark.parametrize(("mean", "scale", "named"), [(0, 1, False), (1, 1, True), (0, 2, True)])
def test_data_that_contradicts_batchnorm_is_named(mean: float, scale: float, named: bool) -> None:
    v = random_array("v", (8, 4, 3, 3))
    given: dict[str, Any] = {
        "v": v, "w": (4, 8, 1, 1), "scale": (8,), "shift": (8,),
        "mean": np.zeros(8, np.float32), "var": (v**2).sum(axis=(1, 2, 3)),
    }  # fmt: skip
    body = "h = Conv(x, v)  n = BatchNormalization(h, scale, shift, mean, var)  y = Conv(n, w)"
    axes: Axes = {
        "v": {0: HALF}, "w": {1: HALF}, **{n: {0: HALF} for n in ("scale", "shift", "mean", "var")},
        "h": {1: HALF}, "n": {1: HALF},
    }  # fmt: skip
    feeds = [{"x": feed["x"] * scale + mean} for feed in draws((2, 4, 8, 8))]
    ctx, _ = repaired(PASS, net(body, **given), axes, feeds)
    assert any("contradicts" in warning for warning in ctx.warnings) is named


def test_a_matmul_gets_its_bias_into_the_add_behind_it() -> None:
    body = "h = MatMul(x, v)  s = Sigmoid(h)  m = MatMul(s, w)  y = Add(m, b)"
    given = {"x": "float[N,3,5]", "v": (5, 8), "w": (8, 4)}
    axes: Axes = {"v": {1: HALF}, "w": {0: HALF}, "h": {2: HALF}, "s": {2: HALF}}
    ctx, (before, after) = repaired(PASS, net(body, **given), axes, draws((16, 3, 5)))
    assert [node.op_type for node in ctx.model.graph] == ["MatMul", "Sigmoid", "MatMul", "Add"]
    assert after < 0.5 * before


def test_a_matmul_without_an_add_gets_one() -> None:
    body = "h = MatMul(x, v)  s = Sigmoid(h)  y = MatMul(s, w)"
    given = {"x": "float[N,3,5]", "v": (5, 8), "w": (8, 4)}
    axes: Axes = {"v": {1: HALF}, "w": {0: HALF}, "h": {2: HALF}, "s": {2: HALF}}
    ctx, (before, after) = repaired(PASS, net(body, **given), axes, draws((16, 3, 5)))
    assert [node.op_type for node in ctx.model.graph][-2:] == ["MatMul", "Add"]
    assert ctx.model.graph.outputs[0].name == "y"
    assert after < 0.5 * before


def test_needs_a_reference_and_data() -> None:
    model = from_proto(net("y = Conv(x, w)"))
    with pytest.raises(PreconditionError, match="the one before"):
        PASS.run(model, PassContext(model))
    dense, pruned, kept = cut(net("y = Conv(x, w)"), {})
    with pytest.raises(CalibrationError, match="--data"):
        PASS.run(pruned, PassContext(pruned, reference=Reference(dense, kept)))


UNITS = range(0, 6, 2)


def gates(count: int) -> list[int]:
    """Kept rows of all gates."""
    return [gate * 6 + unit for gate in range(count) for unit in UNITS]


RECURRENT = [("LSTM", 4, ""), ("GRU", 3, "linear_before_reset = 1,"), ("RNN", 1, "")]


@pytest.mark.parametrize(("op", "count", "more"), RECURRENT)
@pytest.mark.parametrize("directions", [1, 2])
def test_recurrent_layers_make_up_for_their_input(
    op: str, count: int, more: str, directions: int
) -> None:
    """Half of the input channels are gone; what they said, the other half says, too."""
    way = "bidirectional" if directions == 2 else "forward"
    body = f'h = MatMul(x, v)  y = {op}<{more} hidden_size = 6, direction = "{way}">(h, w, r, q)'
    given = {
        "x": "float[5,N,4]", "v": doubled("v", (4, 8), 1), "w": (directions, count * 6, 8),
        "r": (directions, count * 6, 6), "q": (directions, 2 * count * 6),
    }  # fmt: skip
    axes: Axes = {"v": {1: HALF}, "w": {2: HALF}, "h": {2: HALF}}
    ctx, (before, after) = repaired(PASS, net(body, **given), axes, draws((5, 16, 4)))
    assert before > 0.1
    assert after < 0.02
    assert not ctx.skipped


@pytest.mark.parametrize(("op", "count", "more"), RECURRENT[:2])
def test_recurrent_layers_make_up_for_their_state(op: str, count: int, more: str) -> None:
    """Every odd unit of the state is a copy of the one before, and it is gone."""
    shapes = {"w": (1, count * 3, 4), "r": (1, count * 3, 6), "q": (1, count * 6)}
    w, r, q = (np.repeat(random_array(name, shape), 2, axis=1) for name, shape in shapes.items())
    body = f"h = {op}<{more} hidden_size = 6>(x, w, r, q)  y = MatMul(h, u)"
    given = {"x": "float[5,N,4]", "w": w, "r": r, "q": q, "u": (6, 3)}
    rows = gates(count)
    axes: Axes = {
        "w": {1: rows}, "r": {1: rows, 2: UNITS}, "q": {1: [*rows, *(6 * count + i for i in rows)]},
        "u": {0: UNITS}, "h": {3: UNITS},
    }  # fmt: skip
    dense, pruned, kept = cut(net(body, **given), axes)
    list(pruned.graph)[0].attributes["hidden_size"] = ir.AttrInt64("hidden_size", 3)
    infer_shapes(pruned, worker=shared_worker())
    feeds = draws((5, 32, 4))
    ctx = PassContext(
        pruned, worker=shared_worker(), calibration=feeds, reference=Reference(dense, kept)
    )
    before = distance(dense, pruned, feeds)
    assert PASS.run(pruned, ctx) >= 2
    assert distance(dense, pruned, feeds) < 0.03 < before


def test_shared_weights_with_other_biases_are_left_alone() -> None:
    body = "p = Conv(x, u)  q = Abs(p)  a = Conv(p, w, b)  c1 = Conv(q, w, b2)  y = Add(a, c1)"
    model = net(body, u=(8, 4, 3, 3), w=(4, 8, 1, 1), b2=(4,))
    axes: Axes = {"u": {0: HALF}, "w": {1: HALF}, "p": {1: HALF}, "q": {1: HALF}}
    ctx, _ = repaired(PASS, model, axes, draws((2, 4, 8, 8)))
    assert any("other biases" in reason for _, reason in ctx.skipped)
