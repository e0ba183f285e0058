"""What ONNX Runtime makes of a quantized model: counted, compared, timed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from onnxslim.testing import shared_worker
from onnxslim.verify.quantized import Judged, census, layer_sqnr, speedup
from tests.nets import net


def node(op: str, *inputs: str) -> dict[str, Any]:
    return {"name": f"the {op}", "op": op, "inputs": list(inputs), "outputs": ["y"]}


def test_a_planned_layer_is_integer_when_its_weight_is_multiplied_so() -> None:
    nodes = [node("com.microsoft:QLinearConv", "x", "w_q"), node("Conv", "x", "v_q")]
    found = census(nodes, {"a": "w_q", "b": "v_q"})
    assert (found.integer, found.float, found.surplus) == (("a",), ("b",), ())


def test_a_shared_weight_counts_once_for_each_use() -> None:
    nodes = [node("QLinearConv", "x", "w_q")]
    found = census(nodes, {"a": "w_q", "b": "w_q"})
    assert (found.integer, found.float) == (("a",), ("b",))


def test_what_the_runtime_quantized_by_itself_is_named() -> None:
    found = census([node("com.microsoft:QGemm", "x", "theirs")], {"a": "ours"})
    assert found.surplus == ("the com.microsoft:QGemm",) and found.float == ("a",)
    assert found.operators == {"com.microsoft:QGemm": 1}


def feeds(count: int = 2) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal((2, 4)).astype(np.float32)} for _ in range(count)]


EXACT = net("h = Neg(x)  y = Abs(h)", x="float[N,4]").SerializeToString()
ROUGH = net("h = Mul(x, c)  y = Abs(h)", x="float[N,4]", c=np.float32(-1.1)).SerializeToString()


def test_layers_are_compared_by_the_names_that_each_model_has() -> None:
    with shared_worker().session(EXACT) as one, shared_worker().session(ROUGH) as two:
        found = layer_sqnr(one, two, {"a": ("h", "h"), "b": ("x", "x")}, feeds())
    assert found["a"] == pytest.approx(20.0, abs=0.01)  # a tenth of the signal is 20 dB below it
    assert found["b"] == math.inf


def test_outputs_are_judged_against_the_answers_kept() -> None:
    with shared_worker().session(EXACT) as one, shared_worker().session(ROUGH) as two:
        judged = Judged(one, feeds())
        assert judged.sqnr(judged.stats(two)) == pytest.approx(20.0, abs=0.01)
        assert judged.sqnr(judged.stats(one)) == 100.0


def test_an_output_that_says_nothing_does_not_count() -> None:
    body = "y = Mul(x, c)  z = Sub(x, x)"
    exact = net(body, x="float[N,4]", c=np.float32(1)).SerializeToString()
    rough = net(body, x="float[N,4]", c=np.float32(1.1)).SerializeToString()
    with shared_worker().session(exact) as one, shared_worker().session(rough) as two:
        judged = Judged(one, feeds())
        assert judged.sqnr(judged.stats(two)) == pytest.approx(20.0, abs=0.01)


def test_two_latencies_are_measured() -> None:
    with shared_worker().session(EXACT) as one, shared_worker().session(ROUGH) as two:
        assert all(second > 0 for second in speedup(one, two, feeds()[0], runs=1))
