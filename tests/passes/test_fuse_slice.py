"""Slices of Slices, of Concats and of single elements."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.passes._slices import Range, compose
from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass, shared_worker
from tests.nets import net

PASS = get_pass("fuse-slice")()
MAX = np.iinfo(np.int64).max
MIN = np.iinfo(np.int64).min


def two(
    x: str, first: tuple[int, ...], second: tuple[int, ...], opset: int = 17
) -> onnx.ModelProto:
    """Slice of a Slice; each is start, end, axis and maybe a step."""
    given, calls = {}, []
    for name, item in (("p", first), ("q", second)):
        parts = [f"{name}{i}" for i in range(len(item))]
        given.update({part: [number] for part, number in zip(parts, item, strict=True)})
        calls.append(", ".join(parts))
    body = f"a = Slice(x, {calls[0]})  y = Slice(a, {calls[1]})"
    return net(body, x=x, opset=opset, **given)


ONE = ["y = Slice(x, starts_s1, ends_s1, axes_s1)"]
STEPS = ["y = Slice(x, starts_s1, ends_s1, axes_s1, steps_s1)"]


@pytest.mark.parametrize(
    ("x", "first", "second", "lines"),
    [
        ("float[2,4,12,12]", (2, 9, 2), (2, 9, 3), ONE),
        ("float[2,4,12,12]", (2, 9, 2), (2, 9, -1), ONE),
        ("float[2,4,H,W]", (2, 9, 2, 1), (1, MAX, 3, 1), ONE),
        ("float[2,4,H,W]", (2, 9, 2, 2), (-1, MIN, 3, -1), STEPS),
        ("float[12]", (2, 9, 0), (1, 4, 0), ONE),
        ("float[12]", (1, MAX, 0, 2), (1, MAX, 0, 2), STEPS),
        ("float[12]", (-1, MIN, 0, -1), (2, 9, 0), STEPS),
        ("float[12]", (8, 2, 0, -2), (-1, MIN, 0, -1), STEPS),
        ("float[12]", (20, 30, 0), (0, 4, 0), ONE),
        ("float[N]", (1, MAX, 0), (1, MAX, 0), ONE),
        ("float[N]", (1, 9, 0), (1, 4, 0), ONE),
        ("float[N]", (1, -1, 0), (0, -1, 0), ONE),
        ("float[N]", (0, MAX, 0, 2), (1, 3, 0, 2), STEPS),
        ("float[N]", (1, 5, 0), (0, -1, 0), None),
        ("float[N]", (-3, MAX, 0), (1, MAX, 0), None),
        ("float[N]", (-1, MIN, 0, -1), (1, MAX, 0), None),
    ],
)
def test_two_slices(
    x: str, first: tuple[int, ...], second: tuple[int, ...], lines: list[str] | None
) -> None:
    ctx = assert_pass(PASS, two(x, first, second), lines)
    assert lines is not None or "not known" in ctx.skipped[0][1]


def test_every_small_composition() -> None:
    marks = (-7, -3, -1, 0, 1, 2, 5, MAX)
    ranges = [Range(s, e, t) for s in marks[:-1] for e in (*marks, MIN) for t in (1, 2, -1, -2)]
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, len(ranges), (6000, 2))
    for i, j in pairs:
        first, second = ranges[i], ranges[j]
        for size in (0, 1, 3, 6):
            x = np.arange(size)[first.resolve(size)][second.resolve(len(first.resolve(size)))]
            for known in (size, None):
                both = compose(first, second, size if known is not None else _dim())
                assert both is not None or known is None
                if both is not None:
                    found = np.arange(size)[both.resolve(size)]
                    assert list(found) == list(x), (first, second, size, both)


def _dim() -> ir.SymbolicDim:
    return ir.SymbolicDim("N")


def test_resolve_is_what_the_runtime_does() -> None:
    model = net(
        "y = Slice(x, s, e, a, t)",
        x="float[N]",
        s="int64[1]",
        e="int64[1]",
        a=[0],
        t="int64[1]",
        outputs={"y": "float[M]"},
    )
    marks, steps = (-6, -2, 0, 1, 4, 9, MAX, MIN), (1, 3, -1, -2)
    with shared_worker().session(model.SerializeToString()) as session:
        for start, end, step in itertools.product(marks, marks, steps):
            if step < 0 and end == MAX:  # never read, see read_slice
                continue
            feed = {"x": np.arange(5, dtype=np.float32)}
            feed |= {n: np.array([i]) for n, i in (("s", start), ("e", end), ("t", step))}
            found = session.run(feed)["y"].astype(int).tolist()
            assert found == list(Range(start, end, step).resolve(5)), (start, end, step)


def test_attributes_before_opset_10() -> None:
    body = (
        "a = Slice<starts = [1], ends = [9], axes = [2]>(x)"
        "  y = Slice<starts = [1, 2], ends = [2, 4], axes = [1, 2]>(a)"
    )
    line = "y = Slice(x) axes=(1, 2) ends=(2, 5) starts=(1, 3)"
    assert_pass(PASS, net(body, opset=9), [line])
    body = "a = Slice<starts = [1], ends = [2]>(x)  y = Slice<starts = [0, 1], ends = [9, 3]>(a)"
    assert_pass(
        PASS,
        net(body, opset=9),
        ["y = Slice(x) axes=(0, 1) ends=(9223372036854775807, 3) starts=(1, 1)"],
    )


def test_a_second_reader_keeps_both() -> None:
    model = net("a = Slice(x, s, e)  y = Slice(a, s, e)  z = Relu(a)", s=[0], e=[1])
    assert "else reads" in assert_pass(PASS, model, None).skipped[0][1]
    model = net("a = Slice(x, s, e)  y = Slice(a, s, e)", s=[0], e=[1], outputs=["a", "y"])
    assert_pass(PASS, model, None)


def test_backwards_to_int_max_means_different_things_to_different_runtimes() -> None:
    assert_pass(PASS, two("float[12]", (-1, MAX, 0, -1), (2, 9, 0)), None)


def test_limits_that_are_fed() -> None:
    model = net(
        "a = Slice(x, s, e)  y = Slice(a, s, s, s)",
        s="int64[1]",
        e=[1],
        outputs={"y": "float[A,B,C,D]"},
    )
    assert "not constant" in assert_pass(PASS, model, None, run=False).skipped[0][1]


@pytest.mark.parametrize(
    ("start", "end", "lines"),
    [
        (0, 4, ["y = Abs(x)"]),
        (4, 7, ["y = Abs(b)"]),
        (4, MAX, ["h = Concat(b, x) axis=1", "y = Abs(h)"]),
        (-4, MAX, ["y = Abs(x)"]),
        (5, 6, ["h = Slice(b, starts_s1, ends_s1, axes_s1)", "y = Abs(h)"]),
        (1, 6, None),
        (0, 11, None),
    ],
)
@pytest.mark.parametrize("axis", [1, -3])
def test_of_a_concat(start: int, end: int, lines: list[str] | None, axis: int) -> None:
    model = net(
        f"a = Concat<axis = {axis}>(x, b, x)  h = Slice(a, s, e, k)  y = Abs(h)",
        b="float[2,3,8,8]",
        s=[start],
        e=[end],
        k=[1],
    )
    assert_pass(PASS, model, lines)


def test_of_a_concat_that_others_read() -> None:
    body = "a = Concat<axis = 1>(x, x)  y = Slice(a, s, e, k)  z = Relu(a)"
    model = net(body, s=[1], e=[3], k=[1])
    lines = ["a = Concat(x, x) axis=1", "y = Slice(x, starts_s1, ends_s1, axes_s1)", "z = Relu(a)"]
    assert_pass(PASS, model, lines)


def test_of_a_concat_of_unknown_or_other_axes() -> None:
    body = "a = Concat<axis = 1>(x, x)  y = Slice(a, s, e, k)"
    assert_pass(PASS, net(body, x="float[2,C,4]", s=[0], e=[2], k=[1]), None)
    assert_pass(PASS, net(body, s=[0], e=[4], k=[2]), None)
    model = net("a = Concat<axis = 1>(x, x)  y = Slice(a, s, e, k)", s=[0], e=[4], k=[1])
    assert "graph output" in assert_pass(PASS, model, None).skipped[0][1]


@pytest.mark.parametrize(
    ("x", "start", "end", "axis", "line"),
    [
        ("float[3,N,4]", 1, 2, 0, "y = Gather(x, index_s1) axis=0"),
        ("float[N,3,4]", -1, MAX, 0, "y = Gather(x, index_s1) axis=0"),
        ("float[N,3,16]", -2, -1, 1, "y = Gather(x, index_s1) axis=1"),
        ("float[N,3,2]", 1, 2, 1, None),
        ("float[N,N,3]", 1, 2, 2, None),
        ("float[N,3,16]", 0, MAX, 0, None),
    ],
)
def test_one_element_that_is_squeezed(
    x: str, start: int, end: int, axis: int, line: str | None
) -> None:
    body = "a = Slice(x, s, e, k)  y = Squeeze(a, k)"
    model = net(body, x=x, s=[start], e=[end], k=[axis], outputs={"y": "float[A,B]"})
    assert_pass(PASS, model, None if line is None else [line], run=start != 0)


def test_a_slice_that_others_read_is_no_gather() -> None:
    model = net("a = Slice(x, s, e, k)  y = Squeeze(a, k)  z = Relu(a)", s=[1], e=[2], k=[0])
    assert_pass(PASS, model, None)


def test_inside_a_subgraph() -> None:
    body = (
        "y = If(c) <then_branch = t () => (float[2,4] r)"
        " { a = Slice(x, s, e)  r = Slice(a, s, e) },"
        " else_branch = f () => (float[9,4] q) { q = Relu(x) }>"
    )
    model = net(body, x="float[9,4]", c="bool", s=[1], e=[4], outputs={"y": "float[A,4]"})
    branch = "{r = Slice(x, starts_s1, ends_s1, axes_s1)}"
    lines = [f"y = If(c) else_branch={{q = Relu(x)}} then_branch={branch}"]
    assert_pass(PASS, model, lines)


def test_exporters_write_the_largest_integer_for_the_end() -> None:
    assert all(Range(0, end).is_all for end in (2**31 - 1, 2**63 - 1))
    assert not Range(0, 2**31 - 2).is_all
    assert not Range(1, 2**31 - 1).is_all and not Range(0, 2**31 - 1, 2).is_all
