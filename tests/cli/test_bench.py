"""``onnxslim bench`` as other programs see it. No test depends on how fast anything is."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxslim
from onnxslim.analysis.latency import LatencyTable
from onnxslim.cli.main import invoke
from onnxslim.demo import labelled_path, model_path
from onnxslim.errors import UsageError
from onnxslim.runtime.session import Session
from tests.nets import net

FEW = ("--runs", "4")


def run(*args: str | Path) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = invoke([str(a) for a in args])
    return code, out.getvalue(), err.getvalue()


def document(*args: str | Path) -> dict[str, Any]:
    code, out, err = run("bench", *args, *FEW, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def saved(tmp_path: Path, model: onnx.ModelProto, name: str = "m.onnx") -> Path:
    path = tmp_path / name
    onnx.save(model, path)
    return path


def test_the_document() -> None:
    found = document(model_path(), model_path())
    assert found["schema"] == 1 and found["command"] == "bench"
    assert found["provider"] == "cpu" and found["threads"] == 1 and found["cpus"] == []
    assert found["inputs"] == {"input": {"type": "float32", "shape": [1, 1, 28, 28]}}
    first, second = found["models"]
    assert first["ratio_to_first"] == 1 and first["ratio_interval"] == [1, 1]
    assert second["runs"] >= 4 and second["path"] == str(model_path())
    for model in (first, second):
        assert 0 < model["p10_ms"] <= model["median_ms"] <= model["p90_ms"]
        assert "layers" not in model
    low, high = second["ratio_interval"]
    assert low <= second["ratio_to_first"] <= high


def test_layers_are_those_of_the_model() -> None:
    model = document(model_path(), "--layers")["models"][0]
    names = {n.name for n in onnx.load(model_path()).graph.node}
    assert {s for x in model["layers"] for s in x["sources"]} <= names
    conv = next(x for x in model["layers"] if x["name"] == "/stem/Conv")
    assert conv["op"] == "Conv" and len(conv["sources"]) > 1
    assert sum(x["share"] for x in model["layers"]) == pytest.approx(1, abs=1e-3)
    assert sum(x["ms"] for x in model["layers"]) == pytest.approx(model["kernel_ms"], abs=1e-3)


def test_a_batch() -> None:
    found = document(model_path(), "--batch", "3")
    assert found["inputs"]["input"]["shape"] == [3, 1, 28, 28]


def test_data_is_fed() -> None:
    found = document(model_path(), "--data", labelled_path())
    assert found["inputs"]["input"]["shape"] == [1, 1, 28, 28]


def test_samples_have_their_turns(tmp_path: Path) -> None:
    path = saved(tmp_path, net("y = Relu(x)", x="float[N,3]"))
    np.savez(tmp_path / "d.npz", x=np.arange(21, dtype=np.float32).reshape(7, 3))
    line = (path, "--data", tmp_path / "d.npz")
    assert document(*line)["samples"] == 1
    assert document(*line, "--samples", "5")["samples"] == 5
    batched = document(*line, "--samples", "5", "--batch", "2")
    assert (batched["samples"], batched["inputs"]["x"]["shape"]) == (3, [2, 3])
    assert document(path, "--samples", "4")["samples"] == 4
    assert "4 samples" in run("bench", path, *FEW, "--samples", "4")[1]


def counter() -> onnx.ModelProto:
    """How often it was fed what it gave."""
    outputs = {"y": "float[1]", "n": "float[1]"}
    body = "n = Add(h, one)  y = Mul(x, n)"
    return net(body, x="float[1]", h="float[1]", one=np.ones(1, np.float32), outputs=outputs)


def test_a_state_is_fed_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, counter())
    np.savez(tmp_path / "d.npz", x=np.array([[5], [6], [7]], np.float32))
    fed: list[tuple[float, float]] = []
    time = Session.time

    def spy(self: Session, feeds: Any, *args: Any, **more: Any) -> list[float]:
        fed.append((float(feeds["x"][0]), float(feeds["h"][0])))
        return time(self, feeds, *args, **more)

    monkeypatch.setattr(Session, "time", spy)
    line = (path, "--data", tmp_path / "d.npz", "--state", "n=h")
    assert document(*line, "--samples", "3")["samples"] == 3
    assert set(fed) == {(5, 0), (6, 1), (7, 2)}
    fed.clear()
    assert document(*line)["samples"] == 1
    assert set(fed) == {(5, 1)}
    code, out, err = run("bench", path, *FEW, "--state", "n=k")
    assert code == 2 and not out and "no input 'k'" in err


def test_text() -> None:
    code, out, _ = run("bench", model_path(), *FEW, "--layers", "--top", "2", "--pin")
    assert code == 0 and "median ms" in out and "(" in out and "--top" in out


def test_a_fixed_batch_is_not_changed(tmp_path: Path) -> None:
    path = saved(tmp_path, net("y = Relu(x)"))
    code, out, err = run("bench", path, "--batch", "3", *FEW, "--json")
    assert code == 2 and not out and "--batch" in err and err.count("\n") == 1
    assert document(path, "--batch", "2")["inputs"]["x"]["shape"] == [2, 4, 8, 8]


def test_models_that_are_fed_differently(tmp_path: Path) -> None:
    a = saved(tmp_path, net("y = Relu(x)"), "a.onnx")
    b = saved(tmp_path, net("y = Relu(z)", z="float[2,4,8,8]"), "b.onnx")
    c = saved(tmp_path, net("y = Relu(x)", dtype="float16", x="float16[2,4,8,8]"), "c.onnx")
    for other in (b, c):
        code, out, err = run("bench", a, other, *FEW)
        assert code == 2 and not out and err.count("\n") == 1, err


def test_a_size_that_only_one_model_fixes(tmp_path: Path) -> None:
    a = saved(tmp_path, net("y = Relu(x)", x="float[N,C]"), "a.onnx")
    b = saved(tmp_path, net("y = Relu(x)", x="float[N,7]"), "b.onnx")
    assert document(a, b)["inputs"]["x"]["shape"] == [1, 7]


def test_an_input_that_nothing_can_run(tmp_path: Path) -> None:
    bad = saved(tmp_path, net("y = some.where.Nothing(x)", outputs={"y": "float[2,4,8,8]"}))
    code, out, err = run("bench", bad, *FEW)
    assert code == 2 and not out and err.count("\n") == 1


def test_mistakes() -> None:
    assert run("bench")[0] == 2
    assert run("bench", model_path(), "--optimization", "most")[0] == 2
    assert run("bench", model_path(), model_path(), "--table", "t.json")[0] == 2
    code, _, err = run("bench", model_path(), "--table", model_path())
    assert code == 2 and "is a model" in err
    with pytest.raises(UsageError):
        onnxslim.bench([])


def test_a_table_of_latencies(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    body = "h = Conv<pads=[1,1,1,1]>(x, w)  r = Relu(h)  y = Conv(r, v)"
    model = net(body, w=(24, 4, 3, 3), v=(6, 24, 1, 1))
    for node in model.graph.node:
        node.name = f"n_{node.output[0]}"
    code, out, err = run("bench", saved(tmp_path, model), *FEW, "--table", path, "--json")
    assert code == 0 and json.loads(out)["command"] == "bench", err
    table = LatencyTable.load(path)
    assert set(table.layers) == {"n_h", "n_y"} and table.about["threads"] == 1
    entry = table.layers["n_h"]
    assert (entry.c_in, entry.c_out, entry.elements) == (4, 24, 2 * 64)
    assert table.grids[entry.grid].c_out == (8, 16, 24) and table.grids[entry.grid].c_in == (4,)
    assert table.predict("n_h", 4, 24) > 0 and table.predict("n_y", 16, 6) > 0
    assert table.predict_model({}) == pytest.approx(table.median_ms, rel=0.2)


def test_in_python() -> None:
    model = onnx.load(model_path())
    asked = onnxslim.BenchOptions(runs=3, optimization="disable", layers=True)
    report = onnxslim.bench([model, model_path()], bench_options=asked)
    assert [m.path for m in report.models] == ["model 1", str(model_path())]
    layers = report.models[0].layers or ()
    assert len(layers) > 40 and np.isfinite(report.models[1].timing.ratio)
