"""Verification against passes that are wrong on purpose: none may get through."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import onnxslim
from onnxslim.errors import VerificationError
from onnxslim.pipeline.recipes import Recipe
from tests.verify.broken import CASES, EliminateCorrectness


def test_there_are_enough() -> None:
    assert len(CASES) >= 20


@pytest.mark.parametrize("kind", CASES)
def test_is_caught(kind: str, tmp_path: Path) -> None:
    model = CASES[kind].model()
    onnx.checker.check_model(model, full_check=True)
    source, target = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(model, source)
    recipe = Recipe("broken", (EliminateCorrectness(kind),))
    with pytest.raises(VerificationError, match=r"^[^\n]*eliminate-correctness[^\n]*$") as caught:
        onnxslim.optimize(source, recipe, output=target)
    assert caught.value.exit_code == 1
    assert not target.exists()
    assert [p.name for p in tmp_path.iterdir() if "tmp" in p.name] == []


def test_the_models_pass_when_nothing_is_broken(tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    for kind in list(CASES)[::6]:
        result = onnxslim.optimize(CASES[kind].model(), "none")
        assert result.verification.ok, kind
