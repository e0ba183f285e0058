"""Dropout goes where it certainly passes its input through."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("eliminate-dropout")()
HALF = np.float32(0.5)


@pytest.mark.parametrize(
    ("opset", "call"),
    [
        (7, "Dropout(x)"),
        (10, "Dropout<ratio = 0.3>(x)"),
        (13, "Dropout(x)"),
        (13, "Dropout(x, r)"),
        (13, "Dropout(x, r, off)"),
        (22, "Dropout(x, r)"),
    ],
)
def test_removes(opset: int, call: str) -> None:
    model = net(f"a = {call}  y = Relu(a)", opset=opset, r=HALF, off=np.array(False))
    assert_pass(PASS, model, ["y = Relu(x)"])


def test_removes_with_an_unread_mask() -> None:
    model = net("a, m = Dropout(x)  y = Relu(a)", outputs=["y"], x="float[N,4]")
    assert_pass(PASS, model, ["y = Relu(x)"])


def test_removes_in_a_subgraph() -> None:
    body = """
    y = If (c) <
      then_branch = t () => (float[2,4,8,8] o1) { a = Dropout(x)  o1 = Relu(a) },
      else_branch = e () => (float[2,4,8,8] o2) { o2 = Neg(x) }
    >
    """
    line = "y = If(c) else_branch={o2 = Neg(x)} then_branch={o1 = Relu(x)}"
    assert_pass(PASS, net(body), [line])


def test_keeps_training_mode() -> None:
    model = net("y = Dropout(x, r, on)", r=HALF, on=np.array(True))
    ctx = assert_pass(PASS, model, None, run=False)
    assert "training" in ctx.skipped[0][1]


def test_keeps_a_mode_that_the_caller_gives() -> None:
    model = net("a = Dropout(x, r, mode)  y = Relu(a)", r=HALF, mode="bool")
    assert "training" in assert_pass(PASS, model, None).skipped[0][1]


def test_keeps_a_mode_that_the_caller_can_override() -> None:
    model = net(
        "a = Dropout(x, r, mode)  y = Relu(a)", r=HALF, mode=np.array(False), overridable=["mode"]
    )
    assert "training" in assert_pass(PASS, model, None).skipped[0][1]


def test_keeps_opset_6_without_is_test() -> None:
    ctx = assert_pass(PASS, net("a = Dropout(x)  y = Relu(a)", opset=6), None, run=False)
    assert "training" in ctx.skipped[0][1]


def test_removes_opset_6_with_is_test() -> None:
    model = net("a = Dropout<is_test = 1>(x)  y = Relu(a)", opset=6)
    assert_pass(PASS, model, ["y = Relu(x)"], run=False)


@pytest.mark.parametrize("reader", ["n = Not(m)", ""])
def test_keeps_a_mask_that_is_read(reader: str) -> None:
    model = net(f"a, m = Dropout(x)  y = Relu(a)  {reader}")
    assert "mask" in assert_pass(PASS, model, None).skipped[0][1]


def test_keeps_what_a_graph_output_needs() -> None:
    assert "graph output" in assert_pass(PASS, net("y = Dropout(x)"), None).skipped[0][1]
