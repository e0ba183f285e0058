"""Criteria on small weights whose ranking is known, and against formulas written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.dependency.groups import Group, Role
from onnxslim.analysis.saliency.base import normalised, unit_sums
from onnxslim.analysis.saliency.geometry import removal_scores, unit_vectors
from onnxslim.analysis.saliency.statistics import Moment, Statistics, measure
from onnxslim.analysis.saliency.weights import Weights
from onnxslim.errors import UsageError
from onnxslim.graph.serialize import to_proto
from onnxslim.pipeline.criteria import SHIPPED, criterion_names, get_criterion
from onnxslim.testing import shared_worker
from tests.analysis.saliency.handmade import group, loaded
from tests.nets import net

Array = np.ndarray[Any, np.dtype[Any]]

CHAIN = "h = Conv(x, w1, b1)  a = Relu(h)  y = Conv(a, w2)"


def chain(w1: Array | None = None, w2: Array | None = None) -> tuple[ir.Model, Group]:
    """Conv, Relu, Conv with 6 units between: producers w1, b1, consumer w2."""
    given: dict[str, Any] = {
        "x": "float[N,3,5,5]",
        "w1": (6, 3, 3, 3) if w1 is None else w1.astype(np.float32),
        "b1": (6,),
        "w2": (2, 6, 1, 1) if w2 is None else w2.astype(np.float32),
    }
    model = loaded(net(CHAIN, **given))
    size = len(array(model, "w1"))
    found = group(
        model,
        size,
        [
            (0, Role.PRODUCE, "w1", 0, None),
            (0, Role.PRODUCE, "b1", 0, None),
            (2, Role.CONSUME, "w2", 1, None),
            (2, Role.CONSUME, "a", 1, None),
        ],
    )
    return model, found


def array(model: ir.Model, name: str) -> Array:
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    return np.asarray(tensor.numpy(), np.float64)


def moments(**facts: Any) -> Statistics:
    ones = np.ones(6)
    base = {"mean": ones, "mean_abs": ones, "mean_square": ones, "zeros": 0 * ones}
    return Statistics(
        {("a", 1): Moment(**{**base, **{k: np.asarray(v) for k, v in facts.items()}})}
    )


def test_unit_sums_leave_out_what_belongs_to_nobody() -> None:
    found = unit_sums(np.array([0, -1, 2, 0]), np.array([1.0, 8.0, 2.0, 4.0]), 3)
    assert found.tolist() == [5.0, 0.0, 2.0]


@pytest.mark.parametrize("name", [c.name for c in SHIPPED])
def test_every_criterion_gives_a_number_per_unit(name: str) -> None:
    _, found = chain()
    for statistics in (Statistics(), moments(mean_abs=np.arange(6.0))):
        scores = get_criterion(name, seed=3).score(found, Weights(), statistics)
        assert scores.shape == (6,) and np.isfinite(scores).all() and (scores >= 0).all()
        again = get_criterion(name, seed=3).score(found, Weights(), statistics)
        assert (scores == again).all()


@pytest.mark.parametrize("name", [c.name for c in SHIPPED])
def test_every_criterion_bears_a_group_without_weights(name: str) -> None:
    model, _ = chain()
    bare = group(model, 4, [(2, Role.CONSUME, "a", 1, [0, 1, 2, 3, -1, -1])])
    assert np.isfinite(get_criterion(name).score(bare, Weights(), Statistics())).all()


def test_l1_is_the_mean_over_producer_and_consumer() -> None:
    model, found = chain()
    w1, w2 = array(model, "w1"), array(model, "w2")
    rows, columns = np.abs(w1).sum(axis=(1, 2, 3)), np.abs(w2).sum(axis=(0, 2, 3))
    expected = (rows / rows.mean() + columns / columns.mean()) / 2
    scores = get_criterion("l1").score(found, Weights(), Statistics())
    np.testing.assert_allclose(scores, expected)


def test_l2_ranks_by_squares() -> None:
    model, found = chain()
    w1, w2 = array(model, "w1"), array(model, "w2")
    rows, columns = (w1**2).sum(axis=(1, 2, 3)), (w2**2).sum(axis=(0, 2, 3))
    expected = np.sqrt((rows / rows.mean() + columns / columns.mean()) / 2)
    scores = get_criterion("l2").score(found, Weights(), Statistics())
    np.testing.assert_allclose(scores, expected / expected.mean())


def test_lamp_divides_by_what_remains() -> None:
    _, found = chain()
    squares = get_criterion("l2").score(found, Weights(), Statistics()) ** 2
    expected = [s / squares[squares >= s].sum() for s in squares]
    np.testing.assert_allclose(
        get_criterion("lamp").score(found, Weights(), Statistics()), expected
    )


def normalized_chain(scale: Array) -> tuple[ir.Model, Group]:
    body = "h = Conv(x, w1)  n = BatchNormalization(h, s, t, m, v)  a = Relu(n)  y = Conv(a, w2)"
    given = {"w1": (6, 3, 3, 3), "t": (6,), "m": (6,), "w2": (2, 6, 1, 1)}
    v = np.linspace(0.5, 2, 6).astype(np.float32)
    model = loaded(net(body, x="float[N,3,5,5]", s=scale.astype(np.float32), v=v, **given))
    found = group(
        model,
        6,
        [
            (0, Role.PRODUCE, "w1", 0, None),
            *((1, Role.SCALE, name, 0, None) for name in "stmv"),
            (3, Role.CONSUME, "w2", 1, None),
            (3, Role.CONSUME, "a", 1, None),
        ],
    )
    return model, found


def test_bn_scale_is_the_scale_and_l2_without_one() -> None:
    scale = np.array([3.0, -5.0, 1.0, 2.0, 4.0, 0.5])
    _, found = normalized_chain(scale)
    scores = get_criterion("bn-scale").score(found, Weights(), Statistics())
    assert np.argsort(scores).tolist() == np.argsort(np.abs(scale)).tolist()
    _, plain = chain()
    without = get_criterion("bn-scale").score(plain, Weights(), Statistics())
    l2 = get_criterion("l2").score(plain, Weights(), Statistics())
    assert (without == l2).all()


def test_rows_are_scaled_as_folding_would() -> None:
    scale = np.array([3.0, -5.0, 1.0, 2.0, 4.0, 0.5])
    model, found = normalized_chain(scale)
    factor = np.abs(scale) / np.sqrt(array(model, "v") + 1e-5)
    expected = np.abs(array(model, "w1")).reshape(6, -1) * factor[:, None]
    np.testing.assert_allclose(np.abs(Weights().rows(found.sites[0])), expected)


def test_rows_are_not_scaled_when_something_else_reads_the_result() -> None:
    body = "h = Conv(x, w1)  n = BatchNormalization(h, s, t, m, v)  y = Add(n, h)"
    ones = np.ones(6, np.float32)
    model = loaded(net(body, x="float[N,3,5,5]", w1=(6, 3, 3, 3), s=ones, t=ones, m=ones, v=ones))
    found = group(model, 6, [(0, Role.PRODUCE, "w1", 0, None)])
    np.testing.assert_array_equal(Weights().rows(found.sites[0]), array(model, "w1").reshape(6, -1))


def test_models_with_and_without_folded_batchnorm_rank_alike() -> None:
    """Two BatchNormalizations: behind the filters that make the units, and those that read them."""
    body = """
        h = Conv(x, w1)  n = BatchNormalization(h, s1, t, m, v1)  a = Relu(n)
        g = Conv(a, w2)  y = BatchNormalization(g, s2, t, m, v2)
    """
    rng = np.random.default_rng(0)
    names = ("s1", "v1", "s2", "v2", "t", "m")
    norm = {name: rng.uniform(0.1, 3, 6).astype(np.float32) for name in names}
    weights = {n: rng.standard_normal((6, 6, 3, 3)).astype(np.float32) for n in ("w1", "w2")}
    kept = loaded(net(body, x="float[N,6,9,9]", **weights, **norm))
    factor = {i: norm[f"s{i}"] / np.sqrt(norm[f"v{i}"] + 1e-5) for i in (1, 2)}
    cut = {f"w{i}": weights[f"w{i}"] * factor[i][:, None, None, None] for i in (1, 2)}
    folded = loaded(net("h = Conv(x, w1)  a = Relu(h)  y = Conv(a, w2)", x="float[N,6,9,9]", **cut))
    places = [(0, Role.PRODUCE, "w1", 0, None), (3, Role.CONSUME, "w2", 1, None)]
    one = group(kept, 6, places)
    two = group(folded, 6, [places[0], (2, *places[1][1:])])
    for name in ("l1", "l2", "lamp", "fpgm", "cosine"):
        scores = [get_criterion(name).score(g, Weights(), Statistics()) for g in (one, two)]
        np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)


def test_fpgm_removes_the_middle_and_keeps_outliers() -> None:
    w1 = np.zeros((5, 1, 1, 2))
    w1[:, 0, 0] = [[0, 0], [1, 0], [-1, 0], [0, 1], [0, -9]]
    body = "h = Conv(x, w1)  y = Conv(h, w2)"
    made = loaded(net(body, x="float[N,1,5,5]", w1=w1.astype(np.float32), w2=(1, 5, 1, 1)))
    found = group(made, 5, [(0, Role.PRODUCE, "w1", 0, None), (1, Role.CONSUME, "w2", 1, None)])
    scores = get_criterion("fpgm").score(found, Weights(), Statistics())
    assert scores.argmin() == 0 and scores.argmax() == 4
    apart = np.sqrt(((w1[:, None] - w1[None]) ** 2).sum(axis=(2, 3, 4))).sum(axis=1)
    np.testing.assert_allclose(scores, apart / apart.mean())


def test_fpgm_looks_only_at_what_makes_the_units() -> None:
    scores = [
        get_criterion("fpgm").score(chain(w2=w2)[1], Weights(), Statistics())
        for w2 in (np.ones((2, 6, 1, 1)), np.arange(12.0).reshape(2, 6, 1, 1) ** 2)
    ]
    np.testing.assert_array_equal(scores[0], scores[1])


def test_cosine_removes_one_of_two_equal_directions() -> None:
    w1 = np.eye(4)[:, None, None, :]
    w1[3, 0, 0] = [0, 0.5, 0, 0]  # as unit 1, with half the norm
    body = "h = Conv(x, w1)  y = Conv(h, w2)"
    made = loaded(net(body, x="float[N,1,5,5]", w1=w1.astype(np.float32), w2=np.ones((1, 4, 1, 1))
                      .astype(np.float32)))  # fmt: skip
    found = group(made, 4, [(0, Role.PRODUCE, "w1", 0, None)])
    scores = get_criterion("cosine").score(found, Weights(), Statistics())
    assert scores.argmin() == 3 and scores[3] < 1e-6
    assert (np.delete(scores, 3) > 0.9).all()


def test_removal_never_takes_both_of_a_pair() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((4, 16))
    twins = np.concatenate([vectors, 2 * vectors])
    unit = twins / np.linalg.norm(twins, axis=1, keepdims=True)
    scores = removal_scores(np.abs(unit @ unit.T), np.linalg.norm(twins, axis=1))
    assert sorted(np.argsort(scores)[:4]) == [0, 1, 2, 3]


def test_vectors_of_units_with_several_positions() -> None:
    model, _ = chain()
    site = group(model, 2, [(0, Role.PRODUCE, "w1", 0, [1, 0, -1, 0, 1, 1])]).sites[0]
    found = unit_vectors(site, np.arange(6.0)[:, None], 2)
    assert found.tolist() == [[1, 3, 0], [0, 4, 5]]


def test_random_depends_on_seed_and_group_alone() -> None:
    model, found = chain()
    other = group(model, 6, [(0, Role.PRODUCE, "w1", 0, None)], id=1)
    draws = [
        get_criterion("random", seed=s).score(g, Weights(), Statistics())
        for s, g in ((0, found), (0, found), (1, found), (0, other))
    ]
    assert (draws[0] == draws[1]).all()
    assert (draws[0] != draws[2]).any() and (draws[0] != draws[3]).any()


def test_mean_activation_and_apoz_follow_the_data() -> None:
    _, found = chain()
    size = np.array([3.0, 1.0, 2.0, 6.0, 5.0, 4.0])
    scores = get_criterion("mean-activation").score(found, Weights(), moments(mean_abs=size))
    np.testing.assert_allclose(scores, size / size.mean())
    zeros = np.array([0.9, 0.1, 0.5, 0.5, 0.2, 0.3])
    facts = moments(zeros=zeros, mean_abs=size)
    scores = get_criterion("apoz").score(found, Weights(), facts)
    assert np.argsort(scores).tolist() == [0, 2, 3, 5, 4, 1], "the mean decides between 2 and 3"


def test_wanda_multiplies_weights_and_data() -> None:
    model, found = chain()
    square = np.array([3.0, 1.0, 2.0, 6.0, 5.0, 4.0])
    scores = get_criterion("wanda").score(found, Weights(), moments(mean_square=square))
    expected = np.sqrt((array(model, "w2") ** 2).sum(axis=(0, 2, 3)) * square)
    np.testing.assert_allclose(scores, expected / expected.mean())


def test_wanda_reads_grouped_filters_block_by_block() -> None:
    body = "h = Conv(x, w1)  y = Conv<group = 2>(h, w2)"
    model = loaded(net(body, x="float[N,3,5,5]", w1=(6, 3, 1, 1), w2=(4, 3, 3, 3)))
    found = group(model, 6, [(0, Role.PRODUCE, "w1", 0, None), (1, Role.CONSUME, "h", 1, None)])
    ones = np.ones(6)
    facts = Statistics({("h", 1): Moment(ones, ones, np.arange(1.0, 7), 0 * ones)})
    scores = get_criterion("wanda").score(found, Weights(), facts)
    w2 = array(model, "w2") ** 2
    energy = np.concatenate([w2[:2].sum(axis=(0, 2, 3)), w2[2:].sum(axis=(0, 2, 3))])
    expected = np.sqrt(energy * np.arange(1.0, 7))
    np.testing.assert_allclose(scores, expected / expected.mean())


def test_measured_moments_are_those_of_the_activations() -> None:
    model, found = chain()
    rng = np.random.default_rng(1)
    feeds = [{"x": rng.standard_normal((n, 3, 5, 5)).astype(np.float32)} for n in (2, 3)]
    with shared_worker().session(to_proto(model).SerializeToString()) as session:
        facts = measure(session, feeds, [found])
        more = measure(session, feeds, [found], covariances=True)
        with session.exposing(["a"]) as tapped:
            values = [tapped.run(feed, ["a"])["a"] for feed in feeds]
    a = np.moveaxis(np.concatenate(values), 1, 0).reshape(6, -1).astype(np.float64)
    moment = facts.at(found.sites[3])
    assert moment is not None
    np.testing.assert_allclose(moment.mean, a.mean(axis=1))
    np.testing.assert_allclose(moment.mean_abs, np.abs(a).mean(axis=1))
    np.testing.assert_allclose(moment.mean_square, (a**2).mean(axis=1))
    np.testing.assert_allclose(moment.zeros, (a == 0).mean(axis=1))
    assert facts.covariance(found.sites[3]) is None
    spread = more.covariance(found.sites[3])
    assert spread is not None
    np.testing.assert_allclose(spread, np.cov(a, bias=True), atol=1e-9)


def test_scores_without_any_energy_are_zero() -> None:
    assert normalised(np.zeros(3)).tolist() == [0, 0, 0]


def test_an_unknown_criterion_is_named_with_those_that_exist() -> None:
    with pytest.raises(UsageError, match="no criterion 'l3'.*l1, l2, bn-scale"):
        get_criterion("l3")
    assert set(criterion_names()) >= {"l1", "l2", "bn-scale", "fpgm", "lamp", "cosine", "random"}


def test_plugins_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name = "mine"

        def __init__(self, found: object) -> None:
            self.found = found

        def load(self) -> object:
            if isinstance(self.found, Exception):
                raise self.found
            return self.found

    class Mine:
        name = "mine"

        def score(self, group: Group, weights: Weights, statistics: Statistics) -> Array:
            return np.arange(float(group.size))

    for found, message in ((Mine, ""), (ImportError("no"), "does not load"), (3, "no method")):
        monkeypatch.setattr("onnxslim.pipeline.criteria.entry_points", lambda group: [Point(found)])  # noqa: B023
        if message:
            with pytest.raises(UsageError, match=message):
                get_criterion("mine")
        else:
            assert isinstance(get_criterion("mine"), Mine)
