"""Random models through the whole default recipe; ``ONNXSLIM_FUZZ_SEEDS=2000`` for more of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

import onnxslim
from onnxslim.graph.load import from_proto
from onnxslim.testing import assert_close, model_bytes, shared_worker
from tests.fuzz.generate import generate

ROOT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("ONNXSLIM_FUZZ_SEEDS", "60"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_random_model_survives(seed: int) -> None:
    """Valid, verified, equal, the same interface, no more nodes; settled after one run."""
    model, feeds = generate(seed)
    given = model.SerializeToString(deterministic=True)
    result = onnxslim.optimize(model)
    after = model_bytes(result.model)
    assert model.SerializeToString(deterministic=True) == given, "the argument was changed"
    assert result.verification.ok and result.verification.level == "full"
    assert result.after.nodes <= result.before.nodes
    assert result.after.bytes <= result.before.bytes or result.warnings
    shared_worker().check(after, full=True)
    written = onnx.ModelProto.FromString(after)
    assert list(written.graph.input) == list(model.graph.input)
    assert list(written.graph.output) == list(model.graph.output)
    with shared_worker().session(given) as one, shared_worker().session(after) as two:
        for feed in feeds:
            assert_close(one.run(feed), two.run(feed), rtol=1e-4 if _is_float(model) else 2e-2)
    again = onnxslim.optimize(written, verify=False)
    assert sum(entry.rewrites for entry in again.passes) == 0, "a second run finds more"
    assert model_bytes(again.model) == after


@pytest.mark.parametrize("seed", range(0, SEEDS, 6))
def test_two_runs_give_the_same_bytes(seed: int) -> None:
    model, _ = generate(seed)
    one, two = (model_bytes(onnxslim.optimize(model, verify=False).model) for _ in range(2))
    assert one == two


PRINT_DIGESTS = """
import hashlib
import onnxslim
from onnxslim.testing import model_bytes
from tests.fuzz.generate import generate
for seed in range(60, 68):
    model = onnxslim.optimize(generate(seed)[0], verify=False).model
    print(hashlib.sha256(model_bytes(model)).hexdigest())
"""


def test_the_hash_seed_does_not_matter() -> None:
    """Python orders sets of texts anew in every process unless told otherwise."""
    said = [
        subprocess.run(
            [sys.executable, "-c", PRINT_DIGESTS], cwd=ROOT, capture_output=True, text=True,
            check=True, env={**os.environ, "PYTHONHASHSEED": number},
        ).stdout.split()
        for number in ("1", "2")
    ]  # fmt: skip
    assert len(said[0]) == 8
    assert said[0] == said[1]


@pytest.mark.parametrize("seed", range(0, SEEDS, 10))
def test_reading_and_writing_changes_nothing(seed: int) -> None:
    model, feeds = generate(seed)
    written = model_bytes(from_proto(model))
    assert model_bytes(from_proto(onnx.ModelProto.FromString(written))) == written
    with (
        shared_worker().session(model.SerializeToString()) as one,
        shared_worker().session(written) as two,
    ):
        wanted = one.run(feeds[0])
        found = two.run(feeds[0])
    assert_close(wanted, found, rtol=0)


def _is_float(model: onnx.ModelProto) -> bool:
    return bool(model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT)
