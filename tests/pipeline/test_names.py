from __future__ import annotations

import onnx_ir as ir

from onnxslim.pipeline.names import Names
from tests.nets import net


def names(body: str, **given: object) -> Names:
    return Names(ir.from_proto(net(body, **given)))


def test_fresh_names_count_up_per_stem() -> None:
    fresh = names("y = Conv(x, w)")
    assert [fresh.value(s) for s in ("w", "w", "b", "w")] == ["w_s1", "w_s2", "b_s1", "w_s3"]


def test_taken_names_are_passed_over() -> None:
    fresh = names("w_s1 = Relu(x)  w_s3 = Neg(w_s1)  y = Add(w_s3, w_s2)", w_s2=[1.0])
    assert [fresh.value("w"), fresh.value("w")] == ["w_s4", "w_s5"]


def test_names_of_subgraphs_are_taken() -> None:
    then = "t () => (float[N] a_s1) { a_s1 = Relu(x) }"
    other = "e () => (float[N] a_s2) { a_s2 = Neg(x) }"
    body = f"y = If (c) <then_branch = {then}, else_branch = {other}>"
    fresh = names(body, x="float[N]")
    assert fresh.value("a") == "a_s3"


def test_a_counter_is_not_stacked() -> None:
    fresh = names("y = Relu(x)")
    assert fresh.value(fresh.value(fresh.value("y"))) == "y_s3"
    assert fresh.value("conv_s") == "conv_s_s1"


def test_nodes_without_names_stay_without() -> None:
    fresh = names("y = Relu(x)")
    assert (fresh.node(None, "Conv"), fresh.node("", "Conv")) == ("", "")
    assert (fresh.node("c", "Conv"), fresh.node("c", "Conv")) == ("c/Conv_s1", "c/Conv_s2")
