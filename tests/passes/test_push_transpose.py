"""Transposes meet and cancel through operators that work in any layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from onnxslim.passes import push_transpose
from onnxslim.passes._layout_region import Choice, Region
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass, node_lines
from tests.nets import net

PASS = get_pass("push-transpose")()
IN, OUT = "Transpose<perm = [0, 2, 3, 1]>", "Transpose<perm = [0, 3, 1, 2]>"


def between(ops: str, result: str = "h", **given: Any) -> onnx.ModelProto:
    """``x`` to NHWC, some operators from ``a``, and back."""
    return net(f"a = {IN}(x)  {ops}  b = {OUT}({result})  y = Sigmoid(b)", **given)


def check(model: onnx.ModelProto, ops: list[str]) -> None:
    """Run the pass, compare which operators are left, and check all of its promises."""
    result = from_proto(model)
    infer_shapes(result)
    PASS.run(result, PassContext(result))
    assert [node.op_type for node in result.graph] == ops
    assert_pass(PASS, model, node_lines(result.graph))


def test_through_relu_and_a_constant() -> None:
    model = between("r = Relu(a)  h = Add(r, k)", k=(4,))
    lines = ["r_s1 = Relu(x)", "h_s1 = Add(r_s1, k_s1)", "y = Sigmoid(h_s1)"]
    assert_pass(PASS, model, lines)


@pytest.mark.parametrize(
    ("ops", "left", "given"),
    [
        ("h = Mul(k, a)", ["Mul", "Sigmoid"], {"k": (1,)}),
        ("h = Sub(k, a)", ["Sub", "Sigmoid"], {"k": (8, 4)}),
        ("h = Div(a, k)", ["Div", "Sigmoid"], {"k": (2, 8, 8, 4)}),
        ("h = Pow(a, k)", ["Pow", "Sigmoid"], {"k": np.float32(2)}),
        ("h = PRelu(a, k)", ["PRelu", "Sigmoid"], {"k": (4,)}),
        ("h = PRelu(a, k)", ["PRelu", "Sigmoid"], {"k": (1, 8, 1)}),
        ("h = Clip(a, l, u)", ["Clip", "Sigmoid"], {"l": np.float32(-1), "u": np.float32(1)}),
        ("h = LeakyRelu<alpha = 0.3>(a)", ["LeakyRelu", "Sigmoid"], {}),
        ("h = Max(a, k, a)", ["Max", "Sigmoid"], {"k": (8, 1, 4)}),
        ("h = Concat<axis = 3>(a, k)", ["Concat", "Sigmoid"], {"k": (2, 8, 8, 3)}),
        ("h = Concat<axis = -2>(a, a)", ["Concat", "Sigmoid"], {}),
        ("p, q = Split<axis = 3>(a)  h = Add(p, q)", ["Split", "Add", "Sigmoid"], {}),
        ("h = Slice(a, s, e, t)", ["Slice", "Sigmoid"], {"s": [1, 0], "e": [3, 9], "t": [3, -2]}),
        ("h = Pad(a, p)", ["Pad", "Sigmoid"], {"p": [0, 1, 2, 3, 0, 4, 5, 6]}),
        ("h = ReduceMean<axes = [1, 2]>(a)", ["ReduceMean", "Sigmoid"], {}),
        ("h = ReduceSum(a, t)", ["ReduceSum", "Sigmoid"], {"t": [-1]}),
        ("h = ReduceMax(a)", ["Transpose", "ReduceMax", "Transpose", "Sigmoid"], {}),
        ("h = Softmax<axis = 1>(a)", ["Softmax", "Sigmoid"], {}),
        ("c = Greater(a, k)  h = Where(c, a, k)", ["Greater", "Where", "Sigmoid"], {"k": (4,)}),
        (
            "q = Squeeze(a, t)  u = Abs(q)  h = Unsqueeze(u, t)",
            ["Squeeze", "Abs", "Unsqueeze", "Sigmoid"],
            {"x": "float[2,1,8,6]", "t": [3]},
        ),
    ],
)
def test_operators(ops: str, left: list[str], given: dict[str, Any]) -> None:
    check(between(ops, **given), left)


def test_softmax_on_the_last_axis_stays_there() -> None:
    assert_pass(PASS, between("h = Softmax<axis = -1>(a)"), None)


def test_quantization_per_channel_and_per_tensor() -> None:
    body = "q = QuantizeLinear<axis = 3>(a, s, z)  h = DequantizeLinear<axis = 3>(q, s, z)"
    scales = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    left = ["QuantizeLinear", "DequantizeLinear", "Sigmoid"]
    check(between(body, s=scales, z=np.zeros(4, np.int8)), left)
    body = body.replace("<axis = 3>", "")
    check(between(body, s=np.float32(0.1), z=np.int8(3)), left)


def test_a_residual_branch_with_two_transposes() -> None:
    model = net(f"w0 = Relu(x)  a = {IN}(x)  b = {IN}(w0)  h = Add(a, b)  y = {OUT}(h)  z = Abs(y)")
    check(model, ["Relu", "Add", "Abs"])


def test_a_pooled_head_needs_no_transpose() -> None:
    model = net(f"a = {IN}(x)  r = Relu(a)  y = ReduceMean<axes = [1, 2], keepdims = 0>(r)")
    check(model, ["Relu", "ReduceMean"])


def test_two_entries_become_one_exit() -> None:
    model = net(f"a = {IN}(x)  b = {IN}(z)  h = Mul(a, b)  y = Relu(h)", z="float[2,4,8,8]")
    check(model, ["Mul", "Transpose", "Relu"])


def test_one_exit_instead_of_three() -> None:
    model = net(
        f"h = Conv(x, w)  a = {IN}(h)  b = Abs(h)  d = {IN}(b)  e = Neg(b)  f = {IN}(e)"
        "  p = Relu(a)  q = Relu(d)  y = Concat<axis = 3>(p, q, f)"
    )
    check(model, ["Conv", "Transpose", "Abs", "Neg", "Relu", "Relu", "Concat"])


def test_never_more_movement() -> None:
    # one Transpose of much into one of little and one of much: no
    assert_pass(PASS, net(f"a = {IN}(x)  y = Relu(a)"), None)
    model = net(f"a = {IN}(x)  h = Add(a, z)  b = {OUT}(h)  y = Relu(b)", z="float[2,8,8,4]")
    check(model, ["Transpose", "Add", "Relu"])
    model = net(f"h = Relu(x)  y = {IN}(h)  z = Neg(h)")
    assert_pass(PASS, model, None)


def test_an_entry_that_others_read_stays() -> None:
    model = net(f"a = {IN}(x)  h = Relu(a)  b = {OUT}(h)  y = Abs(b)", outputs=["a", "y"])
    check(model, ["Transpose", "Relu", "Abs"])


def test_the_middle_as_a_graph_output_keeps_its_name() -> None:
    model = net(
        f"a = {IN}(x)  r = Relu(a)  h = Neg(r)  b = {OUT}(h)  y = Abs(b)", outputs=["r", "y"]
    )
    check(model, ["Relu", "Transpose", "Neg", "Abs"])


def test_large_constants_that_others_read_stay() -> None:
    body = "h = Mul(a, k)  g = Neg(k)"
    given: dict[str, Any] = {"x": "float[1,64,8,8]", "k": (8, 8, 64)}
    assert_pass(PASS, between(body, **given), None)
    check(between("h = Mul(a, k)", **given), ["Mul", "Sigmoid"])


def test_dynamic_sizes_and_types() -> None:
    ops = "r = Relu(a)  h = Mul(r, k)"
    check(between(ops, x="float[N,4,H,W]", k=(4,)), ["Relu", "Mul", "Sigmoid"])
    check(between(ops, x="float[N,4,H,W]", k=(4,), dtype="float16"), ["Relu", "Mul", "Sigmoid"])


@pytest.mark.parametrize("opset", [9, 10, 12])
def test_attributes_of_older_opsets(opset: int) -> None:
    ops = "r = ReduceSum<axes = [3]>(a)  u = Squeeze<axes = [3]>(r)  h = Unsqueeze<axes = [3]>(u)"
    check(between(ops, opset=opset), ["ReduceSum", "Squeeze", "Unsqueeze", "Sigmoid"])
    if opset < 10:
        ops = "h = Slice<axes = [3], starts = [1], ends = [3]>(a)"
        check(between(ops, opset=opset), ["Slice", "Sigmoid"])
        ops = "h = Pad<pads = [0, 1, 2, 3, 0, 4, 5, 6]>(a)"
        check(between(ops, opset=opset), ["Pad", "Sigmoid"])


def test_inside_a_subgraph() -> None:
    inner = f"a = {IN}(x)  h = Relu(a)  r = {OUT}(h)"
    body = (
        f"y = If(c) <then_branch = t () => (float[2,4,8,8] r) {{ {inner} }},"
        " else_branch = e () => (float[2,4,8,8] q) { q = Relu(x) }>"
    )
    model = net(body, c="bool", outputs={"y": "float[2,4,8,8]"})
    lines = ["y = If(c) else_branch={q = Relu(x)} then_branch={r = Relu(x)}"]
    assert_pass(PASS, model, lines)


def test_operators_of_another_kind_or_domain_stop_it() -> None:
    assert_pass(PASS, between("h = LRN<size = 3>(a)"), None)
    model = net(
        f"a = {IN}(x)  h = my.Relu(a)  b = {OUT}(h)  y = Abs(b)", outputs={"y": "float[2,4,8,8]"}
    )
    assert_pass(PASS, model, None, run=False)


def test_a_layout_that_helps_only_a_part() -> None:
    # the first pair cancels; the second region stays as it is
    model = net(f"a = {IN}(x)  r = Relu(a)  b = {OUT}(r)  h = Conv(b, w)  d = {IN}(h)  y = Neg(d)")
    check(model, ["Relu", "Conv", "Transpose", "Neg"])


def test_a_region_where_nothing_is_won_is_looked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[frozenset[ir.Node]] = []

    def count(region: Region) -> Choice:
        looked.append(frozenset(region.nodes))
        return Choice({}, 0)

    monkeypatch.setattr(push_transpose, "choose", count)
    ends = "  ".join(f"y{i} = {IN}(h)" for i in range(8))
    model = from_proto(net(f"h = Relu(x)  {ends}"))
    infer_shapes(model)
    assert PASS.run(model, PassContext(model)) == 0
    assert len(looked) == 1


def test_a_constant_is_left_to_folding() -> None:
    assert_pass(PASS, net("y = Transpose(k)  z = ReduceMax<keepdims = 0>(k)", k=(4, 5)), None)
