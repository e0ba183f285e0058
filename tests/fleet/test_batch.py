"""A fleet of models: failures stay with their model, a dead worker too, a second run resumes."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import onnx
import pytest

import onnxslim
from onnxslim.api.executors import each, open_executor, processes
from onnxslim.errors import UsageError
from onnxslim.fleet.batch import Entry, batch, find, run_item
from tests.nets import net


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        model = net("a = Identity(x)  b = Relu(a)  y = Relu(b)", x=f"float[{number + 1},4]")
        onnx.save(model, str(folder / f"m{number}.onnx"))
    (folder / "broken.onnx").write_bytes(b"no model")
    return folder


def test_one_result_per_model_and_failures_isolated(models: Path, tmp_path: Path) -> None:
    seen: list[Entry] = []
    with ThreadPoolExecutor(1) as pool:
        result = onnxslim.batch("default", [models], tmp_path / "out", executor=pool,
                                on_done=seen.append)  # fmt: skip
    assert [Path(e.input).name for e in result.entries] == [
        "broken.onnx", "m0.onnx", "m1.onnx", "m2.onnx",
    ]  # fmt: skip
    assert [e.ok for e in result.entries] == [False, True, True, True]
    assert not result.ok and result.entries[0].exit_code == 2 and result.entries[0].error
    assert len(seen) == 4
    for entry in result.entries[1:]:
        assert entry.output is not None and entry.document is not None
        assert len(onnx.load(entry.output).graph.node) == 1
        assert entry.document["verification"]["ok"] is True
    assert not (tmp_path / "out" / "broken.onnx").exists()
    json.dumps(result.to_json())


def test_a_second_run_does_only_what_changed(models: Path, tmp_path: Path) -> None:
    (models / "broken.onnx").unlink()
    with ThreadPoolExecutor(1) as pool:
        batch("default", [models], tmp_path / "out", executor=pool)
        onnx.save(net("y = Neg(x)", x="float[2]"), str(models / "m1.onnx"))
        (tmp_path / "out" / "m2.onnx").unlink()
        again = batch("default", [models], tmp_path / "out", executor=pool)
        assert [e.skipped for e in again.entries] == [True, False, False]
        assert again.ok
        other = batch("minimal", [models], tmp_path / "out", executor=pool)
        assert [e.skipped for e in other.entries] == [False] * 3
        forced = batch("minimal", [models], tmp_path / "out", executor=pool, force=True)
        assert [e.skipped for e in forced.entries] == [False] * 3


def test_equal_names_keep_their_folders(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        onnx.save(net("y = Relu(x)", x="float[2]"), str(tmp_path / folder / "model.onnx"))
    with ThreadPoolExecutor(1) as pool:
        result = batch("none", [tmp_path / "a", tmp_path / "b"], tmp_path / "out", executor=pool)
    assert [Path(str(e.output)).relative_to(tmp_path / "out") for e in result.entries] == [
        Path("a/model.onnx"), Path("b/model.onnx"),
    ]  # fmt: skip


def test_mistakes(models: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no model and no folder"):
        find([tmp_path / "nothing"])
    with pytest.raises(UsageError, match="replaced by its own result"):
        batch("default", [models], models)
    with pytest.raises(UsageError, match="there is no recipe"):
        batch("nonsense", [models], tmp_path / "out")
    with pytest.raises(UsageError, match="expected processes:N"), open_executor("threads:3"):
        pass


class Breaking(Executor):
    """A pool of one process that is killed while it works on its second item."""

    def __init__(self) -> None:
        self.pool = processes(1)
        self.count = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.count += 1
        if self.count == 2:
            return self.pool.submit(os.kill, os.getpid() and _pid(self.pool), signal.SIGKILL)
        return self.pool.submit(fn, *args, **kwargs)


def _pid(pool: ProcessPoolExecutor) -> int:
    return next(iter(pool._processes))


def test_a_worker_that_dies_takes_nobody_along(models: Path, tmp_path: Path) -> None:
    (models / "broken.onnx").unlink()
    result = batch("default", [models], tmp_path / "out", executor=Breaking())
    assert result.ok and all(entry.output for entry in result.entries)


def _die(item: int) -> int:
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_an_item_that_always_kills_its_worker_is_given_up() -> None:
    done: list[int] = []
    with processes(1) as pool:
        found = each(
            pool, _die, [0, 1, 2], lost=lambda item, error: -item,
            on_done=lambda item, result: done.append(item),
        )  # fmt: skip
    assert found == [0, -1, 2]
    assert sorted(done) == [0, 1, 2]


def test_dask_survives_the_death_of_a_worker(models: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    (models / "broken.onnx").unlink()
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address.removeprefix("tcp://")
        victim = next(iter(cluster.workers.values())).process.process.pid

        def kill() -> None:
            time.sleep(0.5)
            os.kill(victim, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        result = batch("default", [models], tmp_path / "out", executor=f"dask://{address}")
        killer.join()
    assert result.ok, [e.error for e in result.entries]


def test_processes_have_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the user says otherwise; nothing of it stays behind."""
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with open_executor("processes:1") as pool:
        found = [pool.submit(os.getenv, f"{n}_NUM_THREADS").result() for n in ("OPENBLAS", "OMP")]
    assert found == ["1", "3"]
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_work_items_are_picklable(models: Path, tmp_path: Path) -> None:
    with processes(1) as pool:
        result = batch("default", [models / "m0.onnx"], tmp_path / "out", executor=pool)
    assert result.ok and run_item.__module__ == "onnxslim.fleet.batch"
