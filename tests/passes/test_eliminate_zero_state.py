"""Zero initial states are left out, all others stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("eliminate-zero-state")()
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def weights(op: str) -> dict[str, tuple[int, ...]]:
    return {"w": (1, GATES[op] * 5, 4), "r": (1, GATES[op] * 5, 5)}


@pytest.mark.parametrize("op", list(GATES))
@pytest.mark.parametrize("opset", [7, 13, 14, 22])
def test_constant_zero(op: str, opset: int) -> None:
    model = net(
        f"y = {op}<hidden_size = 5>(x, w, r, , , h)",
        opset=opset,
        x="float[3,2,4]",
        h=np.zeros((1, 2, 5), np.float32),
        **weights(op),
    )
    assert_pass(PASS, model, [f"y = {op}(x, w, r) hidden_size=5"])


def test_both_states_of_an_lstm_under_a_dynamic_batch() -> None:
    shape = "s = Shape(x)  b = Gather(s, one)  t = Concat<axis = 0>(one, b, five)"
    model = net(
        f"{shape}  z = ConstantOfShape(t)  y = LSTM<hidden_size = 5>(x, w, r, , , z, z)",
        outputs={"y": "float[3,1,N,5]"},
        x="float[3,N,4]",
        one=np.array([1]),
        five=np.array([5]),
        **weights("LSTM"),
    )
    assert_pass(PASS, model, ["y = LSTM(x, w, r) hidden_size=5"])


def test_one_state_of_two() -> None:
    model = net(
        "y = LSTM<hidden_size = 5>(x, w, r, , , h, z)",
        x="float[3,2,4]",
        h="float[1,2,5]",
        z=np.zeros((1, 2, 5), np.float32),
        **weights("LSTM"),
    )
    assert_pass(PASS, model, ["y = LSTM(x, w, r, _, _, h) hidden_size=5"])


@pytest.mark.parametrize("h", ["float[1,2,5]", np.full((1, 2, 5), 1e-30, np.float32)])
def test_keeps_other_states(h: Any) -> None:
    model = net(
        "y = GRU<hidden_size = 5>(x, w, r, , , h)",
        x="float[3,2,4]",
        h=h,
        **weights("GRU"),
    )
    assert_pass(PASS, model, None)


def test_keeps_a_state_that_the_caller_may_override() -> None:
    model = net(
        "y = GRU<hidden_size = 5>(x, w, r, , , h)",
        x="float[3,2,4]",
        h=np.zeros((1, 2, 5), np.float32),
        overridable=["h"],
        **weights("GRU"),
    )
    assert_pass(PASS, model, None)
