"""Passes that are wrong on purpose, each in one way that optimizers really got wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.pipeline import Numerics, Pass, PassContext
from tests.nets import net

Action = Callable[[ir.Model, PassContext], object]


@dataclass(frozen=True)
class EliminateCorrectness(Pass):
    """Break a model in the way that ``kind`` names."""

    kind: str
    name: ClassVar[str] = "eliminate-correctness"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        CASES[self.kind].action(model, ctx)
        return int(self.kind not in SILENT)


@dataclass(frozen=True)
class Case:
    """A model, and how it is broken."""

    model: Callable[[], onnx.ModelProto]
    action: Action


CASES: dict[str, Case] = {}
SILENT = ("lies-about-its-count",)


def case(body: str, **given: Any) -> Callable[[Action], Action]:
    def add(action: Action) -> Action:
        name = action.__name__.replace("_", "-")
        CASES[name] = Case(lambda: net(body, **given), action)
        return action

    return add


def first(ctx: PassContext, op: str) -> ir.Node:
    return next(iter(ctx.nodes(op)))


def array(value: ir.Value | None) -> np.ndarray[Any, Any]:
    found = edit.constant_array(value)
    assert found is not None
    return found


def swap(ctx: PassContext, node: ir.Node, index: int, new: np.ndarray[Any, Any]) -> None:
    """Let a node read another constant."""
    assert node.graph is not None and isinstance(node.graph, ir.Graph)
    ctx.set_input(node, index, ctx.constant(node.graph, "wrong", new))


# ------------------------------------------------------------------ wrong arithmetic

BN = "h = Conv(x, w, b)  y = BatchNormalization(h, scale, shift, mean, var)"


def fold_batchnorm(
    ctx: PassContext,
    *,
    epsilon: float = 1e-5,
    keep_bias: bool = True,
    axis: int = 0,
    sqrt: bool = True,
) -> None:
    bn = first(ctx, "BatchNormalization")
    conv = bn.inputs[0].producer() if bn.inputs[0] is not None else None
    assert conv is not None and isinstance(conv.graph, ir.Graph)
    weight, bias = array(conv.inputs[1]), array(conv.inputs[2]) * keep_bias
    scale, shift, mean, var = (array(v) for v in bn.inputs[1:5])
    k = scale / (np.sqrt(var + epsilon) if sqrt else var + epsilon)
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
    new = [(weight * k.reshape(shape)), (bias - mean) * k + shift]
    constants = [ctx.constant(conv.graph, "f", a.astype(weight.dtype)) for a in new]
    ctx.replace([conv, bn], ir.node("Conv", [conv.inputs[0], *constants], conv.attributes))


@case(BN)
def wrong_epsilon(model: ir.Model, ctx: PassContext) -> None:
    fold_batchnorm(ctx, epsilon=1e-3)


@case(BN)
def forgotten_bias(model: ir.Model, ctx: PassContext) -> None:
    fold_batchnorm(ctx, keep_bias=False)


@case(BN)
def scales_input_channels(model: ir.Model, ctx: PassContext) -> None:
    fold_batchnorm(ctx, axis=1)


@case(BN)
def forgotten_square_root(model: ir.Model, ctx: PassContext) -> None:
    fold_batchnorm(ctx, sqrt=False)


@case(BN.replace("BatchNorm", "BatchNorm").replace("y = ", "y, m, v = ").replace(
    "Normalization(", "Normalization<training_mode = 1>("), outputs=["y"])  # fmt: skip
def folds_training_batchnorm(model: ir.Model, ctx: PassContext) -> None:
    fold_batchnorm(ctx)


@case("y = MatMul(x, w)", x="float[N,4]", w=(4, 4))
def forgets_to_transpose(model: ir.Model, ctx: PassContext) -> None:
    node = first(ctx, "MatMul")
    ctx.replace(node, ir.node("Gemm", [*node.inputs], {"transB": 1}))


@case("y = Gemm<alpha = 0.5, beta = 2.0>(x, w, b)", x="float[N,4]", w=(4, 4))
def drops_alpha(model: ir.Model, ctx: PassContext) -> None:
    ctx.set_attributes(first(ctx, "Gemm"), {"alpha": None})


@case("y = LeakyRelu<alpha = 0.1>(x)", x="float[N,4]")
def changes_a_slope_slightly(model: ir.Model, ctx: PassContext) -> None:
    ctx.set_attributes(first(ctx, "LeakyRelu"), {"alpha": 0.1001})


@case("a = Sub(x, k)  y = Relu(a)", x="float[N,4]", k=(4,))
def commutes_sub(model: ir.Model, ctx: PassContext) -> None:
    node = first(ctx, "Sub")
    ctx.replace(node, ir.node("Sub", [node.inputs[1], node.inputs[0]]))


@case("h = Conv(x, w)  y = Mul(h, k)", x="float[1,4,6,6]", k=(4, 1, 1))
def broadcasts_along_the_wrong_axis(model: ir.Model, ctx: PassContext) -> None:
    node = first(ctx, "Mul")
    swap(ctx, node, 1, array(node.inputs[1]).reshape(4))


@case("h = Cast<to = 6>(x)  y = Cast<to = 1>(h)", x="float[N,4]")
def drops_a_narrowing_cast_pair(model: ir.Model, ctx: PassContext) -> None:
    node = first(ctx, "Cast")
    assert node.inputs[0] is not None
    last = list(ctx.nodes("Cast"))[-1]
    ctx.replace(last, ir.node("Identity", [node.inputs[0]]))


@case("h = Div(x, p)  g = Div(x, n)  a = Atan(h)  z = Atan(g)", x="float[N,4]", p=[0.0], n=[-0.0])
def merges_zero_and_minus_zero(model: ir.Model, ctx: PassContext) -> None:
    one, other = ctx.nodes("Div")
    ctx.set_input(other, 1, one.inputs[1])


@case("y = Softmax<axis = 1>(x)", x="float[N,4,5]")
def forgets_an_axis(model: ir.Model, ctx: PassContext) -> None:
    ctx.set_attributes(first(ctx, "Softmax"), {"axis": None})


@case("y = Clip(x, lo, hi)", x="float[N,4]", lo=-0.5, hi=0.5)
def loses_a_bound(model: ir.Model, ctx: PassContext) -> None:
    ctx.set_input(first(ctx, "Clip"), 1, None)


@case(
    "h = Mul(x, big)  y = Mul(h, small)", x="float16[N,4]", dtype="float16", big=[6e4], small=[1e-4]
)
def adds_an_overflow(model: ir.Model, ctx: PassContext) -> None:
    swap(ctx, first(ctx, "Mul"), 1, np.array([np.inf], np.float16))


# ------------------------------------------------------------------ wrong places and shapes


@case("y = Slice(x, s, e, a)", x="float[N,6]", s=[1], e=[4], a=[1])
def shifts_a_slice(model: ir.Model, ctx: PassContext) -> None:
    node = first(ctx, "Slice")
    swap(ctx, node, 1, array(node.inputs[1]) + 1)
    swap(ctx, node, 2, array(node.inputs[2]) + 1)


@case("h = Pad(x, p)  y = Conv(h, w)", p=[0, 0, 1, 0, 0, 0, 0, 0])
def pads_the_other_side(model: ir.Model, ctx: PassContext) -> None:
    pad, conv = first(ctx, "Pad"), first(ctx, "Conv")
    attributes = {"pads": [0, 0, 1, 0]}
    ctx.replace([pad, conv], ir.node("Conv", [pad.inputs[0], conv.inputs[1]], attributes))


@case("h = Pad(x, p)  y = AveragePool<kernel_shape = [3, 3]>(h)", p=[0, 0, 1, 1, 0, 0, 1, 1])
def pads_an_average_without_counting(model: ir.Model, ctx: PassContext) -> None:
    pad, pool = first(ctx, "Pad"), first(ctx, "AveragePool")
    attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    ctx.replace([pad, pool], ir.node("AveragePool", [pad.inputs[0]], attributes))


@case("y = Reshape(x, s)", x="float[N,4,6]", s=[0, -1])
def reshapes_to_something_else(model: ir.Model, ctx: PassContext) -> None:
    swap(ctx, first(ctx, "Reshape"), 1, np.array([-1, 4]))


@case(
    "s = Shape(x)  g = Gather(s, i)  u = Unsqueeze(g, a)  "
    "t = Concat<axis = 0>(u, m)  y = Reshape(x, t)",
    x="float[N,4,6]", i=0, a=[0], m=[-1],
)  # fmt: skip
def freezes_the_batch(model: ir.Model, ctx: PassContext) -> None:
    swap(ctx, first(ctx, "Reshape"), 1, np.array([1, -1]))


@case("a = Transpose<perm = [0, 2, 1]>(x)  y = Transpose<perm = [0, 2, 1]>(a)", x="float[N,4,4]")
def cancels_one_transpose(model: ir.Model, ctx: PassContext) -> None:
    node = list(ctx.nodes("Transpose"))[-1]
    ctx.replace(node, ir.node("Identity", [node.inputs[0]]))


@case("y = Concat<axis = 1>(a, b)", a="float[N,4]", b="float[N,4]")
def swaps_the_inputs_of_a_concat(model: ir.Model, ctx: PassContext) -> None:
    node = first(ctx, "Concat")
    ctx.replace(node, ir.node("Concat", [*reversed(node.inputs)], node.attributes))


# ------------------------------------------------------------------ wrong constants


@case("a = Mul(x, k)  y = Add(a, k)", x="float[N,4]", k=(4,))
def changes_a_shared_initializer_in_place(model: ir.Model, ctx: PassContext) -> None:
    value = model.graph.initializers["k"]
    value.const_value = ir.tensor(array(value) * 2, name="k")


@case("a = Mul(x, k)  y = Relu(a)", x="float[N,4]", k=(4,))
def changes_one_bit(model: ir.Model, ctx: PassContext) -> None:
    node = first(ctx, "Mul")
    wrong = array(node.inputs[1]).copy()
    wrong.view(np.uint32)[0] ^= 1 << 12
    swap(ctx, node, 1, wrong)


@case("a = Mul(x, k)  y = Relu(a)", x="float[N,4]", k=(4,), overridable=["k"])
def folds_what_the_caller_may_override(model: ir.Model, ctx: PassContext) -> None:
    node = first(ctx, "Mul")
    value = model.graph.initializers["k"].const_value
    assert value is not None
    swap(ctx, node, 1, value.numpy())


@case("r = RandomUniformLike(x)  y = Add(x, r)", x="float[2,4]")
def folds_a_random_number(model: ir.Model, ctx: PassContext) -> None:
    node = first(ctx, "RandomUniformLike")
    constant = ctx.constant(model.graph, "r", np.full((2, 4), 0.5, np.float32))
    ctx.bypass(node, constant)


# ------------------------------------------------------------------ broken structure

CHAIN = "a = Relu(x)  d = Neg(a)  y = Abs(d)"


@case(CHAIN)
def drops_a_node_that_is_read(model: ir.Model, ctx: PassContext) -> None:
    model.graph.remove(first(ctx, "Neg"))


@case(CHAIN)
def writes_a_name_twice(model: ir.Model, ctx: PassContext) -> None:
    first(ctx, "Neg").outputs[0].name = "a"


@case(CHAIN)
def inserts_behind_the_reader(model: ir.Model, ctx: PassContext) -> None:
    node = first(ctx, "Neg")
    model.graph.remove(node)
    model.graph.append(node)


@case(CHAIN)
def renames_an_output(model: ir.Model, ctx: PassContext) -> None:
    model.graph.outputs[0].name = "z"


@case("y = Relu(x)  z = Neg(x)")
def swaps_outputs(model: ir.Model, ctx: PassContext) -> None:
    one, other = model.graph.outputs
    model.graph.outputs[0], model.graph.outputs[1] = other, one


@case("y = Relu(x)  z = Neg(x)")
def drops_an_output(model: ir.Model, ctx: PassContext) -> None:
    model.graph.outputs.pop()


@case("y = Relu(x)", u="float[3]")
def drops_an_unread_input(model: ir.Model, ctx: PassContext) -> None:
    model.graph.inputs.pop()


@case("y = Relu(x)", x="float[N,4]")
def uses_an_operator_of_a_later_opset(model: ir.Model, ctx: PassContext) -> None:
    node = first(ctx, "Relu")
    ctx.replace(node, ir.node("Gelu", [*node.inputs]))


@case("y = Relu(x)", x="float[N,4]")
def uses_a_domain_that_is_not_imported(model: ir.Model, ctx: PassContext) -> None:
    node = first(ctx, "Relu")
    ctx.replace(node, ir.node("FusedRelu", [*node.inputs], domain="com.example"))


@case("y = Relu(x)", x="float[N,4]")
def sets_an_attribute_that_does_not_exist(model: ir.Model, ctx: PassContext) -> None:
    ctx.set_attributes(first(ctx, "Relu"), {"alpha": 0.5})


@case("y = Concat<axis = 0>(x, x)", x="float[N,4]")
def loses_a_required_attribute(model: ir.Model, ctx: PassContext) -> None:
    ctx.set_attributes(first(ctx, "Concat"), {"axis": None})


@case("y = Mul(x, k)", x="float[N,4]", k=(4,))
def makes_a_constant_of_another_type(model: ir.Model, ctx: PassContext) -> None:
    node = first(ctx, "Mul")
    swap(ctx, node, 1, array(node.inputs[1]).astype(np.float64))


IF = (
    "h = Neg(x)  y = If (c) <then_branch = t () => (float[N] p) { p = Relu(h) }, "
    "else_branch = e () => (float[N] q) { q = Abs(h) }>"
)


@case(IF, x="float[N]")
def drops_what_only_branches_read(model: ir.Model, ctx: PassContext) -> None:
    model.graph.remove(first(ctx, "Neg"))


@case(IF, x="float[N]")
def empties_a_branch(model: ir.Model, ctx: PassContext) -> None:
    node = first(ctx, "Relu")
    assert isinstance(node.graph, ir.Graph)
    node.graph.remove(node)


@case(IF, x="float[N]")
def takes_the_wrong_branch(model: ir.Model, ctx: PassContext) -> None:
    node = first(ctx, "If")
    swapped = {
        "then_branch": node.attributes["else_branch"].value,
        "else_branch": node.attributes["then_branch"].value,
    }
    attributes = {name: ir.AttrGraph(name, graph) for name, graph in swapped.items()}
    ctx.replace(node, ir.node("If", [*node.inputs], attributes))


@case("a = Mul(x, k)  y = Relu(a)", x="float[N,4]", k=(4,))
def lies_about_its_count(model: ir.Model, ctx: PassContext) -> None:
    node = first(ctx, "Mul")
    swap(ctx, node, 1, array(node.inputs[1]) * 2)
