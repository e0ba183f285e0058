"""Clamps that follow each other become one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph.load import from_proto
from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass, shared_worker
from tests.nets import net

PASS = get_pass("fuse-clip")()
F = np.float32


def bounds(body: str, **given: Any) -> tuple[str, float | None, float | None]:
    """Operator and constant bounds of the single node left."""
    proto = net(body, **given)
    model = from_proto(proto)
    PASS(model)
    (node,) = list(model.graph)
    values = [None if v is None else v.const_value for v in node.inputs[1:]]
    numbers = [None if v is None else float(v.numpy()) for v in values] + [None, None]
    low, high = numbers[:2]
    return node.op_type, low if low is None or high is None else min(low, high), high


@pytest.mark.parametrize(
    ("body", "given", "lines"),
    [
        ("a = Relu(x)  y = Relu(a)", {}, ["y = Relu(x)"]),
        ("a = Relu(x)  b = Relu(a)  y = Relu(b)", {}, ["y = Relu(x)"]),
        ("a = Relu(x)  y = Clip(a, l, h)", {"l": F(0), "h": F(6)}, ["y = Clip(x, l, h)"]),
        ("a = Clip(x, l, h)  y = Relu(a)", {"l": F(0), "h": F(6)}, ["y = Clip(x, l, h)"]),
        ("a = Relu(x)  y = Clip(a, l)", {"l": F(1)}, ["y = Clip(x, l)"]),
        ("a = Clip(x, l)  y = Relu(a)", {"l": F(1)}, ["y = Clip(x, l)"]),
        ("a = Relu(x)  y = Max(a, l)", {"l": F(1)}, ["y = Max(x, l)"]),
        ("a = Relu(x)  y = Max(l, a)", {"l": F(1)}, ["y = Max(l, x)"]),
        ("a = Relu(x)  y = Max(a, l)", {"l": F(-1)}, ["y = Relu(x)"]),
        ("a = Sigmoid(x)  y = Relu(a)", {}, ["y = Sigmoid(x)"]),
        ("a = Softmax(x)  y = Clip(a, l, h)", {"l": F(-1), "h": F(1)}, ["y = Softmax(x)"]),
        ("a = Exp(x)  b = Relu(a)  y = Neg(b)", {}, ["a = Exp(x)", "y = Neg(a)"]),
    ],
)
def test_one_is_left(body: str, given: dict[str, Any], lines: list[str]) -> None:
    assert_pass(PASS, net(body, **given), lines)


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ((0, 6), (0, 4), (0, 4)),
        ((0, 4), (0, 6), (0, 4)),
        ((-1, 2), (0, 6), (0, 2)),
        ((0, 1), (2, 3), (2, 2)),
        ((2, 3), (0, 1), (1, 1)),
        ((3, 1), (0, 2), (1, 1)),
        ((0, 2), (3, 1), (1, 1)),
        ((0, None), (None, 1), (0, 1)),
        ((None, 1), (0, None), (0, 1)),
        ((None, 1), (2, None), (2, 2)),
    ],
)
@pytest.mark.parametrize("dtype", ["float", "float16", "double"])
def test_ranges(first: Any, second: Any, both: Any, dtype: str) -> None:
    given = {n: F(v) for n, v in zip("lhmk", [*first, *second], strict=True) if v is not None}
    read = [n if n in given else "" for n in "lhmk"]
    body = f"a = Clip(x, {read[0]}, {read[1]})  y = Clip(a, {read[2]}, {read[3]})"
    model = net(body, dtype=dtype, **given)
    assert bounds(body, dtype=dtype, **given) == ("Clip", *both)
    check(model)


def check(model: Any) -> None:
    """One node is left, whatever its constants are called, and it computes the same."""
    found: list[str] = []
    try:
        assert_pass(PASS, model, [])
    except AssertionError as error:
        found = [line[2:] for line in str(error).splitlines() if line.startswith("+ ")]
    assert len(found) == 1
    assert_pass(PASS, model, found)


@pytest.mark.parametrize("left", [True, False])
def test_min_of_max_is_a_clip(left: bool) -> None:
    body = "a = Max(l, x)  y = Min(h, a)" if left else "a = Max(x, l)  y = Min(a, h)"
    model = net(body, l=np.full(1, -0.5, F), h=F(0.5))
    assert_pass(PASS, model, ["y = Clip(x, min_s1, max_s1)"])
    model = net("a = Relu(x)  y = Min(a, h)", h=F(0.5))
    assert_pass(PASS, model, ["y = Clip(x, min_s1, max_s1)"])


def test_attributes_before_opset_11() -> None:
    body = "a = Clip<min = -1.0, max = 0.5>(x)  y = Relu(a)"
    assert_pass(PASS, net(body, opset=10), ["y = Clip(x) max=0.5 min=0.0"])
    body = "a = Relu(x)  y = Clip<min = 0.0, max = 6.0>(a)"
    assert_pass(PASS, net(body, opset=7), ["y = Clip(x) max=6.0 min=0.0"])
    body = "a = Clip<min = 0.0>(x)  y = Clip<max = 0.5>(a)"
    assert_pass(PASS, net(body, opset=6), ["y = Clip(x) max=0.5 min=0.0"])


@pytest.mark.parametrize("kind", ["int8", "int32", "int64", "uint8"])
def test_integers(kind: str) -> None:
    one, three, two = (np.array(v, kind) for v in (1, 3, 2))
    body = "a = Clip(x, l, h)  y = Clip(a, k, m)"
    model = net(body, x=f"{kind}[3,4]", l=one, h=three, k=one, m=two)
    assert_pass(PASS, model, ["y = Clip(x, k, m)"])
    body = "a = Relu(x)  y = Clip(a, l, h)"
    if kind in ("int8", "int32"):
        model = net(body, x=f"{kind}[3,4]", l=np.array(-2, kind), h=two)
        assert_pass(PASS, model, ["y = Clip(x, min_s1, max_s1)"])


def test_infinities_stay_what_they_were() -> None:
    """Relu keeps an infinity, Clip without a maximum does not (ONNX Runtime)."""
    values = np.array([[np.nan, np.inf, -np.inf, -0.0, 3, -3, 0.5, 1e30]], F)
    one, half = F(1), F(0.5)
    for body, given in [
        ("a = Relu(x)  y = Clip(a, l)", {"l": one}),
        ("a = Clip(x, , h)  y = Relu(a)", {"h": one}),
        ("a = Relu(x)  y = Max(a, l)", {"l": one}),
        ("a = Max(x, l)  y = Min(a, h)", {"l": half, "h": one}),
        ("a = Clip(x, h, l)  y = Relu(a)", {"l": half, "h": one}),
        ("a = Clip(x, l)  y = Relu(a)", {"l": F(-1)}),
    ]:
        proto = net(body, x="float[1,8]", **given)
        model = from_proto(proto)
        PASS(model)
        assert len(list(model.graph)) == 1
        results = []
        for data in (proto.SerializeToString(), ir.to_proto(model).SerializeToString()):
            with shared_worker().session(data) as session:
                results.append(session.run({"x": values})["y"])
        np.testing.assert_array_equal(*results)


def test_kept_apart() -> None:
    model = net("a = Exp(x)  y = Clip(a, l)", l=F(0))  # an infinity would stay one
    assert_pass(PASS, model, None)
    model = net("a = Sigmoid(x)  y = Clip(a, l, h)", l=F(0), h=F(0.5))
    assert_pass(PASS, model, None)
    model = net("a = Relu(x)  y = Clip(a, l, h)", l=F(0), h="float")
    assert_pass(PASS, model, None)
    model = net("a = Relu(x)  y = Clip(a, l, h)", l=F(0), h=F(1), overridable=["h"])
    assert_pass(PASS, model, None)
    model = net("a = Relu(x)  y = Clip(a, l)", l=F(np.nan))
    assert_pass(PASS, model, None)
    model = net("a = Relu(x)  y = Min(a, h)", h=(8,))
    assert_pass(PASS, model, None)
    model = net("a = Relu(x)  y = Min(a, h)", x="float[N]", h=np.ones((1, 1), F))
    assert_pass(PASS, model, None)  # enlarges the rank
    model = net("a = Relu(x)  y = Max(a, h, k)", h=F(1), k=F(2))
    assert_pass(PASS, model, None)
    model = net("a = local.Relu(x)  y = Relu(a)", outputs={"y": "float[2,4,8,8]"})
    assert_pass(PASS, model, None, run=False)


def test_a_double() -> None:
    body = "a = Clip<max = 0.1>(x)  y = Relu(a)"
    assert_pass(
        PASS, net(body, opset=10, dtype="double"), ["y = Clip(x) max=0.1 min=0.0"], run=False
    )
    body = "a = Clip<min = 0.5>(x)  y = Min(a, h)"
    model = net(body, opset=10, dtype="double", h=np.float64(0.7))
    assert "cannot express" in assert_pass(PASS, model, None, run=False).skipped[0][1]
    body = "a = Max(x, l)  y = Min(a, h)"
    model = net(body, opset=11, dtype="double", l=F(0), h=F(1))
    assert "cannot express" in assert_pass(PASS, model, None).skipped[0][1]


def test_other_readers() -> None:
    model = net("a = Relu(x)  y = Clip(a, l, h)  z = Neg(a)", l=F(0), h=F(6))
    assert "between" in assert_pass(PASS, model, None).skipped[0][1]
    model = net("a = Relu(x)  y = Relu(a)  b = Neg(y)  z = Neg(a)", outputs=["b", "z"])
    assert_pass(PASS, model, ["a = Relu(x)", "b = Neg(a)", "z = Neg(a)"])
    model = net("a = Relu(x)  y = Relu(a)", outputs=["a", "y"])
    assert_pass(PASS, model, None)
    model = net("a = Sigmoid(x)  y = Relu(a)", outputs=["a", "y"])
    assert "graph output" in assert_pass(PASS, model, None).skipped[0][1]


def test_a_subgraph() -> None:
    body = (
        "a = Relu(x)  y = If(c) <then_branch = t () => (float[2,4,8,8] r) { r = Clip(a, l, h) },"
        " else_branch = e () => (float[2,4,8,8] q) { f = Relu(x)  q = Clip(f, l, h) }>"
    )
    model = net(body, outputs={"y": "float[2,4,8,8]"}, l=F(0), h=F(6))
    lines = [
        "a = Relu(x)",
        "y = If(c) else_branch={q = Clip(x, l, h)} then_branch={r = Clip(a, l, h)}",
    ]
    assert_pass(PASS, model, lines)
