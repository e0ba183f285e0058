from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.errors import DataError, UnsupportedModelError, UsageError
from onnxslim.runtime.data import DataOptions, DataSource, open_data
from onnxslim.runtime.specs import Array
from onnxslim.runtime.worker import Worker
from onnxslim.verify.report import ValidationReport
from onnxslim.verify.validation import Pair, parse_providers, shared_specs, validate
from tests.nets import net
from tests.verify.checking import same_outputs

SHAPES: dict[str, Any] = {"x": "float[N,6]", "m": (6, 8), "n": (8, 4)}
BODY = "h = MatMul(x, m)  r = Relu(h)  y = MatMul(r, n)"


def pair(model: onnx.ModelProto) -> Pair:
    return Pair(model.SerializeToString(), ir.from_proto(model))


def run(
    worker: Worker, reference: onnx.ModelProto, candidate: onnx.ModelProto, **options: Any
) -> ValidationReport:
    return validate(pair(reference), pair(candidate), worker=worker, **options)


@pytest.fixture
def reference() -> onnx.ModelProto:
    return net(BODY, **SHAPES)


def scaled(reference: onnx.ModelProto, factor: float) -> onnx.ModelProto:
    body = "h = MatMul(x, m)  r = Relu(h)  y0 = MatMul(r, n)  y = Mul(y0, f)"
    return same_outputs(body, reference, f=np.float32(factor), **SHAPES)


def samples(reference: onnx.ModelProto, n: int = 50, wrong: int = 0) -> tuple[Array, Array]:
    x = np.random.default_rng(3).standard_normal((n, 6)).astype(np.float32)
    weights = {
        t.name: np.frombuffer(t.raw_data, np.float32).reshape(t.dims)
        for t in reference.graph.initializer
    }
    labels = (np.maximum(x @ weights["m"], 0) @ weights["n"]).argmax(axis=1)
    labels[:wrong] = (labels[:wrong] + 1) % 4
    return x, labels


def source(tmp_path: Path, reference: onnx.ModelProto, **kwargs: Any) -> DataSource:
    x, y = samples(reference, **kwargs)
    np.savez(tmp_path / "d.npz", x=x, y=y)
    specs = shared_specs(ir.from_proto(reference), ir.from_proto(reference))
    return open_data(tmp_path / "d.npz", specs, DataOptions(labels="y", batch=16))


def test_equal_within_noise_without_gates(worker: Worker, reference: onnx.ModelProto) -> None:
    report = run(worker, reference, reference)
    assert report.ok and [g.name for g in report.gates] == ["noise"]
    document = report.to_json()
    json.dumps(document, allow_nan=False)
    assert {"schema", "command", "ok", "provider", "samples", "gates", "outputs"} <= set(document)
    assert "score" not in document
    worse = run(worker, reference, scaled(reference, 1.001))
    assert not worse.ok and worse.outputs["y"].status == "exceeds"


@pytest.mark.parametrize(
    ("gates", "ok"),
    [
        ({"rtol": 0.02}, True),
        ({"rtol": 0.005}, False),
        ({"min_sqnr": 39}, True),
        ({"min_sqnr": 41}, False),
        ({"min_cosine": 0.999}, True),
        ({"min_agreement": 100}, True),
        ({"atol": 0.0, "min_cosine": 0.9}, False),
    ],
)
def test_gates(
    worker: Worker, reference: onnx.ModelProto, gates: dict[str, float], ok: bool
) -> None:
    report = run(worker, reference, scaled(reference, 1.01), gates=gates)
    assert report.ok is ok
    assert [g.name for g in report.gates] == list(gates)


def test_score_on_labelled_data(worker: Worker, reference: onnx.ModelProto, tmp_path: Path) -> None:
    other = same_outputs(BODY, reference, x="float[N,6]", m=(6, 8), n=np.zeros((8, 4), np.float32))
    data = source(tmp_path, reference, wrong=5)
    report = run(worker, reference, other, data=data, labelled=True, gates={"max_drop": 1})
    assert report.score is not None
    assert (report.samples, report.score.n, report.score.reference) == (50, 50, 90)
    assert not report.ok and report.score.candidate < 60
    low, high = report.score.interval
    assert low < report.score.candidate - 90 < high
    assert set(report.to_json()["score"]) == {
        "metric", "reference", "candidate", "agreement", "n", "interval",
    }  # fmt: skip


def test_the_padding_of_a_fixed_batch_is_left_out(
    worker: Worker, reference: onnx.ModelProto, tmp_path: Path
) -> None:
    fixed = net(BODY, **{**SHAPES, "x": "float[16,6]"})
    x, y = samples(reference)
    np.savez(tmp_path / "d.npz", x=x, y=y)
    specs = shared_specs(ir.from_proto(reference), ir.from_proto(fixed))
    assert specs[0].shape == (16, 6)
    data = open_data(tmp_path / "d.npz", specs, DataOptions(labels="y"))
    report = run(worker, reference, fixed, data=data, labelled=True)
    assert report.ok and report.score is not None
    assert (report.samples, report.score.n, report.score.candidate) == (50, 50, 100)


def test_a_candidate_of_fixed_shape_gets_its_shape_on_random_feeds(
    worker: Worker, reference: onnx.ModelProto
) -> None:
    fixed = net(BODY, **{**SHAPES, "x": "float[5,6]"})
    assert run(worker, reference, fixed).ok


def test_layers_name_the_first_that_diverges(worker: Worker, reference: onnx.ModelProto) -> None:
    body = "h = MatMul(x, m)  r = LeakyRelu<alpha = 0.3>(h)  y = MatMul(r, n)"
    report = run(worker, reference, same_outputs(body, reference, **SHAPES), layers=True)
    document = report.to_json()
    assert [layer["name"] for layer in document["layers"]] == ["h", "r", "y"]
    assert [layer["op"] for layer in document["layers"]] == ["MatMul", "Relu", "MatMul"]
    assert document["first_diverging"] == "r"
    assert run(worker, reference, reference, layers=True).to_json()["first_diverging"] is None


def test_a_candidate_that_does_not_run_is_a_no(worker: Worker, reference: onnx.ModelProto) -> None:
    other = net("r = Reshape(x, s)  h = MatMul(r, m)  y = MatMul(h, n)", s=[1, 6], **SHAPES)
    report = run(worker, reference, other, gates={"min_cosine": 0.5})
    assert not report.ok and report.failure.startswith("the candidate does not run")
    assert report.to_json()["gates"][0]["ok"] is False
    broken = net(BODY, **SHAPES)
    broken.graph.node[0].op_type = "Conv"
    del broken.graph.node[0].input[1:]
    assert "does not load" in run(worker, reference, broken).failure


def test_a_missing_output_is_a_no(worker: Worker, reference: onnx.ModelProto) -> None:
    other = same_outputs(BODY.replace("y =", "z ="), reference, **SHAPES)
    del other.graph.output[:]
    other.graph.output.extend(net(BODY.replace("y =", "z ="), **SHAPES).graph.output)
    report = run(worker, reference, other, gates={"min_cosine": 0.5})
    assert not report.ok and report.outputs["y"].status == "missing"


def test_data_that_the_reference_refuses(worker: Worker, reference: onnx.ModelProto) -> None:
    specs = shared_specs(
        ir.from_proto(net("y = Relu(x)", x="float[N,M]")), ir.from_proto(reference)
    )
    wrong = open_data([{"x": np.ones((2, 6), np.float32)}], specs)
    narrow = net(BODY, **{**SHAPES, "x": "float[N,K]", "m": (7, 8)})
    with pytest.raises(DataError, match="does not run on the data: .*(dimension|shape)"):
        run(worker, narrow, narrow, data=wrong)


def test_no_input_is_accepted(worker: Worker) -> None:
    model = net("y = Reshape(x, s)", x="float[N,7]", s=[2, 11, 13])
    with pytest.raises(UnsupportedModelError, match="--input-shape"):
        run(worker, model, model)


def test_providers(worker: Worker, reference: onnx.ModelProto) -> None:
    assert parse_providers("cpu") == ("cpu", "cpu")
    assert parse_providers("cpu, cuda") == ("cpu", "cuda")
    with pytest.raises(UsageError, match="A,B"):
        parse_providers("a,b,c")
    assert run(worker, reference, reference, provider="cpu,cpu").provider == "cpu"


def test_integers_count_in_gates(worker: Worker) -> None:
    model = net("y = Add(x, one)", x="int64[4]", one=np.int64(1))
    other = same_outputs("y = Add(x, one)", model, x="int64[4]", one=np.int64(2))
    assert not run(worker, model, other, gates={"atol": 0.5}).ok
    assert run(worker, model, other, gates={"atol": 1}).ok
