from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from tests.analysis.facts import content, infer, parse, shape


def _if(condition: str, then: str, other: str) -> str:
    return f"""
        {condition}
        y = If(c) <then_branch = t () => (float[A] a) {{ {then} }},
                   else_branch = e () => (float[B] b) {{ {other} }}>
    """


@pytest.mark.parametrize(
    ("then", "other", "expected"),
    [
        ("a = Relu(x)", "b = Neg(x)", "float[N,4]"),
        ("a = Relu(x)", "b = Transpose(x)", "float[_d0,_d1]"),
        ("a = Relu(x)", "b = Flatten<axis=0>(x)", "float[_d0,_d1]"),
        ("a = Relu(x)", "b = ReduceSum<keepdims=0>(x)", "float?"),
        ("a = Relu(x)", "b = Shape(x)", "?"),
        ("a = NonZero(x)", "b = NonZero(x)", "int64[2,_d2]"),
    ],
)
def test_branches_must_agree(then: str, other: str, expected: str) -> None:
    found, problems = infer(_if("", then, other), "float[N,4] x, bool c")
    assert shape(found["y"]) == expected and problems == []


@pytest.mark.parametrize(
    ("condition", "taken"),
    [
        ("s = Shape(x) d = Gather(s, one) c = Equal(d, four)", True),
        ("s = Shape(x) d = Gather(s, one) c = Greater(d, four)", False),
        ("s = Shape(x) r = Size(s) c = Equal(r, two)", True),
        ("s = Shape(x) d = Gather(s, zero) c = Less(d, zero)", False),
        ("s = Shape(x) d = Gather(s, zero) e = Equal(d, minus) c = Not(e)", True),
    ],
)
def test_a_condition_known_from_ranks_and_dimensions(condition: str, taken: bool) -> None:
    body = _if(condition, "a = Relu(x)", "b = ReduceSum<keepdims=0>(x)")
    found, _ = infer(body, "float[N,4] x", zero=0, one=1, two=2, four=4, minus=-1)
    assert shape(found["y"]) == ("float[N,4]" if taken else "float[]")


def test_contents_pass_an_if() -> None:
    body = _if("", "s = Shape(x) a = Identity(s)", "b = Concat<axis=0>(m, four)")
    found, _ = infer(body, "float[N,4] x, bool c", m=[-1], four=[4])
    assert content(found["y"]) == ["None", "4"]


def _loop(body: str, outputs: str = "y") -> str:
    return f"""
        {outputs} = Loop(m, go, x) <body = b (int64 i, bool k, v) => (bool k2, w, s) {{ {body} }}>
    """


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("k2 = Identity(k) w = Relu(v) s = Relu(w)", ("float[N,4]", "float[5,N,4]")),
        ("k2 = Identity(k) w = Concat<axis=0>(v, v) s = Relu(v)",
         ("float[_d2,4]", "float[5,_d3,4]")),
        ("k2 = Identity(k) w = Transpose(v) s = Relu(v)", ("float[_d4,_d5]", "float[5,_d6,_d7]")),
        ("k2 = Identity(k) w = ReduceSum<keepdims=0>(v) s = Relu(v)", ("float?", "float?")),
        ("r = ReduceSum<keepdims=0>(v) k2 = Cast<to=9>(r) w = Relu(v) s = NonZero(w)",
         ("float[N,4]", "int64[_d2,2,_d1]")),
    ],
)  # fmt: skip
def test_what_a_loop_may_change_is_unknown(body: str, expected: tuple[str, str]) -> None:
    model = parse(_loop(body, "y, z"), "float[N,4] x", m=5, go=_true())
    infer_shapes(model)
    found = {v.name: v for v in model.graph[0].outputs}
    got = [re.sub(r"_d\d+", "?", shape(found[n])) for n in "yz"]
    assert got == [re.sub(r"_d\d+", "?", e) for e in expected]
    names = [
        d.value for v in found.values() for d in v.shape or () if isinstance(d, ir.SymbolicDim)
    ]
    fresh = [n for n in names if n and n.startswith("_d")]
    assert len(set(fresh)) == len(fresh)


@pytest.mark.parametrize(("trips", "length"), [(5, 5), (1, 1), (0, 0), (-3, 0)])
def test_a_loop_that_nothing_stops_takes_all_its_turns(trips: int, length: int) -> None:
    body = "k2 = Identity(k) w = Relu(v) s = Relu(w)"
    model = parse(_loop(body, "y, z"), "float[N,4] x", m=trips, go=_true())
    infer_shapes(model)
    assert shape(model.graph[0].outputs[1]) == f"float[{length},N,4]"


def _true() -> np.ndarray[tuple[()], np.dtype[np.bool_]]:
    return np.array(True)


def test_sizes_inside_a_body_never_leave_it() -> None:
    body = "k2 = Identity(k) w = Relu(v) q = NonZero(v) s = Cast<to=1>(q)"
    model = parse(_loop(body, "y, z"), "float[N,4] x", m=5, go=_true())
    infer_shapes(model)
    inner = next(n for n in model.graph[0].attributes["body"].value if n.op_type == "NonZero")
    assert inner.outputs[0].shape is not None
    assert str(inner.outputs[0].shape[1]) not in shape(model.graph[0].outputs[1])


def test_an_unknown_trip_count() -> None:
    body = "k2 = Identity(k) w = Relu(v) s = Relu(w)"
    found, _ = infer(_loop(body, "y, z"), "float[N,4] x, int64 m, bool go")
    assert shape(found["z"]) == "float[_d0,N,4]"


def test_scan() -> None:
    body = """
        y, z = Scan(h, x) <num_scan_inputs = 1, scan_input_axes = [1], body =
            b (p, q) => (p2, o) { p2 = Add(p, q)  o = Relu(p2) }>
    """
    found, problems = infer(body, "float[N,8] h, float[N,S,8] x")
    assert (shape(found["y"]), shape(found["z"])) == ("float[N,8]", "float[S,N,8]")
    assert problems == []


def test_outer_values_are_seen_in_a_body() -> None:
    found, _ = infer(_if("f = Flatten(x)", "a = Relu(f)", "b = Neg(f)"), "float[N,2,3] x, bool c")
    assert shape(found["a"]) == shape(found["y"]) == "float[N,6]"


def test_very_deep_nesting_ends() -> None:
    x = ir.Value(name="x", shape=ir.Shape([4]), type=ir.TensorType(ir.DataType.FLOAT))
    c = ir.Value(name="c", shape=ir.Shape([]), type=ir.TensorType(ir.DataType.BOOL))
    inner = ir.node("Relu", [x])
    for _ in range(300):
        leaf = ir.node("Neg", [x])
        branches = {
            "then_branch": ir.Graph([], inner.outputs, nodes=[inner]),
            "else_branch": ir.Graph([], leaf.outputs, nodes=[leaf]),
        }
        inner = ir.node("If", [c], branches)
    graph = ir.Graph([x, c], inner.outputs, nodes=[inner], opset_imports={"": 17})
    infer_shapes(ir.Model(graph, ir_version=8))
    assert shape(inner.outputs[0]) == "?"
