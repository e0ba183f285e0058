"""Concat with the Concat, Split or constants around it."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("fuse-concat")()


@pytest.mark.parametrize(("inner", "outer"), [(1, 1), (1, -3), (-3, 1)])
@pytest.mark.parametrize("x", ["float[2,4,8,8]", "float[N,4,H,W]"])
def test_nested(inner: int, outer: int, x: str) -> None:
    model = net(
        f"r = Relu(x)  a = Concat<axis = {inner}>(x, r)  y = Concat<axis = {outer}>(a, x)", x=x
    )
    assert_pass(PASS, model, ["r = Relu(x)", "y = Concat(x, r, x) axis=1"])


def test_deeply_nested() -> None:
    model = net(
        "r = Relu(x)  a = Concat<axis = 0>(x, r)  b = Concat<axis = 0>(r, a)"
        "  d = Concat<axis = 0>(x, x)  y = Concat<axis = 0>(b, d)"
    )
    assert_pass(PASS, model, ["r = Relu(x)", "y = Concat(r, x, r, x, x) axis=0"])


def test_other_axes_and_other_readers_stay() -> None:
    assert_pass(PASS, net("a = Concat<axis = 1>(x, x)  y = Concat<axis = 2>(a, a)"), None)
    model = net("a = Concat<axis = 1>(x, x)  y = Concat<axis = 1>(a, x)  z = Relu(a)")
    assert_pass(PASS, model, None)
    assert_pass(PASS, net("a = Concat<axis = 1>(x, x)  y = Concat<axis = 1>(a, a)"), None)
    model = net("a = Concat<axis = 1>(x, x)  y = Concat<axis = 1>(a, x)", outputs=["a", "y"])
    assert_pass(PASS, model, None)


@pytest.mark.parametrize(
    ("call", "lines"),
    [
        ("Concat<axis = 1>(x, e)", ["y = Relu(x)"]),
        ("Concat<axis = 1>(e, x, e)", ["y = Relu(x)"]),
        ("Concat<axis = 1>(e, x, x)", ["b = Concat(x, x) axis=1", "y = Relu(b)"]),
        ("Concat<axis = -3>(e, e)", ["y = Relu(e)"]),
    ],
)
def test_empty_inputs(call: str, lines: list[str]) -> None:
    assert_pass(PASS, net(f"b = {call}  y = Relu(b)", e="float[2,0,8,8]"), lines)


def test_inputs_that_may_be_empty_stay() -> None:
    assert_pass(PASS, net("y = Concat<axis = 1>(x, e)", e="float[2,C,8,8]"), None)
    assert_pass(PASS, net("y = Concat<axis = 0>(x, e)", x="float[2,0]", e="float[2,0]"), None)


def test_all_parts_of_a_split() -> None:
    body = "a, b = Split<axis = 1>(x, s)  d = Concat<axis = {}>({})  y = Relu(d)"
    assert_pass(PASS, net(body.format(1, "a, b"), s=[1, 3]), ["y = Relu(x)"])
    assert_pass(PASS, net(body.format(-3, "a, b"), x="float[N,4,H,W]", s=[1, 3]), ["y = Relu(x)"])
    lines = ["d = Concat(x, x) axis=1", "y = Relu(d)"]
    assert_pass(PASS, net(body.format(1, "x, a, b"), s=[1, 3]), lines)
    for axis, parts in ((1, "b, a"), (1, "a, a"), (2, "a, b"), (1, "a, x, b")):
        assert_pass(PASS, net(body.format(axis, parts), s=[2, 2]), None)


def test_parts_with_another_reader() -> None:
    model = net("a, b = Split<axis = 1>(x)  d = Concat<axis = 1>(a, b)  y = Relu(d)  z = Abs(a)")
    assert_pass(PASS, model, ["a, b = Split(x) axis=1", "y = Relu(x)", "z = Abs(a)"])


def test_a_graph_output_of_a_graph_input_needs_a_node() -> None:
    model = net("a, b = Split<axis = 1>(x)  y = Concat<axis = 1>(a, b)")
    assert_pass(PASS, model, ["y = Identity(x)"])


def test_a_split_of_a_concat() -> None:
    body = "a = Concat<axis = 1>(x, z)  p, q = Split<axis = {}>(a, s)  u = Relu(p)  v = Abs(q)"
    z = "float[2,3,8,8]"
    lines = ["u = Relu(x)", "v = Abs(z)"]
    assert_pass(PASS, net(body.format(1), z=z, s=[4, 3]), lines)
    assert_pass(PASS, net(body.format(-3), z=z, s=[4, 3]), lines)
    assert_pass(PASS, net(body.format(1), z=z, s=[3, 4]), None)
    assert_pass(PASS, net(body.format(2), z=z, s=[4, 4]), None)
    assert_pass(PASS, net(body.format(1) + "  w = Neg(a)", z=z, s=[4, 3]), [
        "a = Concat(x, z) axis=1", *lines, "w = Neg(a)"
    ])  # fmt: skip
    model = net("a = Concat<axis = 1>(x, z)  p, q = Split<axis = 1>(a, s)", z=z, s=[4, 3])
    assert "graph output" in assert_pass(PASS, model, None).skipped[0][1]


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.float16])
def test_small_constants_side_by_side(dtype: type) -> None:
    kind = np.dtype(dtype).name.replace("float32", "float")
    model = net(
        "y = Concat<axis = 0>(k, x, k, m)",
        x=f"{kind}[N]",
        k=np.array([1, 2], dtype),
        m=np.array([3], dtype),
    )
    assert_pass(PASS, model, ["y = Concat(k, x, k_s1) axis=0"])
    model = net("y = Concat<axis = -1>(k, x, k)", x=f"{kind}[N]", k=np.array([1, 2], dtype))
    assert_pass(PASS, model, None)


def test_large_or_overridable_constants_stay() -> None:
    model = net("y = Concat<axis = 0>(k, m, x)", x="float[N]", k=(2000,), m=(3,))
    assert_pass(PASS, model, None)
    model = net("y = Concat<axis = 0>(k, m, x)", x="float[N]", k=(2,), m=(3,), overridable=["k"])
    assert_pass(PASS, model, None)
    body = "y = Concat<axis = 0>(k, m, x)  z = Concat<axis = 0>(k, x)"
    assert_pass(PASS, net(body, x="float[N]", k=(200,), m=(3,)), None)
