"""A Where that always takes one side is that side, unless broadcasting enlarges it."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("eliminate-where")()
ZERO = np.float32(0)


@pytest.mark.parametrize(
    ("truth", "sides", "x"),
    [(True, "x, z", "x"), (False, "z, x", "x")],
)
@pytest.mark.parametrize("shape", [(), (1,), (1, 4), (2, 1, 1), (2, 3, 4)])
def test_takes_the_side(truth: bool, sides: str, x: str, shape: tuple[int, ...]) -> None:
    model = net(
        f"h = Where(k, {sides})  y = Neg(h)", x="float[2,3,4]", z=ZERO, k=np.full(shape, truth)
    )
    assert_pass(PASS, model, [f"y = Neg({x})"])


@pytest.mark.parametrize("opset", [9, 15, 16, 21])
@pytest.mark.parametrize("dtype", ["float16", "double"])
def test_opsets_and_types(opset: int, dtype: str) -> None:
    model = net(
        "h = Where(k, x, z)  y = Neg(h)",
        opset=opset,
        dtype=dtype,
        x="float[N,4]",
        z=ZERO,
        k=np.array(True),
    )
    assert_pass(PASS, model, ["y = Neg(x)"])


def test_equal_sides() -> None:
    model = net("h = Where(c, x, x)  y = Neg(h)", x="float[N,4]", c="bool[N,4]")
    assert_pass(PASS, model, ["y = Neg(x)"])


def test_condition_filled_at_run_time() -> None:
    body = "s = Shape(x)  t = Expand(k, s)  h = Where(t, x, z)  y = Neg(h)"
    model = net(body, x="float[N,4]", z=ZERO, k=np.array(True))
    assert_pass(PASS, model, ["s = Shape(x)", "t = Expand(k, s)", "y = Neg(x)"])


@pytest.mark.parametrize(
    ("x", "z", "k"),
    [
        ("float[1,4]", "float[3,4]", np.array(True)),
        ("float[4]", "float[1,4]", np.array(True)),
        ("float[1,4]", "float", np.full((3, 4), True)),
        ("float[N,4]", "float[M,4]", np.array(True)),
        ("float[N,4]", "float", np.full((3, 4), True)),
    ],
)
def test_keeps_what_may_be_enlarged(x: str, z: str, k: np.ndarray) -> None:
    model = net("h = Where(k, x, z)  y = Neg(h)", x=x, z=z, k=k)
    assert "enlarge" in assert_pass(PASS, model, None, run="N" not in x).skipped[0][1]


@pytest.mark.parametrize("k", ["bool[2,4]", np.array([[True], [False]])])
def test_keeps_a_mixed_condition(k: object) -> None:
    model = net("h = Where(k, x, z)  y = Neg(h)", x="float[2,4]", z=ZERO, k=k)
    assert_pass(PASS, model, None)


def test_keeps_a_condition_that_the_caller_may_override() -> None:
    model = net(
        "h = Where(k, x, z)  y = Neg(h)", x="float[2,4]", z=ZERO, k=np.array(True), overridable="k"
    )
    assert_pass(PASS, model, None)


def test_keeps_a_graph_output_fed_by_a_graph_input() -> None:
    model = net("y = Where(k, x, z)", x="float[2,4]", z=ZERO, k=np.array(True))
    assert "graph output" in assert_pass(PASS, model, None).skipped[0][1]


def test_graph_output_takes_over_the_name() -> None:
    model = net("h = Neg(x)  y = Where(k, h, z)", x="float[2,4]", z=ZERO, k=np.array(True))
    assert_pass(PASS, model, ["y = Neg(x)"])


def test_turned_around_without_not() -> None:
    model = net("n = Not(c)  y = Where(n, x, z)", x="float[2,4]", z=ZERO, c="bool[2,4]")
    assert_pass(PASS, model, ["y = Where(c, z, x)"])


def test_two_turned_around() -> None:
    body = "n = Not(c)  a = Where(n, x, z)  b = Where(n, z, x)  y = Add(a, b)"
    model = net(body, x="float[2,4]", z=ZERO, c="bool[2,4]")
    assert_pass(PASS, model, ["a = Where(c, z, x)", "b = Where(c, x, z)", "y = Add(a, b)"])


@pytest.mark.parametrize("more", ["m = Cast<to = 1>(n)", "m = Where(d, n, d)"])
def test_keeps_a_not_that_is_read_otherwise(more: str) -> None:
    model = net(
        f"n = Not(c)  y = Where(n, x, z)  {more}",
        x="float[2,4]",
        z=ZERO,
        c="bool[2,4]",
        d="bool[2,4]",
    )
    assert_pass(PASS, model, None)


def test_keeps_a_not_that_is_a_graph_output() -> None:
    model = net(
        "n = Not(c)  y = Where(n, x, z)", outputs=["y", "n"], x="float[2,4]", z=ZERO, c="bool[2,4]"
    )
    assert_pass(PASS, model, None)


def test_inside_a_subgraph() -> None:
    then = "then_branch = t () => (float[] o1) { w = Where(k, x, z)  o1 = Neg(w) }"
    other = "else_branch = e () => (float[] o2) { o2 = Abs(x) }"
    model = net(
        f"y = If<{then}, {other}>(c)",
        outputs={"y": "float[2,4]"},
        x="float[2,4]",
        z=ZERO,
        k=np.array(True),
    )
    assert_pass(PASS, model, ["y = If(c) else_branch={o2 = Abs(x)} then_branch={o1 = Neg(x)}"])
