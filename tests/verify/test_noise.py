from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest

from onnxslim.verify.noise import (
    Limit,
    has_float,
    insert_noise,
    limit_of,
    noise_of,
    perturb_one_ulp,
    rounds_inputs,
)
from tests.nets import net


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_moves_every_element_to_a_neighbour(dtype: type[Any]) -> None:
    x = np.random.default_rng(0).standard_normal((40, 50)).astype(dtype)
    moved = perturb_one_ulp({"x": x}, 1)["x"]
    up, down = np.nextafter(x, dtype(np.inf)), np.nextafter(x, dtype(-np.inf))
    assert moved.dtype == dtype
    assert ((moved == up) | (moved == down)).all()
    assert 800 < np.count_nonzero(moved == up) < 1200


def test_leaves_what_has_no_neighbour_worth_a_name() -> None:
    x = np.array([0.0, np.inf, -np.inf, np.nan, np.finfo(np.float32).max], np.float32)
    np.testing.assert_array_equal(perturb_one_ulp({"x": x}, 0)["x"], x)


def test_other_types_and_the_order_stay() -> None:
    feed = {"s": np.array(["a"], object), "b": np.ones(2, np.float32), "a": np.arange(3)}
    moved = perturb_one_ulp(feed, 0)
    assert list(moved) == ["s", "b", "a"]
    assert moved["a"] is feed["a"] and moved["s"] is feed["s"]
    assert has_float(feed) and not has_float({"a": feed["a"], "e": np.ones(0, np.float32)})


def test_the_seed_decides() -> None:
    feed = {"x": np.ones(64, np.float32)}
    first, again, other = (perturb_one_ulp(feed, seed)["x"] for seed in (3, 3, 4))
    assert (first == again).all() and (first != other).any()


def test_small_floats_and_coarser_steps() -> None:
    x = np.linspace(1, 2, 100).astype(ml_dtypes.bfloat16)
    moved = perturb_one_ulp({"x": x}, 0)["x"]
    assert moved.dtype == x.dtype and (moved != x).mean() > 0.5
    wide = np.ones(100, np.float32)
    steps = np.abs(perturb_one_ulp({"x": wide}, 0, np.dtype(np.float16))["x"] - 1)
    assert np.allclose(steps, 2.0**-10, rtol=1e-3)


def test_limit_is_floor_or_noise_up_to_the_cap() -> None:
    assert limit_of(2.0, 0.0) == Limit(2e-6)
    assert limit_of(2.0, 1e-5) == Limit(8e-5)
    assert limit_of(2.0, 2.4e-4) == Limit(8 * 2.4e-4)
    assert limit_of(2.0, 2.6e-4) == Limit(2e-3, ill_conditioned=True)
    assert limit_of(2.0, 0.0, low_precision=True) == Limit(2.0**-7)  # 8 roundings of float16
    assert limit_of(2.0, 2.4e-3, low_precision=True) == Limit(8 * 2.4e-3)
    assert limit_of(2.0, 2.6e-3, low_precision=True).ill_conditioned
    assert limit_of(2.0, math.inf).ill_conditioned
    assert limit_of(0.0, 0.0) == Limit(0.0)


def test_nan_noise_is_infinite() -> None:
    assert noise_of([1.0, math.nan]) == math.inf
    assert noise_of([]) == 0


def test_inserts_noise_at_the_first_floats() -> None:
    body = "i = Mul(x, two)  e = Gather(table, i)  y = MatMul(e, m)"
    model = net(body, x="int64[3]", two=np.int64(2), table=(9, 4), m=(4, 2))
    noisy = insert_noise(model, 0)
    assert noisy is not None
    onnx.checker.check_model(noisy, full_check=True)
    assert [n.op_type for n in noisy.graph.node].count("RandomUniformLike") == 1
    assert len(model.graph.node) == 3


def test_inserts_nothing_where_no_float_comes_from_the_inputs() -> None:
    model = net("y = Add(x, one)", x="int64[3]", one=np.int64(1))
    assert insert_noise(model, 0) is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("i = Cast<to = 7>(x)  y = Gather(table, i)", True),
        ("i = Cast<to = 6>(x)  j = Cast<to = 7>(x)  e = Gather(table, i)  y = Gather(e, j)", True),
        ("i = Cast<to = 11>(x)  y = Neg(i)", False),
        ("i = Cast<to = 7>(x)  e = Gather(table, i)  n = Neg(x)  y = Shape(e)", False),
        ("y = Gather(table, i)", False),
    ],
)
def test_knows_ids_that_come_as_floats(body: str, expected: bool) -> None:
    given = {"i": "int64[2]"} if "Cast" not in body else {"x": "float[2,4]"}
    model = net(body, table=(9, 4), **given)
    assert rounds_inputs(model) is expected


def test_noise_of_ids_that_come_as_floats_is_put_inside() -> None:
    model = net("i = Cast<to = 7>(x)  e = Gather(table, i)  y = Neg(e)", x="float[2]", table=(9, 4))
    noisy = insert_noise(model, 0)
    assert noisy is not None
    assert [n.op_type for n in noisy.graph.node].count("RandomUniformLike") == 1
