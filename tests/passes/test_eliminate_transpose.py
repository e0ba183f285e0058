"""Two Transposes become one or none."""

from __future__ import annotations

import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("eliminate-transpose")()
NHWC, NCHW = "Transpose<perm = [0, 2, 3, 1]>", "Transpose<perm = [0, 3, 1, 2]>"


@pytest.mark.parametrize("x", ["float[2,4,8,8]", "float[N,C,H,W]", "float16[N,4,8,8]"])
def test_a_pair_cancels(x: str) -> None:
    model = net(f"a = {NHWC}(x)  b = {NCHW}(a)  y = Relu(b)", x=x)
    assert_pass(PASS, model, ["y = Relu(x)"])


@pytest.mark.parametrize(
    ("first", "second", "perm"),
    [
        ("0, 2, 3, 1", "0, 2, 1, 3", "(0, 3, 2, 1)"),
        ("1, 0, 2, 3", "0, 1, 3, 2", "(1, 0, 3, 2)"),
        ("3, 0, 1, 2", "3, 0, 1, 2", "(2, 3, 0, 1)"),
    ],
)
def test_two_become_one(first: str, second: str, perm: str) -> None:
    model = net(f"a = Transpose<perm = [{first}]>(x)  y = Transpose<perm = [{second}]>(a)")
    assert_pass(PASS, model, [f"y = Transpose(x) perm={perm}"])


def test_without_a_permutation_all_axes_are_reversed() -> None:
    model = net("a = Transpose(x)  b = Transpose(a)  y = Relu(b)")
    assert_pass(PASS, model, ["y = Relu(x)"])
    model = net(f"a = Transpose(x)  y = {NHWC}(a)")
    assert_pass(PASS, model, ["y = Transpose(x) perm=(3, 1, 0, 2)"])


def test_a_chain_of_four() -> None:
    model = net(f"a = {NHWC}(x)  b = {NHWC}(a)  d = {NHWC}(b)  y = {NHWC}(d)")
    assert_pass(PASS, model, ["y = Transpose(x) perm=(0, 2, 3, 1)"])


def test_a_second_reader() -> None:
    model = net(f"a = {NHWC}(x)  b = {NCHW}(a)  y = Relu(b)  z = Abs(a)")
    assert_pass(PASS, model, ["a = Transpose(x) perm=(0, 2, 3, 1)", "y = Relu(x)", "z = Abs(a)"])
    assert_pass(PASS, net(f"a = {NHWC}(x)  y = {NHWC}(a)  z = Abs(a)"), None)


def test_a_graph_output() -> None:
    model = net(f"h = Relu(x)  a = {NHWC}(h)  y = {NCHW}(a)")
    assert_pass(PASS, model, ["y = Relu(x)"])
    model = net(f"a = {NHWC}(x)  y = {NCHW}(a)")
    assert "graph output" in assert_pass(PASS, model, None).skipped[0][1]
    model = net(f"a = {NHWC}(x)  y = {NHWC}(a)", outputs=["a", "y"])
    assert_pass(PASS, model, None)


def test_across_a_subgraph_border() -> None:
    body = (
        f"a = {NHWC}(x)  y = If(c) <then_branch = t () => (float[2,4,8,8] r) {{ r = {NCHW}(a) }},"
        f" else_branch = e () => (float[2,4,8,8] q) {{"
        f" f = {NHWC}(x)  g = {NCHW}(f)  q = Relu(g) }}>"
    )
    model = net(body, c="bool", outputs={"y": "float[2,4,8,8]"})
    assert_pass(
        PASS,
        model,
        [
            "a = Transpose(x) perm=(0, 2, 3, 1)",
            "y = If(c) else_branch={q = Relu(x)} then_branch={r = Transpose(a) perm=(0, 3, 1, 2)}",
        ],
    )
