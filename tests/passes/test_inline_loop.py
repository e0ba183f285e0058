"""A Loop that runs once is its body; one that never runs is its inputs."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("inline-loop")()
BODY = (
    "body = b (int64 i, bool p, float[2,4] a) => (bool q, float[2,4] r) {{ q = {}  r = Add(a, a) }}"
)
GOES_ON = BODY.format("Identity(p)")
STOPS = BODY.format("Constant<value = bool {0}>()")
ONE, TWO, NONE = np.int64(1), np.int64(2), np.int64(0)
YES, NO = np.array(True), np.array(False)
OUT = {"y": "float[2,4]"}
X = "float[2,4]"


@pytest.mark.parametrize("opset", [11, 13, 17, 21])
@pytest.mark.parametrize("head", ["n, t", "n, "])
def test_once(opset: int, head: str) -> None:
    given = {"t": YES} if "t" in head else {}
    model = net(
        f"h = Loop<{GOES_ON}>({head}, x)  y = Neg(h)", opset=opset, outputs=OUT, x=X, n=ONE, **given
    )
    assert_pass(PASS, model, ["h = Add(x, x)", "y = Neg(h)"])


@pytest.mark.parametrize(("head", "n"), [(", t", None), ("n, t", TWO)])
def test_body_stops(head: str, n: np.int64 | None) -> None:
    given = {} if n is None else {"n": n}
    model = net(f"y = Loop<{STOPS}>({head}, x)", outputs=OUT, x=X, t=YES, **given)
    assert_pass(PASS, model, ["y = Add(x, x)"])


def test_counter_and_condition_become_constants() -> None:
    body = (
        "body = b (int64 i, bool p, float[2,4] a) => (bool q, float[2,4] r) "
        "{ q = Identity(p)  f = Cast<to = 1>(i)  s = Add(a, f)  r = Where(p, s, a) }"
    )
    model = net(f"y = Loop<{body}>(n, t, x)", outputs=OUT, x=X, n=ONE, t=YES)
    lines = ["f_s1 = Cast(i_s1) to=1", "s_s1 = Add(x, f_s1)", "y = Where(p_s1, s_s1, x)"]
    assert_pass(PASS, model, lines)


def test_scan_output_gets_its_axis() -> None:
    body = (
        "body = b (int64 i, bool p, float[2,4] a) => (bool q, float[2,4] r, float[2,4] s) "
        "{ q = Identity(p)  r = Add(a, a)  s = Neg(a) }"
    )
    model = net(
        f"y, z = Loop<{body}>(n, t, x)", outputs={"y": X, "z": "float[1,2,4]"}, x=X, n=ONE, t=YES
    )
    lines = ["y = Add(x, x)", "s_s1 = Neg(x)", "z = Unsqueeze(s_s1, axes_s1)"]
    assert_pass(PASS, model, lines)


def test_scan_output_before_opset_13() -> None:
    body = (
        "body = b (int64 i, bool p, float[2,4] a) => (bool q, float[2,4] r, float[2,4] s) "
        "{ q = Identity(p)  r = Add(a, a)  s = Neg(a) }"
    )
    model = net(
        f"y, z = Loop<{body}>(n, t, x)",
        opset=12,
        outputs={"y": X, "z": "float[1,2,4]"},
        x=X,
        n=ONE,
        t=YES,
    )
    lines = ["y = Add(x, x)", "s_s1 = Neg(x)", "z = Unsqueeze(s_s1) axes=(0,)"]
    assert_pass(PASS, model, lines)


def test_carried_values_may_be_swapped() -> None:
    body = (
        "body = b (int64 i, bool p, float[2,4] a, float[2,4] c) => "
        "(bool q, float[2,4] c, float[2,4] a) { q = Identity(p) }"
    )
    model = net(
        f"h, g = Loop<{body}>(n, t, x, z)  y = Sub(h, g)", outputs=OUT, x=X, z=X, n=ONE, t=YES
    )
    lines = ["h = Identity(z)", "g = Identity(x)", "y = Sub(h, g)"]
    assert_pass(PASS, model, lines)


@pytest.mark.parametrize(("n", "t"), [(NONE, YES), (np.int64(-3), YES), (TWO, NO)])
def test_never(n: np.int64, t: np.ndarray) -> None:
    model = net(f"h = Loop<{GOES_ON}>(n, t, x)  y = Neg(h)", outputs=OUT, x=X, n=n, t=t)
    assert_pass(PASS, model, ["h = Identity(x)", "y = Neg(h)"])


def test_keeps_an_empty_scan_output() -> None:
    body = (
        "body = b (int64 i, bool p, float[2,4] a) => (bool q, float[2,4] r, float[2,4] s) "
        "{ q = Identity(p)  r = Add(a, a)  s = Neg(a) }"
    )
    model = net(
        f"y, z = Loop<{body}>(n, t, x)", outputs={"y": X, "z": "float[0,2,4]"}, x=X, n=NONE, t=YES
    )
    assert "never runs" in assert_pass(PASS, model, None, run=False).skipped[0][1]


@pytest.mark.parametrize(
    ("head", "given"),
    [
        ("n, t", {"n": TWO, "t": YES}),
        ("n, t", {"n": "int64", "t": YES}),
        ("n, t", {"n": ONE, "t": "bool"}),
    ],
)
def test_keeps_other_loops(head: str, given: dict[str, object]) -> None:
    model = net(f"y = Loop<{GOES_ON}>({head}, x)", outputs=OUT, x=X, **given)
    assert_pass(PASS, model, None, run=False)


def test_keeps_a_trip_count_that_the_caller_may_override() -> None:
    model = net(f"y = Loop<{GOES_ON}>(n, t, x)", outputs=OUT, x=X, n=ONE, t=YES, overridable=["n"])
    assert_pass(PASS, model, None, run=False)


def test_keeps_a_loop_whose_scan_outputs_need_more_nodes() -> None:
    body = (
        "body = b (int64 i, bool p) => (bool q, float[2,4] r, float[2,4] s, float[2,4] u) "
        "{ q = Identity(p)  r = Add(x, x)  s = Neg(x)  u = Abs(x) }"
    )
    shapes = {"y": "float[1,2,4]", "z": "float[1,2,4]", "w": "float[1,2,4]"}
    model = net(f"y, z, w = Loop<{body}>(n, t)", outputs=shapes, x=X, n=ONE, t=YES)
    assert "more nodes" in assert_pass(PASS, model, None).skipped[0][1]


@pytest.mark.parametrize(
    ("q", "going", "left"),
    [
        ("q = Not(p)", "q", 4),
        ("", "p", None),
        ("q = Not(p)  k = Where(q, x, x)", "q", None),
    ],
)
def test_two_scan_outputs_need_a_condition_that_goes(q: str, going: str, left: int | None) -> None:
    body = (
        f"body = b (int64 i, bool p) => (bool {going}, float[2,4] r, float[2,4] s) "
        f"{{ {q}  r = Add(x, x)  s = Neg({'k' if 'k =' in q else 'x'}) }}"
    )
    shapes = {"y": "float[1,2,4]", "z": "float[1,2,4]"}
    model = net(f"y, z = Loop<{body}>(n, t)", outputs=shapes, x=X, n=ONE, t=YES)
    if left is None:
        assert "more nodes" in assert_pass(PASS, model, None).skipped[0][1]
        return
    lines = ["r_s1 = Add(x, x)", "s_s1 = Neg(x)"]
    lines += ["y = Unsqueeze(r_s1, axes_s1)", "z = Unsqueeze(s_s1, axes_s2)"]
    assert_pass(PASS, model, lines)


def test_a_condition_that_is_carried_on_does_not_go() -> None:
    body = (
        "body = b (int64 i, bool p, bool c) => (bool q, bool q, float[2,4] r, float[2,4] s) "
        "{ q = Not(p)  r = Add(x, x)  s = Neg(x) }"
    )
    shapes = {"v": "bool", "y": "float[1,2,4]", "z": "float[1,2,4]"}
    model = net(f"v, y, z = Loop<{body}>(n, t, t)", outputs=shapes, x=X, n=ONE, t=YES)
    assert "more nodes" in assert_pass(PASS, model, None, run=False).skipped[0][1]


def test_inner_loop_of_a_loop() -> None:
    inner = (
        "body = d (int64 j, bool u, float[2,4] e) => (bool v, float[2,4] f) "
        "{ v = Identity(u)  f = Add(e, e) }"
    )
    outer = (
        "body = b (int64 i, bool p, float[2,4] a) => (bool q, float[2,4] r) "
        f"{{ q = Identity(p)  g = Loop<{inner}>(k, t, a)  r = Neg(g) }}"
    )
    model = net(f"y = Loop<{outer}>(n, t, x)", outputs=OUT, x=X, n=TWO, k=ONE, t=YES)
    lines = ["y = Loop(n, t, x) body={q = Identity(p); g = Add(a, a); r = Neg(g)}"]
    assert_pass(PASS, model, lines)
