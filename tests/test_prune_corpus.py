"""``prune`` on real exported models (``ONNXSLIM_CORPUS``; skipped without)."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import pytest

import onnxslim
from onnxslim.errors import TargetError
from onnxslim.testing import shared_worker

FOLDER = os.environ.get("ONNXSLIM_CORPUS")
MODELS = sorted(Path(FOLDER).glob("*.onnx")) if FOLDER else []

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.slow,
    pytest.mark.skipif(not MODELS, reason="ONNXSLIM_CORPUS names no folder with models"),
]


@pytest.mark.parametrize("path", MODELS or [Path("none.onnx")], ids=lambda path: path.stem)
def test_half_of_the_channels_of_a_real_model(path: Path, tmp_path: Path) -> None:
    """Valid, the same interface, equal to the masked original, and it runs; or it says why not."""
    target = tmp_path / "out.onnx"
    try:
        result = onnxslim.prune(path, ratio=0.5, output=target, round_to=1, min_channels=1)
    except TargetError as error:
        assert "no channel can be pruned: " in str(error)
        assert not target.exists()
        return
    assert result.verification.ok and result.verification.level in ("masked", "partial")
    shared_worker().check(target)
    before, after = onnx.load(path, load_external_data=False), onnx.load(target)
    assert list(before.graph.output) == list(after.graph.output)
    names = {t.name for t in before.graph.initializer} if before.ir_version < 4 else set()
    wanted = [v for v in before.graph.input if v.name not in names]
    assert [v.name for v in after.graph.input] == [v.name for v in wanted]
    channels = result.budget["channels"]
    assert channels["before"] / 2 <= channels["after"] < channels["before"]
    macs = result.budget["macs"]
    assert macs["part"] is None or macs["part"] < 1
