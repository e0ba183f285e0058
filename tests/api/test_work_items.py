"""Allocation by work items: any executor gives the model that one process gives."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxslim.analysis.saliency.statistics import measure
from onnxslim.api.latency import latency_table
from onnxslim.api.options import RunOptions
from onnxslim.api.pruning import prune
from onnxslim.api.work_items import Dense, Given, Spreading, WorkItem, run_item
from onnxslim.errors import DataError, UnsupportedModelError, UsageError, WorkerError
from onnxslim.graph.save import stage
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.sensitivity import Cut, Measured, predicted_errors
from onnxslim.runtime.worker import Worker
from tests.nets import net
from tests.pickling import Pickling

BODY = "h = Conv(x, v)  r = Relu(h)  g = Conv(r, u)  q = Relu(g)  y = Conv(q, w)"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    made = net(BODY, x="float[N,3,8,8]", v=(32, 3, 3, 3), u=(48, 32, 3, 3), w=(4, 48, 1, 1))
    onnx.save(made, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.fixture
def data(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.standard_normal((64, 3, 8, 8)).astype(np.float32))
    return str(tmp_path / "d.npz")


def pruned(model: Any, data: Any, target: Path, executor: Any = None, **asked: Any) -> bytes:
    """The bytes of the pruned model, without what tests of other things look at."""
    prune(
        model, data=data, output=target, executor=executor, force=True, verify=False,
        compare=False, **{"macs": 0.5, "min_channels": 1, **asked},
    )  # fmt: skip
    return target.read_bytes()


@pytest.mark.parametrize("quarters", [None, (0, 1), (3,)])
def test_the_same_errors(model: Path, data: str, quarters: tuple[int, ...] | None) -> None:
    """On the same samples, to the last bit, whoever measures."""
    given = Given(str(model), RunOptions(data=data))
    with Worker() as worker:
        dense = Dense(given, worker)
        ctx = PassContext(dense.model, worker=worker, calibration=dense.feeds(quarters))
        with stage(dense.model) as staged, worker.session(staged.model_path) as session:
            statistics = measure(session, dense.feeds(quarters), dense.groups, covariances=True)
        here = predicted_errors(ctx, dense.model, dense.groups, statistics)
        ctx.spread = Spreading(Pickling(), given).on(quarters)
        apart = predicted_errors(ctx, dense.model, dense.groups, statistics)
    assert set(here) == set(apart) == {0, 1}
    assert all(np.array_equal(here[n], apart[n]) and here[n].max() > 0.1 for n in here)


@pytest.mark.parametrize("search", [False, True])
def test_the_same_bytes_by_work_items(model: Path, data: str, tmp_path: Path, search: bool) -> None:
    """Both groups are measured by items of their own; tries measure on three quarters."""
    executor = Pickling()
    apart = pruned(model, data, tmp_path / "a.onnx", executor, search=search)
    assert apart == pruned(model, data, tmp_path / "b.onnx", search=search)
    found = {(item.given.model, item.fitted, item.judged) for item in executor.items}
    quarters = [None, (0, 1, 2)] if search else [None]
    assert found == {(str(model), q, q) for q in quarters}
    assert {tuple(sorted({c.group for c in item.cuts})) for item in executor.items} == {(0,), (1,)}


def test_what_is_measured_elsewhere_decides(model: Path, data: str, tmp_path: Path) -> None:
    """Widths follow the errors that come back, not some that were found here."""

    class Biased(Pickling):
        def __init__(self, group: int) -> None:
            super().__init__()
            self.group = group

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            done: Future[Any] = Future()
            errors = [
                Measured(c.group, c.removed, 1e-6 if c.group == self.group else 1.0)
                for item in args
                for c in item.cuts
            ]
            done.set_result(errors)
            return done

    for cheap in (0, 1):
        pruned(model, data, tmp_path / "a.onnx", Biased(cheap), search=False, recover=False)
        made = {t.name: t.dims for t in onnx.load(tmp_path / "a.onnx").graph.initializer}
        left = (made["v"][0] / 32, made["u"][0] / 48)
        assert left[cheap] < left[1 - cheap]


def test_budgets_that_are_searched_for(model: Path, data: str, tmp_path: Path) -> None:
    table = tmp_path / "t.json"
    latency_table(model).save(table)
    for asked in ({"max_drop": 60}, {"latency": 0.9, "latency_table": str(table)}):
        executor = Pickling()
        asked = {"macs": None, **asked}
        apart = pruned(model, data, tmp_path / "a.onnx", executor, **asked)
        assert apart == pruned(model, data, tmp_path / "b.onnx", **asked)
        assert None in {item.fitted for item in executor.items}


def test_labels_go_along(tmp_path: Path) -> None:
    """With labels a drop is measured on all samples, so that items have to be told of them."""
    body = "h = Conv(x, v)  r = Relu(h)  p = GlobalAveragePool(r)  f = Flatten(p)  y = MatMul(f, w)"
    onnx.save(net(body, x="float[N,3,8,8]", v=(32, 3, 3, 3), w=(32, 4)), tmp_path / "m.onnx")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, label=rng.integers(0, 4, 300))
    executor = Pickling()
    asked: dict[str, Any] = {"macs": None, "max_drop": 90, "labels": "label"}
    given = tmp_path / "m.onnx", str(tmp_path / "d.npz")
    apart = pruned(*given, tmp_path / "a.onnx", executor, **asked)
    assert apart == pruned(*given, tmp_path / "b.onnx", **asked)
    assert {(i.given.labels, i.given.samples, i.fitted) for i in executor.items} == {
        ("label", None, (0, 1)),
        ("label", None, (0, 1, 2)),
        (None, 256, None),
    }


@pytest.fixture
def item(model: Path, data: str) -> WorkItem:
    return WorkItem(Given(str(model), RunOptions(data=data)), (Cut(0, 8, 32), Cut(1, 12, 48)))


def test_a_work_item_alone(item: WorkItem) -> None:
    found = run_item(pickle.loads(pickle.dumps(item)))
    assert [(m.group, m.removed) for m in found] == [(0, 8), (1, 12)]
    assert all(0 < m.error < 1 for m in found)


def test_another_file_of_the_same_name(item: WorkItem, model: Path) -> None:
    other = net(BODY, x="float[N,3,8,8]", v=(16, 3, 3, 3), u=(48, 16, 3, 3), w=(4, 48, 1, 1))
    onnx.save(other, model)
    with pytest.raises(UnsupportedModelError, match="no group 0 of 32 units"):
        Spreading(Pickling(), item.given).run(item)


def test_what_cannot_be_sent(model: Path, data: str) -> None:
    with pytest.raises(UsageError, match="needs the model as a path"):
        prune(onnx.load(model), macs=0.5, data=data, executor=Pickling())

    def drawn() -> Iterator[dict[str, np.ndarray[Any, Any]]]:
        yield {"x": np.zeros((8, 3, 8, 8), np.float32)}

    with pytest.raises(UsageError, match="data that can be sent to others"):
        prune(model, macs=0.5, data=drawn(), executor=Pickling())
    with pytest.raises(UsageError, match="give --data, too"):
        prune(model, macs=0.5, executor=Pickling())
    with pytest.raises(UsageError, match="expected processes:N"):
        prune(model, macs=0.5, data=data, executor="threads:2")


class Failing(Executor):
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_exception(self.error)
        return done


def test_a_worker_that_fails(item: WorkItem) -> None:
    """A line that says where: not a traceback of another process."""
    with pytest.raises(WorkerError, match=r"measured groups of the model died .*lost node"):
        Spreading(Failing(RuntimeError("lost node")), item.given).run(item)
    missing = Given(item.given.model, RunOptions(data="elsewhere.npz"))
    with pytest.raises(DataError, match=r"elsewhere\.npz"):
        Spreading(Pickling(), missing).run(item)
