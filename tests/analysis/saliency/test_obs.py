"""Removal errors equal those of least squares; redundant channels leave first."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.analysis.dependency import analyze
from onnxslim.analysis.dependency.groups import Role, Site
from onnxslim.analysis.saliency import obs
from onnxslim.analysis.saliency.obs import Reader, _grouped_gram, column_gram, obs_curve
from onnxslim.analysis.saliency.weights import Weights
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from tests.nets import net

Array = np.ndarray


def reader(channels: int, seed: int, outputs: int = 7, width: int = 1) -> tuple[Reader, Array]:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(channels, channels))
    covariance = mixing @ mixing.T / channels + 0.5 * np.eye(channels)
    weight = rng.normal(size=(outputs, channels))
    units = np.repeat(np.arange(channels // width), width)
    return Reader(units, covariance, weight.T @ weight), weight


def least_squares_error(covariance: Array, weight: Array, left: Array) -> float:
    """What is lost when the channels that stay are refitted, in parts of the output's energy."""
    inner, cross = covariance[np.ix_(left, left)], covariance[left]
    refit = np.linalg.solve(inner, cross @ weight.T).T
    total = np.trace(weight @ covariance @ weight.T)
    kept = np.trace(refit @ inner @ refit.T)
    return float((total - kept) / total)


@pytest.mark.parametrize("width", [1, 3])
def test_the_curve_is_the_error_of_least_squares(width: int) -> None:
    one, weight = reader(12, 3, width=width)
    curve = obs_curve([one], np.zeros(12 // width, np.int64), ridge=1e-3)
    assert sorted(curve.order.tolist()) == list(range(12 // width))
    for removed in (1, 2, 3):
        gone = np.isin(one.units, curve.order[:removed])
        wanted = least_squares_error(one.covariance, weight, np.flatnonzero(~gone))
        assert curve.errors[removed] == pytest.approx(wanted, rel=0.05)


def test_a_channel_that_others_can_replace_leaves_first() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 6))
    x[:, 4] = 2 * x[:, 1] - x[:, 0]
    weight = rng.normal(size=(3, 6))
    weight[:, 4] *= 10  # its weights are large: magnitudes would keep it
    one = Reader(np.arange(6), np.cov(x.T), weight.T @ weight)
    curve = obs_curve([one], np.zeros(6, np.int64), ridge=1e-3)
    assert curve.order[0] in (0, 1, 4)
    assert curve.errors[1] < 0.02 * curve.errors[2]
    assert obs_curve([one], np.zeros(6, np.int64)).order[0] in (0, 1, 4)


def test_what_few_samples_do_not_show_counts_by_the_weights() -> None:
    """A channel quiet on the samples, but read with large weights, does not leave first."""
    covariance = np.diag([1.0, 1.0, 1.0, 1e-4])
    gram = np.diag([1.0, 1.0, 1.0, 100.0])
    one, cells = Reader(np.arange(4), covariance, gram), np.zeros(4, np.int64)
    assert obs_curve([one], cells, ridge=1e-6).order[0] == 3
    assert obs_curve([one], cells).order[0] != 3


def test_units_of_all_cells_leave_in_turn() -> None:
    one, _ = reader(12, 5)
    cells = np.repeat([0, 1, 2], 4)
    curve = obs_curve([one], cells)
    for step in range(4):
        assert sorted(cells[curve.order[3 * step : 3 * step + 3]].tolist()) == [0, 1, 2]


@pytest.mark.parametrize("width", [1, 3])
def test_channels_of_other_groups_stay_and_make_up(width: int) -> None:
    one, weight = reader(12, 6, width=width)
    units = one.units.copy()
    units[units < 2] = -1
    units[units >= 0] -= 2
    size = 12 // width - 2
    curve = obs_curve([Reader(units, one.covariance, one.gram)], np.zeros(size, np.int64), 1e-6)
    for removed in range(1, size + 1):
        left = np.flatnonzero(~np.isin(units, curve.order[:removed]))
        wanted = least_squares_error(one.covariance, weight, left)
        assert curve.errors[removed] == pytest.approx(wanted, rel=1e-3)


def test_a_unit_that_a_reader_does_not_read_leaves_for_nothing() -> None:
    one, _ = reader(6, 4)
    units = np.array([0, 1, 2, 4, 5, 6])
    curve = obs_curve([Reader(units, one.covariance, one.gram)], np.zeros(7, np.int64))
    assert curve.order[0] == 3 and curve.errors[1] == 0 and curve.errors[2] > 0


@pytest.mark.parametrize("width", [1, 3])
def test_forgetting_what_is_out_changes_nothing(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = reader(48, 7, width=width)
    units = np.concatenate([one.units[width:] - 1, np.full(width, -1)])
    cells = np.arange(48 // width - 1) % 3 if width == 3 else np.zeros(47, np.int64)
    made = Reader(units, one.covariance, one.gram)
    curve = obs_curve([made], cells)
    monkeypatch.setattr(obs, "_SHRINK", 0.0)
    whole = obs_curve([made], cells)
    assert curve.order.tolist() == whole.order.tolist()
    np.testing.assert_allclose(curve.errors, whole.errors, rtol=1e-6)


def test_two_readers_add_up() -> None:
    first, second = reader(8, 1)[0], reader(8, 2)[0]
    zero = np.zeros(8, np.int64)
    both = obs_curve([first, second], zero)
    assert both.errors[-1] == pytest.approx(2.0, rel=0.1)
    assert both.errors[1] >= obs_curve([first], zero).errors[1]


def test_errors_never_fall() -> None:
    curve = obs_curve([reader(300, 9)[0]], np.zeros(300, np.int64))
    assert (np.diff(curve.errors) >= -1e-12).all()
    assert len(set(curve.order.tolist())) == 300


@pytest.mark.parametrize("group", [1, 2, 4])
def test_channels_of_a_grouped_convolution_meet_inside_their_block(group: int) -> None:
    filters = np.random.default_rng(group).standard_normal((8, 8 // group, 3, 3))
    node = from_proto(
        net(f"y = Conv<group = {group}>(x, w)", x="float[1,8,8,8]", w=filters.astype(np.float32))
    ).graph[0]
    dense = np.zeros((8, 8, 3, 3))
    for block in range(group):
        made, read = (slice(block * n, (block + 1) * n) for n in (8 // group, 8 // group))
        dense[made, read] = filters[made]
    x = node.inputs[0]
    assert x is not None
    found = _grouped_gram(Site(node, Role.CONSUME, x, 1, np.arange(8)))
    assert found is not None
    np.testing.assert_allclose(found, np.einsum("oihw,ojhw->ij", dense, dense), atol=1e-4)


@pytest.mark.parametrize(
    ("op", "shapes", "x"),
    [
        ("Conv", {"w": (8, 4, 1, 1), "v": (3, 8, 1, 1), "u": (5, 8, 3, 3)}, "float[1,4,8,8]"),
        ("MatMul", {"w": (4, 8), "v": (8, 3), "u": (8, 5)}, "float[2,4]"),
    ],
)
def test_what_a_dense_reader_does_with_its_channels(
    op: str, shapes: dict[str, tuple[int, ...]], x: str
) -> None:
    """The products of the columns of the reader's own weight, of no other's."""
    body = f"h = {op}(x, w)  y = {op}(h, v)  z = {op}(h, u)"
    model = from_proto(net(body, x=x, **shapes))
    infer_shapes(model)
    (group,) = analyze(model).groups
    seen = set()
    for data in group.of_role(Role.CONSUME, constant=False):
        weight = data.node.inputs[1]
        assert weight is not None and weight.const_value is not None
        array = weight.const_value.numpy().astype(np.float64)
        rows = np.moveaxis(array, 1 if op == "Conv" else 0, 0).reshape(8, -1)
        found = column_gram(group, data, Weights())
        assert found is not None
        np.testing.assert_allclose(found, rows @ rows.T, rtol=1e-6, atol=1e-9)
        seen.add(weight.name)
    assert seen == {"v", "u"}
