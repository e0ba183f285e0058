from __future__ import annotations

from typing import Any

import onnx_ir as ir

from onnxslim.verify.walk import GraphFacts
from tests.nets import net


def facts(body: str, **given: Any) -> GraphFacts:
    return GraphFacts.of(ir.from_proto(net(body, **given)))


def test_upstream_is_nearest_first() -> None:
    found = facts("a = Relu(x)  b = Exp(a)  c = Neg(x)  y = Add(b, c)")
    assert [n.op for n in found.upstream("y")] == ["Add", "Exp", "Neg", "Relu"]
    assert list(found.upstream("x")) == []


def test_frontier_stops_on_every_path() -> None:
    found = facts("a = Relu(x)  b = Exp(a)  c = Neg(a)  y = Add(b, c)")
    assert found.frontier("y", lambda v: "stop" if v in "ab" else "pass") == ["b", "a"]
    assert found.frontier("y", lambda v: "pass") == []


def test_random_operators_taint_what_follows() -> None:
    found = facts("r = RandomNormalLike(x)  a = Add(x, r)  b = Relu(x)")
    assert found.tainted(lambda n: n.random) == {"r", "a"}


def test_dropout_is_random_only_in_training() -> None:
    given: dict[str, Any] = {"ratio": 0.5, "no": False, "yes": True}
    found = facts("a = Dropout(x, ratio, no)  b = Dropout(x, ratio, yes)  c = Dropout(x)", **given)
    assert found.tainted(lambda n: n.random) == {"b"}


BRANCHES = (
    "y = If(c) <then_branch = t () => (float[2,4,8,8] p) { p = RandomNormalLike(h) },"
    " else_branch = e () => (float[2,4,8,8] q) { q = Relu(h) }>"
)


def test_looks_into_subgraphs_and_sees_what_they_capture() -> None:
    found = facts(f"h = Neg(x)  {BRANCHES}", c="bool")
    assert found.tainted(lambda n: n.random) == {"y"}
    assert [n.op for n in found.upstream("y")] == ["If", "Neg"]


def test_looks_into_functions() -> None:
    function = '<domain: "f", opset_import: ["" : 17]> noisy (a) => (b) { b = RandomNormalLike(a) }'
    found = facts(
        "h = f.noisy(x)  y = Relu(h)", functions=function, outputs={"y": "float[2,4,8,8]"}
    )
    assert found.tainted(lambda n: n.random) == {"h", "y"}


def test_live_values_depend_on_inputs() -> None:
    found = facts("k = Exp(b)  y = Mul(x, k2)  z = Neg(k)", k2=(1,), b=(1,))
    assert found.live() == {"x", "y"}


def test_low_precision() -> None:
    found = facts("h = Cast<to = 10>(x)  y = Cast<to = 1>(h)  z = Relu(x)")
    assert found.tainted(lambda n: n.low_precision) == {"h", "y"}
