"""Sizes are computed once, and with the fewest operators."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("fuse-shape")()
FILL = "y = ConstantOfShape(c)"


def ints(*items: int) -> np.ndarray:
    return np.array(items, np.int64)


def single(name: str, axis: str) -> str:
    return (
        f"{name}s = Shape(x)  {name}g = Gather({name}s, {axis})  {name} = Unsqueeze({name}g, zero)"
    )


SCALARS = {"i0": np.int64(0), "i1": np.int64(1), "zero": ints(0)}


def test_one_size() -> None:
    model = net(
        f"{single('c', 'i1')}  {FILL}",
        outputs={"y": "float[S]"},
        x="float[N,S]",
        i1=np.int64(1),
        zero=ints(0),
    )
    assert_pass(PASS, model, ["c = Shape(x) end=2 start=1", FILL])


def test_one_size_before_opset_15() -> None:
    model = net(
        f"{single('c', 'i1')}  {FILL}",
        opset=13,
        outputs={"y": "float[S]"},
        x="float[N,S]",
        i1=np.int64(1),
        zero=ints(0),
    )
    assert_pass(PASS, model, ["c_s2 = Shape(x)", "c = Gather(c_s2, c_s1) axis=0", FILL])


def test_neighbours() -> None:
    body = f"{single('a', 'i0')}  {single('b', 'i1')}  c = Concat<axis = 0>(a, b)  {FILL}"
    model = net(body, outputs={"y": "float[N,S]"}, x="float[N,S,3]", **SCALARS)
    assert_pass(PASS, model, ["c = Shape(x) end=2 start=0", FILL])


def test_neighbours_and_a_number() -> None:
    body = f"{single('a', 'i0')}  {single('b', 'i1')}  c = Concat<axis = 0>(a, b, k)  {FILL}"
    model = net(body, outputs={"y": "float[N,S,7]"}, x="float[N,S,3]", k=ints(7), **SCALARS)
    lines = ["c_s2 = Shape(x) end=2 start=0", "c = Concat(c_s2, c_s1) axis=0", FILL]
    assert_pass(PASS, model, lines)


def test_the_same_size_twice() -> None:
    body = f"{single('a', 'i1')}  c = Concat<axis = 0>(a, a)  {FILL}"
    model = net(body, outputs={"y": "float[S,S]"}, x="float[N,S]", i1=np.int64(1), zero=ints(0))
    assert_pass(PASS, model, ["c_s2 = Shape(x)", "c = Gather(c_s2, c_s1) axis=0", FILL])


def test_equal_sizes_of_different_tensors_are_merged() -> None:
    body = "h = Relu(x)  a = Shape(x)  b = Shape(h)  f = ConstantOfShape(a)  g = ConstantOfShape(b)"
    model = net(f"{body}  y = Add(f, g)  z = Neg(h)", outputs=["y", "z"], x="float[N,S]")
    lines = [
        "h = Relu(x)",
        "a = Shape(x)",
        "f = ConstantOfShape(a)",
        "g = ConstantOfShape(a)",
        "y = Add(f, g)",
        "z = Neg(h)",
    ]
    assert_pass(PASS, model, lines)


def test_sizes_of_a_tensor_that_is_not_needed_otherwise() -> None:
    turned = "t = Transpose<perm = [1, 0]>(x)  s = Shape(t)"
    body = f"{turned}  g = Gather(s, i1)  c = Unsqueeze(g, zero)  {FILL}"
    model = net(body, outputs={"y": "float[N]"}, x="float[N,S]", i1=np.int64(1), zero=ints(0))
    assert_pass(PASS, model, ["c = Shape(x) end=1 start=0", FILL])


@pytest.mark.parametrize("body", ["c = Shape(x)", "s = Shape(x)  c = Mul(s, s)"])
def test_keeps_what_is_short(body: str) -> None:
    model = net(f"{body}  {FILL}", outputs={"y": "float[A]"}, x="float[N]")
    assert_pass(PASS, model, None)


def test_keeps_sizes_that_are_only_later_there() -> None:
    body = f"s = Shape(x)  g = Gather(s, i0)  p = Mul(g, g)  c = Unsqueeze(p, zero)  {FILL}"
    model = net(body, outputs={"y": "float[P]"}, x="float[N,S]", i0=np.int64(0), zero=ints(0))
    assert_pass(PASS, model, None)


def test_merges_with_an_outer_graph() -> None:
    then = "then_branch = t () => (float[] o1) { b = Shape(x)  o1 = ConstantOfShape(b) }"
    other = "else_branch = e () => (float[] o2) { o2 = Neg(x) }"
    body = f"a = Shape(x)  f = ConstantOfShape(a)  g = If<{then}, {other}>(c)  y = Add(f, g)"
    model = net(body, outputs={"y": "float[N,S]"}, x="float[N,S]")
    lines = [
        "a = Shape(x)",
        "f = ConstantOfShape(a)",
        "g = If(c) else_branch={o2 = Neg(x)} then_branch={o1 = ConstantOfShape(a)}",
        "y = Add(f, g)",
    ]
    assert_pass(PASS, model, lines)


def test_keeps_the_name_of_a_graph_output() -> None:
    model = net(
        f"{single('c', 'i1')}",
        outputs={"c": "int64[1]"},
        x="float[N,S]",
        i1=np.int64(1),
        zero=ints(0),
    )
    assert_pass(PASS, model, ["c = Shape(x) end=2 start=1"])
