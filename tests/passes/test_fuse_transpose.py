"""Chains of Transposes and views are written with fewer nodes."""

from __future__ import annotations

import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("fuse-transpose")()


def T(x: str, *perm: int) -> str:  # noqa: N802
    return f"Transpose<perm = [{', '.join(map(str, perm))}]>({x})"


def test_only_axes_of_size_1_move() -> None:
    model = net(f"y = {T('x', 0, 2, 3, 1)}", x="float[N,1,8,6]")
    assert_pass(PASS, model, ["y = Reshape(x, shape_s1)"])
    model = net(f"y = {T('x', 1, 0, 2, 3)}", x="float[1,A,8,6]")
    assert_pass(PASS, model, ["y = Reshape(x, shape_s1)"])


def test_a_reshape_that_fails_on_empty_tensors_is_not_invented() -> None:
    assert_pass(PASS, net(f"y = {T('x', 1, 0, 2, 3)}", x="float[1,A,B,C]"), None)


def test_unknown_sizes_may_not_be_1() -> None:
    assert_pass(PASS, net(f"y = {T('x', 1, 0)}", x="float[N,4]"), None)


@pytest.mark.parametrize(
    ("x", "chain", "lines"),
    [
        (  # squeezed and unsqueezed again around a move
            "float[N,36,1,172]",
            f"a = {T('x', 0, 2, 3, 1)}  b = Reshape(a, s)  y = Unsqueeze(b, k)",
            ["y = Transpose(x) perm=(0, 3, 1, 2)"],
        ),
        (  # the view before goes into the one after
            "float[N,36,1,172]",
            f"a = Squeeze(x, k2)  b = {T('a', 0, 2, 1)}  y = Reshape(b, s)",
            ["y_s1 = Transpose(x) perm=(0, 3, 1, 2)", "y = Reshape(y_s1, shape_s1)"],
        ),
        (  # the other way round
            "float[N,6192]",
            f"a = Reshape(x, t)  b = {T('a', 0, 2, 1)}  y = Unsqueeze(b, k2)",
            ["y_s1 = Reshape(x, shape_s1)", "y = Transpose(y_s1) perm=(0, 2, 3, 1)"],
        ),
        (  # two moves that undo each other around a view
            "float[N,4,6,1]",
            f"a = {T('x', 0, 2, 1, 3)}  b = Squeeze(a, k)  y = {T('b', 0, 2, 1)}",
            ["y = Reshape(x, shape_s1)"],
        ),
        (  # joined, moved, split: nothing moved within
            "float[2,3,4]",
            f"a = Reshape(x, six)  b = {T('a', 1, 0)}  d = Reshape(b, back)  y = {T('d', 1, 2, 0)}",
            None,
        ),
    ],
)
def test_chains(x: str, chain: str, lines: list[str] | None) -> None:
    names = {"s": [-1, 172, 36], "t": [-1, 36, 172], "k": [3], "k2": [2], "six": [6, 4]}
    names["back"] = [4, 2, 3]
    model = net(chain, x=x, **{k: v for k, v in names.items() if f" {k})" in chain})
    if lines is None:
        model = net(
            chain.replace("y =", "e =") + "  y = Relu(e)",
            x=x,
            **{k: v for k, v in names.items() if f" {k})" in chain},
        )
        lines = ["y = Relu(x)"]
    assert_pass(PASS, model, lines)


def test_a_channel_shuffle_stays() -> None:
    model = net(
        f"a = Reshape(x, s)  b = {T('a', 0, 2, 1, 3, 4)}  y = Reshape(b, t)",
        s=[0, 2, 2, 8, 8],
        t=[0, 4, 8, 8],
    )
    assert_pass(PASS, model, None)


def test_two_shuffles_that_undo_each_other() -> None:
    model = net(
        f"a = Reshape(x, s)  b = {T('a', 0, 2, 1, 3, 4)}  d = Reshape(b, t)"
        f"  e = Reshape(d, s2)  f = {T('e', 0, 2, 1, 3, 4)}  g = Reshape(f, t)  y = Relu(g)",
        x="float[N,6,8,8]",
        s=[0, 2, 3, 8, 8],
        s2=[0, 3, 2, 8, 8],
        t=[0, 6, 8, 8],
    )
    assert_pass(PASS, model, ["f = Reshape(x, shape_s2)", "g = Reshape(f, t)", "y = Relu(g)"])


def test_a_second_reader_in_the_middle() -> None:
    model = net(
        f"a = {T('x', 0, 2, 3, 1)}  b = Reshape(a, s)  y = Unsqueeze(b, k)  z = Relu(a)",
        x="float[N,36,1,172]",
        s=[-1, 172, 36],
        k=[3],
    )
    assert_pass(PASS, model, None)


def test_a_graph_output_keeps_its_node() -> None:
    model = net(
        f"a = Squeeze(x, k2)  b = {T('a', 0, 2, 1)}  d = Unsqueeze(b, k1)"
        f"  y = {T('d', 0, 3, 1, 2)}",
        x="float[2,3,1,4]",
        k2=[2],
        k1=[1],
    )
    lines = ["d = Transpose(x) perm=(0, 2, 3, 1)", "y = Transpose(d) perm=(0, 3, 1, 2)"]
    assert "graph output" in assert_pass(PASS, model, lines).skipped[0][1]


def test_sizes_that_do_not_divide_are_left_alone() -> None:
    model = net(
        f"a = {T('x', 1, 0)}  b = Reshape(a, s)  d = {T('b', 1, 0)}  y = Relu(d)",
        x="float[4,6]",
        s=[4, 6],
    )
    assert_pass(PASS, model, None)


def test_three_that_cancel_leave_nothing() -> None:
    turn = "Transpose<perm = [1, 2, 0]>"
    model = net(f"a = {turn}(x)  b = {turn}(a)  d = {turn}(b)  y = Relu(d)", x="float[2,3,4]")
    assert_pass(PASS, model, ["y = Relu(x)"])
    model = net(
        f"a = {turn}(x)  b = {turn}(a)  d = {turn}(b)  y = Relu(d)  z = Neg(a)", x="float[2,3,4]"
    )
    assert_pass(PASS, model, ["a = Transpose(x) perm=(1, 2, 0)", "y = Relu(x)", "z = Neg(a)"])
