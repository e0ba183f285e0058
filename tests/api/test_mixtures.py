"""Whether mixtures of samples help is decided by samples that were held back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.api.prune_goals import Chooser, macs_of, mixed_options, recovery_passes
from onnxslim.api.prune_options import PruneOptions
from onnxslim.api.prune_search import Search
from onnxslim.api.pruning import prune
from onnxslim.passes.distill_weights import DistillWeights
from onnxslim.pipeline.base import Pass
from onnxslim.runtime.data import open_data
from onnxslim.runtime.specs import specs_of
from onnxslim.runtime.worker import Worker
from tests.nets import net

BODY = (
    "h = Conv<pads = [1, 1, 1, 1]>(x, v)  r = Relu(h)  g = Conv<pads = [1, 1, 1, 1]>(r, u)"
    "  q = Relu(g)  p = GlobalAveragePool(q)  f = Flatten(p)  y = Gemm(f, w)"
)

CONV, WEIGHTS = "y = Conv<pads = [1, 1, 1, 1]>(x, v)", {"v": (16, 3, 3, 3)}


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as made:
        yield made


def model() -> onnx.ModelProto:
    return net(BODY, x="float[N,3,8,8]", v=(16, 3, 3, 3), u=(16, 16, 3, 3), w=(16, 5))


def samples(folder: Path, count: int) -> Path:
    path = folder / "samples.npz"
    rng = np.random.default_rng(0)
    np.savez(path, x=rng.standard_normal((count, 3, 8, 8)).astype(np.float32))
    return path


class Errors:
    """A search whose tries have known errors: without and with the last passes."""

    def __init__(self, plain: float, more: float, until: float = float("inf")) -> None:
        self.asked: list[tuple[Pass, ...]] = []
        errors = self

        class Known(Search):
            def deals(self) -> bool:
                return True

            def judged(self, made_by: Pass, quarters: tuple[int, ...] = (0, 1, 2)) -> Any:
                errors.asked.append(tuple(self.recovery))
                error = more if len(self.recovery) > 1 else plain

                class Found:
                    pass

                found: Any = Found()
                found.error = error
                return found

        nothing: Any = None
        self.search = Known(
            nothing, nothing, nothing, (DistillWeights(),), lambda text: None, until
        )


@pytest.mark.parametrize(
    ("plain", "more", "helps"),
    [(0.2, 0.1, True), (0.2, 0.23, True), (0.2, 0.25, False), (0.2, 0.2, False)],
)
def test_the_smaller_error_on_held_back_samples_counts(
    plain: float, more: float, helps: bool
) -> None:
    errors, last = Errors(plain, more), DistillWeights(mixed=0.9)
    assert errors.search.helps(DistillWeights(), [last], 4) is helps
    assert errors.asked == [(DistillWeights(),), (DistillWeights(), last)]


def test_not_where_it_would_end_too_late() -> None:
    now = time.monotonic()
    assert Errors(0.2, 0.1, now + 60).search.helps(DistillWeights(), [DistillWeights()], 4)
    assert not Errors(0.2, 0.1, now - 1).search.helps(DistillWeights(), [DistillWeights()], 4)


@pytest.mark.parametrize(
    ("macs", "samples", "asked"),
    [(1e6, 32, True), (1e6, 31, False), (1e9, 30, False), (1e9, 31, False), (None, 64, False)],
)
def test_large_models_and_few_samples_are_not_tried(
    macs: float | None, samples: int, asked: bool
) -> None:
    errors, nothing = Errors(0.2, 0.1), None
    anything: Any = nothing
    chooser = Chooser(anything, anything, errors.search)
    assert chooser.mixes(DistillWeights(), macs, samples) is asked
    assert bool(errors.asked) is asked
    assert not chooser.mixes(None, macs, samples)
    assert not Chooser(anything, anything, None).mixes(DistillWeights(), macs, samples)


@pytest.mark.parametrize("mixes", [True, False])
def test_the_last_passes(mixes: bool) -> None:
    found = list(recovery_passes(PruneOptions(), True, float("inf"), lambda: mixes))
    assert [p.name for passes in found for p in passes] == [
        "reconstruct-weights",
        "distill-weights",
    ]
    last: Any = found[-1][0]
    assert (last.mixed, last.steps, last.rate) == ((0.9, 40, 0.02) if mixes else (0, 0, 0.005))


def test_nothing_is_tried_without_data_or_time() -> None:
    def never() -> bool:
        raise AssertionError("asked")

    for data, until in ((False, float("inf")), (True, 0.0)):
        assert len(list(recovery_passes(PruneOptions(), data, until, never))) == 1
    assert not list(recovery_passes(PruneOptions(recover=False), True, float("inf"), never))


def test_a_part_of_the_work_is_tried() -> None:
    assert mixed_options(0.25)["steps"] * 4 == mixed_options()["steps"]
    assert mixed_options(0.25)["work"] * 4 == mixed_options()["work"]


def test_a_pruning_with_data_looks_at_mixtures(worker: Worker, tmp_path: Path) -> None:
    steps: list[str] = []
    data = samples(tmp_path, 64)
    found = prune(model(), macs=0.4, data=str(data), worker=worker, on_step=steps.append)
    assert "trying mixtures of samples" in steps
    assert found.recovery == "data"
    assert found.before.macs and found.after.macs
    assert found.after.macs <= 0.4 * found.before.macs


def test_open_sizes_are_those_of_the_samples() -> None:
    """Whether a model whose height and width are left open is small enough for tries."""
    fixed, free = net(CONV, **WEIGHTS, x="float[N,3,8,8]"), net(CONV, **WEIGHTS, x="float[N,3,H,W]")
    models = [ir.from_proto(proto) for proto in (fixed, free)]
    for model in models:
        infer_shapes(model)
    data = open_data({"x": np.zeros((40, 3, 8, 8), np.float32)}, specs_of(models[1]))
    assert macs_of(models[1], data) == macs_of(models[0], data) == 8 * 8 * 3 * 3 * 3 * 16
    assert macs_of(models[1], None) is None


def test_mixtures_are_tried_where_sizes_are_open(worker: Worker, tmp_path: Path) -> None:
    steps: list[str] = []
    free = net(BODY, x="float[N,3,H,W]", v=(16, 3, 3, 3), u=(16, 16, 3, 3), w=(16, 5))
    prune(free, macs=0.5, data=str(samples(tmp_path, 64)), worker=worker, on_step=steps.append)
    assert "trying mixtures of samples" in steps
