from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.errors import PassError, UnsupportedModelError, VerificationError
from onnxslim.graph.load import from_proto
from onnxslim.pipeline import PassContext
from onnxslim.pipeline.manager import Manager
from onnxslim.pipeline.recipes import Recipe, Repeat
from tests.nets import net
from tests.toys import ConvertOptions, EliminateDoubleNeg, Scripted

CHAIN = "a = Neg(x)  b = Neg(a)  d = Neg(b)  y = Relu(d)"


def loaded(body: str = CHAIN) -> tuple[ir.Model, PassContext]:
    model = from_proto(net(body))
    return model, PassContext(model)


def scripted(action: Callable[[ir.Model, PassContext], int]) -> Recipe:
    return Recipe("test", (Scripted(action),))


def test_a_recipe_runs_in_order_and_counts() -> None:
    model, ctx = loaded()
    seen: list[str] = []
    steps = (ConvertOptions(), EliminateDoubleNeg(), ConvertOptions(count=2))
    manager = Manager(Recipe("r", steps), on_pass=seen.append)
    assert manager.run(model, ctx) == 1
    assert seen == ["convert-options", "eliminate-double-neg", "convert-options"]
    assert [(r.name, r.rewrites) for r in manager.records] == [
        ("convert-options", 0), ("eliminate-double-neg", 1), ("convert-options", 0),
    ]  # fmt: skip
    assert manager.records[2].options["count"] == 2
    assert manager.runs == list(steps)


def test_refusals_are_counted_per_pass_and_reason() -> None:
    model, ctx = loaded("a = Neg(x)  y = Neg(a)  z = Neg(a)")
    manager = Manager(Recipe("r", (ConvertOptions(), EliminateDoubleNeg())))
    assert manager.run(model, ctx) == 0
    assert [r.skipped for r in manager.records] == [{}, {"its result is a graph output": 2}]


def test_a_repeat_ends_after_a_whole_round_without_a_change() -> None:
    model, ctx = loaded()
    rounds: list[int] = []

    def three_times(model: ir.Model, ctx: PassContext) -> int:
        rounds.append(ctx.since)
        if len(rounds) > 3:
            return 0
        ctx.constant(model.graph, "k", np.zeros(1))
        return 1

    manager = Manager(Recipe("r", (Repeat((Scripted(three_times),)),)))
    assert manager.run(model, ctx) == 3
    assert rounds[0] == -1 and rounds[-1] == -1, "the first and the last round are whole ones"
    assert all(since >= 0 for since in rounds[1:4])
    assert len(rounds) == 5
    assert ctx.warnings == []


def test_a_repeat_that_never_settles_is_stopped_and_told() -> None:
    model, ctx = loaded()

    def always(model: ir.Model, ctx: PassContext) -> int:
        ctx.constant(model.graph, "k", np.zeros(1))
        return 1

    manager = Manager(Recipe("restless", (Repeat((Scripted(always),), limit=4),)))
    assert manager.run(model, ctx) == 4
    assert ctx.warnings == ["recipe restless: still changing after 4 rounds"]


def test_what_one_pass_opens_another_finds_in_a_later_round() -> None:
    model, ctx = loaded("a = Neg(x)  b = Relu(a)  d = Relu(b)  e = Neg(d)  y = Abs(e)")

    def relu_of_relu(model: ir.Model, ctx: PassContext) -> int:
        found = 0
        for node in ctx.nodes("Relu"):
            inner = node.inputs[0]
            if inner is not None and inner.producer() is not None:
                found += ctx.bypass(node, inner)
        return found

    steps = (Repeat((EliminateDoubleNeg(), Scripted(relu_of_relu))),)
    Manager(Recipe("r", steps)).run(model, ctx)
    (reader,) = [n for n in model.graph if n.op_type == "Abs"]
    assert reader.inputs[0] is model.graph.inputs[0]


def test_stop_after_runs_a_prefix() -> None:
    model, ctx = loaded()
    steps = (ConvertOptions(), Repeat((EliminateDoubleNeg(), ConvertOptions(count=3))))
    manager = Manager(Recipe("r", steps), stop_after=1)
    assert manager.run(model, ctx) == 0
    assert len(manager.runs) == 1
    manager = Manager(Recipe("r", steps), stop_after=2)
    assert manager.run(model, ctx) == 1
    assert [p.name for p in manager.runs] == ["convert-options", "eliminate-double-neg"]


def test_a_pass_that_breaks_the_structure_is_named() -> None:
    model, ctx = loaded()

    def cut(model: ir.Model, ctx: PassContext) -> int:
        model.graph.remove(next(iter(ctx.nodes("Neg"))))
        return 1

    with pytest.raises(VerificationError, match=r"^pass scripted \(run 1\) broke the model: ") as e:
        Manager(scripted(cut)).run(model, ctx)
    assert "nothing in scope defines" in str(e.value)


def test_a_pass_that_breaks_the_structure_in_silence_is_named() -> None:
    model, ctx = loaded()

    def lie(model: ir.Model, ctx: PassContext) -> int:
        node = next(iter(ctx.nodes("Relu")))
        ctx.replace(node, ir.node("Gelu", [*node.inputs]))
        return 0

    with pytest.raises(VerificationError, match="pass scripted"):
        Manager(scripted(lie)).run(model, ctx)


def test_a_pass_that_raises_is_named_and_keeps_the_cause() -> None:
    model, ctx = loaded()

    def crash(model: ir.Model, ctx: PassContext) -> int:
        raise KeyError("w")

    with pytest.raises(PassError, match=r"^pass scripted failed with KeyError: 'w'; ") as caught:
        Manager(scripted(crash)).run(model, ctx)
    assert isinstance(caught.value.__cause__, KeyError)


def test_errors_on_purpose_come_through_as_they_are() -> None:
    model, ctx = loaded()
    error = UnsupportedModelError("no")

    def refuse(model: ir.Model, ctx: PassContext) -> int:
        raise error

    with pytest.raises(UnsupportedModelError) as caught:
        Manager(scripted(refuse)).run(model, ctx)
    assert caught.value is error


@pytest.mark.parametrize("count", [None, -1, "3"])
def test_a_count_that_is_none_is_a_bug_of_the_pass(count: object) -> None:
    model, ctx = loaded()
    with pytest.raises(PassError, match="pass scripted"):
        Manager(scripted(lambda model, ctx: count)).run(model, ctx)  # type: ignore[arg-type, return-value]


def test_verify_can_be_left_out() -> None:
    model, ctx = loaded()

    def rename(model: ir.Model, ctx: PassContext) -> int:
        model.graph.outputs[0].name = "z"
        return 1

    assert Manager(scripted(rename), verify=False).run(model, ctx) == 1


def test_a_pass_that_saw_everything_is_not_asked_again_before_an_edit() -> None:
    model, ctx = loaded("a = Neg(x)  b = Neg(a)  c = Neg(b)  d = Neg(c)  y = Abs(d)")
    seen: list[int] = []

    def look(model: ir.Model, ctx: PassContext) -> int:
        seen.append(len(model.graph))
        return 0

    Manager(Recipe("r", (Repeat((Scripted(look), EliminateDoubleNeg())),))).run(model, ctx)
    assert seen == [5, 3], "once before the edits and once after them, though there are more rounds"
