from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxslim.analysis.latency import Grid, LatencyTable, LayerEntry, Work
from onnxslim.analysis.linear_work import linear_layers, probe, weight_elements
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import DataError
from onnxslim.testing import shared_worker
from tests.analysis.facts import parse

F = np.float32
CONV = Work("Conv", (1, 8, 8), (3, 3), bias=True)


def f(*dims: int) -> Any:
    return np.zeros(dims, F)


def plane(**more: Any) -> Grid:
    """1 ms per 8 x 8 block of channels."""
    widths = (8, 16, 32)
    ms = tuple(tuple(a * b / 64 for b in widths) for a in widths)
    return Grid(CONV, widths, widths, ms, **more)


def test_between_the_points() -> None:
    grid = plane()
    assert grid.predict(16, 32) == 8
    assert grid.predict(24, 16) == pytest.approx(6)
    assert grid.predict(24, 24) == pytest.approx(9)


def test_below_and_above_the_points() -> None:
    grid = plane()
    assert 0.25 <= grid.predict(4, 8) < grid.predict(8, 8)
    assert grid.predict(1, 1) > 0
    assert grid.predict(64, 64) == 16


def test_odd_widths_cost_more() -> None:
    grid = plane(odd_in=2.0, odd_out=1.5)
    assert grid.predict(20, 16) == pytest.approx(5)
    assert grid.predict(21, 16) == pytest.approx(2 * 5.25)
    assert grid.predict(16, 21) == pytest.approx(1.5 * 5.25)


def test_noise_does_not_make_a_wider_layer_faster() -> None:
    grid = Grid(CONV, (8, 16), (8, 16), ((2.0, 1.0), (1.0, 3.0)))
    assert grid.predict(8, 16) >= grid.predict(8, 8)
    assert grid.predict(16, 8) >= grid.predict(8, 8)


def test_a_layer_of_one_width() -> None:
    tied = Grid(Work("Conv", (1, 8, 8), (3, 3), tied=True), (8, 16), (0,), ((1.0,), (2.0,)), 3.0)
    assert tied.predict(16, 16) == 2 and tied.predict(13, 13) == pytest.approx(3 * 1.625)


def table() -> LatencyTable:
    layers = {"a": LayerEntry(0, 16, 32, 0.5, 64), "b": LayerEntry(0, 32, 32, 1.0, 64)}
    return LatencyTable((plane(),), layers, 25.0, other_ms=3.0, fixed_ms=2.0, about={"threads": 1})


def test_the_whole_model() -> None:
    found = table()
    assert found.predict("a", 16, 32) == 4 and found.predict("b", 32, 32) == 16
    assert found.predict_model({}) == 4 + 16 + 3 + 2
    half = found.predict_model({"a": (16, 16), "b": (16, 32)})
    assert half == pytest.approx(2 + 8 + 2 + 3 * 48 / 64)
    with pytest.raises(KeyError):
        found.predict("c", 1, 1)


def test_a_table_of_the_whole_model_alone_predicts_no_more() -> None:
    assert LatencyTable((plane(),), {}, 25.0).predict_model({}) == 0


def test_a_table_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    table().save(path)
    first = path.read_bytes()
    again = LatencyTable.load(path)
    assert again == table()
    again.save(path)
    assert path.read_bytes() == first and [p.name for p in tmp_path.iterdir()] == ["t.json"]


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"}, {"schema": 2}, {"grids": []}, {"layers": {"a": {"grid": 0}}},
        {"median_ms": None},
    ],
)  # fmt: skip
def test_a_file_that_is_no_table(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps({**table().to_json(), **change}))
    with pytest.raises(DataError, match="no latency table"):
        LatencyTable.load(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "\x00"])
def test_a_file_that_is_nothing_of_the_kind(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(DataError, match="bench MODEL --table"):
        LatencyTable.load(path)
    with pytest.raises(DataError):
        LatencyTable.load(tmp_path / "missing.json")


def only(body: str, inputs: str, **weights: Any) -> Any:
    model = parse(body, inputs, **weights)
    infer_shapes(model)
    found = linear_layers(model)
    assert len(found) == 1
    return found[0]


def test_the_work_of_a_convolution() -> None:
    layer = only("y = Conv<strides=[2,2]>(x, w)", "float[1,4,9,9] x", w=f(6, 4, 3, 3))
    assert (layer.name, layer.c_in, layer.c_out, layer.elements) == ("y", 4, 6, 16)
    assert layer.work == Work("Conv", (1, 9, 9), (3, 3), (("strides", (2, 2)),))
    assert weight_elements(layer.work, 8, 12) == 12 * 8 * 9


def test_a_depthwise_convolution_has_one_width() -> None:
    layer = only("y = Conv<group=4>(x, w)", "float[1,4,9,9] x", w=f(4, 1, 3, 3))
    assert layer.work.tied and layer.work.groups is None
    assert weight_elements(layer.work, 8, 8) == 8 * 9


def test_a_grouped_convolution_has_two_widths() -> None:
    layer = only("y = Conv<group=2>(x, w)", "float[1,4,9,9] x", w=f(6, 2, 3, 3))
    assert (layer.c_in, layer.c_out, layer.work.tied, layer.work.groups) == (4, 6, False, 2)
    assert weight_elements(layer.work, 8, 12) == 12 * 4 * 9


def test_products_and_recurrent_layers() -> None:
    layer = only("y = MatMul(x, w)", "float[2,7,4] x", w=f(4, 5))
    assert (layer.work.rows, layer.c_in, layer.c_out, layer.elements) == ((2, 7), 4, 5, 14)
    layer = only("y = Gemm<transB=1>(x, w, b)", "float[2,4] x", w=f(5, 4), b=f(5))
    assert (layer.c_in, layer.c_out, layer.work.bias) == (4, 5, True)
    layer = only(
        'y, h = GRU<hidden_size=5, direction="bidirectional">(x, w, r)', "float[7,2,3] x",
        w=f(2, 15, 3), r=f(2, 15, 5),
    )  # fmt: skip
    assert (layer.work.rows, layer.c_in, layer.c_out, layer.elements) == ((7, 2), 3, 5, 28)


def test_what_is_no_layer() -> None:
    model = parse("y = MatMul(x, z) a = MatMul(u, w)", "float[2,4] x, float[4,5] z, float[N,4] u",
                  w=f(4, 5))  # fmt: skip
    infer_shapes(model)
    assert linear_layers(model) == []


@pytest.mark.parametrize(
    ("work", "widths"),
    [
        (CONV, [(8, 16), (16, 8), (8, 8)]),
        (Work("Conv", (1, 8, 8), (3, 3), tied=True, groups=None), [(8, 8), (4, 4)]),
        (Work("Conv", (2, 8), (3,), (("group", 2),), groups=2), [(8, 16)]),
        (Work("ConvTranspose", (1, 4, 4), (2, 2), (("strides", (2, 2)),)), [(8, 4)]),
        (Work("MatMul", (2, 7)), [(8, 4), (4, 4)]),
        (Work("Gemm", (2,), bias=True), [(8, 4)]),
        (Work("LSTM", (5, 2), (), (("direction", "bidirectional"),), bias=True), [(8, 4)]),
        (Work("GRU", (5, 2), (), (("direction", "forward"),)), [(8, 4)]),
        (Work("MatMul", (2,), dtype="float16"), [(8, 4)]),
    ],
)
def test_a_probe_does_the_work(work: Work, widths: list[tuple[int, int]]) -> None:
    made = probe(work, widths)
    with shared_worker().session(made.model, optimization="all") as session:
        found = session.run(made.feeds)
        assert list(found) == list(made.names) and len(found) == len(widths)
        profile = session.profile(made.feeds, runs=2)
    names = {t.name.removesuffix("_nchwc") for t in profile.times}
    assert names >= set(made.names)
    axis = 1 if "Conv" in work.op else -1
    for (_, c_out), result in zip(widths, found.values(), strict=True):
        assert result.shape[axis] == c_out and result.dtype == work.dtype
