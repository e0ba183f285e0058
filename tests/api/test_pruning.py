"""``onnxslim.prune`` on the model that ships with the package, and on small nets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import onnxslim
from onnxslim.api.prune_options import one_budget
from onnxslim.api.pruned import PruneResult
from onnxslim.api.pruning import prune
from onnxslim.demo import labelled_path, model_path
from onnxslim.errors import (
    CalibrationError,
    DataError,
    TargetError,
    UsageError,
    VerificationError,
)
from onnxslim.graph.save import save
from onnxslim.runtime.worker import Worker
from onnxslim.testing import model_bytes
from onnxslim.verify import selfcheck
from tests.nets import net

CHAIN = "h = Conv(x, w1, b1)  a = Relu(h)  g = Conv(a, w2)  b = Relu(g)  y = Conv(b, w3)"


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as made:
        yield made


def chain() -> onnx.ModelProto:
    return net(
        CHAIN, x="float[N,3,6,6]", w1=(32, 3, 1, 1), b1=(32,), w2=(16, 32, 3, 3), w3=(4, 16, 1, 1)
    )


@pytest.fixture(scope="module")
def halved(worker: Worker) -> PruneResult:
    return prune(model_path(), ratio=0.5, worker=worker)


def test_half_of_the_channels_go(halved: PruneResult) -> None:
    assert halved.budget["channels"]["after"] * 2 == halved.budget["channels"]["before"]
    assert halved.after.parameters < 0.3 * halved.before.parameters
    assert halved.after.macs is not None and halved.before.macs is not None
    assert halved.after.macs < 0.3 * halved.before.macs
    assert "BatchNormalization" not in halved.after.operators
    assert halved.verification.level == "masked" and halved.verification.ok is True
    assert halved.headline.startswith("removing 50 % of the channels, keeping about 25 % of the M")


def test_the_document_has_the_fields_of_the_contract(halved: PruneResult) -> None:
    found = halved.to_json()
    assert found["schema"] == 1 and found["command"] == "prune"
    assert set(found) >= {"input", "output", "before", "after", "passes", "verification",
                          "warnings", "budget", "recovery", "groups", "frozen"}  # fmt: skip
    for group in found["groups"]:
        assert set(group) >= {"id", "channels_before", "channels_after", "kept", "layers"}
        assert group["channels_after"] < group["channels_before"]
        assert group["layers"] and group["kept"]
    assert found["frozen"] and set(found["frozen"][0]) == {"layer", "reason"}
    assert [p["name"] for p in found["passes"]].count("prune-channels") == 1
    assert found["verification"]["level"] == "masked"


def test_kept_indices_are_those_of_the_weights() -> None:
    """Slicing the original by the document gives the pruned model, before recovery."""
    model = onnxslim.load(model_path())
    result = prune(model, ratio=0.5, dry_run=True)
    compared = 0
    for group in result.groups:
        for name, axes in group["kept"].items():
            if name not in model.graph.initializers:
                continue
            tensor = model.graph.initializers[name].const_value
            own = result.model.graph.initializers[name].const_value
            assert tensor is not None and own is not None
            array = tensor.numpy()
            every = [g["kept"].get(name, {}) for g in result.groups]
            for axis, index in {int(a): i for e in every for a, i in e.items()}.items():
                array = array.take(index, axis)
            np.testing.assert_array_equal(array, own.numpy())
            compared += len(axes)
    assert compared > 50


def test_without_data_it_says_what_data_would_bring(halved: PruneResult) -> None:
    assert halved.recovery in ("none", "data-free")
    assert halved.quality is not None and halved.quality["inputs"] == "random"
    assert halved.warnings[0].startswith("PRUNED WITHOUT SAMPLE DATA: its outputs have ")
    assert "--data" in halved.warnings[0]


def test_the_argument_stays_as_it_is(worker: Worker) -> None:
    proto = chain()
    before = proto.SerializeToString()
    prune(proto, ratio=0.5, worker=worker, compare=False)
    assert proto.SerializeToString() == before
    model = ir.from_proto(proto)
    bytes_before = model_bytes(model)
    prune(model, ratio=0.5, worker=worker, compare=False)
    assert model_bytes(model) == bytes_before


def test_two_runs_give_the_same_bytes(worker: Worker) -> None:
    texts = [
        model_bytes(prune(chain(), ratio=0.5, worker=worker, compare=False).model) for _ in range(2)
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("amount", [0.6, "60%", "0.6"])
def test_a_budget_is_never_exceeded(amount: Any, worker: Worker) -> None:
    result = prune(model_path(), macs=amount, worker=worker, compare=False)
    assert result.before.macs and result.after.macs
    assert 0.54 <= result.after.macs / result.before.macs <= 0.6
    assert result.headline.startswith("keeping at most 60 % of the MACs, removing about ")
    assert result.quality is None


def test_an_absolute_budget(worker: Worker) -> None:
    result = prune(model_path(), params="60k", worker=worker, compare=False)
    assert result.after.parameters <= 60_000
    assert "60000 parameters" in result.headline


def test_data_is_used_and_measured_on(worker: Worker, tmp_path: Path) -> None:
    result = prune(
        model_path(), macs=0.7, data=str(labelled_path()), labels="y", scope="local",
        options=onnxslim.RunOptions(samples=64), worker=worker, output=tmp_path / "out.onnx",
    )  # fmt: skip
    assert result.recovery == "data"
    assert result.quality is not None and result.quality["inputs"] == "data"
    score = result.quality["score"]
    assert score["metric"] == "top1" and score["n"] == 64
    assert score["candidate"] > 90, "a third of the arithmetic costs little with data"
    assert result.quality["latency"]["ratio"] > 0
    assert (tmp_path / "out.onnx").is_file() and result.output == str(tmp_path / "out.onnx")


def test_every_layer_that_is_repaired_is_told(worker: Worker) -> None:
    said: list[str] = []
    feeds = [{"x": np.random.default_rng(i).normal(size=(4, 3, 6, 6)).astype(np.float32)}
             for i in range(4)]  # fmt: skip
    prune(chain(), ratio=0.5, data=feeds, worker=worker, on_step=said.append, verify=False)
    lines = [text for text in said if text.startswith("recovering: ")]
    assert lines == [f"recovering: layer {i} of 3" for i in (1, 2, 3)]


def test_a_dry_run_says_what_couples_layers(worker: Worker) -> None:
    found = prune(model_path(), ratio=0.5, dry_run=True, worker=worker).groups
    pairs = [pair for group in found for pair in group["coupled"]]
    assert any("Add" in name for pair in pairs for name in pair["through"])
    assert all(set(p["layers"]) <= set(g["layers"]) for g in found for p in g["coupled"])


def test_a_dry_run_starts_and_writes_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(Worker, "_running", lambda self: pytest.fail("the child was started"))
    result = prune(chain(), ratio=0.5, dry_run=True, output=tmp_path / "o.onnx")
    assert list(tmp_path.iterdir()) == []
    assert result.verification.level == "none" and result.groups


def test_a_budget_out_of_reach_names_the_best(worker: Worker, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"the least that pruning reaches is .* %") as caught:
        prune(chain(), macs=0.0001, worker=worker, output=tmp_path / "o.onnx")
    assert list(tmp_path.iterdir()) == []
    document = caught.value.result.to_json()  # type: ignore[attr-defined]
    assert document["budget"] == {"kind": "macs", "asked": 0.0001, "met": False}
    assert document["after"]["parameters"] == document["before"]["parameters"]


def test_a_wrong_cut_is_found(worker: Worker, tmp_path: Path, monkeypatch: Any) -> None:
    """The masked original of another decision: as if surgery had cut the wrong channels."""
    from onnxslim.verify.masked import masked_original as real

    def shifted(dependency: Any, kept: Any) -> Any:
        masks = {g.id: np.arange(g.size) >= g.size // 2 for g in dependency.groups}
        return real(dependency, dependency.kept(masks))

    monkeypatch.setattr(selfcheck, "masked_original", shifted)
    with pytest.raises(VerificationError, match="not the masked original") as caught:
        prune(chain(), ratio=0.5, worker=worker, output=tmp_path / "o.onnx")
    assert list(tmp_path.iterdir()) == []
    assert caught.value.result.verification.ok is False  # type: ignore[attr-defined]


def test_a_wrong_simplification_is_found(worker: Worker, monkeypatch: Any) -> None:
    from onnxslim.api import pruning
    from onnxslim.api.sources import open_model as opened
    from onnxslim.pipeline.recipes import get_recipe as real

    def broken(name: str) -> Any:
        job["model"].graph.initializers["w3"].const_value = ir.tensor(
            np.zeros((4, 8, 1, 1), np.float32), name="w3"
        )
        return real(name)

    job: dict[str, Any] = {}
    monkeypatch.setattr(
        pruning, "open_model", lambda *a, **k: job.setdefault("model", opened(*a, **k))
    )
    monkeypatch.setattr(pruning, "get_recipe", broken)
    with pytest.raises(VerificationError, match="simplifying the pruned model changed it"):
        prune(chain(), ratio=0.5, worker=worker, recover=False)


def test_no_verify_runs_no_check(worker: Worker) -> None:
    result = prune(chain(), ratio=0.5, worker=worker, verify=False, compare=False)
    assert result.verification.level == "none" and result.verification.ok is None


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "found none"),
        ({"ratio": 0.5, "macs": 0.5}, "found --ratio and --macs"),
        ({"ratio": 0.5, "criterion": "best"}, "no criterion"),
        ({"ratio": 0.5, "scope": "everywhere"}, "scope"),
        ({"ratio": 0.5, "labels": "y"}, "labels need data"),
        ({"ratio": 0.5, "colour": "red"}, "colour"),
        ({"ratio": 0.5, "keep": ("conv1",)}, "matches nothing"),
        ({"ratio": "half"}, "--ratio is 'half'"),
    ],
)
def test_mistakes(asked: dict[str, Any], message: str, worker: Worker) -> None:
    with pytest.raises(UsageError, match=message):
        prune(chain(), worker=worker, **asked)


def test_data_that_is_asked_for_and_random_data(worker: Worker) -> None:
    with pytest.raises(DataError, match="--require-data"):
        prune(chain(), ratio=0.5, require_data=True, worker=worker)
    with pytest.raises(CalibrationError, match="random"):
        prune(chain(), ratio=0.5, data="random", worker=worker)
    few = onnxslim.RunOptions(samples=32)
    allowed = prune(
        chain(), ratio=0.5, data="random", allow_random=True, options=few, worker=worker
    )
    assert allowed.verification.ok is True


def test_layers_are_found_by_the_names_they_were_given(worker: Worker, tmp_path: Path) -> None:
    """A Dropout and an Identity are gone by the time of pruning; their names still count."""
    body = "h = Conv(x, w1)  a = Relu(h)  i = Identity(a)  y = Conv(i, w2)"
    proto = net(body, x="float[N,3,6,6]", w1=(32, 3, 1, 1), w2=(4, 32, 1, 1))
    path = tmp_path / "m.onnx"
    save(ir.from_proto(proto), path)
    for glob in ("i", "op:Identity", "w1", "h"):
        result = prune(path, ratio=0.5, layers=(f"{glob}=0.25",), worker=worker, dry_run=True)
        assert result.groups[0]["channels_after"] == 24, glob


def test_a_budget_is_one_thing() -> None:
    assert one_budget(ratio=None, macs="70%", params=None).amount == 0.7
    assert onnxslim.prune is prune


def test_weights_that_an_old_file_lists_as_inputs_are_cut_there_too(
    worker: Worker, tmp_path: Path
) -> None:
    """IR version 3, as MXNet and the first exporters of PyTorch wrote it."""
    body = "h = Conv(x, w)  r = Relu(h)  y = Conv(r, v)"
    proto = net(body, opset=8, w=(32, 4, 3, 3), v=(4, 32, 3, 3))
    for tensor in proto.graph.initializer:
        info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        proto.graph.input.append(info)
    proto.ir_version = 3
    path = tmp_path / "old.onnx"
    onnx.save(proto, str(path))
    out = tmp_path / "new.onnx"
    result = prune(path, ratio=0.5, output=out)
    assert result.verification.ok is True
    written = onnx.load(str(out))
    onnx.checker.check_model(written, full_check=True)
    assert {tuple(t.dims) for t in written.graph.initializer} >= {(16, 4, 3, 3), (4, 16, 3, 3)}
