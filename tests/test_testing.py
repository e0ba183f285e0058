"""The helper itself: it must fail when a pass breaks any of its promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph.load import from_proto
from onnxslim.pipeline import Numerics, Pass, PassContext
from onnxslim.testing import assert_pass, difference, node_lines
from tests.nets import net
from tests.toys import EliminateDoubleNeg

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,3] x) => (float[N,3] y) { a = Neg(x)  b = Neg(a)  y = Relu(b) }"""


@dataclass(frozen=True)
class Exact(Pass):
    """Whatever a function says, and promises the same bits."""

    action: Callable[[ir.Model, PassContext], int]
    name: ClassVar[str] = "exact"

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        return self.action(model, ctx)


@dataclass(frozen=True)
class Rounding(Exact):
    """Whatever a function says, and promises the same function."""

    numerics: ClassVar[Numerics] = Numerics.ROUNDING


def relu_becomes(op: str, **attributes: Any) -> Callable[[ir.Model, PassContext], int]:
    def action(model: ir.Model, ctx: PassContext) -> int:
        found = list(ctx.nodes("Relu"))
        for node in found:
            ctx.replace(node, ir.node(op, [*node.inputs], attributes))
        return len(found)

    return action


def test_a_good_pass_passes_and_gives_its_context() -> None:
    ctx = assert_pass(EliminateDoubleNeg(), TEXT, ["a = Neg(x)", "y = Relu(x)"])
    assert ctx.skipped == []
    ctx = assert_pass(EliminateDoubleNeg(), net("a = Neg(x)  y = Neg(a)"), None)
    assert ctx.skipped[0][1] == "its result is a graph output"


def test_a_model_in_memory_is_taken_too_and_not_changed() -> None:
    model = from_proto(net("a = Neg(x)  b = Neg(a)  y = Relu(b)"))
    assert_pass(EliminateDoubleNeg(), model, ["a = Neg(x)", "y = Relu(x)"])
    assert [n.op_type for n in model.graph] == ["Neg", "Neg", "Relu"]


def test_the_opset_can_be_chosen() -> None:
    seen = []

    def look(model: ir.Model, ctx: PassContext) -> int:
        seen.append(ctx.opset)
        return 0

    assert_pass(Exact(look), TEXT, None, opset=13)
    assert seen == [13]


def remove_relu(model: ir.Model, ctx: PassContext) -> int:
    node = next(iter(ctx.nodes("Relu")), None)
    return int(node is not None and node.inputs[0] is not None and ctx.bypass(node, node.inputs[0]))


def add_constant(model: ir.Model, ctx: PassContext) -> int:
    ctx.constant(model.graph, "k", np.zeros(1, np.float32))
    return 1


def lie(model: ir.Model, ctx: PassContext) -> int:
    return 0 * add_constant(model, ctx)


def boast(model: ir.Model, ctx: PassContext) -> int:
    return 1


def cut(model: ir.Model, ctx: PassContext) -> int:
    model.graph.remove(next(iter(ctx.nodes("Neg"))))
    return 1


def rename_input(model: ir.Model, ctx: PassContext) -> int:
    model.graph.inputs[0].name = "x2"
    return 1


BODY = "h = Neg(x)  y = Relu(h)"


@pytest.mark.parametrize(
    ("pass_", "expected", "message"),
    [
        (Exact(remove_relu), ["y = Neg(x)"], "output 'y' on seed 0"),
        (Exact(relu_becomes("Abs")), ["h = Neg(x)", "y = Abs(h)"], "are not bit-identical"),
        (Rounding(relu_becomes("Abs")), ["h = Neg(x)", "y = Abs(h)"], "limit"),
        (
            Rounding(relu_becomes("LeakyRelu", alpha=1e-4)),
            ["h = Neg(x)", "y = LeakyRelu(h) alpha=0.0001"],
            "limit",
        ),
        (Exact(relu_becomes("Abs")), ["y = Abs(x)"], "left other nodes"),
        (Exact(relu_becomes("Abs")), None, "was to leave the model alone"),
        (Exact(relu_becomes("Gelu")), ["h = Neg(x)", "y = Gelu(h)"], "there is no operator Gelu"),
        (
            Exact(relu_becomes("Reshape")),
            ["h = Neg(x)", "y = Reshape(h)"],
            "has 1 inputs, expected 2",
        ),
        (Exact(add_constant), ["h = Neg(x)", "y = Relu(h)"], "run a second time"),
        (Exact(lie), None, "returned 0, but the model is changed"),
        (Exact(boast), ["h = Neg(x)", "y = Relu(h)"], "returned 1, but the model is the same"),
        (Exact(cut), ["y = Relu(h)"], "broke the model"),
        (Exact(rename_input), ["h = Neg(x2)", "y = Relu(h)"], "broke the model"),
    ],
)
def test_a_broken_promise_is_told(pass_: Pass, expected: list[str] | None, message: str) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_pass(pass_, net(BODY, x="float[N,3]"), expected)
    assert message in str(caught.value)


def test_rounding_is_allowed_where_it_is_promised() -> None:
    def halve_twice(model: ir.Model, ctx: PassContext) -> int:
        found = list(ctx.nodes("Div"))
        for node in found:
            third = ctx.constant(model.graph, "k", np.array(1 / 3, np.float32))
            ctx.replace(node, ir.node("Mul", [node.inputs[0], third]))
        return len(found)

    model = net("y = Div(x, k)", x="float[64,64]", k=3.0)
    assert_pass(Rounding(halve_twice), model, ["y = Mul(x, k_s1)"])
    with pytest.raises(AssertionError, match="not bit-identical"):
        assert_pass(Exact(halve_twice), model, ["y = Mul(x, k_s1)"])


def test_an_invalid_test_model_is_told() -> None:
    model = net("y = Relu(x)", outputs={"y": "float[7]"}, x="float[3]")
    with pytest.raises(Exception, match="nconsistent|ncompatible|mismatch|differ"):
        assert_pass(EliminateDoubleNeg(), model, None)


def test_overridable_initializers_are_overridden() -> None:
    def fold(model: ir.Model, ctx: PassContext) -> int:
        found = [n for n in ctx.nodes("Mul") if n.inputs[1] is model.graph.initializers.get("k")]
        for node in found:
            value = model.graph.initializers["k"].const_value
            assert value is not None
            ctx.set_input(node, 1, ctx.constant(model.graph, "k", value))
        return len(found)

    model = net("y = Mul(x, k)", x="float[N,3]", k=(3,), overridable=["k"])
    with pytest.raises(AssertionError, match="output 'y' on seed 1"):
        assert_pass(Exact(fold), model, ["y = Mul(x, k_s1)"])


# ------------------------------------------------------------------ lines


@pytest.mark.parametrize(
    ("body", "line", "given"),
    [
        ("y = Relu(x)", "y = Relu(x)", {}),
        ("y = Conv<strides=[2, 2], group=1>(x, w)", "y = Conv(x, w) group=1 strides=(2, 2)", {}),
        ("y = Clip(x,,k)", "y = Clip(x, _, k)", {"k": 1.0}),
        ("y = LeakyRelu<alpha=0.1>(x)", "y = LeakyRelu(x) alpha=0.1", {}),
        ("y = ReduceMax<axes=[1]>(x)", "y = ReduceMax(x) axes=(1,)", {}),
        ('y = Conv<auto_pad="VALID">(x, w)', "y = Conv(x, w) auto_pad='VALID'", {}),
        ("y, m = MaxPool<kernel_shape=[2,2]>(x)", "y, m = MaxPool(x) kernel_shape=(2, 2)", {}),
        (
            "y = Constant<value = int64[2] {3, 4}>()",
            "y = Constant() value=int64[2](3, 4)",
            {},
        ),
        ("y = Constant<value = float {0.5}>()", "y = Constant() value=float(0.5)", {}),
        (
            "y = com.microsoft.Gelu(x)",
            "y = com.microsoft:Gelu(x)",
            {"outputs": {"y": "float[2,4,8,8]"}},
        ),
    ],
)
def test_lines(body: str, line: str, given: dict[str, Any]) -> None:
    assert node_lines(from_proto(net(body, **given)).graph) == [line]


def test_a_branch_is_written_in_braces() -> None:
    model = net(
        "y = If (c) <then_branch = t () => (float[N] p) { h = Relu(x) p = Neg(h) }, "
        "else_branch = e () => (float[N] q) { q = Abs(x) }>",
        x="float[N]",
    )
    assert node_lines(from_proto(model).graph) == [
        "y = If(c) else_branch={q = Abs(x)} then_branch={h = Relu(x); p = Neg(h)}"
    ]


# ------------------------------------------------------------------ differences

NAN = float("nan")


def f32(*items: float) -> np.ndarray[Any, Any]:
    return np.array(items, np.float32)


def f64(*items: float) -> np.ndarray[Any, Any]:
    return np.array(items, np.float64)


def i64(*items: int) -> np.ndarray[Any, Any]:
    return np.array(items, np.int64)


@pytest.mark.parametrize(
    ("old", "new", "numerics", "equal"),
    [
        (f32(0.0), f32(-0.0), Numerics.EXACT, False),
        (f32(0.0), f32(-0.0), Numerics.ROUNDING, True),
        (f32(NAN, 1), f32(NAN, 1), Numerics.EXACT, True),
        (f32(NAN, 1), f32(0, 1), Numerics.ROUNDING, False),
        (f32(0, 1), f32(NAN, 1), Numerics.ROUNDING, False),
        (f32(np.inf, 1), f32(np.inf, 1), Numerics.ROUNDING, True),
        (f32(np.inf, 1), f32(-np.inf, 1), Numerics.ROUNDING, False),
        (f32(1, 2), f32(1, 2.00001), Numerics.ROUNDING, True),
        (f32(1, 2), f32(1, 2.0001), Numerics.ROUNDING, False),
        (f64(1, 2), f64(1, 2.0000001), Numerics.ROUNDING, False),
        (i64(1, 2), i64(1, 3), Numerics.ROUNDING, False),
        (f32(1, 2), f32(3, 2), Numerics.LOSSY, True),
        (f32(1, 2), f32(3), Numerics.LOSSY, False),
        (f32(1), f64(1), Numerics.LOSSY, False),
        ([f32(1)], [f32(1)], Numerics.EXACT, True),
        ([f32(1)], [f32(2)], Numerics.EXACT, False),
        ([f32(1)], [], Numerics.EXACT, False),
        (None, None, Numerics.EXACT, True),
        (None, f32(1), Numerics.EXACT, False),
    ],
)
def test_difference(old: Any, new: Any, numerics: Numerics, equal: bool) -> None:
    assert (difference(old, new, numerics=numerics) is None) == equal


def test_the_limit_can_be_given() -> None:
    old, new = f32(1, 2), f32(1, 2.1)
    assert difference(old, new, numerics=Numerics.LOSSY, rtol=0.1) is None
    assert difference(old, new, numerics=Numerics.LOSSY, rtol=0.01) is not None
    assert difference(old, new, numerics=Numerics.EXACT, rtol=0.1) is None
