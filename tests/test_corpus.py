"""Real exported models, from the folder that ``ONNXSLIM_CORPUS`` names (skipped without)."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import pytest

import onnxslim
from onnxslim.testing import shared_worker

FOLDER = os.environ.get("ONNXSLIM_CORPUS")
MODELS = sorted(Path(FOLDER).glob("*.onnx")) if FOLDER else []

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.skipif(not MODELS, reason="ONNXSLIM_CORPUS names no folder with models"),
]


def interface(path: Path) -> dict[str, object]:
    """What must stay as it was."""
    model = onnx.load(path, load_external_data=False)
    weights = {tensor.name for tensor in model.graph.initializer} if model.ir_version < 4 else set()
    return {
        "inputs": [value for value in model.graph.input if value.name not in weights],
        "outputs": list(model.graph.output),
        "opsets": {item.domain: item.version for item in model.opset_import if item.domain == ""},
        "metadata": list(model.metadata_props),
        "producer": (model.producer_name, model.producer_version),
        "doc": model.doc_string,
    }


@pytest.mark.parametrize("path", MODELS or [Path("none.onnx")], ids=lambda path: path.stem)
def test_a_real_model_gets_no_worse(path: Path, tmp_path: Path) -> None:
    """Verified, the same interface, never more nodes or bytes; the same again, settled."""
    target, twice, again = (tmp_path / name for name in ("out.onnx", "twice.onnx", "again.onnx"))
    result = onnxslim.optimize(path, output=target)
    assert result.verification.ok, result.verification
    assert result.after.nodes <= result.before.nodes
    assert result.after.bytes <= result.before.bytes or any("grew" in w for w in result.warnings)
    assert target.stat().st_size <= result.after.bytes
    assert interface(target) == interface(path)
    shared_worker().check(target)

    onnxslim.optimize(path, output=twice, verify=False)
    assert twice.read_bytes() == target.read_bytes(), "two runs differ"
    second = onnxslim.optimize(target, output=again, verify=False)
    assert again.read_bytes() == target.read_bytes(), "a second run changes the file"
    assert sum(entry.rewrites for entry in second.passes) == 0
    assert len(list(tmp_path.glob("*.onnx"))) == 3
    assert [p for p in tmp_path.iterdir() if "tmp" in p.name] == []
