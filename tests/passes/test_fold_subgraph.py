"""Bodies return their inputs and constants without a node in between."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("fold-subgraph")()
BODY = (
    "body = b (int64 i, bool p, float[2,4] a) => (bool q, float[2,4] r) {{ q = {}  r = Add(a, a) }}"
)
OUT = {"y": "float[2,4]"}
X = "float[2,4]"
TWO, YES = np.int64(2), np.array(True)


@pytest.mark.parametrize("opset", [11, 13, 17, 21])
@pytest.mark.parametrize("source", ["Identity(p)", "Identity(t)", "Or(t, p)"])
def test_condition_of_a_loop(opset: int, source: str) -> None:
    model = net(
        f"y = Loop<{BODY.format(source)}>(n, t, x)", opset=opset, outputs=OUT, x=X, n=TWO, t=YES
    )
    assert_pass(PASS, model, ["y = Loop(n, t, x) body={r = Add(a, a)}"])


def test_branch_of_an_if() -> None:
    then = "then_branch = a () => (int64 o) { o = Identity(n) }"
    other = "else_branch = b () => (int64 u) { s = Shape(x)  u = Size(s) }"
    model = net(f"y = If<{then}, {other}>(c)", outputs={"y": "int64"}, x=X, n=TWO)
    assert_pass(PASS, model, ["y = If(c) else_branch={} then_branch={}"])


def test_keeps_what_the_body_computes() -> None:
    model = net(f"y = Loop<{BODY.format('Not(p)')}>(n, t, x)", outputs=OUT, x=X, n=TWO, t=YES)
    assert_pass(PASS, model, None)


def test_keeps_a_copy_of_an_outer_value() -> None:
    then = "then_branch = a () => (float[] o) { o = Identity(x) }"
    other = "else_branch = b () => (float[] u) { u = Neg(x) }"
    assert_pass(PASS, net(f"y = If<{then}, {other}>(c)", outputs=OUT, x=X), None)


def test_keeps_a_copy_of_a_large_constant() -> None:
    then = "then_branch = a () => (float[] o) { o = Identity(k) }"
    other = "else_branch = b () => (float[] u) { u = Neg(x) }"
    model = net(
        f"y = If<{then}, {other}>(c)", outputs={"y": "float[9,9]"}, x="float[9,9]", k=(9, 9)
    )
    assert_pass(PASS, model, None)


def test_other_readers_in_the_body_follow() -> None:
    body = (
        "body = b (int64 i, bool p, float[2,4] a) => (bool q, float[2,4] r, float[2,4] s) "
        "{ q = Not(p)  r = Identity(k)  s = Add(r, a) }"
    )
    model = net(
        f"y, z = Loop<{body}>(n, t, x)", outputs={"y": X, "z": "float[N,2,4]"}, x=X, n=TWO, t=YES,
        k=np.ones((2, 4), np.float32),
    )  # fmt: skip
    assert_pass(PASS, model, ["y, z = Loop(n, t, x) body={q = Not(p); s = Add(r_s1, a)}"])


def test_keeps_a_second_copy_of_an_input() -> None:
    body = (
        "body = b (int64 i, bool p, float[2,4] a) => (bool q, float[2,4] a, float[2,4] r) "
        "{ q = Not(p)  r = Identity(a) }"
    )
    model = net(
        f"y, z = Loop<{body}>(n, t, x)", outputs={"y": X, "z": "float[T,2,4]"}, x=X, n=TWO, t=YES
    )
    assert_pass(PASS, model, None, run=False)
