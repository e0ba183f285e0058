"""Quantized layers come closer to the float model by their integers and biases alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import CalibrationError, PreconditionError
from onnxslim.graph.load import from_proto
from onnxslim.graph.serialize import to_proto
from onnxslim.passes._integers import IntegerLayer, read_integer_layer
from onnxslim.passes.quantize_static import QuantizeStatic
from onnxslim.passes.reconstruct_integers import (
    ReconstructIntegers,
    _float_weight,
    _names,
    _target,
)
from onnxslim.pipeline import PassContext
from onnxslim.testing import model_bytes, node_lines, shared_worker
from onnxslim.verify.structure import verify_structure
from tests.nets import net

CONV: dict[str, Any] = {"x": "float[N,6,10,10]", "w": (16, 6, 3, 3), "v": (8, 16, 3, 3), "b": (16,)}
FLAT: dict[str, Any] = {"x": "float[N,32]", "w": (32, 24), "v": (24, 8), "b": (24,)}


def samples(shape: tuple[int, ...], batches: int = 8, size: int = 12, seed: int = 0) -> Any:
    """Correlated inputs: a few causes each."""
    rng = np.random.default_rng(99)
    mix = rng.standard_normal((max(2, shape[0] // 4), shape[0]))
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(batches):
        causes = rng.standard_normal((size, *shape[1:], len(mix)))
        mixed = np.moveaxis(causes @ mix + 0.3, -1, 1)
        found.append({"x": mixed.astype(np.float32)})
    return found


def prepared(text: str, feeds: Any, **given: Any) -> tuple[ir.Model, ir.Model]:
    """The float model, and the quantized one; every layer is quantized."""
    models = []
    for item in (None, QuantizeStatic(calibrator="minmax", include=("*",))):
        model = from_proto(net(text, **given))
        infer_shapes(model, worker=shared_worker())
        if item is not None:
            ctx = PassContext(model, worker=shared_worker(), calibration=feeds)
            assert item.run(model, ctx) > 0, ctx.skipped
        models.append(model)
    return models[0], models[1]


def error(reference: ir.Model, model: ir.Model, feeds: Any) -> float:
    """Summed squared output error over that of the outputs."""
    noise = signal = 0.0
    with (
        shared_worker().session(model_bytes(reference)) as one,
        shared_worker().session(model_bytes(model)) as two,
    ):
        for feed in feeds:
            for name, wanted in one.run(feed).items():
                noise += float(np.sum((two.run(feed)[name] - wanted) ** 2))
                signal += float(np.sum(wanted**2))
    return noise / signal


def improve(
    reference: ir.Model, model: ir.Model, feeds: Any, item: ReconstructIntegers | None = None
) -> tuple[int, PassContext]:
    ctx = PassContext(model, worker=shared_worker(), calibration=feeds, reference=reference)
    return (item or ReconstructIntegers()).run(model, ctx), ctx


CASES: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    ("y = Conv<pads = [1, 1, 1, 1]>(x, w, b)", CONV, (6, 10, 10)),
    ("y = Conv<strides = [2, 2]>(x, w)", CONV, (6, 10, 10)),
    ("h = Conv(x, w, b)  r = Relu(h)  y = Conv(r, v)", CONV, (6, 10, 10)),
    ("y = Conv<group = 2>(x, w, b)", {**CONV, "w": (16, 3, 3, 3)}, (6, 10, 10)),
    ("y = Conv<group = 6>(x, w, b)", {**CONV, "w": (12, 1, 3, 3), "b": (12,)}, (6, 10, 10)),
    ("y = Conv<auto_pad = \"SAME_UPPER\">(x, w, b)", CONV, (6, 10, 10)),
    ("y = Gemm(x, w, b)", FLAT, (32,)),
    ("y = Gemm<transB = 1>(x, w, b)", {**FLAT, "w": (24, 32)}, (32,)),
    ("y = Gemm(x, w)", FLAT, (32,)),
    ("h = Gemm(x, w, b)  r = Relu(h)  y = Gemm(r, v)", FLAT, (32,)),
    ("y = MatMul(x, w)", FLAT, (32,)),
    ("h = MatMul(x, w)  y = Add(h, b)", FLAT, (32,)),
    ("h = MatMul(x, w)  y = Add(b, h)", FLAT, (32,)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "given", "shape"), CASES)
def test_comes_closer_on_samples_it_has_not_seen(
    text: str, given: dict[str, Any], shape: tuple[int, ...]
) -> None:
    feeds, others = samples(shape), samples(shape, seed=5)
    reference, model = prepared(text, feeds, **given)
    before, lines = error(reference, model, others), node_lines(model.graph)
    held = {n: v.const_value for n, v in model.graph.initializers.items()}
    count, ctx = improve(reference, model, feeds)
    assert count >= 1, ctx.skipped
    assert verify_structure(model) == []
    factor = 1.0 if "group" in text else 0.9  # few inputs per output: little to make up with
    assert error(reference, model, others) < factor * before
    strip = [line.split("(")[0] for line in lines]
    assert [line.split("(")[0] for line in node_lines(model.graph)] == strip, "the same nodes"
    for name, value in model.graph.initializers.items():
        if name in held and value.uses():
            assert value.const_value is held[name], "scales and zero points stay"
    again = from_proto(to_proto(model))
    assert model_bytes(again) == model_bytes(model)


def test_the_same_twice() -> None:
    feeds = samples((6, 10, 10))
    made = []
    for _ in range(2):
        reference, model = prepared(CASES[2][0], feeds, **CONV)
        improve(reference, model, feeds)
        made.append(model_bytes(model))
    assert made[0] == made[1]


def test_few_batches_are_split_within() -> None:
    feeds = samples((32,), batches=1, size=200)
    reference, model = prepared("y = Gemm(x, w, b)", feeds, **FLAT)
    assert improve(reference, model, feeds)[0] == 1


def test_of_many_positions_some_are_taken() -> None:
    """Others of equal number with another seed; enough to come closer."""
    feeds = samples((6, 10, 10))
    made = []
    for seed in (0, 1):
        reference, model = prepared(CASES[0][0], feeds, **CONV)
        before = error(reference, model, feeds)
        assert improve(reference, model, feeds, ReconstructIntegers(rows=800, seed=seed))[0] == 1
        assert error(reference, model, feeds) < before
        made.append(model_bytes(model))
    assert made[0] != made[1]


def test_wide_layers_only_get_a_bias() -> None:
    feeds = samples((32,))
    reference, model = prepared("y = Gemm(x, w, b)", feeds, **FLAT)
    integers = {n for n, v in model.graph.initializers.items() if v.dtype == ir.DataType.INT8}
    improve(reference, model, feeds, ReconstructIntegers(widest=10))
    changed = {v.name for n in model.graph for v in n.inputs if v is not None}
    assert integers & changed, "the weights are those of before"


def test_a_layer_that_gains_nothing_stays() -> None:
    """Weights on the grid, a bias that is right: there is nothing to find."""
    w = np.zeros((32, 24), np.float32)
    w[np.arange(24), np.arange(24)] = 1
    feeds = samples((32,))
    reference, model = prepared("y = MatMul(x, w)", feeds, **{**FLAT, "w": w})
    before = model_bytes(model)
    count, ctx = improve(reference, model, feeds)
    assert count == 0 and model_bytes(model) == before
    assert "nothing is gained" in ctx.skipped[0][1]


def test_shared_weights_are_left_alone() -> None:
    feeds = samples((32,))
    text = "r = Relu(x)  y = MatMul(x, w)  z = MatMul(r, w)"
    reference, model = prepared(text, feeds, **FLAT)
    before = model_bytes(model)
    count, ctx = improve(reference, model, feeds)
    assert count == 0 and model_bytes(model) == before
    assert "shared" in ctx.skipped[0][1]


def test_a_float_model_is_left_alone() -> None:
    model = from_proto(net("y = MatMul(x, w)", **FLAT))
    infer_shapes(model)
    before = model_bytes(model)
    assert improve(model, model, samples((32,)))[0] == 0
    assert model_bytes(model) == before


def test_needs_a_reference_and_samples() -> None:
    feeds = samples((32,))
    _, model = prepared("y = MatMul(x, w)", feeds, **FLAT)
    with pytest.raises(PreconditionError, match="float model"):
        ReconstructIntegers().run(model, PassContext(model, worker=shared_worker()))
    ctx = PassContext(model, worker=shared_worker(), reference=model)
    with pytest.raises(CalibrationError, match="sample inputs"):
        ReconstructIntegers().run(model, ctx)


def test_rounding_alone_helps_too() -> None:
    feeds, others = samples((6, 10, 10)), samples((6, 10, 10), seed=5)
    text = "h = Conv(x, w, b)  r = Relu(h)  y = Conv(r, v)"
    errors = []
    for item in (None, ReconstructIntegers(refit=False), ReconstructIntegers()):
        reference, model = prepared(text, feeds, **CONV)
        if item is not None:
            improve(reference, model, feeds, item)
        errors.append(error(reference, model, others))
    assert errors[1] < errors[0] and errors[2] < errors[0]
    assert errors[1] != errors[2]


def integer_layers(model: ir.Model) -> list[IntegerLayer]:
    found = [read_integer_layer(node) for node in model.graph]
    return [one for one in found if isinstance(one, IntegerLayer)]


@pytest.mark.parametrize(("text", "given", "shape"), CASES)
def test_what_integers_are_fitted_to_are_the_weights_of_the_reference(
    text: str, given: dict[str, Any], shape: tuple[int, ...]
) -> None:
    reference, model = prepared(text, samples(shape, batches=2), **given)
    names, layers = _names(reference), integer_layers(model)
    assert len(layers) == 1 + ("v)" in text)
    for one, name in zip(layers, "wv", strict=False):
        target, stored = _target(one, names), reference.graph.initializers[name].const_value
        assert target is not None and stored is not None
        exact = one.layer.matrix(stored.numpy())
        assert np.array_equal(_float_weight(one, names, target), exact)


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("y = Conv(x, w)", {"w": (16, 6, 1, 1)}),
        ("y = Conv(x, w)", {"w": "float[16,6,3,3]"}),
        ("y = LpNormalization(x)", {}),
    ],
)
def test_without_weights_in_the_reference_they_are_what_the_integers_stand_for(
    text: str, given: dict[str, Any]
) -> None:
    _, model = prepared("y = Conv(x, w)", samples((6, 10, 10), batches=2), **CONV)
    (one,) = integer_layers(model)
    names = _names(from_proto(net(text, x="float[N,6,10,10]", **given)))
    found = _float_weight(one, names, "y")
    assert np.array_equal(found, one.layer.matrix(one.layer.weight))
