"""Two graphs that compute the same from the same values."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph.load import from_proto
from onnxslim.passes._same_graph import _LIMIT, same_graph
from tests.nets import net


def branches(then: str, other: str, **given: Any) -> bool:
    """Whether the branches of an If are the same graph."""
    body = (
        f"y = If(c) <then_branch = t () => (float[2,3] p) {{ {then} }}, "
        f"else_branch = e () => (float[2,3] q) {{ {other} }}>"
    )
    model = from_proto(
        net(body, outputs={"y": "float[2,3]"}, x="float[2,3]", z="float[2,3]", **given)
    )
    attributes = model.graph[-1].attributes
    return same_graph(attributes["then_branch"].value, attributes["else_branch"].value, {})


SAME = [
    ("p = Relu(x)", "q = Relu(x)"),
    ("a = Neg(x)  p = Relu(a)", "b = Neg(x)  q = Relu(b)"),
    ("p = Add(x, z)", "q = Add(x, z)"),
    ("p = Clip(x, , k)", "q = Clip(x, , k)"),
    ("k1 = Constant<value = float {1.5}>()  p = Add(x, k1)",
     "k2 = Constant<value = float {1.5}>()  q = Add(x, k2)"),
    ("p = LeakyRelu<alpha = 0.5>(x)", "q = LeakyRelu<alpha = 0.5>(x)"),
    ("p = Transpose<perm = [0, 1]>(x)", "q = Transpose<perm = [0, 1]>(x)"),
]  # fmt: skip
OTHER = [
    ("p = Relu(x)", "q = Neg(x)"),
    ("p = Relu(x)", "q = Relu(z)"),
    ("p = Relu(x)", "a = Relu(x)  q = Relu(a)"),
    ("p = Sub(x, z)", "q = Sub(z, x)"),
    ("p = Clip(x, , k)", "q = Clip(x, k)"),
    ("p = Clip(x, , k)", "q = Clip(x, k, k)"),
    ("k1 = Constant<value = float {1.5}>()  p = Add(x, k1)",
     "k2 = Constant<value = float {2.5}>()  q = Add(x, k2)"),
    ("k1 = Constant<value = float {1.5}>()  p = Add(x, k1)",
     "k2 = Constant<value = float[1] {1.5}>()  q = Add(x, k2)"),
    ("p = LeakyRelu<alpha = 0.5>(x)", "q = LeakyRelu<alpha = 0.25>(x)"),
    ("p = LeakyRelu<alpha = 0.5>(x)", "q = LeakyRelu(x)"),
    ("a, p = Split<num_outputs = 2, axis = 0>(w)", "q, b = Split<num_outputs = 2, axis = 0>(w)"),
]  # fmt: skip


@pytest.mark.parametrize(("then", "other", "same"), [(*pair, True) for pair in SAME]
                         + [(*pair, False) for pair in OTHER])  # fmt: skip
def test_same_or_not(then: str, other: str, same: bool) -> None:
    text = then + other
    given: dict[str, Any] = {"k": "float"} if "k)" in text or ", k," in text else {}
    if "w)" in text:
        given |= {"w": (4, 3), "opset": 18}
    assert branches(then, other, **given) is same


def test_inner_graphs_are_compared_too() -> None:
    def inner(kind: str, out: str) -> str:
        return (
            f"{out} = If(d) <then_branch = i () => (float[2,3] r{out}) {{ r{out} = {kind}(x) }}, "
            f"else_branch = j () => (float[2,3] s{out}) {{ s{out} = Neg(x) }}>"
        )

    assert branches(inner("Relu", "p"), inner("Relu", "q"), d="bool")
    assert not branches(inner("Relu", "p"), inner("Abs", "q"), d="bool")


def constant(attribute: ir.Attr) -> ir.Graph:
    node = ir.Node("", "Constant", [], [attribute])
    return ir.Graph([], list(node.outputs), nodes=[node])


def same(left: ir.Attr, right: ir.Attr) -> bool:
    return same_graph(constant(left), constant(right), {})


def tensor(array: Any) -> ir.Attr:
    kind = ir.StringTensor if np.asarray(array).dtype.kind == "O" else ir.Tensor
    return ir.AttrTensor("value", kind(np.asarray(array)))


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (np.array([1.0, np.nan]), np.array([1.0, np.nan]), True),
        (np.array([0.0]), np.array([-0.0]), False),
        (np.array([1, 2]), np.array([1, 2], np.int32), False),
        (np.array([1, 2]), np.array([[1, 2]]), False),
        (np.array([b"a", b"b"], object), np.array([b"a", b"b"], object), True),
        (np.array([b"a", b"b"], object), np.array([b"a", b"c"], object), False),
        (np.zeros(_LIMIT, np.int8), np.zeros(_LIMIT, np.int8), True),
        (np.zeros(_LIMIT + 1, np.int8), np.zeros(_LIMIT + 1, np.int8), False),
    ],
)
def test_tensors(left: Any, right: Any, equal: bool) -> None:
    assert same(tensor(left), tensor(right)) is equal


def test_attributes() -> None:
    one = ir.AttrInt64("a", 1)
    assert same(one, ir.AttrInt64("a", 1))
    assert not same(one, ir.AttrInt64("a", 2))
    assert not same(one, ir.AttrInt64("b", 1))
    assert not same(one, ir.AttrFloat32("a", 1.0))
    given = ir.RefAttr("a", "of_a_function", ir.AttributeType.INT)
    for left, right in ((one, given), (given, one), (given, given)):
        assert not same(left, right)
    kinds: list[tuple[Any, list[Any]]] = [(ir.AttrInt64s, [1, 2]), (ir.AttrStrings, ["u", "v"])]
    for kind, items in kinds:
        assert same(kind("a", items), kind("a", items))
        assert not same(kind("a", items), kind("a", items[::-1]))
    listed = ir.AttrTensors("a", [])
    assert not same(listed, listed)
