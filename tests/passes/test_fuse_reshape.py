"""Chains of views become one view; targets keep their meaning."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("fuse-reshape")()


def ints(*items: int) -> np.ndarray:
    return np.array(items, np.int64)


@pytest.mark.parametrize(
    ("x", "first", "second", "line"),
    [
        ("float[N,8,12,12]", [0, 8, -1], [-1, 144], "y = Reshape(x, t)"),
        ("float[2,4,6]", [2, 24], [0, 4, 6], None),
        ("float[2,4,6]", [8, 6], [4, 12], "y = Reshape(x, t)"),
        ("float[N,4,6]", [-1, 24], [0, 2, 12], "y = Reshape(x, t)"),
        ("float[N,4,6]", [-1, 6], [0, 2, 3], "y = Reshape(x, shape_s1)"),
        ("float[4,6]", [2, 12], [0, -1, 3], "y = Reshape(x, shape_s1)"),
    ],
)
def test_two_reshapes(x: str, first: list[int], second: list[int], line: str | None) -> None:
    model = net("a = Reshape(x, s)  b = Reshape(a, t)  y = Relu(b)", x=x, s=first, t=second)
    expected = ["y = Relu(x)"] if line is None else [line.replace("y =", "b ="), "y = Relu(b)"]
    assert_pass(PASS, model, expected)


def test_a_zero_of_the_second_means_the_size_of_the_first_result() -> None:
    model = net("a = Reshape(x, s)  y = Reshape(a, t)", x="float[2,6]", s=[3, 4], t=[0, 2, 2])
    assert_pass(PASS, model, ["y = Reshape(x, shape_s1)"])


def test_allowzero_keeps_its_meaning() -> None:
    model = net(
        "a = Reshape(x, s)  y = Reshape<allowzero = 1>(a, t)", x="float[2,0,3]", s=[6, 0], t=[0, 7]
    )
    assert_pass(PASS, model, ["y = Reshape(x, t) allowzero=1"])


def test_a_minus_one_is_not_invented_next_to_a_dimension_that_may_be_zero() -> None:
    model = net("a = Unsqueeze(x, k)  y = Reshape(a, t)", x="float[N,4,M]", k=[3], t=[0, -1])
    assert_pass(PASS, model, ["y = Reshape(x, t)"])
    model = net("a = Unsqueeze(x, k)  y = Flatten(a)", x="float[N,4,M]", k=[3])
    assert_pass(PASS, model, ["y = Flatten(x) axis=1"])
    model = net("a = Flatten(x)  y = Unsqueeze(a, k)", x="float[N,4,M]", k=[2])
    assert "not known" in assert_pass(PASS, model, None).skipped[0][1]


def test_two_unknown_dimensions_are_refused() -> None:
    model = net(
        "a = Reshape(x, s)  y = Unsqueeze(a, k)", x="float[A,B,4]", p="int64[2]", s=[-1, 2], k=[0]
    )
    assert_pass(PASS, model, ["y = Reshape(x, shape_s1)"])
    model = net(
        "a = Reshape(x, p)  y = Unsqueeze(a, k)",
        x="float[A,B,4]",
        p="int64[2]",
        k=[0],
        outputs={"y": "float[1,P,Q]"},
    )
    assert "not known" in assert_pass(PASS, model, None, run=False).skipped[0][1]


def test_a_target_that_is_computed() -> None:
    body = "a = Flatten(x)  s = Shape(z)  y = Reshape(a, s)"
    model = net(body, x="float[N,4,M]", z="float[2,4,N]", outputs={"y": "float[2,4,K]"})
    assert_pass(PASS, model, ["s = Shape(z)", "y = Reshape(x, shape_s1)"], run=False)
    model = net(body, x="float[2,6]", z="float[3,4]")
    assert_pass(PASS, model, ["s = Shape(z)", "y = Reshape(x, s)"])


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        ("Unsqueeze(x, k0)", "Unsqueeze(a, k0)", "b = Unsqueeze(x, axes_s1)"),
        ("Unsqueeze(x, k2)", "Squeeze(a, k2)", None),
        ("Unsqueeze(x, k2)", "Squeeze(a, kn)", None),
        ("Unsqueeze(x, k2)", "Unsqueeze(a, kn)", "b = Unsqueeze(x, axes_s1)"),
        ("Squeeze(x, k2)", "Unsqueeze(a, k2)", None),
        ("Squeeze(x, k2)", "Squeeze(a, k0)", "b = Squeeze(x, axes_s1)"),
        ("Unsqueeze(x, k0)", "Squeeze(a, k3)", "b = Reshape(x, shape_s1)"),
    ],
)
def test_axes(first: str, second: str, line: str | None) -> None:
    model = net(
        f"a = {first}  b = {second}  y = Relu(b)",
        x="float[1,3,1]" if first[0] == "S" else "float[2,3,1]",
        k0=[0],
        k2=[2],
        k3=[3],
        kn=[-2] if "Squeeze(a, kn)" in second else [-1],
    )
    assert_pass(PASS, model, ["y = Relu(x)"] if line is None else [line, "y = Relu(b)"])


@pytest.mark.parametrize("opset", [11, 12])
def test_axes_as_attributes(opset: int) -> None:
    model = net(
        "a = Unsqueeze<axes = [1]>(x)  y = Unsqueeze<axes = [-1, 0]>(a)",
        x="float[N,M]",
        opset=opset,
    )
    assert_pass(PASS, model, ["y = Unsqueeze(x) axes=(0, 2, 4)"])


def test_unknown_sizes_cancel_too() -> None:
    model = net(
        "a = Unsqueeze(x, k)  b = Squeeze(a, k)  y = Relu(b)", x="float[A,B,C]", k=ints(0, 2)
    )
    assert_pass(PASS, model, ["y = Relu(x)"])


def test_squeeze_of_all_ones() -> None:
    model = net("a = Squeeze(x)  y = Unsqueeze(a, k)", x="float[1,3,1]", k=[0])
    assert_pass(PASS, model, ["y = Squeeze(x, axes_s1)"])
    model = net(
        "a = Squeeze(x)  y = Unsqueeze(a, k)", x="float[1,N,1]", k=[0], outputs={"y": "float[1,N]"}
    )
    assert_pass(PASS, model, None, run=False)


def test_a_second_reader_keeps_the_first() -> None:
    model = net("a = Flatten(x)  y = Reshape(a, t)  z = Relu(a)", x="float[2,3,4]", t=[4, 6])
    assert_pass(PASS, model, ["a = Flatten(x)", "y = Reshape(x, t)", "z = Relu(a)"])


def test_a_graph_output_in_the_middle_stays() -> None:
    model = net("a = Flatten(x)  y = Reshape(a, t)", x="float[2,3,4]", t=[4, 6], outputs=["a", "y"])
    assert_pass(PASS, model, ["a = Flatten(x)", "y = Reshape(x, t)"])


def test_a_graph_output_with_the_shape_of_the_input_keeps_a_node() -> None:
    model = net("a = Flatten(x)  y = Reshape(a, t)", x="float[2,3,4]", t=[2, 3, 4])
    assert_pass(PASS, model, ["y = Reshape(x, t)"])
    model = net("a = Unsqueeze(x, k)  y = Squeeze(a, k)", x="float[2,3,4]", k=[0])
    assert "graph output" in assert_pass(PASS, model, None).skipped[0][1]


def test_inside_a_subgraph_and_across_its_border() -> None:
    body = (
        "a = Flatten(x)  y = If(c) <then_branch = t () => (float[4,6] r) { r = Reshape(a, s) },"
        " else_branch = e () => (float[4,6] q) { f = Flatten(x)  q = Reshape(f, s) }>"
    )
    model = net(body, x="float[2,3,4]", c="bool", s=[4, 6], outputs={"y": "float[4,6]"})
    assert_pass(
        PASS,
        model,
        [
            "a = Flatten(x)",
            "y = If(c) else_branch={q = Reshape(x, s)} then_branch={r = Reshape(a, s)}",
        ],
    )


def test_a_long_chain_becomes_one() -> None:
    model = net(
        "a = Flatten(x)  b = Unsqueeze(a, k)  d = Reshape(b, s)"
        "  e = Squeeze(d, k)  y = Reshape(e, t)",
        x="float[N,3,4]",
        k=[1],
        s=[-1, 1, 2, 6],
        t=[-1, 4, 3],
    )
    assert_pass(PASS, model, ["y = Reshape(x, t)"])


@pytest.mark.parametrize("dtype", ["float16", "int64", "bool"])
def test_any_type(dtype: str) -> None:
    model = net("a = Flatten(x)  y = Reshape(a, t)", x=f"{dtype}[2,3,4]", t=[4, 6])
    assert_pass(PASS, model, ["y = Reshape(x, t)"])


def test_other_nodes_between_are_left_alone() -> None:
    assert_pass(PASS, net("a = Flatten(x)  b = Relu(a)  y = Reshape(b, t)", t=[4, 128]), None)
    model = net("a = my.Flatten(x)  y = Reshape(a, t)", t=[4, 128], outputs={"y": "float[4,128]"})
    assert_pass(PASS, model, None, run=False)
