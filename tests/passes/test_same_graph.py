"""Two graphs that compute the same from the same values."""

from __future__ import annotations

from typing import Any

import pytest

from onnxslim.graph.load import from_proto
from onnxslim.passes._same_graph import same_graph
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
