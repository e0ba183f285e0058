"""``onnxslim.quantize``: data, gates, mixed precision, warnings, files."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import onnxslim
from onnxslim.api import lab
from onnxslim.api.checking import Judgement
from onnxslim.api.quantizing import quantize
from onnxslim.api.split import split
from onnxslim.errors import CalibrationError, TargetError, UsageError, WorkerError
from onnxslim.runtime.data import open_data
from onnxslim.runtime.specs import specs_of
from onnxslim.testing import model_bytes, shared_worker
from onnxslim.verify.quantized import Census
from tests.nets import net

CONV = "Conv<pads = [1, 1, 1, 1]>"
BODY = (
    f"h = {CONV}(x, w, b)  r = Relu(h)  k = {CONV}(r, w2)  q = Relu(k)"
    f"  l = {CONV}(q, w3)  s = Relu(l)  g = GlobalAveragePool(s)  y = Flatten(g)"
)
GIVEN: dict[str, Any] = {
    "x": "float[N,32,8,8]",
    "b": (32,),
    **{name: (32, 32, 3, 3) for name in ("w", "w2", "w3")},
}
MODEL = net(BODY, **GIVEN)


def samples(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((count, 32, 8, 8)).astype(np.float32)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "calib.npz"
    np.savez(path, x=samples(64))
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(data: Any, model: Any = MODEL, **settings: Any) -> Any:
    settings = {"improve": False, "include": ("op:*",), **settings}
    return quantize(model, data=data, worker=shared_worker(), **settings)


def test_a_model_is_quantized_and_checked(data: Path) -> None:
    result = run(data)
    assert [x["quantized"] for x in result.layers] == [True] * 3
    assert [x["runs"] for x in result.layers] == ["int8"] * 3
    assert result.judgement.sqnr_db > 25 and result.verification.ok
    assert result.method in ("minmax", "mse", "percentile") and result.samples == 64
    document = result.to_json()
    assert document["command"] == "quantize"
    assert document["calibration"] == {"method": result.method, "samples": 64}
    assert result.after.bytes < 0.5 * result.before.bytes
    assert result.after.macs == result.before.macs


def test_the_argument_is_not_changed(data: Path) -> None:
    model = onnx.ModelProto.FromString(MODEL.SerializeToString())
    run(data, model)
    assert model == MODEL


def test_static_needs_data() -> None:
    with pytest.raises(CalibrationError, match="--data"):
        quantize(MODEL)


def test_random_data_must_be_asked_for() -> None:
    with pytest.raises(CalibrationError, match="--allow-random-calibration"):
        run("random")
    options = onnxslim.RunOptions(data="random", samples=16)
    result = run(None, options=options, allow_random=True, calibrator="minmax")
    assert result.samples == 16


def test_few_samples_are_refused_or_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "few.npz"
    np.savez(path, x=samples(7))
    with pytest.raises(CalibrationError, match="7 calibration samples are too few"):
        run(path)
    np.savez(path, x=samples(8))
    assert any("only 8 calibration samples" in w for w in run(path).warnings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "int4"}, "--mode 'int4'"),
        ({"target": "toaster"}, "target 'toaster'"),
        ({"calibrator": "median"}, "--calibrator 'median'"),
        ({"format": "blocks"}, "--format 'blocks'"),
        ({"max_drop": -1.0}, "--max-drop"),
        ({"mode": "dynamic"}, "--include"),
        ({"exclude": ("nobody",)}, "--exclude 'nobody'"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_nonsense_is_refused(data: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(data, **settings)


def test_a_plan_needs_no_data_and_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    result = quantize(MODEL, dry_run=True, output=out, include=("op:*",), worker=shared_worker())
    assert any(line.startswith("layer ") and line.endswith("int8") for line in result.plan)
    assert not out.exists() and result.output is None


def test_globs_mean_the_model_as_given(data: Path) -> None:
    """The BatchNormalization is folded away; its name still finds the Conv that stands for it."""
    body = BODY.replace(
        "r = Relu(h)", "n = BatchNormalization(h, scale, shift, mean, var)  r = Relu(n)"
    )
    parameters = dict.fromkeys(("scale", "shift", "mean", "var"), (32,))
    model = net(body, **GIVEN, **parameters)
    result = run(data, model, exclude=("n",))
    assert [x["quantized"] for x in result.layers] == [False, True, True]
    assert result.layers[0]["reason"] == "excluded"


def test_layers_are_kept_float_to_reach_an_sqnr(data: Path) -> None:
    plain = run(data, calibrator="minmax")
    wanted = plain.judgement.sqnr_db + 3
    result = run(data, calibrator="minmax", min_sqnr=wanted)
    kept = [x for x in result.layers if not x["quantized"]]
    assert 0 < len(kept) < 3 and result.judgement.sqnr_db >= wanted
    census = result.judgement.census
    assert census is not None and not census.surplus  # float in the graph that really runs
    assert any("kept float" in warning for warning in result.warnings)


def test_layers_are_kept_float_to_keep_the_answers(data: Path) -> None:
    result = run(data, calibrator="minmax", max_drop=0.0)
    with (
        shared_worker().session(MODEL.SerializeToString()) as one,
        shared_worker().session(model_bytes(result.model), optimization="all") as two,
    ):
        feed = {"x": samples(64)}
        assert (one.run(feed)["y"].argmax(1) == two.run(feed)["y"].argmax(1)).all()


def test_what_is_too_strict_is_named_with_the_result(data: Path) -> None:
    alarmed = Judgement(sqnr_db=9.0, speedup=0.7, census=Census(("a",), (), (), {}))
    assert len(alarmed.alarms()) == 2
    assert "9.0 dB" in alarmed.alarms()[0] and "--min-sqnr" in alarmed.alarms()[0]
    assert "0.70x" in alarmed.alarms()[1] and "--exclude" in alarmed.alarms()[1]
    assert alarmed.warnings("static")[:2] == alarmed.alarms()
    assert not Judgement(sqnr_db=30.0, speedup=2.0).alarms()
    floats = Judgement(sqnr_db=30.0, speedup=2.0, census=Census((), ("a",), ("b",), {}))
    assert ["a" in floats.warnings("static")[0], "b" in floats.warnings("static")[1]] == [True] * 2


def test_strict_refuses_what_is_alarming(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Judgement, "alarms", lambda self: ["slower"])
    out = tmp_path / "out.onnx"
    with pytest.raises(TargetError, match="--strict: slower") as caught:
        run(data, strict=True, output=out)
    assert not out.exists()
    assert caught.value.result.judgement.sqnr_db > 25  # type: ignore[attr-defined]


@pytest.mark.parametrize(("speed", "quantized"), [(1.2, 0), (1.3, 3)])
def test_a_small_gain_is_not_worth_a_distant_result(
    data: Path, monkeypatch: pytest.MonkeyPatch, speed: float, quantized: int
) -> None:
    monkeypatch.setattr(lab, "speedup", lambda *given: (speed, 1.0))
    monkeypatch.setattr(lab, "CLOSE", 99.0)
    result = run(data, calibrator="minmax", include=())
    assert sum(x["quantized"] for x in result.layers) == quantized
    assert any("1.20x as fast as float at best, with" in w for w in result.warnings) == (
        not quantized
    )
    monkeypatch.setattr(lab, "CLOSE", 20.0)
    result = run(data, calibrator="minmax", include=())
    assert all(x["quantized"] for x in result.layers)


def test_one_moment_does_not_decide_what_is_timed(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([1.2, 1.0, 1.0] * 9)
    monkeypatch.setattr(lab, "speedup", lambda *given: (next(times), 1.0))
    assert not any(x["quantized"] for x in run(data, calibrator="minmax", include=()).layers)


def test_nothing_is_quantized_where_nothing_pays(data: Path) -> None:
    small = net("h = Conv(x, w)  y = Relu(h)", x="float[N,32,8,8]", w=(2, 32, 1, 1))
    result = run(data, small, include=())
    assert not any(x["quantized"] for x in result.layers)
    assert any("no layer is worth integers here (reckoned" in w for w in result.warnings)
    assert not [n for n in result.model.graph if n.op_type == "QuantizeLinear"]


@pytest.mark.parametrize(("speed", "quantized"), [(1.09, 0), (1.11, 3)])
def test_what_is_timed_as_hardly_faster_stays_float(
    data: Path, monkeypatch: pytest.MonkeyPatch, speed: float, quantized: int
) -> None:
    """Design section 0, trap 9: int8 does not always win; the figure is said."""
    monkeypatch.setattr(lab, "speedup", lambda *given: (speed, 1.0))
    result = run(data, calibrator="minmax", include=())
    assert sum(x["quantized"] for x in result.layers) == quantized
    said = "no layer is worth integers here (1.09x as fast as float at best)"
    assert any(said in w for w in result.warnings) == (not quantized)


def test_int8_for_cuda_is_warned_of() -> None:
    for provider, warned in (("cuda", True), ("cpu", False)):
        options = onnxslim.RunOptions(provider=provider)
        result = quantize(MODEL, options=options, dry_run=True, verify=False)
        assert any("--mode float16" in w for w in result.warnings) == warned


def test_observations_are_cached_by_model_and_data(data: Path, tmp_path: Path) -> None:
    first = run(data, calibrator="minmax")
    stored = sorted((tmp_path / "cache").rglob("*.npz"))
    again = run(data, calibrator="minmax")
    assert stored and sorted((tmp_path / "cache").rglob("*.npz")) == stored
    assert model_bytes(first.model) == model_bytes(again.model)
    np.savez(data, x=3 * samples(64, seed=5))
    other = run(data, calibrator="minmax")
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == len(stored) + 1
    assert model_bytes(other.model) != model_bytes(first.model)


def test_parallel_runs_on_one_model_in_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    path, calib = folder / "m.onnx", tmp_path / "c.npz"
    onnx.save(MODEL, path)
    np.savez(calib, x=samples(16))
    before = sorted(os.listdir(folder)), path.read_bytes()
    os.chmod(path, stat.S_IRUSR)
    os.chmod(folder, stat.S_IRUSR | stat.S_IXUSR)
    try:
        with ThreadPoolExecutor(2) as pool:
            jobs = [
                pool.submit(
                    quantize,
                    path,
                    data=calib,
                    output=tmp_path / f"out{i}.onnx",
                    improve=False,
                    include=("op:*",),
                    calibrator="minmax",
                )
                for i in range(2)
            ]
            done = [job.result() for job in jobs]
        assert (sorted(os.listdir(folder)), path.read_bytes()) == before
    finally:
        os.chmod(folder, stat.S_IRWXU)
    assert model_bytes(done[0].model) == model_bytes(done[1].model)


def test_dynamic_mode_says_when_there_is_nothing_for_it() -> None:
    result = quantize(MODEL, mode="dynamic")
    assert not any("Integer" in op for op in result.after.operators)
    said = [w for w in result.warnings if w.startswith("quantize-dynamic changed no layer: ")]
    assert len(said) == 1 and "no dynamic int8 Conv" in said[0]


@pytest.mark.parametrize("keep", [False, True])
def test_float16_changes_inputs_and_outputs_unless_they_are_kept(keep: bool) -> None:
    result = quantize(MODEL, mode="float16", keep_io_types=keep)
    wanted = ir.DataType.FLOAT if keep else ir.DataType.FLOAT16
    ports = (*result.model.graph.inputs, *result.model.graph.outputs)
    assert {value.dtype for value in ports} == {wanted}
    assert result.verification.ok and 40 < result.judgement.sqnr_db < 100
    assert result.after.bytes < 0.7 * result.before.bytes


def test_held_back_samples_are_a_bounded_part() -> None:
    specs = specs_of(ir.from_proto(MODEL))
    many = split(open_data([{"x": samples(1)} for _ in range(400)], specs))
    held, seen = list(many.held_back()), list(many.observed())
    assert many.count == 400 and not many.few and held
    assert sum(len(f["x"]) for f in held) <= 64
    assert sum(len(f["x"]) for f in (*held, *seen)) == 400
    few = split(open_data([{"x": samples(1, seed=i)} for i in range(8)], specs))
    assert len(list(few.held_back())) == 2 and len(list(few.observed())) == 6
    one = split(open_data([{"x": samples(4)}], specs))
    assert one.few and len(list(one.observed())) == len(list(one.held_back()))


def test_an_operator_that_the_runtime_lacks_is_named_with_what_helps(tmp_path: Path) -> None:
    """No name of a temporary file in the message."""
    custom = net(
        "h = Conv(x, w)  y = my.dom.Op(h)", x="float[N,3,8,8]", w=(4, 3, 3, 3),
        outputs={"y": "float[N,4,6,6]"},
    )  # fmt: skip
    data = {"x": np.zeros((8, 3, 8, 8), np.float32)}
    with pytest.raises(WorkerError, match=r"^the model: [^/]*my\.dom:Op.* --custom-ops$"):
        run([data], custom)


def test_samples_that_come_in_feeds_of_their_own_are_judged_on() -> None:
    """A first size that the model fixes, and data that can only be read through."""
    fixed = net("h = MatMul(x, w)  y = Relu(h)", x="float[8,32]", w=(32, 64))
    rows = np.random.default_rng(0).standard_normal((16, 32)).astype(np.float32)
    source = open_data([{"x": rows}], specs_of(ir.from_proto(fixed)))
    found = split(source)
    assert found.source.batch_size == 8 and found.batches == 2
    assert len(list(found.held_back())) == 2
    assert run([{"x": rows}], fixed).judgement.sqnr_db > 20


def test_a_model_that_is_quantized_already_is_said_to_be(data: Path) -> None:
    """Not that nothing pays, nor that ONNX Runtime quantized what was to stay float."""
    once = run(data, calibrator="minmax")
    again = run(data, once.model, include=())
    assert not any(x["quantized"] for x in again.layers)
    assert [w for w in again.warnings if w.startswith("no layer can be quantized: ")] == [
        "no layer can be quantized: it is quantized already (3 of 3 layers); "
        "the result is the simplified model"
    ]
    assert not any(
        "ONNX Runtime quantized" in w or "no layer is worth" in w for w in again.warnings
    )


def test_a_model_without_layers_is_said_to_have_none(data: Path) -> None:
    plain = net("y = Relu(x)", x="float[N,32,8,8]")
    assert any(
        "no layer that could be quantized" in w for w in run(data, plain, include=()).warnings
    )


def test_a_layer_whose_first_output_is_left_out_is_no_trouble() -> None:
    """The model reads the last state of an LSTM only: its sequence has no name to compare by."""
    nodes = [onnx.helper.make_node("LSTM", ["x", "w", "r"], ["", "y"], hidden_size=3)]
    ports = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", [5, 1, 2]), ("y", [1, 1, 3]))
    ]
    rng = np.random.default_rng(0)
    weights = [
        onnx.numpy_helper.from_array(rng.standard_normal((1, 12, k)).astype(np.float32), name)
        for name, k in (("w", 2), ("r", 3))
    ]
    graph = onnx.helper.make_graph(nodes, "g", ports[:1], ports[1:], weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 9
    feeds = [{"x": rng.standard_normal((5, 1, 2)).astype(np.float32)} for _ in range(8)]
    result = run(feeds, model)
    assert [x["quantized"] for x in result.layers] == [False] and result.verification.ok
