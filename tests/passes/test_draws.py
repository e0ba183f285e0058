"""Invented positions follow the network: every node does to them what it does to real ones."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from onnxslim.passes._draws import ROWS, draws
from onnxslim.testing import shared_worker
from tests.nets import net

HEAD = "h = Conv(x, v)  "
"""What follows reads rows of eight channels."""

POINTWISE: dict[str, tuple[str, dict[str, Any]]] = {
    "Conv of 1x1 with a bias": ("y = Conv(h, w, b)", {"w": (6, 8, 1, 1), "b": (6,)}),
    "Conv in groups": ("y = Conv<group = 2>(h, w, b)", {"w": (6, 4, 1, 1), "b": (6,)}),
    "BatchNormalization": (
        "y = BatchNormalization(h, s, t, m, r)",
        {"s": (8,), "t": (8,), "m": (8,), "r": np.ones(8, np.float32)},
    ),
    "Sub of a constant": ("y = Sub(h, c)", {"c": (8, 1, 1)}),
    "Div by a number": ("y = Div(h, c)", {"c": np.float32(3)}),
    "constant less rows": ("y = Sub(c, h)", {"c": (8, 1, 1)}),
    "Mul of two": ("k = Relu(h)  y = Mul(h, k)", {}),
    "Concat": ("k = Relu(h)  y = Concat<axis = 1>(k, h)", {}),
    "Sigmoid": ("y = Sigmoid(h)", {}),
    "HardSwish": ("y = HardSwish(h)", {}),
    "Identity": ("y = Identity(h)", {}),
}


def rows_of(text: str, given: dict[str, Any]) -> dict[str, Any]:
    model = from_proto(net(text, x="float[N,3,1,1]", v=(8, 3, 1, 1), **given))
    infer_shapes(model)
    return dict(draws(model, seed=1))


@pytest.mark.parametrize("case", POINTWISE)
def test_rows_behind_a_node_are_what_it_makes_of_those_before(case: str) -> None:
    body, given = POINTWISE[case]
    found = rows_of(HEAD + body, given)
    assert found["h"].shape == (ROWS, 8)
    h = found["h"][:, :, None, None]
    if case == "BatchNormalization":  # it takes its own statistics for those of its input
        h = (h - h.mean(0)) / h.std(0)
        given = {**given, "m": np.zeros(8, np.float32)}
    tail = net(re.sub(r"\bh\b", "x", body), x="float[N,8,1,1]", outputs=["y"], **given)
    with shared_worker().session(tail.SerializeToString()) as session:
        wanted = session.run({"x": h.astype(np.float32)})["y"]
    np.testing.assert_allclose(found["y"], wanted[:, :, 0, 0], rtol=1e-5, atol=1e-4)


def test_all_positions_of_a_flattened_channel_are_alike() -> None:
    body = HEAD + "f = Flatten(h)  g = Flatten<axis = 2>(h)  y = Relu(g)"
    model = from_proto(net(body, x="float[N,3,2,3]", v=(8, 3, 1, 1)))
    infer_shapes(model)
    found = dict(draws(model, seed=1))
    np.testing.assert_array_equal(found["f"], np.repeat(found["h"], 6, axis=1))
    assert not {"g", "y"} & found.keys()


def test_of_what_is_unknown_nothing_follows() -> None:
    given = {"w": (6, 8, 1, 1), "c": (6, 1, 4)}
    found = rows_of(HEAD + "k = Softmax<axis = 1>(h)  y = Neg(k)", {})
    assert list(found) == ["h"]
    assert list(rows_of(HEAD + "k = Conv(h, w)  y = Add(k, c)", given)) == ["h", "k"]
