"""Which layers are work to be timed, what is noted of them, and the models that do that work."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import onnx
import pytest

from onnxslim.analysis.latency import Grid, LatencyTable, LayerEntry, Work
from onnxslim.analysis.linear_work import LinearLayer, linear_layers, probe, weight_elements
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from tests.nets import net


def found(body: str, **given: Any) -> list[LinearLayer]:
    model = from_proto(net(body, **{"opset": 17, **given}))
    infer_shapes(model)
    return linear_layers(model)


def layer(work: Work, c_in: int, c_out: int, elements: int) -> LinearLayer:
    return LinearLayer("y", work, c_in, c_out, elements)


PADS = (("pads", (1, 0, 1, 0)), ("strides", (2, 1)))
FORWARD = (("direction", "forward"),)
H = np.float16

LAYERS: list[tuple[str, dict[str, Any], LinearLayer | None]] = [
    ("y = Conv(x, w, b)", {"x": "float[2,4,8,6]", "w": (5, 4, 3, 3), "b": (5,)},
     layer(Work("Conv", (2, 8, 6), (3, 3), bias=True), 4, 5, 2 * 6 * 4)),
    ("y = Conv<pads = [1,0,1,0], strides = [2,1]>(x, w)",
     {"x": "float[1,4,8,6]", "w": (5, 4, 3, 3)},
     layer(Work("Conv", (1, 8, 6), (3, 3), PADS), 4, 5, 4 * 4)),
    ('y = Conv<auto_pad = "SAME_UPPER", group = 2>(x, w)',
     {"x": "float[1,4,8]", "w": (6, 2, 3)},
     layer(Work("Conv", (1, 8), (3,), (("auto_pad", "SAME_UPPER"),), groups=2), 4, 6, 8)),
    ("y = Conv<group = 4>(x, w)", {"x": "float[1,4,8]", "w": (8, 1, 3)},
     layer(Work("Conv", (1, 8), (3,), tied=True, groups=None), 4, 8, 6)),
    ("y = Conv(x, w)", {"x": "float[1,1,8]", "w": (8, 1, 3)},
     layer(Work("Conv", (1, 8), (3,)), 1, 8, 6)),
    ("y = ConvTranspose(x, w)", {"x": "float[1,4,8]", "w": (4, 5, 3)},
     layer(Work("ConvTranspose", (1, 8), (3,)), 4, 5, 10)),
    ("y = Conv(x, w)", {"x": "float16[1,4,8]", "w": np.zeros((5, 4, 3), H)},
     layer(Work("Conv", (1, 8), (3,), dtype="float16"), 4, 5, 6)),
    ("y = Conv(x, w)", {"x": "double[1,4,8]", "w": np.zeros((5, 4, 3))}, None),
    ("y = Conv(x, w)", {"x": "float[1,4,L]", "w": (5, 4, 3)}, None),
    ("y = Conv(x, w)", {"x": "float[1,4,8]", "w": "float[5,4,3]"}, None),
    ("y = MatMul(x, w)", {"x": "float[2,3,4]", "w": (4, 5)},
     layer(Work("MatMul", (2, 3)), 4, 5, 6)),
    ("y = MatMul(x, w)", {"x": "float[4]", "w": (4, 5)}, layer(Work("MatMul", (1,)), 4, 5, 1)),
    ("y = MatMul(x, w)", {"x": "float[2,3,4]", "w": (2, 4, 5)}, None),
    ("y = MatMul(x, w)", {"x": "float[2,3,4]", "w": (4,)}, None),
    ("y = Gemm(x, w, b)", {"x": "float[3,4]", "w": (4, 5), "b": (5,)},
     layer(Work("Gemm", (3,), bias=True), 4, 5, 3)),
    ("y = Gemm<transB = 1>(x, w)", {"x": "float[3,4]", "w": (5, 4)},
     layer(Work("Gemm", (3,)), 4, 5, 3)),
    ("y = Gemm<transA = 1>(x, w)", {"x": "float[4,3]", "w": (4, 5)}, None),
    ("y = LSTM<hidden_size = 2>(x, w, r, b)",
     {"x": "float[7,3,4]", "w": (1, 8, 4), "r": (1, 8, 2), "b": (1, 16)},
     layer(Work("LSTM", (7, 3), (), FORWARD, bias=True), 4, 2, 21)),
    ('y = GRU<hidden_size = 2, direction = "bidirectional">(x, w, r)',
     {"x": "float[7,3,4]", "w": (2, 6, 4), "r": (2, 6, 2)},
     layer(Work("GRU", (7, 3), (), (("direction", "bidirectional"),)), 4, 2, 42)),
    ("y = RNN<hidden_size = 2, layout = 1>(x, w, r)",
     {"x": "float[3,7,4]", "w": (1, 2, 4), "r": (1, 2, 2), "outputs": {"y": "float[3,7,1,2]"}},
     None),
    ("y = Relu(x)", {"x": "float[3,4]"}, None),
    ("y = Add(x, w)", {"x": "float[2,3,4]", "w": (2, 3, 4)}, None),
    ("y = Conv(x, w)", {"x": "float[3,4]", "w": (5, 3), "outputs": {"y": "float[1,1]"}}, None),
]  # fmt: skip


@pytest.mark.parametrize(("body", "given", "expected"), LAYERS)
def test_layer(body: str, given: dict[str, Any], expected: LinearLayer | None) -> None:
    assert found(body, **given) == ([] if expected is None else [expected])


def test_a_weight_made_of_constants_is_fixed_and_one_made_of_data_is_not() -> None:
    fixed = found("t = Transpose(w) y = MatMul(x, t)", x="float[3,4]", w=(5, 4))
    assert [(f.c_in, f.c_out) for f in fixed] == [(4, 5)]
    assert not found("t = Mul(w, v) y = MatMul(x, t)", x="float[3,4]", w=(4, 5), v="float[4,5]")


WORKS = [
    Work("Conv", (1, 8, 6), (3, 2), bias=True), Work("Conv", (1, 8), (3,), groups=2),
    Work("Conv", (1, 8), (3,), tied=True, groups=None), Work("ConvTranspose", (1, 8), (3,)),
    Work("ConvTranspose", (1, 8), (3,), groups=2, bias=True), Work("MatMul", (2, 3)),
    Work("Gemm", (3,), bias=True), Work("Gemm", (3,)), Work("MatMul", (3,), dtype="float16"),
    Work("LSTM", (5, 2), (), FORWARD, bias=True), Work("RNN", (5, 2), (), FORWARD),
    Work("GRU", (5, 2), (), (("direction", "bidirectional"),)),
]  # fmt: skip


@pytest.mark.parametrize("work", WORKS, ids=lambda work: f"{work.op} {work.groups} {work.bias}")
def test_a_probe_does_the_work_it_is_made_for(work: Work) -> None:
    widths = [(8, 8), (4, 4)] if work.tied else [(8, 4), (8, 6), (4, 4)]
    made = probe(work, widths)
    proto = onnx.load_model_from_string(made.model)
    onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
    assert made.names == tuple(f"p{i}" for i in range(len(widths)))
    assert {a.dtype.name for a in made.feeds.values()} == {work.dtype}
    assert list(made.feeds) == ["x8", "x4"]
    layers = linear_layers_of(proto)
    assert [(x.name, x.work, x.c_in, x.c_out) for x in layers] == [
        (name, work, *pair) for name, pair in zip(made.names, widths, strict=True)
    ]
    for name, (c_in, c_out) in zip(made.names, widths, strict=True):
        own = [t for t in proto.graph.initializer if t.name.startswith(f"{name}w")]
        assert weight_elements(work, c_in, c_out) == sum(math.prod(t.dims) for t in own)


def linear_layers_of(proto: onnx.ModelProto) -> list[LinearLayer]:
    model = from_proto(proto)
    infer_shapes(model)
    return linear_layers(model)


# ------------------------------------------------------------------ predictions from a table

GRID = Grid(Work("MatMul", (1,)), (8, 16), (8, 16), ((1.0, 2.0), (2.0, 4.0)))


def test_other_nodes_cost_in_proportion_to_the_outputs() -> None:
    layers = {"a": LayerEntry(0, 16, 16, 2.0, 10), "b": LayerEntry(0, 8, 8, 1.0, 5)}
    table = LatencyTable((GRID,), layers, 20.0, other_ms=4.0, fixed_ms=0.5)
    assert table.predict("a", 16, 8) == 4.0
    assert table.predict_model({}) == 8.0 + 1.0 + 0.5 + 4.0
    after = (8 * 10 + 8 * 5) / (16 * 10 + 8 * 5)
    assert table.predict_model({"a": (16, 8)}) == pytest.approx(4.0 + 1.0 + 0.5 + 4.0 * after)


def test_without_known_outputs_other_nodes_cost_what_they_did() -> None:
    table = LatencyTable((GRID,), {"a": LayerEntry(0, 8, 8)}, 3.0, other_ms=4.0, fixed_ms=0.5)
    assert table.predict_model({"a": (8, 16)}) == 2.0 + 0.5 + 4.0


def test_a_table_is_read_as_it_was_written() -> None:
    work = Work("Conv", (1, 8, 6), (3, 3), (("auto_pad", "VALID"), *PADS), groups=2, bias=True)
    grid = Grid(work, (8,), (8, 16), ((1.0, 2.0),), 1.5, 2.5)
    table = LatencyTable((grid,), {"a": LayerEntry(0, 8, 16, 2.0, 7)}, 3.0, 4.0, 5.0, {"os": "x"})
    assert LatencyTable.from_json(json.loads(json.dumps(table.to_json()))) == table


@pytest.mark.parametrize(
    ("c_in", "c_out", "expected"),
    [(8, 8, 1.0), (12, 8, 1.5), (16, 12, 3.0), (4, 8, 0.5), (1, 8, 0.25), (1, 1, 0.0625),
     (99, 99, 4.0)],
)  # fmt: skip
def test_between_and_beside_the_points(c_in: int, c_out: int, expected: float) -> None:
    assert GRID.predict(c_in, c_out) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("c_in", "c_out", "factor"),
    [(9, 8, 2.0), (8, 9, 3.0), (9, 9, 6.0), (12, 12, 1.0), (10, 10, 1.0)],
)
def test_widths_that_fill_no_block(c_in: int, c_out: int, factor: float) -> None:
    table = ((1.0,) * 3,) * 3
    grid = Grid(Work("MatMul", (1,)), (8, 10, 16), (8, 10, 16), table, odd_in=2.0, odd_out=3.0)
    assert grid.predict(c_in, c_out) == factor
