"""Where sizes can be read: the fewest operators, in front of a node, from what is there."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from onnxslim.passes._shape_sources import Plan, Sources
from onnxslim.pipeline.context import PassContext
from onnxslim.testing import node_lines, shared_worker
from tests.nets import net

N, M = ir.SymbolicDim("N"), ir.SymbolicDim("M")


class Case:
    """A model, and the plans in front of its last node."""

    def __init__(self, body: str = "y = Relu(x)", opset: int = 17, **given: Any) -> None:
        self.model = from_proto(net(body, opset=opset, **{"x": "float[N,3,M]"} | given))
        infer_shapes(self.model)
        self.nodes = list(self.model.graph)
        self.sources = Sources(self.model.graph, opset)

    def plan(
        self, *wanted: Any, scalar: bool = False, before: int = -1, dead: tuple[int, ...] = ()
    ) -> Plan | None:
        gone = frozenset(self.nodes[i] for i in dead)
        return self.sources.plan(wanted, scalar, self.nodes[before], gone)

    def lines(self, *wanted: Any, **options: Any) -> list[str]:
        """The plan's operators as they would be written."""
        plan = self.plan(*wanted, **options)
        assert plan is not None
        ctx = PassContext(self.model, worker=shared_worker())
        built = plan.build(self.model.graph, "s", ctx)
        reads = sum(node.op_type in ("Shape", "Gather") for node in built)
        assert plan.cost == reads + (len(plan.parts) > 1)
        for i, node in enumerate(built):
            node.outputs[0].name = f"r{i}"
        return node_lines(ir.Graph([], [], nodes=built))


@pytest.mark.parametrize(
    ("wanted", "lines"),
    [
        ((N, 3, M), ["r0 = Shape(x)"]),
        ((N,), ["r0 = Shape(x) end=1 start=0"]),
        ((M,), ["r0 = Shape(x) end=3 start=2"]),
        ((N, 3), ["r0 = Shape(x) end=2 start=0"]),
        ((3, M), ["r0 = Shape(x)", "r1 = Gather(r0, s_s1) axis=0"]),
        ((M, N), ["r0 = Shape(x)", "r1 = Gather(r0, s_s1) axis=0"]),
        ((N, 7), ["r0 = Shape(x) end=1 start=0", "r1 = Concat(r0, s_s1) axis=0"]),
        ((7, N), ["r0 = Shape(x) end=1 start=0", "r1 = Concat(s_s1, r0) axis=0"]),
        ((7, 8, N), ["r0 = Shape(x) end=1 start=0", "r1 = Concat(s_s1, r0) axis=0"]),
    ],
)
def test_ranges_and_gathers(wanted: tuple[Any, ...], lines: list[str]) -> None:
    assert Case().lines(*wanted) == lines


def test_a_scalar_is_gathered() -> None:
    assert Case().lines(M, scalar=True) == ["r0 = Shape(x)", "r1 = Gather(r0, s_s1) axis=0"]
    plan = Case().plan(M, scalar=True)
    assert plan is not None and plan.parts[0].axes == 2


def test_before_opset_15_there_are_no_ranges() -> None:
    lines = ["r0 = Shape(x)", "r1 = Gather(r0, s_s1) axis=0"]
    assert Case(opset=14).lines(N) == Case(opset=14).lines(N, 3) == lines
    assert Case(opset=14).plan(N, 7) is None
    assert Case(opset=15).lines(N) == ["r0 = Shape(x) end=1 start=0"]


def test_a_shape_that_is_there_is_used() -> None:
    body = "s = Shape(x)  y = Relu(x)  v = Neg(s)"
    assert Case(body, opset=14).lines(M) == ["r0 = Gather(s, s_s1) axis=0"]
    plan = Case(body, opset=14).plan(M)
    assert plan is not None and plan.cost == 1
    assert Case(body).lines(M) == ["r0 = Gather(s, s_s1) axis=0"]
    late = "y = Relu(x)  s = Shape(x)  v = Neg(s)"
    wanted = ["r0 = Shape(x)", "r1 = Gather(r0, s_s1) axis=0"]
    assert Case(late, opset=14).lines(M, before=0) == wanted
    assert Case(body, opset=14).lines(M, dead=(0,)) == wanted
    part = "s = Shape<start = 1>(x)  y = Relu(x)  v = Neg(s)"
    assert Case(part).lines(M, N) == wanted


def test_only_what_is_defined_before_and_lives() -> None:
    body = "a = NonZero(x)  b = Transpose(a)  y = Neg(b)"
    case = Case(body, x="float[3,4]")
    shape = case.nodes[0].outputs[0].shape
    assert shape is not None
    size = shape[1]
    assert case.lines(size) == ["r0 = Shape(a) end=2 start=1"]
    assert case.plan(size, before=0) is None
    assert case.lines(size, before=1) == ["r0 = Shape(a) end=2 start=1"]
    assert case.lines(size, dead=(0,)) == ["r0 = Shape(b) end=1 start=0"]
    assert case.plan(size, dead=(0, 1)) is None
    outside = ir.node("Neg", [case.model.graph.inputs[0]])
    assert case.sources.plan((size,), False, outside, frozenset()) is None


def test_what_nobody_reads_is_not_used() -> None:
    case = Case("a = NonZero(x)  y = Neg(a)", x="float[3,4]")
    shape = case.nodes[0].outputs[0].shape
    assert shape is not None
    size = shape[1]
    case.nodes[1].replace_input_with(0, None)
    assert case.plan(size) is None


def test_the_longest_run_wins() -> None:
    case = Case("y = MatMul(x, z)", x="float[N,3,M]", z="float[N,M,K]")
    k = ir.SymbolicDim("K")
    assert case.lines(N, M, k) == ["r0 = Shape(z)"]
    assert case.lines(N, 3, M) == ["r0 = Shape(x)"]
    lines = ["r0 = Shape(x)", "r1 = Shape(z) end=3 start=2", "r2 = Concat(r0, r1) axis=0"]
    assert case.lines(N, 3, M, k) == lines


def test_what_is_nowhere_is_not_planned() -> None:
    assert Case().plan(ir.SymbolicDim("Q")) is None
    assert Case().plan(N, ir.SymbolicDim("Q")) is None
    assert Case().plan(N + M) is None


@pytest.mark.parametrize(("place", "found"), [(7, True), (8, False)])
def test_only_the_first_tensors_of_a_size_are_remembered(place: int, found: bool) -> None:
    """Two sizes that only a later tensor has together."""
    inputs = {f"i{n}": "float[N,5]" for n in range(10)} | {f"i{place}": "float[N,M,5]"}
    body = "  ".join(f"y{n} = Relu({name})" for n, name in enumerate(inputs))
    model = from_proto(net(body, opset=14, **inputs))
    infer_shapes(model)
    sources = Sources(model.graph, 14)
    assert (sources.plan((N, M), False, list(model.graph)[-1], frozenset()) is not None) == found
