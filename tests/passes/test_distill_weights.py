"""All weights together bring the outputs nearer to what they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.analysis.dependency.groups import Kept
from onnxslim.errors import CalibrationError, PreconditionError
from onnxslim.graph.load import from_proto
from onnxslim.graph.serialize import to_proto
from onnxslim.passes.distill_weights import DistillWeights
from onnxslim.passes.reconstruct_weights import ReconstructWeights
from onnxslim.pipeline.base import Numerics, Pass
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.reference import Reference
from onnxslim.testing import shared_worker
from tests.nets import net
from tests.pruned import Axes, cut, draws, repaired

PASS = DistillWeights()
HALF = range(0, 8, 2)
BODY = (
    "h = Conv<pads = [1, 1, 1, 1]>(x, v)  r = Relu(h)  g = Conv<pads = [1, 1, 1, 1]>(r, u)"
    "  n = BatchNormalization(g, scale, shift, mean, var)  q = Relu(n)"
    "  p = GlobalAveragePool(q)  f = Flatten(p)  y = Gemm(f, w)"
)
GIVEN: dict[str, Any] = {"x": "float[N,4,8,8]", "v": (8, 4, 3, 3), "u": (4, 8, 3, 3), "w": (4, 5)}
AXES: Axes = {"v": {0: HALF}, "u": {1: HALF}, "h": {1: HALF}, "r": {1: HALF}}
SHAPE = (16, 4, 8, 8)


class Both(Pass):
    """Least squares, then the outputs."""

    name = "both"
    numerics = Numerics.LOSSY

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        return ReconstructWeights().run(model, ctx) + PASS.run(model, ctx)


def weights(ctx: PassContext) -> list[np.ndarray[Any, Any]]:
    """Every constant that a node reads, in graph order."""
    read = [v for node in ctx.model.graph for v in node.inputs if v is not None]
    return [v.const_value.numpy() for v in read if v.const_value is not None]


def test_brings_outputs_nearer_on_samples_it_has_not_seen() -> None:
    model, others = net(BODY, **GIVEN), draws(SHAPE, seed=1)
    _, (cut_only, least_squares) = repaired(
        ReconstructWeights(), model, AXES, draws(SHAPE, 8), others
    )
    _, (before, after) = repaired(Both(), model, AXES, draws(SHAPE, 8), others)
    assert before == cut_only
    assert after < 0.95 * least_squares


def test_a_squashing_output_is_compared_in_front_of_it() -> None:
    """Softmax of large numbers hardly changes, so its own error would teach nothing."""
    body = BODY.replace("y = Gemm(f, w)", "z = Gemm(f, w)  k = Mul(z, big)  y = Softmax(k)")
    model = net(body, **GIVEN, big=np.float32(50))
    _, (before, after) = repaired(PASS, model, AXES, draws(SHAPE, 8), draws(SHAPE, seed=1))
    assert after < 0.8 * before


def test_only_weights_with_a_known_gradient_change() -> None:
    body = "h = Conv(x, v)  c = CumSum(h, one)  g = Conv(c, u)  y = Relu(g)"
    given: dict[str, Any] = {k: GIVEN[k] for k in ("x", "v", "u")} | {"one": 1}
    axes: Axes = {name: AXES[name] for name in ("v", "u", "h")} | {"c": {1: HALF}}
    model = net(body, **given)
    ctx, (before, after) = repaired(PASS, model, axes, draws(SHAPE))
    assert after < before
    first, *_ = weights(ctx)
    _, pruned, _ = cut(model, axes)
    assert np.array_equal(first, weights(PassContext(pruned))[0])


def test_the_same_samples_give_the_same_weights() -> None:
    found = [repaired(PASS, net(BODY, **GIVEN), AXES, draws(SHAPE))[0] for _ in range(2)]
    one, two = (weights(ctx) for ctx in found)
    assert len(one) > 5
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(
    ("pass_", "batches", "reason"),
    [
        (DistillWeights(rate=100.0), 4, "the outputs are no nearer to those of before"),
        (DistillWeights(work=1e4), 4, "more work than 10000"),
        (PASS, 1, "fewer than 32 samples"),
    ],
)
def test_leaves_the_model_alone_where_it_does_not_help(
    pass_: DistillWeights, batches: int, reason: str
) -> None:
    ctx, (before, after) = repaired(pass_, net(BODY, **GIVEN), AXES, draws(SHAPE, batches))
    assert before == after
    assert [why for _, why in ctx.skipped] == [reason]


def test_fewer_epochs_keep_within_the_work() -> None:
    model = net(BODY, **GIVEN)
    epochs: list[int] = []
    for work in (1e12, 6e8, 3e8, 1e8):
        dense, pruned, kept = cut(model, AXES)
        seen: list[int] = [0]

        def note(done: int, total: int, unit: str, seen: list[int] = seen) -> None:
            seen.append(total)

        ctx = PassContext(pruned, worker=shared_worker(), calibration=draws(SHAPE))
        ctx.reference = Reference(dense, kept, note)
        DistillWeights(work=work).run(pruned, ctx)
        epochs.append(max(seen))
    assert epochs[0] == 20
    assert 20 > epochs[1] > epochs[2] >= 4
    assert epochs[3] == 0


def test_needs_a_reference_and_samples() -> None:
    model = from_proto(net(BODY, **GIVEN))
    with pytest.raises(PreconditionError):
        PASS.run(model, PassContext(model, calibration=draws(SHAPE)))
    _, pruned, _ = cut(net(BODY, **GIVEN), AXES)
    ctx = PassContext(pruned)
    ctx.reference = Reference(model, Kept({}))
    with pytest.raises(CalibrationError):
        PASS.run(pruned, ctx)


def test_leaves_outputs_alone_whose_size_follows_from_the_data() -> None:
    """Elements above a limit: another number of them as soon as weights change."""
    tail = (
        "z = Gemm(f, w)  r1 = Reshape(z, flat)  m = Greater(r1, none)  i = NonZero(m)"
        "  j = Reshape(i, flat)  y = Gather(r1, j)"
    )
    body = BODY.replace("y = Gemm(f, w)", tail)
    model = net(body, **GIVEN, none=np.float32(0), flat=[-1], outputs={"y": "float[K]"})
    dense, pruned, kept = cut(model, AXES)
    ctx = PassContext(pruned, calibration=draws(SHAPE), reference=Reference(dense, kept))
    assert PASS.run(pruned, ctx) == 0
    assert [why for _, why in ctx.skipped] == ["the size of y follows from the data"]


def test_leaves_a_batch_alone_that_takes_too_much_memory() -> None:
    body = "h = Conv(x, v)  r = Relu(h)  y = Conv(r, u)"
    model = net(body, **{k: GIVEN[k] for k in "vu"}, x="float[N,4,900,900]")
    dense, pruned, kept = cut(model, {name: AXES[name] for name in "vuhr"})
    feeds = [{"x": np.zeros((64, 4, 1, 1), np.float32)}]
    ctx = PassContext(pruned, calibration=feeds, reference=Reference(dense, kept))
    assert DistillWeights(work=1e15).run(pruned, ctx) == 0
    assert [why for _, why in ctx.skipped] == ["a batch takes too much memory"]


ODD: dict[str, tuple[str, dict[str, Any]]] = {
    "an initializer that may be overridden": (
        "z = Gemm(f, w)  y = Mul(z, factor)",
        {"factor": (5,), "overridable": ["factor"]},
    ),
    "only the mask of a Dropout is read": (
        "d, m = Dropout(f)  y = Gemm(f, w)  e = Cast<to = 1>(m)",
        {"outputs": {"y": "float[N,5]", "e": "float[N,4]"}},
    ),
    "whole numbers on the way": (
        "z = Gemm(f, w)  i = Cast<to = 7>(z)  j = Cast<to = 1>(i)  y = Mul(z, j)", {},
    ),
    "an output that never changes": (
        "y = Gemm(f, w)  nil = Mul(f, none)  k = Relu(nil)", {"none": np.float32(0)},
    ),
    "numbers that are not finite": (
        "z = Gemm(f, w)  y = Add(z, peaks)",
        {"peaks": np.array([[0, -np.inf, 0, 0, 0]], np.float32)},
    ),
}  # fmt: skip


def goes_through(pass_: DistillWeights, case: str) -> None:
    """An odd model is valid afterwards."""
    tail, given = ODD[case]
    model = net(BODY.replace("y = Gemm(f, w)", tail), **GIVEN, **given)
    dense, pruned, kept = cut(model, AXES)
    ctx = PassContext(pruned, worker=shared_worker(), calibration=draws(SHAPE))
    ctx.reference = Reference(dense, kept)
    pass_.run(pruned, ctx)
    shared_worker().check(to_proto(pruned).SerializeToString(), full=True)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", ODD)
def test_odd_models_go_through(case: str) -> None:
    goes_through(PASS, case)


def test_an_output_that_is_no_tensor_is_left_out() -> None:
    proto = net(BODY, **GIVEN)
    proto.graph.node.append(onnx.helper.make_node("SequenceConstruct", ["f", "f"], ["s"]))
    kind = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, ["N", 4])
    proto.graph.output.append(
        onnx.helper.make_value_info("s", onnx.helper.make_sequence_type_proto(kind))
    )
    _, (before, after) = repaired(PASS, proto, AXES, draws(SHAPE))
    assert after < before


def test_what_is_drawn_anew_every_time_teaches_nothing() -> None:
    body = BODY.replace("y = Gemm(f, w)", "z = Gemm(f, w)  d = RandomNormalLike(z)  y = Add(z, d)")
    dense, pruned, kept = cut(net(body, **GIVEN, outputs={"y": "float[N,5]"}), AXES)
    ctx = PassContext(pruned, calibration=draws(SHAPE), reference=Reference(dense, kept))
    assert PASS.run(pruned, ctx) == 0
    assert not ctx.skipped  # it has not even begun
