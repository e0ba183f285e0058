"""A model that answers in probabilities is compared by its logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.analysis.logits import final_softmaxes
from onnxslim.graph.load import from_proto
from onnxslim.pipeline.sensitivity import Judge
from onnxslim.testing import shared_worker
from onnxslim.verify.quantized import Judged
from tests.nets import net

LOGITS = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)


def probabilities(axes: tuple[int, ...]) -> np.ndarray[Any, Any]:
    powers = np.exp(LOGITS)
    found: np.ndarray[Any, Any] = powers / powers.sum(axes, keepdims=True)
    return found


@pytest.mark.parametrize(
    ("body", "opset", "axes"),
    [
        ("y = Softmax(x)", 17, (2,)),
        ("y = Softmax<axis=1>(x)", 17, (1,)),
        ("y = Softmax(x)", 11, (1, 2)),
        ("y = Softmax<axis=-1>(x)", 11, (2,)),
    ],
)
def test_logits_follow_from_probabilities(body: str, opset: int, axes: tuple[int, ...]) -> None:
    model = net(body, x="float[N,4,5]", opset=opset)
    softmax = final_softmaxes(from_proto(model))["y"]
    with shared_worker().session(model.SerializeToString()) as session:
        given = session.run({"x": LOGITS})["y"]
    np.testing.assert_allclose(given, probabilities(axes), rtol=1e-5)
    wanted = LOGITS - LOGITS.mean(axes, keepdims=True)
    np.testing.assert_allclose(softmax.logits(given), wanted, atol=1e-5)


def test_a_class_that_is_certain_has_finite_logits() -> None:
    softmax = final_softmaxes(from_proto(net("y = Softmax(x)", x="float[N,4]")))["y"]
    assert np.isfinite(softmax.logits(np.array([[1.0, 0.0]], np.float32))).all()


def test_only_what_a_softmax_gives_out_counts() -> None:
    model = from_proto(net("h = Softmax(x)  y = Sigmoid(h)  z = Relu(x)", x="float[N,4]"))
    assert not final_softmaxes(model)


SURE = "s = Mul(x, c)  y = Softmax(s)"
"""Its answers are all but certain."""


def sure(factor: float) -> Any:
    return net(SURE, x="float[N,4]", c=np.float32(factor))


def feed() -> dict[str, Any]:
    return {"x": np.eye(4, dtype=np.float32)}


def test_quantized_models_are_chosen_by_logits() -> None:
    one, two = sure(12).SerializeToString(), sure(13.2).SerializeToString()
    softmaxes = final_softmaxes(from_proto(sure(12)))
    with shared_worker().session(one) as a, shared_worker().session(two) as b:
        judged = Judged(a, [feed()], softmaxes)
        stats, closeness = judged.compared(b)
    assert closeness == pytest.approx(20.0, abs=0.01)  # a tenth of the logits
    assert judged.sqnr(stats) > 80.0  # what is reported is of the output itself


def test_pruned_models_are_judged_by_logits() -> None:
    judge = Judge(from_proto(sure(12)), shared_worker(), [feed()])
    assert judge.error(from_proto(sure(13.2))) == pytest.approx(0.01, rel=1e-3)
