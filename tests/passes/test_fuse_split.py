"""Slices that take a tensor apart become one Split; nested Splits become one."""

from __future__ import annotations

import onnx
import pytest

from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("fuse-split")()


def slices(
    *cuts: tuple[int, int], axis: int = 1, x: str = "float[N,6,4]", opset: int = 17
) -> onnx.ModelProto:
    given: dict[str, list[int]] = {"k": [axis]} if opset >= 10 else {}
    body = ""
    for i, (start, end) in enumerate(cuts):
        if opset < 10:
            body += f"s{i} = Slice<axes = [{axis}], starts = [{start}], ends = [{end}]>(x)  "
        else:
            given |= {f"b{i}": [start], f"e{i}": [end]}
            body += f"s{i} = Slice(x, b{i}, e{i}, k)  "
        body += f"y{i} = Relu(s{i})  "
    return net(body, x=x, opset=opset, **given)


def test_slices_become_a_split() -> None:
    assert_pass(PASS, slices((0, 2), (2, 9)), lines_of(2))
    assert_pass(PASS, slices((0, 2), (2, -1), (-1, 9)), lines_of(3))
    assert_pass(PASS, slices((0, 2), (2, 9), axis=-2), lines_of(2))


def lines_of(count: int) -> list[str]:
    names = ["s0", *(f"s0_s{i}" for i in range(1, count))]
    split = f"{', '.join(names)} = Split(x, split_s1) axis=1"
    return [split, *(f"y{i} = Relu({name})" for i, name in enumerate(names))]


@pytest.mark.parametrize(
    "cuts",
    [((0, 2), (3, 6)), ((0, 2), (1, 6)), ((0, 2), (2, 4)), ((0, 6),), ((1, 3), (3, 6))],
)
def test_gaps_overlaps_and_rests_stay(cuts: tuple[tuple[int, int], ...]) -> None:
    assert_pass(PASS, slices(*cuts), None)


def test_an_unknown_size_stays() -> None:
    assert_pass(PASS, slices((0, 2), (2, 9), x="float[2,N,4]"), None)


@pytest.mark.parametrize("opset", [9, 11, 12])
def test_sizes_are_an_attribute_before_opset_13(opset: int) -> None:
    lines = lines_of(2)
    lines[0] = "s0, s0_s1 = Split(x) axis=1 split=(2, 4)"
    assert_pass(PASS, slices((0, 2), (2, 9), opset=opset), lines)


def test_the_later_part_is_cut_first() -> None:
    lines = ["s0_s1, s0 = Split(x, split_s1) axis=1", "y0 = Relu(s0)", "y1 = Relu(s0_s1)"]
    assert_pass(PASS, slices((2, 6), (0, 2)), lines)


def test_parts_that_are_graph_outputs_keep_their_names() -> None:
    model = net("p = Slice(x, a, b, k)  q = Slice(x, b, e, k)", a=[0], b=[2], e=[4], k=[1])
    assert_pass(PASS, model, ["p, q = Split(x) axis=1"])


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_equal_sizes_are_not_written_down(opset: int) -> None:
    lines = lines_of(3)
    more = " num_outputs=3" if opset >= 18 else ""
    lines[0] = f"s0, s0_s1, s0_s2 = Split(x) axis=1{more}"
    assert_pass(PASS, slices((0, 2), (2, 4), (4, 6), opset=opset), lines)


@pytest.mark.parametrize("opset", [12, 17, 18])
def test_nested(opset: int) -> None:
    body = "a, b = Split<axis = 1>(x)  d, e = Split<axis = -3>(b)"
    body += "  y = Relu(a)  z = Relu(d)  w = Relu(e)"
    if opset >= 18:
        body = body.replace("axis = 1>", "axis = 1, num_outputs = 2>").replace(
            "axis = -3>", "axis = -3, num_outputs = 2>"
        )
    model = net(body, x="float[2,8,4,4]", opset=opset)
    split = "Split(x) axis=1 split=(4, 2, 2)" if opset < 13 else "Split(x, split_s1) axis=1"
    lines = [f"a, a_s1, a_s2 = {split}", "y = Relu(a)", "z = Relu(a_s1)", "w = Relu(a_s2)"]
    assert_pass(PASS, model, lines)


def test_nested_with_given_sizes_and_outputs() -> None:
    body = "a, b = Split<axis = 1>(x, s)  d, e = Split<axis = 1>(a, t)"
    model = net(body, x="float[2,8,4,4]", s=[5, 3], t=[1, 4])
    assert_pass(PASS, model, ["d, e, b = Split(x, split_s1) axis=1"])


def test_other_axes_other_readers_and_unknown_sizes_stay() -> None:
    assert_pass(PASS, net("a, b = Split<axis = 1>(x)  d, e = Split<axis = 2>(b)"), None)
    model = net("a, b = Split<axis = 1>(x)  d, e = Split<axis = 1>(b)  y = Relu(b)")
    assert "else reads" in assert_pass(PASS, model, None).skipped[0][1]
    model = net(
        "a, b = Split<axis = 1>(x, s)  d, e = Split<axis = 1>(b, s)",
        x="float[2,8]",
        s="int64[2]",
        outputs={n: "float[2,K]" for n in "ade"},
    )
    assert "not known" in assert_pass(PASS, model, None, run=False).skipped[0][1]
