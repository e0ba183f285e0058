"""Channels that stay take over what removed ones did, as far as the weights say how they depend."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from onnxslim.errors import PreconditionError
from onnxslim.graph.load import from_proto
from onnxslim.passes import _draws
from onnxslim.passes.correct_bias import CorrectBias
from onnxslim.passes.merge_channels import MergeChannels
from onnxslim.pipeline.base import Pass
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.reference import Reference
from onnxslim.testing import shared_worker
from tests.nets import net, random_array
from tests.pruned import Axes, cut, draws, outputs

PASS = MergeChannels()
HALF = range(0, 8, 2)
SIZES = dict.fromkeys(("scale", "shift", "mean", "var"), (8,))


def pairs(shape: tuple[int, ...]) -> Any:
    """Eight filters, every second one nearly the one before it."""
    v = random_array("v", shape)
    v[1::2] = v[::2] + 0.05 * v[1::2]
    return v


def normalized(text: str, v: Any, **more: Any) -> Any:
    """A network whose BatchNormalization ``n`` has the statistics of standard normal inputs."""
    taken = tuple(range(1, v.ndim))
    given: dict[str, Any] = {
        "x": "float[N,4,8,8]", "v": v, **SIZES, "mean": np.zeros(8, np.float32),
        "var": (v**2).sum(axis=taken), **more,
    }  # fmt: skip
    body = "h = Conv(x, v)  n = BatchNormalization(h, scale, shift, mean, var)  " + text
    return net(body, **given)


def axes(names: Iterable[str], kept: Iterable[int] = HALF) -> Axes:
    own = list(kept)
    return {
        "v": {0: own}, "w": {1: own}, **{name: {0: own} for name in SIZES},
        **{name: {1: own} for name in ("h", "n", *names)},
    }  # fmt: skip


def errors(model: Any, kept: Axes, feeds: list[dict[str, Any]], *passes: Pass) -> list[float]:
    """Squared error, in parts of the variance, as cut and behind each pass."""
    found: list[float] = []
    for chosen in (None, *passes):
        dense, pruned, map_ = cut(model, kept)
        wanted = outputs(dense, feeds)
        if chosen is not None:
            ctx = PassContext(pruned, worker=shared_worker(), reference=Reference(dense, map_))
            assert chosen.run(pruned, ctx) == 1
        off = outputs(pruned, feeds) - wanted
        found.append(float((off**2).mean() / wanted.var()))
    return found


@pytest.mark.parametrize("act", ["Relu(n)", "Sigmoid(n)", "HardSwish(n)", "Identity(n)"])
def test_alike_channels_stand_in_for_each_other(act: str) -> None:
    model = normalized(f"r = {act}  y = Conv(r, w, b)", pairs((8, 4, 3, 3)), w=(4, 8, 3, 3), b=(4,),
                       scale=np.ones(8, np.float32), shift=np.zeros(8, np.float32))  # fmt: skip
    before, mean, merged = errors(model, axes("r"), draws((16, 4, 8, 8)), CorrectBias(), PASS)
    assert merged < 0.1 * min(before, mean)


def test_gemm_behind_a_flatten() -> None:
    v = pairs((8, 4, 3, 3))
    model = normalized("r = Relu(n)  f = Flatten(r)  y = Gemm(f, w, b)", v, w=(288, 3), b=(3,))
    columns = [36 * c + i for c in HALF for i in range(36)]
    kept = {**axes("r"), "w": {0: columns}, "f": {1: columns}}
    before, merged = errors(model, kept, draws((64, 4, 8, 8)), PASS)
    assert merged < 0.4 * before


def test_a_transposed_convolution_only_gets_its_bias_corrected() -> None:
    """A position of it sees only some of the taps."""
    model = normalized("r = Relu(n)  y = ConvTranspose(r, w)", pairs((8, 4, 3, 3)), w=(8, 4, 3, 3))
    kept = {**axes("r"), "w": {0: list(HALF)}}
    before, mean, merged = errors(model, kept, draws((16, 4, 8, 8)), CorrectBias(), PASS)
    assert merged == mean < before


def test_every_block_of_a_grouped_convolution_guesses_by_itself() -> None:
    model = normalized(
        "r = Relu(n)  y = Conv<group = 2>(r, w, b)", pairs((8, 4, 3, 3)), w=(6, 4, 3, 3), b=(6,)
    )
    kept = {**axes("r"), "w": {1: [0, 2]}}
    before, merged = errors(model, kept, draws((16, 4, 8, 8)), PASS)
    assert merged < 0.3 * before


def test_a_hidden_layer_without_normalization() -> None:
    """Its input is taken as standard normal, as behind a LayerNormalization."""
    model = net(
        "h = MatMul(x, v)  a = Add(h, c)  e = Erf(a)  m = Mul(a, e)  p = MatMul(m, w)"
        "  y = Add(p, b)",
        x="float[N,7,6]", v=pairs((8, 6)).T.copy(), c=(8,), w=(8, 5), b=(5,),
    )  # fmt: skip
    kept = {"v": {1: HALF}, "c": {0: HALF}, "w": {0: HALF}, **{n: {2: HALF} for n in "haem"}}
    feeds = [{"x": np.random.default_rng(3).standard_normal((32, 7, 6)).astype(np.float32)}]
    before, merged = errors(model, kept, feeds, PASS)
    assert merged < 0.5 * before


def test_a_transposed_convolution_gets_the_bias() -> None:
    model = normalized("r = Relu(n)  y = ConvTranspose<strides = [2, 2]>(r, w, b)",
                       pairs((8, 4, 3, 3)), w=(8, 4, 2, 2), b=(4,))  # fmt: skip
    kept = {**axes("r"), "w": {0: HALF}}
    _, mean, merged = errors(model, kept, draws((16, 4, 8, 8)), CorrectBias(), PASS)
    assert merged == pytest.approx(mean)


def test_nothing_known_is_said() -> None:
    model = net("h = Softsign(x)  y = Conv(h, w)", w=(4, 8, 3, 3), x="float[N,8,6,6]")
    dense, pruned, kept = cut(model, {"w": {1: HALF}, "h": {1: HALF}})
    ctx = PassContext(pruned, worker=shared_worker(), reference=Reference(dense, kept))
    assert PASS.run(pruned, ctx) == 0
    assert [reason for _, reason in ctx.skipped] == ["nothing is known of its inputs without data"]


def test_without_a_reference_it_says_what_it_needs() -> None:
    model = from_proto(net("y = Conv(x, w)", w=(4, 8, 3, 3)))
    with pytest.raises(PreconditionError, match="behind a pass that compresses"):
        PASS.run(model, PassContext(model))


def test_channels_depend_as_in_a_large_sample() -> None:
    """One tap and white inputs: rows are then drawn as the network's own."""
    v = pairs((8, 4, 1, 1))
    proto = normalized("y = Relu(n)", v, x="float[1,4,100,100]")
    rows = dict(_draws.draws(from_proto(proto)))["y"]
    found = outputs(from_proto(proto), draws((1, 4, 100, 100)))
    sample = found.transpose(0, 2, 3, 1).reshape(-1, 8)
    np.testing.assert_allclose(np.cov(rows.T), np.cov(sample.T), atol=0.15)
    np.testing.assert_allclose(rows.mean(axis=0), sample.mean(axis=0), atol=0.1)


@pytest.mark.parametrize(
    "text",
    ["y = Concat<axis = 1>(n, n)", "y = Add(n, one)", "y = Sub(one, n)", "y = Div(n, row)",
        "y = Mul(n, n)",],
)  # fmt: skip
def test_rows_follow(text: str) -> None:
    more = {"one": np.full((1,), 1.5, np.float32), "row": np.arange(1, 9, dtype=np.float32)}
    used = {k: a.reshape(1, -1, 1, 1) if k == "row" else a for k, a in more.items() if k in text}
    proto = normalized(text, pairs((8, 4, 1, 1)), x="float[1,4,100,100]", **used)
    rows = dict(_draws.draws(from_proto(proto)))["y"]
    found = outputs(from_proto(proto), draws((1, 4, 100, 100)))
    sample = found.transpose(0, 2, 3, 1).reshape(-1, rows.shape[1])
    np.testing.assert_allclose(rows.mean(axis=0), sample.mean(axis=0), rtol=0.1, atol=0.25)


@pytest.mark.parametrize("text", ["y = Softsign(n)", "y = Mul(n, z)", "y = Concat<axis = 2>(n, n)"])
def test_rows_of_what_has_no_rule_are_not_made_up(text: str) -> None:
    more = {"z": "float[N,8,6,6]"} if "z" in text else {}
    model = from_proto(normalized(text, pairs((8, 4, 3, 3)), outputs=["y"], **more))
    found = dict(_draws.draws(model))
    assert "n" in found and "y" not in found


def test_the_largest_of_positions_that_are_alike() -> None:
    """Larger than one of them, less than of independent ones."""
    proto = normalized("y = MaxPool<kernel_shape = [2, 2]>(n)", pairs((8, 4, 1, 1)),
                       x="float[1,4,100,100]")  # fmt: skip
    rows = dict(_draws.draws(from_proto(proto)))
    found = outputs(from_proto(proto), draws((1, 4, 100, 100))).mean(axis=(0, 2, 3))
    mean = rows["y"].mean(axis=0)
    assert (mean > rows["n"].mean(axis=0)).all() and (mean < found + 0.05).all()


def test_a_layer_that_lost_outputs_too() -> None:
    """The guess goes into the filters that are left, wherever they were."""
    text = "r = Relu(n)  p = Conv(r, w, b)  q = Relu(p)  y = Conv(q, u)"
    model = normalized(text, pairs((8, 4, 3, 3)), w=(8, 8, 3, 3), b=(8,), u=(4, 8, 1, 1),
                       scale=np.ones(8, np.float32), shift=np.zeros(8, np.float32))  # fmt: skip
    odd = range(1, 8, 2)
    kept = {**axes("r"), "w": {0: odd, 1: HALF}, "b": {0: odd}, "u": {1: odd},
            "p": {1: odd}, "q": {1: odd}}  # fmt: skip
    feeds = draws((16, 4, 8, 8))
    dense, pruned, map_ = cut(model, kept)
    ctx = PassContext(pruned, worker=shared_worker(), reference=Reference(dense, map_))
    assert PASS.run(pruned, ctx) == 2
    wanted = {str(v.name): v for node in dense.graph for v in node.outputs}["p"]
    found = {str(v.name): v for node in pruned.graph for v in node.outputs}["p"]
    for loaded, value in ((dense, wanted), (pruned, found)):
        loaded.graph.outputs[:] = [value]
    whole, left = outputs(dense, feeds)[:, list(odd)], outputs(pruned, feeds)
    assert float(((left - whole) ** 2).mean() / whole.var()) < 0.02
