"""Tries of prunings: the one with the smallest error on samples held back, equal cuts once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.api.prune_search import Search, Try, finely
from onnxslim.api.pruning import prune
from onnxslim.errors import DataError
from onnxslim.passes.prune_channels import PruneChannels
from onnxslim.pipeline.base import Pass
from onnxslim.runtime.data import open_data
from onnxslim.runtime.specs import specs_of
from onnxslim.runtime.worker import Worker
from tests.nets import net

BODY = "h = Conv(x, v)  r = Relu(h)  g = Conv(r, u)  q = Relu(g)  y = Conv(q, w)"


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as made:
        yield made


@dataclass
class Counted(Search):
    """A search that counts its tries and knows their errors."""

    errors: dict[Pass, float] = field(default_factory=dict)
    tried: list[Pass] = field(default_factory=list)

    def judged(self, made_by: Pass, quarters: tuple[int, ...] = (0, 1, 2)) -> Try:
        self.tried.append(made_by)
        return Try(made_by, self.model, self.errors.get(made_by, 1.0))


def model() -> onnx.ModelProto:
    return net(BODY, x="float[N,3,8,8]", v=(32, 3, 3, 3), u=(32, 32, 3, 3), w=(4, 32, 1, 1))


def search(worker: Worker, **more: Any) -> Counted:
    proto, rng = model(), np.random.default_rng(0)
    samples = {"x": rng.standard_normal((32, 3, 8, 8)).astype(np.float32)}
    source = finely(open_data(samples, specs_of(ir.from_proto(proto))))
    return Counted(ir.from_proto(proto), worker, source, (), lambda text: None, **more)


def cut(**more: Any) -> Pass:
    return PruneChannels(**{"macs": 0.5, "criterion": "l2", "scope": "local", **more})


def test_the_smallest_error_wins(worker: Worker) -> None:
    passes = [cut(), cut(macs=0.4), cut(macs=0.3)]
    found = search(worker, errors={passes[1]: 0.5, passes[2]: 0.7})
    assert found.best(passes) is passes[1]
    assert found.tried == passes


def test_equal_cuts_are_tried_once(worker: Worker) -> None:
    """Caution says nothing of equal widths; other units of the same widths are another cut."""
    passes = [cut(), cut(caution=2.0), cut(criterion="random"), cut(seed=5)]
    found = search(worker, errors={passes[1]: 0.1})
    assert found.best(passes) is passes[0]
    assert found.tried == [passes[0], passes[2]]


def test_the_first_where_there_is_no_time(worker: Worker) -> None:
    passes = [cut(), cut(macs=0.4)]
    found = search(worker, errors={passes[1]: 0.5}, until=0.0)
    assert found.best(passes) is passes[0]
    assert found.tried == passes[:1]


@pytest.mark.parametrize(("feeds", "dealt"), [(4, True), (3, False), (1, False)])
def test_complete_feeds_are_dealt_out_when_there_are_four(
    worker: Worker, feeds: int, dealt: bool
) -> None:
    """Feeds of Python code are not divided: with fewer nothing is tried, nothing fails."""
    rng = np.random.default_rng(0)
    data = [{"x": rng.standard_normal((40, 3, 8, 8)).astype(np.float32)} for _ in range(feeds)]
    steps: list[str] = []
    found = prune(model(), macs=0.5, data=data, worker=worker, on_step=steps.append)
    assert found.recovery == "data"
    assert any(step.startswith("trying") for step in steps) is dealt


def test_one_dict_of_arrays_is_dealt_out(worker: Worker) -> None:
    samples = np.random.default_rng(0).standard_normal((40, 3, 8, 8)).astype(np.float32)
    steps: list[str] = []
    prune(model(), macs=0.5, data={"x": samples}, worker=worker, on_step=steps.append)
    assert tries_of(steps) >= 2


@pytest.mark.parametrize(
    ("asked", "tries"),
    [
        ({"scope": "local"}, 2),
        ({"scope": "global"}, 2),
        ({"criterion": "l2"}, 0),
        ({"criterion": "obs", "scope": "local"}, 0),
        ({"steps": 2}, 0),
    ],
)
def test_what_is_left_open_is_tried(worker: Worker, asked: dict[str, Any], tries: int) -> None:
    """Of a given scope two criteria; of a criterion other widths, where it predicts them."""
    samples = np.random.default_rng(0).standard_normal((40, 3, 8, 8)).astype(np.float32)
    steps: list[str] = []
    found = prune(
        model(), macs=0.5, data={"x": samples}, worker=worker, on_step=steps.append, **asked
    )
    assert found.before.macs
    assert found.after.macs
    assert found.after.macs <= 0.5 * found.before.macs
    assert tries_of(steps) == tries


def tries_of(steps: list[str]) -> int:
    """Prunings that were tried."""
    return sum(re.match(r"trying \d", step) is not None for step in steps)


def test_a_drop_needs_four_feeds(worker: Worker) -> None:
    samples = np.random.default_rng(0).standard_normal((400, 3, 8, 8)).astype(np.float32)
    with pytest.raises(DataError, match="comes in fewer feeds"):
        prune(model(), max_drop=5, data=[{"x": samples}], worker=worker)
