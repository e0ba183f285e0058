from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.analysis.facts import content, infer, shape

W = {"w": np.zeros((1, 8, 4), np.float32), "r": np.zeros((1, 8, 2), np.float32)}
LAST: dict[str, Any] = {**W, "last": [-1], "zero": [0], "one": [1]}

SQUEEZE = """
    s = Shape(x)  d = Gather(s, last)  c = Equal(d, one)
    q = If(c) <then_branch = t () => (float[A] a) { a = Squeeze(x, last) },
               else_branch = e () => (float[B] b) { b = Identity(x) }>
"""
X = "float[N,4,T] x"


def test_a_rank_that_an_operator_wants_decides_the_branch() -> None:
    found, problems = infer(
        SQUEEZE + "u = Unsqueeze(q, zero)  v = Relu(u)  y, h, k = LSTM<hidden_size=2>(v, w, r)",
        X,
        **LAST,
    )
    assert shape(found["q"]) == "float[N,4]" and shape(found["y"]) == "float[1,1,N,2]"
    assert content(found["c"]) == ["1"] and problems == []


def test_through_the_branches_of_another_if() -> None:
    body = """
        z = Shape(q)  n = Size(z)  f = Equal(n, two)  g = Not(f)
        p = If(g) <then_branch = t2 () => (float[A] a2) { a2 = Unsqueeze(q, zero) },
                   else_branch = e2 () => (float[B] b2) { b2 = Identity(q) }>
        u = Unsqueeze(p, zero)  y, h, k = LSTM<hidden_size=2>(u, w, r)
    """
    found, _ = infer(SQUEEZE + body, X, two=2, **LAST)
    assert shape(found["p"]) == "float[N,4]" and content(found["g"]) == ["0"]


@pytest.mark.parametrize(
    "rest",
    [
        "y = Relu(q)",  # wants no rank
        "f = Flatten(q) y = Relu(f)",
        "u = Unsqueeze(q, k) y, h, i = LSTM<hidden_size=2>(u, w, r)",  # by how much is unknown
        "u = Unsqueeze(q, both) y, h, i = LSTM<hidden_size=2>(u, w, r)",  # neither branch fits
        """y = If(c2) <then_branch = t3 () => (float[A] a3)
               { u = Unsqueeze(q, zero)  a3, h, i = LSTM<hidden_size=2>(u, w, r) },
                      else_branch = e3 () => (float[B] b3) { b3 = Relu(q) }>""",  # may not be run
    ],
)
def test_undecided(rest: str) -> None:
    inputs = X + ", int64[Q] k, bool c2"
    found, _ = infer(SQUEEZE + rest, inputs, both=[0, 1, 2], **LAST)
    assert shape(found["q"]) == "float?" and content(found["c"]) is None


def test_a_demand_inside_a_branch_decides_an_if_of_that_branch() -> None:
    inner = SQUEEZE + "u = Unsqueeze(q, zero)"
    body = f"""
        y = If(c2) <then_branch = o () => (float[A] a3)
              {{ {inner}  a3, h, i = LSTM<hidden_size=2>(u, w, r) }},
                    else_branch = e3 () => (float[B] b3) {{ b3 = Relu(x) }}>
    """
    found, _ = infer(body, X + ", bool c2", **LAST)
    assert shape(found["q"]) == "float[N,4]" and content(found["c"]) == ["1"]


@pytest.mark.parametrize(("taken", "expected"), [(1, "float[N,4]"), (0, "float?")])
def test_a_demand_inside_a_branch_that_is_certainly_taken(taken: int, expected: str) -> None:
    body = """
        c2 = Cast<to=9>(t)
        y = If(c2) <then_branch = o () => (float[A] a3)
              { u = Unsqueeze(q, zero)  a3, h, i = LSTM<hidden_size=2>(u, w, r) },
                    else_branch = e3 () => (float[B] b3) { b3 = Relu(x) }>
    """
    found, _ = infer(SQUEEZE + body, X, t=taken, **LAST)
    assert shape(found["q"]) == expected
