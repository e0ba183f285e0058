"""Constants are computed where that is exact and pays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import MissingRuntimeError, WorkerError
from onnxslim.graph import edit
from onnxslim.graph.load import from_proto
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass, node_lines, shared_worker
from tests.nets import net

PASS = get_pass("fold-constants")()
F = np.arange(8, dtype=np.float32)


def ints(*items: int) -> np.ndarray[Any, Any]:
    return np.array(items, np.int64)


def constants(ctx: PassContext) -> dict[str, list[Any]]:
    return {
        n: v.const_value.numpy().tolist()
        for n, v in ctx.model.graph.initializers.items()
        if v.const_value
    }


def test_computes_a_chain_and_keeps_its_name() -> None:
    model = net("a = Mul(k, k)  b = Add(a, k)  y = Add(x, b)", k=F)
    ctx = assert_pass(PASS, model, ["y = Add(x, b)"])
    assert constants(ctx)["b"] == (F * F + F).tolist()


def test_computes_in_the_runtime_what_numpy_rounds_differently() -> None:
    body = "a = Exp(k)  b = Erf(a)  d = Concat<axis = 0>(b, k)  y = Mul(z, d)"
    assert_pass(PASS, net(body, k=F, z="float[N,16]"), ["y = Mul(z, d)"])


def test_float16() -> None:
    body = "a = Mul(k, k)  b = Transpose(a)  y = Add(x, b)"
    assert_pass(PASS, net(body, k=F, dtype="float16"), ["y = Add(x, b)"])


@pytest.mark.parametrize(
    "attribute",
    [
        "value = float[8] {1, 2, 3, 4, 5, 6, 7, 8}",
        "value_float = 2.5",
        "value_floats = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]",
    ],
)
def test_constant_nodes_become_initializers(attribute: str) -> None:
    ctx = assert_pass(PASS, net(f"k = Constant<{attribute}>()  y = Add(x, k)"), ["y = Add(x, k)"])
    assert "k" in constants(ctx)


def test_string_and_sparse_constants_stay() -> None:
    body = 'k = Constant<value_strings = ["a", "b"]>()  y = Equal(z, k)'
    assert_pass(PASS, net(body, z="string[2]", opset=19), None, run=False)


def test_a_constant_that_is_a_graph_output_stays() -> None:
    assert_pass(PASS, net("y = Constant<value_float = 1.0>()  z = Relu(x)"), None)


def test_shape_arithmetic_on_fixed_dimensions() -> None:
    body = """
    s = Shape(x)  d = Gather(s, zero)  u = Unsqueeze(d, axes)  t = Concat<axis = 0>(u, minus)
    y = Reshape(x, t)
    """
    model = net(body, zero=np.int64(0), axes=ints(0), minus=ints(-1))
    ctx = assert_pass(PASS, model, ["y = Reshape(x, t)"])
    assert constants(ctx)["t"] == [2, -1]


def test_shape_arithmetic_next_to_a_dynamic_dimension() -> None:
    body = """
    s = Shape(x)  hw = Slice(s, two, four)  t = Concat<axis = 0>(nc, hw)  e = Reshape(k, t)
    y = Add(x, e)
    """
    model = net(body, x="float[N,2,2,2]", two=ints(2), four=ints(4), nc=ints(1, 2), k=F)
    assert_pass(PASS, model, ["y = Add(x, e)"])


def test_dynamic_dimensions_stay() -> None:
    body = "s = Shape(x)  d = Gather(s, zero)  t = Concat<axis = 0>(d, k)  y = Reshape(x, t)"
    model = net(body, x="float[N,6]", zero=ints(0), k=ints(2, 3))
    assert_pass(PASS, model, None)


def test_in_a_subgraph_with_outer_constants() -> None:
    body = """
    y = If (c) <
      then_branch = t () => (float[2,4,8,8] o1) { a = Mul(k, k)  o1 = Add(x, a) },
      else_branch = e () => (float[2,4,8,8] o2) { o2 = Neg(x) }
    >
    """
    line = "y = If(c) else_branch={o2 = Neg(x)} then_branch={o1 = Add(x, a)}"
    assert_pass(PASS, net(body, k=F), [line])


@pytest.mark.parametrize("op", ["RandomNormalLike", "Bernoulli"])
def test_random_operators_stay(op: str) -> None:
    assert_pass(PASS, net(f"a = {op}(k)  y = Add(x, a)", k=F), None, run=False)


def test_operators_of_other_domains_stay_and_stop_nothing() -> None:
    body = "a = my.dom.Op(k)  b = Mul(k, k)  d = Add(x, b)  y = Add(d, a)"
    model = net(body, k=F, outputs={"y": "float[2,4,8,8]"})
    lines = ["a = my.dom:Op(k)", "d = Add(x, b)", "y = Add(d, a)"]
    assert_pass(PASS, model, lines, run=False)


def test_overridable_initializers_are_no_constants() -> None:
    assert_pass(PASS, net("a = Mul(k, k)  y = Add(x, a)", k=F, overridable=["k"]), None)


W8 = np.random.default_rng(0).integers(-128, 127, (8, 8)).astype(np.int8)


@pytest.mark.parametrize(
    "weights",
    [
        "d = DequantizeLinear(w8, s, z)",
        "f = Cast<to = 1>(w8)  d = Mul(f, s)",
        "r = Reshape(w8, sh)  f = Cast<to = 1>(r)  d = Mul(f, s)",
    ],
)
def test_quantized_weights_are_never_widened(weights: str) -> None:
    body = f"{weights}  y = MatMul(x, d)"
    model = net(body, w8=W8, s=np.float32(0.1), z=np.int8(0), sh=ints(8, 8))
    proto = from_proto(model)
    infer_shapes(proto)
    ctx = PassContext(proto, worker=shared_worker())
    PASS.run(proto, ctx)
    kinds = {v.dtype for v in proto.graph.initializers.values() if v.uses() and v.shape == (8, 8)}
    assert kinds == {ir.DataType.INT8}
    assert any("widens" in reason for _, reason in ctx.skipped)


def test_a_transposed_weight_takes_the_place_of_the_old_one() -> None:
    body = "t = Transpose<perm = [1, 0]>(w)  y = MatMul(x, t)"
    ctx = assert_pass(PASS, net(body, x="float[N,600]", w=(500, 600)), ["y = MatMul(x, t)"])
    assert not ctx.skipped


def test_a_tied_weight_is_not_stored_twice() -> None:
    body = "e = Gather(w, i)  t = Transpose<perm = [1, 0]>(w)  y = MatMul(e, t)"
    model = net(body, i="int64[N]", w=(100, 60))
    ctx = assert_pass(PASS, model, None, feeds=lambda seed: {"i": np.arange(3) + seed})
    assert "larger" in ctx.skipped[0][1]


@pytest.mark.parametrize(
    ("nodes", "given"),
    [
        ("b = ConstantOfShape(k)", {"k": ints(1, 64, 64)}),
        ("b = Expand(k, t)", {"k": np.float32(1), "t": ints(1, 64, 64)}),
        ("b = Tile(k, t)", {"k": np.ones((1, 64, 1), np.float32), "t": ints(1, 1, 64)}),
        (
            "r = Range(k, n, one)  b = Cast<to = 1>(r)",
            {"k": np.int64(0), "n": np.int64(4096), "one": np.int64(1)},
        ),
    ],
)
def test_small_recipes_for_large_tensors_stay(nodes: str, given: dict[str, Any]) -> None:
    size = "4096" if "Range" in nodes else "4,64,64"
    ctx = assert_pass(PASS, net(f"{nodes}  y = Add(x, b)", x=f"float[{size}]", **given), None)
    assert any("larger" in reason for _, reason in ctx.skipped)


def test_an_intermediate_may_be_large_when_the_result_is_small() -> None:
    body = "b = Expand(k, t)  m = ReduceMax(b)  y = Add(z, m)"
    model = net(body, k=np.array([1, 2, 3]), t=ints(4096, 3), z="int64[N]")
    assert_pass(PASS, model, ["y = Add(z, m)"])


def test_results_above_the_limit_stay() -> None:
    tiny = get_pass("fold-constants")(limit=16)  # type: ignore[call-arg]
    ctx = assert_pass(tiny, net("a = Mul(k, k)  y = Add(x, a)", k=F), None)
    assert "larger than 16 bytes" in ctx.skipped[0][1]


@pytest.mark.parametrize(
    ("body", "given", "reason", "lines"),
    [
        ("a = Div(i, z)  y = Add(n, a)", {"z": ints(0)}, "by zero", None),
        ("a = Mod(i, z)  y = Add(n, a)", {"z": ints(0)}, "by zero", None),
        (
            "b = Add(i, i)  a = Div(b, z)  y = Add(n, a)",
            {"z": ints(0)},
            "by zero",
            ["a = Div(b, z)", "y = Add(n, a)"],
        ),
    ],
)
def test_undefined_arithmetic_stays(
    body: str, given: dict[str, Any], reason: str, lines: Sequence[str] | None
) -> None:
    model = net(body, n="int64[4]", i=ints(3), **given)
    ctx = assert_pass(PASS, model, lines, run=False)
    assert reason in ctx.skipped[0][1]


class Broken:
    """A worker that fails, as the real one does."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.calls = 0

    def evaluate(self, model: bytes, **_: Any) -> dict[str, Any]:
        self.calls += 1
        raise self.error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (WorkerError("died", "crash"), "(crash)"),
        (WorkerError("slow", "timeout"), "(timeout)"),
        (WorkerError("too large", "memory"), "(memory)"),
        (MissingRuntimeError("no runtime"), "not installed"),
    ],
)
def test_a_failing_runtime_is_a_reason_not_a_failure(error: Exception, reason: str) -> None:
    model = from_proto(net("a = Exp(k)  b = Mul(k, k)  d = Add(a, b)  y = Add(x, d)", k=F))
    infer_shapes(model)
    broken = Broken(error)
    ctx = PassContext(model, worker=broken)  # type: ignore[arg-type]
    assert PASS.run(model, ctx) == 1
    assert node_lines(model.graph) == ["a = Exp(k)", "d = Add(a, b)", "y = Add(x, d)"]
    assert any(reason in text for _, text in ctx.skipped)
    assert broken.calls < 30


def test_one_bad_node_does_not_stop_the_others() -> None:
    body = "a = Exp(k)  b = Cast<to = 16>(k)  d = Sqrt(a)  y = Add(x, d)  z = Neg(b)"

    class Picky:
        def evaluate(self, model: bytes, **options: Any) -> dict[str, Any]:
            proto = onnx.ModelProto.FromString(model)
            if any(n.op_type == "Cast" for n in proto.graph.node):
                raise WorkerError("no kernel", "error")
            return dict(shared_worker().evaluate(model, **options))

    model = from_proto(net(body, k=F))
    infer_shapes(model)
    ctx = PassContext(model, worker=Picky())  # type: ignore[arg-type]
    assert PASS.run(model, ctx) == 1
    assert node_lines(model.graph) == ["b = Cast(k) to=16", "y = Add(x, d)", "z = Neg(b)"]


def test_one_request_for_everything() -> None:
    calls = []

    class Counting:
        def evaluate(self, model: bytes, **options: Any) -> dict[str, Any]:
            calls.append(model)
            return dict(shared_worker().evaluate(model, **options))

    body = "  ".join(f"a{i} = Exp(k{i})" for i in range(5)) + "  " + "b0 = Add(x, a0)  "
    body += "  ".join(f"b{i} = Add(b{i - 1}, a{i})" for i in range(1, 5))
    model = from_proto(net(body, **dict[str, Any]({f"k{i}": F + i for i in range(5)})))
    infer_shapes(model)
    ctx = PassContext(model, worker=Counting())  # type: ignore[arg-type]
    assert PASS.run(model, ctx) == 5
    assert len(calls) == 1


def test_a_result_of_another_type_is_not_believed() -> None:
    class Confused:
        def evaluate(self, model: bytes, **options: Any) -> dict[str, Any]:
            found = shared_worker().evaluate(model, **options)
            return {name: np.asarray(array).view(np.uint32) for name, array in found.items()}

    model = from_proto(net("a = Exp(k)  y = Add(x, a)", k=F))
    infer_shapes(model)
    ctx = PassContext(model, worker=Confused())  # type: ignore[arg-type]
    assert PASS.run(model, ctx) == 0
    assert node_lines(model.graph) == ["a = Exp(k)", "y = Add(x, a)"]
    assert "another type" in ctx.skipped[0][1]


def test_all_parts_of_a_split_constant() -> None:
    body = "a, b = Split<axis = 0>(k)  y = Add(x, a)  z = Add(x, b)"
    model = net(body, k=np.arange(16, dtype=np.float32).reshape(2, 8), opset=13)
    assert_pass(PASS, model, ["y = Add(x, a)", "z = Add(x, b)"])


def test_shapes_behind_a_new_constant_are_known() -> None:
    body = "f = Mul(k, m)  s = Cast<to = 7>(f)  y = Reshape(x, s)  z = Relu(y)"
    numbers = np.array([1, 8], np.float32)
    model = from_proto(net(body, x="float[4,4]", k=numbers, m=np.float32(2),
                           outputs={"z": "float[A,B]"}))  # fmt: skip
    infer_shapes(model)
    assert edit.static_shape(model.graph[-2].outputs[0]) is None
    assert PASS.run(model, PassContext(model, worker=shared_worker())) > 0
    assert edit.static_shape(model.graph[-2].outputs[0]) == (2, 16)


def test_a_result_whose_size_was_not_known() -> None:
    model = net("i = NonZero(k)  y = Add(i, j)", k=np.array([1, 0, 2], np.float32), j="int64")
    assert_pass(PASS, model, ["y = Add(i, j)"])
