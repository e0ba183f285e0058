from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from onnxslim.errors import UsageError
from onnxslim.runtime.specs import Array
from onnxslim.verify.compare import Stats
from onnxslim.verify.gates import Closeness, Gate, check_gates, judge_gates
from onnxslim.verify.scores import Score


def f32(*values: Any) -> Array:
    return np.array(values, np.float32)


def gate(name: str, limit: float, a: Any, b: Any, **more: Any) -> Gate:
    gates = {name: limit, **more}
    closeness, stats = Closeness(gates), Stats()
    closeness.add(a, b)
    stats.add(a, b)
    found = judge_gates(gates, {"y": stats}, closeness, math.nan, None)
    return found[0]


@pytest.mark.parametrize("rtol", [0, 0.01, 0.1, 1])
@pytest.mark.parametrize("atol", [0, 0.01, 0.3])
def test_rtol_and_atol_mean_what_numpy_means(rtol: float, atol: float) -> None:
    rng = np.random.default_rng(0)
    for scale in (0.001, 0.05, 0.5):
        a = rng.standard_normal(50).astype(np.float32)
        b = (a + scale * rng.standard_normal(50)).astype(np.float32)
        expected = np.allclose(b.astype(float), a.astype(float), rtol, atol)
        assert gate("rtol", rtol, a, b, atol=atol).ok == expected
        assert gate("atol", atol, a, b, rtol=rtol).ok == expected


def test_values_that_were_found() -> None:
    assert gate("atol", 0.1, f32(1, 2), f32(1, 2.5)).value == pytest.approx(0.5)
    assert gate("rtol", 0.1, f32(1, 2), f32(1, 2.5)).value == pytest.approx(0.25)
    assert gate("rtol", 0.1, f32(0, 2), f32(1e-9, 2)).value == math.inf
    assert gate("min_sqnr", 30, f32(3, 4), f32(3, 4)).value == math.inf
    assert gate("min_cosine", 0.9, f32(1, 0), f32(1, 1)).value == pytest.approx(0.5**0.5)


@pytest.mark.parametrize("name", ["rtol", "atol"])
def test_special_values(name: str) -> None:
    special = f32(np.nan, np.inf, 1)
    assert gate(name, 0, special, special.copy()).ok
    assert not gate(name, 1e9, special, f32(np.nan, 1, 1)).ok
    assert not gate(name, 1e9, f32(1), f32(1, 1)).ok
    assert not gate(name, 1e9, np.array(["a"], object), np.array(["b"], object)).ok


def test_min_gates() -> None:
    assert gate("min_sqnr", 13, f32(3, 4), f32(3, 3)).ok  # 13.98 dB
    assert not gate("min_sqnr", 14, f32(3, 4), f32(3, 3)).ok
    assert not gate("min_sqnr", 1, f32(3, 4), f32(3, 4, 5)).ok
    assert not gate("min_cosine", 0.5, f32(1), f32(np.nan)).ok
    assert not gate("min_agreement", 1, f32(1), f32(1)).ok  # nothing was measured


def test_max_drop() -> None:
    def judged(drop: float) -> bool:
        score = Score("top1", 90, 90 - drop, 99, 100, (0, 0))
        return judge_gates({"max_drop": 1}, {}, Closeness({}), math.nan, score)[0].ok

    assert judged(0.5) and judged(1) and judged(-3) and not judged(1.5)


def test_usage() -> None:
    assert check_gates({"max_drop": 1, "rtol": 0}, labelled=True) == {"rtol": 0, "max_drop": 1}
    with pytest.raises(UsageError, match="needs labels"):
        check_gates({"max_drop": 1}, labelled=False)
    with pytest.raises(UsageError, match="'rtoll'"):
        check_gates({"rtoll": 1}, labelled=False)


def test_json_has_no_infinity() -> None:
    entry = gate("min_sqnr", 30, f32(3, 4), f32(3, 4)).to_json()
    assert entry == {"name": "min_sqnr", "limit": 30, "value": None, "ok": True}
