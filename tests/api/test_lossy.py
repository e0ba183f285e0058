"""Lossy passes inside ``optimize``: numbers are not judged, everything else is."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest

import onnxslim
from onnxslim.errors import VerificationError
from onnxslim.pipeline.base import Pass
from onnxslim.pipeline.registry import get_pass
from tests.nets import net

BODY = "h = Conv(x, w1)  a = Relu(h)  y = Conv(a, w2)"
MODEL = net(BODY, x="float[N,3,6,6]", w1=(32, 3, 1, 1), w2=(4, 32, 1, 1))


def test_a_lossy_pass_may_change_the_numbers(tmp_path: Path) -> None:
    out = tmp_path / "o.onnx"
    result = onnxslim.optimize(MODEL, passes=["prune-channels{ratio=0.5}"], output=out)
    assert result.after.parameters * 2 == result.before.parameters
    assert (result.verification.level, result.verification.ok) == ("none", None)
    assert "prune-channels may change the results" in result.verification.failure
    assert result.verification.outputs["y"].stats.max_abs > 0
    assert out.is_file()


def test_a_lossy_pass_that_changes_nothing_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_pass("prune-channels"), "run", lambda *args: 0)
    again = onnxslim.optimize(MODEL, passes=["prune-channels{ratio=0.5}"])
    assert (again.verification.level, again.verification.ok) == ("full", True)


def test_a_lossy_pass_may_not_break_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second Conv still wants 32 channels."""

    def run(self: Pass, model: ir.Model, ctx: object) -> int:
        value = model.graph.outputs[0]
        last = value.producer()
        assert last is not None
        twin = ir.node("Concat", [value, value], {"axis": 1})
        twin.outputs[0].name, value.name = value.name, "half"
        model.graph.append(twin)
        model.graph.outputs[0] = twin.outputs[0]
        return 1

    monkeypatch.setattr(get_pass("prune-channels"), "run", run)
    with pytest.raises(VerificationError):
        onnxslim.optimize(MODEL, passes=["prune-channels{ratio=0.5}"])
