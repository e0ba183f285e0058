"""Reducers beside a session: same facts as from the tensors, in one pass or in groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onnxslim.errors import DataError, WorkerError
from onnxslim.runtime import reduction
from onnxslim.runtime.executor import Executor
from onnxslim.runtime.histogram import Histogram
from onnxslim.runtime.reducers import Gram, MinMax, Reducer
from onnxslim.runtime.reduction import GROUP, GROUP_BYTES, grouped
from onnxslim.runtime.session import TensorSpec
from onnxslim.runtime.worker import Session, Worker
from tests.runtime.workermodels import chain, model


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as made:
        yield made


@pytest.fixture
def session(worker: Worker) -> Iterator[Session]:
    with worker.session(chain()) as made:
        yield made


FEEDS = [
    {"x": np.random.default_rng(n).standard_normal((n + 2, 3)).astype(np.float32)} for n in range(4)
]


def jobs() -> dict[str, Reducer | list[Reducer]]:
    return {
        "x": MinMax(),
        "a": [MinMax(axis=1), Histogram(bins=64)],
        "b": Gram(other="c"),
        "y": MinMax(),
    }


def expected(session: Session) -> dict[str, Any]:
    made = jobs()
    with session.exposing(["a", "b", "c"]) as tapped:
        for feed in FEEDS:
            values = {**feed, **tapped.run(feed)}
            for name, given in made.items():
                for reducer in [given] if isinstance(given, Reducer) else given:
                    reducer.update(*(values[tap] for tap in reducer.values(name)))
    return {
        name: given.result() if isinstance(given, Reducer) else [r.result() for r in given]
        for name, given in made.items()
    }


def same(left: Any, right: Any) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return all(map(same, left, right))
    return np.array_equal(left, right)


@pytest.mark.parametrize("budget", [1 << 20, 100])
@pytest.mark.parametrize("once", [False, True], ids=["list", "iterator"])
def test_same_facts_as_from_the_tensors(session: Session, budget: int, once: bool) -> None:
    found = session.reduce(iter(FEEDS) if once else FEEDS, jobs(), budget=budget)
    assert same(found, expected(session))
    folder = session.source.path.parent
    assert sorted(path.name[0] for path in folder.iterdir()) == ["m", "s"]  # model, stderr


def test_groups_are_sessions_of_their_own(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    exposing = Session.exposing

    def noted(self: Session, names: Sequence[str]) -> Session:
        seen.append(list(names))
        return exposing(self, names)

    monkeypatch.setattr(Session, "exposing", noted)
    session.reduce(FEEDS, jobs(), budget=50)
    assert seen == [["a", "b", "c", "y"], ["a"], ["b", "c"], ["y"]]


def test_reducers_go_on_from_where_they_were(session: Session) -> None:
    made = jobs()
    session.reduce(FEEDS[:2], made)
    found = session.reduce(FEEDS[2:], made)
    assert same(found["a"], expected(session)["a"])
    assert session.reduce([], made)["x"] == found["x"]


def test_fused_levels_run_at_basic(worker: Worker) -> None:
    with worker.session(chain(), optimization="all") as session:
        assert session.reduce(FEEDS, {"b": MinMax()})["b"]["min"] == 0
        assert session.exposing(["b"]).options.optimization == "basic"


def test_inputs_alone_need_no_run(session: Session) -> None:
    found = session.reduce(FEEDS, {"x": MinMax()})
    assert found["x"]["count"] == sum(feed["x"].size for feed in FEEDS)


def test_errors(worker: Worker, session: Session) -> None:
    with pytest.raises(WorkerError, match="nosuch"):
        session.reduce(FEEDS, {"nosuch": MinMax()})
    with pytest.raises(DataError, match="axis 9"):
        session.reduce(FEEDS, {"a": MinMax(axis=9)})
    texts = model("g (string[N] s) => (string[N] t) { t = Identity(s) }")
    with worker.session(texts) as other, pytest.raises(DataError, match="'t' is not a tensor"):
        other.reduce([{"s": np.array(["a"], object)}], {"t": MinMax()})
    made = MinMax()
    with pytest.raises(DataError, match="axis 9"):
        session.reduce(FEEDS, {"x": made, "a": MinMax(axis=9)})
    assert made.result()["count"] == 0  # nothing of a failed stream


def test_a_stream_that_loses_its_child_is_not_continued(session: Session) -> None:
    def feeds() -> Iterator[dict[str, np.ndarray]]:
        yield from [FEEDS[0]] * (GROUP + 1)
        session.worker._running().kill()
        session.worker._drop()
        yield FEEDS[1]

    with pytest.raises(WorkerError, match="replaced") as caught:
        session.reduce(feeds(), {"a": MinMax()})
    assert caught.value.reason == "crash"
    assert session.reduce(FEEDS, {"a": MinMax()})["a"]["count"] > 0


def test_tap_sizes() -> None:
    inputs = [TensorSpec("x", np.dtype("float32"), ("N", 3, None))]
    outputs = [
        TensorSpec("a", np.dtype("float16"), ("N", 3)),
        TensorSpec("b", np.dtype("float32"), (None, 3)),
        TensorSpec("c", np.dtype("int64"), ("M", 3)),
        TensorSpec("d", "string", (2,)),
    ]
    feed = {"x": np.zeros((5, 3, 2), np.float32)}
    assert reduction.tap_sizes(outputs, inputs, feed, 800) == {"a": 30, "b": 100, "c": 100, "d": 32}


def test_spool_survives_as_given(worker: Worker, tmp_path: Path) -> None:
    spool = worker.spool()
    spool.append([np.array([1.5]), np.array(["é", ""], object), None])
    spool.append([np.zeros((0, 3), np.int8)])
    assert [type(v).__name__ for v in spool.read(0)] == ["ndarray", "ndarray", "NoneType"]
    assert spool.read(0)[1].tolist() == ["é", ""] and spool.read(1)[0].shape == (0, 3)
    spool.close()


def test_small_feeds_go_together_and_large_ones_alone() -> None:
    """A request costs as much as a run of a small model; what is under way is bounded."""
    small = [{"a": np.zeros(16, np.float32)} for _ in range(2 * GROUP + 1)]
    assert [len(group) for group, _ in grouped(small)] == [GROUP, GROUP, 1]
    large = [{"a": np.zeros(GROUP_BYTES // 8, np.float32)} for _ in range(5)]
    assert [len(group) for group, _ in grouped(large)] == [2, 2, 1]
    huge = [{"a": np.zeros(GROUP_BYTES, np.float32)} for _ in range(2)]
    assert [len(group) for group, _ in grouped(huge)] == [1, 1]


def test_sizes_that_are_known_decide_the_number_of_passes(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each pass is a session, and a run over all feeds."""
    passes: list[int] = []
    original = reduction._pass

    def counted(*args: Any) -> None:
        passes.append(1)
        original(*args)

    monkeypatch.setattr(reduction, "_pass", counted)
    for known in ({}, dict.fromkeys(jobs(), 1)):
        passes.append(0)
        reduction.reduce(session, FEEDS, jobs(), 50, None, known)
    first = passes.index(0, 1)
    assert sum(passes[:first]) > 1 and sum(passes[first:]) == 1


def test_few_feeds_are_one_request(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting, feeding and ending a reduction are no requests of their own."""
    asked: list[dict[str, Any]] = []
    request = Worker.session_request

    def noted(self: Worker, of: Session, head: Any, *args: Any, **more: Any) -> Any:
        asked.append(dict(head))
        return request(self, of, head, *args, **more)

    monkeypatch.setattr(Worker, "session_request", noted)
    session.reduce(FEEDS, jobs())
    assert [head["last"] for head in asked] == [True]
    asked.clear()
    session.reduce(FEEDS * GROUP, jobs())
    assert [head["last"] for head in asked] == [False] * (len(FEEDS) - 1) + [True]
    assert ["reducers" in head for head in asked] == [True] + [False] * (len(FEEDS) - 1)


def test_an_error_ends_a_reduction_in_the_child() -> None:
    """What was seen up to it is of no use, and takes memory."""
    executor = Executor()
    executor._sessions[0] = SimpleNamespace(get_outputs=list)
    made = [{"kind": "minmax", "options": {"axis": 1}, "values": ["x"]}]
    head = {"reduction": 5, "session": 0, "names": [["x"]], "last": False}
    executor._reduce({**head, "reducers": made}, [np.zeros((2, 3))])
    assert list(executor._reductions) == [5]
    with pytest.raises(DataError, match="3 before"):
        executor._reduce(head, [np.zeros((2, 4))])
    assert not executor._reductions


def test_sessions_with_more_outputs_plan_no_memory(worker: Worker) -> None:
    """ONNX Runtime then uses again what is still in the processor's cache; results are the same."""
    executor = Executor()
    with worker.session(chain()) as whole, whole.exposing(["a"]) as tapped:
        for session, planned in ((whole, True), (tapped, False)):
            head = {"session": 0, **session.options.loading(session.source)}
            executor._load(head, [])
            assert executor._sessions[0].get_session_options().enable_mem_pattern == planned
