"""Sensitivity by work items: any executor gives what one process gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxslim.api.sensitivities import sensitivity
from onnxslim.errors import DataError, TargetError, UsageError
from tests.nets import net
from tests.pickling import Pickling

BODY = "h = Conv(x, v)  r = Relu(h)  g = Conv(r, u)  q = Relu(g)  y = Conv(q, w)"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    model = net(BODY, x="float[N,3,8,8]", v=(16, 3, 3, 3), u=(16, 16, 3, 3), w=(4, 16, 1, 1))
    onnx.save(model, tmp_path / "m.onnx")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.standard_normal((32, 3, 8, 8)).astype(np.float32))
    return str(tmp_path / "m.onnx"), str(tmp_path / "d.npz")


def test_work_items_go_through_pickle(files: tuple[str, str]) -> None:
    model, data = files
    executor = Pickling()
    apart = sensitivity(model, data=data, executor=executor)
    here = sensitivity(model, data=data)
    assert apart == here
    assert len(executor.items) == 2
    assert {item.given.model for item in executor.items} == {model}
    errors = [p.error for p in here.points]
    assert len(errors) == 6
    assert all(0 < a < b for a, b in zip(errors[:2], errors[1:3], strict=True))


def test_what_cannot_be_measured(files: tuple[str, str]) -> None:
    model, data = files
    with pytest.raises(DataError, match="give them with --data"):
        sensitivity(model)
    with pytest.raises(UsageError, match="parts between 0 and 1"):
        sensitivity(model, data=data, ratios=(0.5, 1.0))
    with pytest.raises(UsageError, match="needs the model as a path"):
        sensitivity(onnx.load(model), data=data, executor=Pickling())
    few = {"x": np.zeros((3, 3, 8, 8), np.float32)}
    with pytest.raises(DataError, match="deals samples out in four"):
        sensitivity(model, data=few)
    alone = net("y = Relu(x)", x="float[N,3,8,8]")
    with pytest.raises(TargetError, match="no channel can be pruned"):
        sensitivity(alone, data=data)
