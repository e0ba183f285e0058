from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.errors import UsageError, WorkerError
from onnxslim.runtime.dims import Description
from onnxslim.runtime.plans import plan_feeds
from onnxslim.runtime.specs import Feed, InputSpec, specs_of
from onnxslim.runtime.worker import Worker

F32 = np.dtype(np.float32)
I64 = np.dtype(np.int64)


def accepting(
    rule: Callable[[dict[str, tuple[int, ...]]], str | bool | None],
) -> tuple[Callable[[Feed], str | bool | None], list[Feed]]:
    tried: list[Feed] = []

    def run(feed: Feed) -> str | bool | None:
        tried.append(feed)
        return rule({name: array.shape for name, array in feed.items()})

    return run, tried


def test_varies_one_by_one() -> None:
    specs = [InputSpec("x", F32, ("batch", 3, "h", "w"))]
    run, tried = accepting(lambda shapes: None)
    plan = plan_feeds(specs, None, run)
    shapes = [feed["x"].shape for feed in plan.feeds]
    assert shapes == [(1, 3, 64, 64), (2, 3, 64, 64), (1, 3, 128, 64), (1, 3, 64, 128)]
    assert plan.varied == ("batch", "h", "w")
    assert plan.unvaried == ()
    assert all(a is b for a, b in zip(plan.feeds, tried, strict=True))
    assert plan.tries == 4


def test_varies_together_what_only_goes_together() -> None:
    specs = [InputSpec("a", F32, (None, 4)), InputSpec("b", F32, (None, 4))]
    run, _ = accepting(lambda s: None if s["a"] == s["b"] else "they differ")
    plan = plan_feeds(specs, None, run)
    assert plan.varied == ("a[0]", "b[0]")
    assert {(f["a"].shape[0], f["b"].shape[0]) for f in plan.feeds} == {(1, 1), (2, 2)}


def test_larger_multiples_are_tried() -> None:
    specs = [InputSpec("x", F32, ("batch", "seq"))]
    run, _ = accepting(lambda s: s["x"][0] == 1 and s["x"][1] in (16, 128))
    plan = plan_feeds(specs, None, run)
    assert plan.varied == ("seq",)
    assert plan.unvaried == ("batch",)
    assert len(plan.feeds) == 3
    assert {f["x"].shape for f in plan.feeds} == {(1, 16), (1, 128)}


def test_half_when_the_base_is_the_largest() -> None:
    run, _ = accepting(lambda s: s["x"][1] <= 16)
    plan = plan_feeds([InputSpec("x", F32, (1, "seq"))], None, run)
    assert plan.varied == ("seq",)
    assert {f["x"].shape for f in plan.feeds} == {(1, 16), (1, 8)}


def test_follows_what_the_runtime_says() -> None:
    def rule(shapes: dict[str, tuple[int, ...]]) -> str | None:
        if shapes["state"][1] == 37:
            return None
        return (
            "Got invalid dimensions for input: state for the following indices\n"
            f" index: 1 Got: {shapes['state'][1]} Expected: 37\n Please fix either"
        )

    run, tried = accepting(rule)
    plan = plan_feeds([InputSpec("state", F32, (2, None, None))], None, run)
    assert tried[1]["state"].shape[1] == 37
    assert plan.feeds
    assert "state[1]" in plan.unvaried


def test_follows_what_a_layer_says() -> None:
    def rule(shapes: dict[str, tuple[int, ...]]) -> str | None:
        b, h = shapes["x"][0], shapes["h"][1]
        text = f"Input initial_h must have shape {{1,{b},8}}. Actual:{{1,{h},8}}"
        return None if b == h else text

    specs = [InputSpec("x", F32, (None, 4)), InputSpec("h", F32, (1, None, 8))]
    run, tried = accepting(rule)
    plan = plan_feeds(specs, None, run)  # "h" is a state by name; rename it to miss the guess
    assert plan.varied == ("x[0]", "h[1]")
    specs[1] = InputSpec("memory", F32, (1, None, 8))
    run, tried = accepting(lambda s: rule({"x": s["x"], "h": s["memory"]}))
    plan = plan_feeds(specs, None, run)
    assert tried[0]["memory"].shape[1] == 16
    assert plan.varied == ("x[0]", "memory[1]")


def test_searches_sizes() -> None:
    run, _ = accepting(lambda s: s["x"][1] in (512, 1024) or "no")
    plan = plan_feeds([InputSpec("x", F32, (None, None))], None, run)
    assert plan.feeds[0]["x"].shape == (1, 512)
    assert plan.varied == ("x[0]", "x[1]")


def test_lowers_indices_out_of_range() -> None:
    tried: list[int] = []

    def run(feed: Feed) -> str | None:
        tried.append(int(feed["i"].max()))
        worst = tried[-1]
        return None if worst < 3 else (
            f"indices element out of data bounds, idx={worst} must be within the inclusive"
            " range [-3,2]"
        )  # fmt: skip

    plan = plan_feeds([InputSpec("i", I64, (1, 40))], None, run)
    assert len(plan.feeds) == 3
    assert tried[0] >= 3
    assert max(tried[1:]) < 3


def test_gives_up_within_the_budget() -> None:
    run, tried = accepting(lambda s: "never")
    plan = plan_feeds([InputSpec("x", F32, ("b", None, None))], None, run, max_tries=20)
    assert plan.feeds == ()
    assert plan.error == "never"
    assert plan.unvaried == ("b", "x[1]", "x[2]")
    assert len(tried) == plan.tries == 20
    none = plan_feeds([InputSpec("x", F32, ("b",))], None, run, seconds=-1)
    assert none.feeds == () and none.error == "no input shape was accepted"


def test_what_cannot_be_fed_is_not_run() -> None:
    run, tried = accepting(lambda s: None)
    plan = plan_feeds([InputSpec("x", "sequence", None)], None, run)
    assert not tried
    assert "is a sequence" in str(plan.error)


def test_the_user_wins() -> None:
    specs = [InputSpec("x", F32, ("batch", "seq"))]
    run, tried = accepting(lambda s: None)
    given = Description(shapes={"x": (3, 7)})
    plan = plan_feeds(specs, None, run, description=given)
    assert {f["x"].shape for f in tried} == {(3, 7)}
    assert plan.varied == plan.unvaried == ()
    assert len(plan.feeds) == 3
    given = Description(dims={"seq": 7})
    plan = plan_feeds(specs, None, run, description=given)
    assert plan.varied == ("batch",)
    with pytest.raises(UsageError, match="no input 'y'"):
        plan_feeds(specs, None, run, description=Description(shapes={"y": (1,)}))


def test_feeds_differ_and_repeat() -> None:
    specs = [InputSpec("x", F32, (2, 3))]
    run, _ = accepting(lambda s: None)
    one, two = plan_feeds(specs, None, run, seed=4), plan_feeds(specs, None, run, seed=4)
    assert len(one.feeds) == 3
    assert all(np.array_equal(a["x"], b["x"]) for a, b in zip(one.feeds, two.feeds, strict=True))
    assert not np.array_equal(one.feeds[0]["x"], one.feeds[1]["x"])
    assert one.feeds[2]["x"].min() >= 0 > one.feeds[0]["x"].min()


def test_no_inputs_one_feed() -> None:
    run, tried = accepting(lambda s: None)
    assert plan_feeds([], None, run).feeds == ({},)
    assert len(tried) == 1


def corpus() -> list[Path]:
    folder = os.environ.get("ONNXSLIM_CORPUS", "")
    found = sorted(Path(folder).glob("*.onnx")) if folder else []
    if not found:
        pytest.skip("ONNXSLIM_CORPUS names no folder of models")
    return found


@pytest.mark.corpus
def test_every_model_of_the_corpus_runs_and_is_varied() -> None:
    failed = []
    with Worker() as worker:
        for path in corpus():
            model = ir.load(path)
            with worker.session(path) as session:

                def run(feed: Feed, session: object = session) -> str | None:
                    try:
                        session.run(feed)  # type: ignore[attr-defined]
                    except WorkerError as error:
                        return str(error)
                    return None

                plan = plan_feeds(specs_of(model), model, run)
            if len(plan.feeds) < 3 or plan.unvaried or plan.tries > 40:
                failed.append((path.name, plan.unvaried, plan.tries, plan.error))
    assert not failed
