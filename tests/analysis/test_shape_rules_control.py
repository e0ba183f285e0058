"""What control flow is said to make: malformed nodes, axes, limits, contents, nested bodies."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.branches import forced_branches
from onnxslim.analysis.shape_context import NodeContext, element_count, known_values
from onnxslim.analysis.shapes import infer_shapes
from tests.analysis.facts import content, infer, parse, said, shape

TRUE = np.array(True)
X = "float[N,4] x"
CARRY = "<body = b (int64 i, bool k, v) => (bool k2, w, s) "
SCAN = "<num_scan_inputs = 1, body = b (p, q) => (p2, o) { p2 = Add(p, q) o = Relu(q) }>"
TWO = "y, z = If(c) <then_branch = t () => (a, b) { a = Relu(x) b = Neg(x) }, "


CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    # If
    (TWO + "else_branch = e () => (d) { d = Relu(x) }>", X + ", bool c",
     "? ? | a branch has 1 outputs, not 2", {}),
    (TWO + "else_branch = e () => (d, f) { d = Relu(x) f = Shape(x) }>", X + ", bool c",
     "float[N,4] ?", {}),
    (TWO + "else_branch = e () => (d, f) { d = Shape(x) f = Flatten(x) }>", X,
     "float[N,4] float[N,4]", {"c": TRUE}),
    (TWO + "else_branch = e () => (d, f) { d = Shape(x) f = Relu(x) }>", X,
     "int64[2] float[N,4]", {"c": np.array(False)}),
    # Loop
    ("y, z = Loop(m, , x) " + CARRY + "{ k2 = Identity(k) w = Relu(v) s = Relu(v) }>", X,
     "float[N,4] float[3,N,4]", {"m": 3}),
    ("y, z = Loop(m, g, x) " + CARRY + "{ k2 = Identity(k) w = Relu(v) s = Relu(v) }>", X,
     "float[N,4] float[_d0,N,4]", {"m": 3, "g": np.array(False)}),
    ("y, z = Loop(m, g, x) " + CARRY + "{ k2 = Identity(k) w = Relu(v) s = Relu(v) }>",
     X + ", bool g", "float[N,4] float[_d0,N,4]", {"m": 3}),
    ("y, z = Loop(m, , x) " + CARRY + "{ k2 = Not(k) w = Relu(v) s = Relu(v) }>", X,
     "float[N,4] float[_d0,N,4]", {"m": 3}),
    ("y, z = Loop(, , x) " + CARRY + "{ k2 = Identity(k) w = Relu(v) s = Relu(v) }>", X,
     "float[N,4] float[_d0,N,4]", {}),
    ("y, z = Loop(m, , x) " + CARRY
     + "{ k2 = Constant<value = bool {1}>() w = Relu(v) s = Relu(v) }>", X,
     "float[N,4] float[3,N,4]", {"m": 3}),
    ("y, z = Loop(m, , x) " + CARRY
     + "{ k2 = Constant<value = bool {0}>() w = Relu(v) s = Relu(v) }>", X,
     "float[N,4] float[_d0,N,4]", {"m": 3}),
    ("y = Loop(m, , x) <body = b (int64 i, bool k) => (bool k2) { k2 = Identity(k) }>", X,
     "? | its body has not the inputs and outputs of the node", {"m": 3}),
    ("y = Loop(m, , x) <body = b (int64 i, bool k, v) => (bool k2) { k2 = Identity(k) }>", X,
     "? | its body has not the inputs and outputs of the node", {"m": 3}),
    ("n = Size(x) y, z = Loop(n, , x) " + CARRY + "{ k2 = Identity(k) w = Relu(v) s = Relu(v) }>",
     X, "float[N,4] float[4*N,N,4]", {}),
    # Scan
    ("y, z = Scan(h, x) " + SCAN, "float[8] h, float[S,8] x", "float[8] float[S,8]", {}),
    ("y, z = Scan(h, x) " + SCAN, "float[8] h, float[] x", "float? float?", {}),
    ("y, z = Scan(h, x) " + SCAN.replace("<", "<scan_input_axes = [-1], ", 1),
     "float[8] h, float[8,S] x", "float[8] float[S,8]", {}),
    ("y, z = Scan(h, x) " + SCAN.replace("<", "<scan_input_axes = [2], ", 1),
     "float[8] h, float[8,S] x", "float? float? | axis 2 is out of range for rank 2", {}),
    ("y, z = Scan(h, x) " + SCAN.replace("<", "<scan_output_axes = [-1], ", 1),
     "float[8] h, float[S,8] x", "float[8] float[8,S]", {}),
    ("y, z = Scan(h, x) " + SCAN.replace("<", "<scan_output_axes = [2], ", 1),
     "float[8] h, float[S,8] x", "float[8] float? | axis 2 is out of range for rank 2", {}),
    ("y, z = Scan(h, x) " + SCAN, "float[8] h, float[S,8] x", "? ?", {"opset": 8}),
    ("y, z = Scan(h, x, x) " + SCAN, "float[8] h, float[S,8] x", "? ?", {}),
    ("y = Scan(u, x) <num_scan_inputs = 2, body = b (p, q) => (o) { o = Add(p, q) }>",
     "float[3,8] u, float[4,8] x", "float[3,8] | scan lengths are 3 and 4", {}),
    ("y = Scan(u, x) <num_scan_inputs = 2, body = b (p, q) => (o) { o = Add(p, q) }>",
     "float[S,8] u, float[4,8] x", "float[4,8]", {}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "inputs", "expected", "constants"), CASES)
def test_said(body: str, inputs: str, expected: str, constants: dict[str, Any]) -> None:
    assert said(body, inputs, **constants) == expected


@pytest.mark.parametrize(
    ("then", "other", "expected"),
    [
        ("a = Shape(x)", "b = Shape(x)", ["N", "4"]),
        ("a = Shape(x)", "b = Identity(two)", ["None", "4"]),
        ("a = Shape(x)", "b = Identity(one)", None),
        ("a = Shape(x)", "b = Identity(v)", None),
        ("a = Identity(v)", "b = Shape(x)", None),
    ],
)
def test_contents_on_which_both_branches_agree(
    then: str, other: str, expected: list[str] | None
) -> None:
    branches = f"then_branch = t () => (a) {{ {then} }}, else_branch = e () => (b) {{ {other} }}"
    body = f"y = If(c) <{branches}>"
    found, _ = infer(body, X + ", bool c, int64[2] v", two=[3, 4], one=[3])
    assert content(found["y"]) == expected


SQUEEZED = (
    "s = If(c) <then_branch = t () => (a) { a = Squeeze(x, k) },"
    " else_branch = e () => (b) { b = Identity(x) }> "
)


@pytest.mark.parametrize(
    ("after", "taken"),
    [
        ("y, h = GRU<hidden_size = 2>(s, w, r)", 1),
        ("q = Relu(s) y, h = GRU<hidden_size = 2>(q, w, r)", 1),
        ("q = Unsqueeze(s, k) y, h = GRU<hidden_size = 2>(q, w, r)", None),
        ("q = Squeeze(s, k) y, h = GRU<hidden_size = 2>(q, w, r)", 0),
        ("q = other.Op(s) y, h = GRU<hidden_size = 2>(q, w, r)", None),
        ("y = Relu(s)", None),
    ],
)
def test_a_branch_is_forced_by_what_follows(after: str, taken: int | None) -> None:
    weights: dict[str, Any] = {
        "w": np.zeros((1, 6, 4), np.float32),
        "r": np.zeros((1, 6, 2), np.float32),
    }
    model = parse(SQUEEZED + after, "float[1,S,N,4] x, bool c", k=[0], **weights)
    infer_shapes(model)
    node = model.graph[0]
    forced = {1: "float[S,N,4]", 0: "float[1,S,N,4]", None: "float?"}[taken]
    assert shape(node.outputs[0]) == forced
    assert forced_branches(model.graph) == {}  # nothing is left to be decided


def value(dims: Any, kind: Any = None) -> ir.Value:
    given = None if dims is None else ir.Shape(dims)
    return ir.Value(name="v", shape=given, type=kind or ir.TensorType(ir.DataType.INT64))


@pytest.mark.parametrize(
    ("dims", "count"),
    [(None, None), ((), 1), ((64,), 64), ((65,), None), ((8, 8), 64), ((5, 13), None),
     (("N",), None), ((2, "N"), None), ((0, 99), 0)],
)  # fmt: skip
def test_how_many_elements_are_known(dims: Any, count: int | None) -> None:
    assert element_count(value(dims)) == count


def test_only_small_whole_numbers_are_read() -> None:
    found = {}
    for name, array in {
        "many": np.arange(65), "fits": np.arange(64), "real": np.ones(2, np.float32),
        "bytes": np.ones(2, np.uint8), "truth": np.array([True, False]),
        "short": np.array([[1, 2]], np.int32),
    }.items():  # fmt: skip
        model = parse("y = Identity(k)", k=array)
        infer_shapes(model)
        known = known_values(model.graph[0].inputs[0])
        found[name] = None if known is None else len(known)
    assert found == {"many": None, "fits": 64, "real": None, "bytes": None, "truth": 2, "short": 2}
    assert known_values(None) is None


class Engine:
    """Keeps what a rule complains of."""

    opset = 17

    def __init__(self) -> None:
        self.problems: list[str] = []

    def fresh(self) -> ir.SymbolicDim:
        return ir.SymbolicDim("_d0")

    def problem(self, node: ir.Node, text: str) -> None:
        self.problems.append(text)


def context(*inputs: ir.Value | None) -> tuple[NodeContext, Engine]:
    engine: Any = Engine()
    return NodeContext(ir.node("Relu", list(inputs)), engine), engine


@pytest.mark.parametrize(
    ("axis", "expected"), [(-3, None), (-2, 0), (-1, 1), (0, 0), (1, 1), (2, None)]
)
def test_an_axis_is_within_the_rank(axis: int, expected: int | None) -> None:
    ctx, engine = context()
    assert ctx.axis(axis, 2) == expected
    assert engine.problems == ([] if expected is not None else
                               [f"axis {axis} is out of range for rank 2"])  # fmt: skip


def test_sizes_out_of_range_become_unknown() -> None:
    ctx, engine = context()
    ctx.set(0, 1, (2**63 - 1, 0))
    assert not engine.problems and shape(ctx.outputs[0]) == f"float[{2**63 - 1},0]"
    ctx.set(0, 1, (2**63, -1, 3))
    assert engine.problems == [f"its result would have shape [{2**63},-1,3]"]
    assert shape(ctx.outputs[0]) == "float[_d0,_d0,3]"
    ctx.set(1, 1, (3,))  # there is no such output
    ctx.share(1, ir.DataType.FLOAT, None)
    ctx.copy(0, 1)


def test_inputs_that_are_left_out_or_no_tensors() -> None:
    sequence = ir.SequenceType(ir.TensorType(ir.DataType.FLOAT))
    ctx, _ = context(value((2, "N")), None, value((3,), sequence))
    assert [ctx.given(i) for i in range(4)] == [True, False, True, False]
    assert [ctx.rank(i) for i in range(4)] == [2, None, None, None]
    dtypes = [ctx.dtype(i) for i in range(4)]
    assert dtypes == [ir.DataType.INT64, None, None, None]
    assert [ctx.elements(i) for i in range(4)] == [None, None, (None,) * 3, None]
    assert [ctx.ints(i) for i in range(4)] == [None] * 4
    assert [ctx.sizes(i) for i in (0, 1)] == [None, None]
    assert [ctx.numbers(i) for i in range(4)] == [None] * 4


@pytest.mark.parametrize(
    ("a", "b", "expected", "told"),
    [(3, 3, 3, 0), (3, 4, 3, 1), ("N", 4, 4, 0), (4, "N", 4, 0), ("N", "M", "N", 0)],
)
def test_merged(a: Any, b: Any, expected: Any, told: int) -> None:
    ctx, engine = context()
    one, other = (ir.SymbolicDim(d) if isinstance(d, str) else d for d in (a, b))
    assert str(ctx.merge(one, other, "sizes")) == str(expected) and len(engine.problems) == told
