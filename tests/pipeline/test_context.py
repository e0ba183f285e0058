from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph import edit
from onnxslim.pipeline import PassContext
from onnxslim.verify.structure import verify_structure
from tests.nets import net
from tests.toys import EliminateDoubleNeg

IF = (
    "y = If (c) <then_branch = t () => (float[N] p) {{ {0} }}, "
    "else_branch = e () => (float[N] q) {{ {1} }}>"
)


def context(body: str, **given: Any) -> PassContext:
    """A context over a model whose nodes are named ``n0``, ``n1`` ... and know their index."""
    model = ir.from_proto(net(body, **given))
    for index, node in enumerate(n for g in edit.all_graphs(model) for n in g):
        node.name = f"n{index}"
        node.meta[edit.SOURCE] = (index,)
    return PassContext(model)


def find(ctx: PassContext, output: str) -> ir.Node:
    nodes = (n for g in edit.all_graphs(ctx.model) for n in g)
    return next(n for n in nodes if n.outputs[0].name == output)


def value(ctx: PassContext, name: str) -> ir.Value:
    graph = ctx.model.graph
    return next(
        v
        for v in (
            *graph.inputs,
            *graph.initializers.values(),
            *(o for n in graph for o in n.outputs),
        )
        if v.name == name
    )


def lines(ctx: PassContext) -> list[str]:
    assert verify_structure(ctx.model) == []
    return [
        f"{','.join(str(v.name) for v in n.outputs)} = {n.op_type}"
        f"({','.join('_' if v is None else str(v.name) for v in n.inputs)})"
        for n in ctx.model.graph
    ]


# ------------------------------------------------------------------ worklist


def test_nodes_come_in_graph_order_outer_before_inner() -> None:
    branches = IF.format("p = Relu(h)", "q = Neg(h)")
    ctx = context(f"h = Neg(x)  {branches}  z = Neg(y)", x="float[N]")
    assert [n.outputs[0].name for n in ctx.nodes()] == ["h", "y", "z", "p", "q"]
    assert [n.outputs[0].name for n in ctx.nodes("Neg", "Relu")] == ["h", "z", "p", "q"]
    assert list(ctx.nodes("Conv")) == []


def test_operators_of_another_domain_are_named_with_it() -> None:
    ctx = context("a = com.microsoft.Gelu(x)  y = Gelu(a)", opset=20, outputs={"y": "float[N]"})
    assert [n.outputs[0].name for n in ctx.nodes("Gelu")] == ["y"]
    assert [n.outputs[0].name for n in ctx.nodes("com.microsoft:Gelu")] == ["a"]


def test_neighbours_of_an_edit_come_again() -> None:
    ctx = context("a = Relu(x)  b = Neg(a)  d = Abs(b)  y = Neg(d)  z = Abs(x)")
    seen: Counter[str | None] = Counter()
    for node in ctx.nodes():
        seen[node.outputs[0].name] += 1
        if node.outputs[0].name == "d" and seen["d"] == 1:
            ctx.set_attributes(node, {})
    assert seen == {"a": 1, "b": 2, "d": 2, "y": 1, "z": 1}


def test_new_nodes_come_and_removed_ones_do_not() -> None:
    ctx = context("a = Relu(x)  b = Neg(a)  y = Neg(b)")
    seen = []
    for node in ctx.nodes("Neg", "Abs"):
        seen.append(node.op_type)
        if node.outputs[0].name == "b":
            ctx.replace([node, find(ctx, "y")], ir.node("Abs", [node.inputs[0]]))
    assert seen == ["Neg", "Abs"]
    assert lines(ctx) == ["a = Relu(x)", "y = Abs(a)"]


def test_a_worklist_that_is_left_early_is_forgotten() -> None:
    ctx = context("a = Neg(x)  y = Neg(a)")
    for _ in ctx.nodes():
        break
    assert [n.outputs[0].name for n in ctx.nodes()] == ["a", "y"]
    assert ctx._queues == []


def test_visits_grow_linearly_with_the_nodes() -> None:
    visits = []
    for count in (300, 600):
        body = "  ".join(f"v{i + 1} = Neg(v{i})" for i in range(count))
        ctx = context(f"v0 = Relu(x)  {body}  y = Abs(v{count})")
        seen = 0
        for node in ctx.nodes("Neg"):
            seen += 1
            inner = node.inputs[0].producer() if node.inputs[0] is not None else None
            if inner is not None and inner.op_type == "Neg" and inner.inputs[0] is not None:
                ctx.bypass(node, inner.inputs[0])
        assert lines(ctx)[-1] == "y = Abs(v0)"
        visits.append(seen)
    assert visits[1] <= 2.2 * visits[0] <= 2.2 * 4 * 300


def test_since_limits_the_round_to_what_changed() -> None:
    ctx = context("a = Relu(x)  b = Neg(a)  d = Abs(b)  y = Neg(d)")
    mark = ctx.revision
    ctx.set_attributes(find(ctx, "y"), {})
    ctx.begin(mark)
    assert [n.outputs[0].name for n in ctx.nodes()] == ["d", "y"]
    ctx.begin(ctx.revision)
    assert list(ctx.nodes()) == []
    ctx.begin(-1)
    assert len(list(ctx.nodes())) == 4


# ------------------------------------------------------------------ replace


def test_replace_takes_over_names_sources_and_metadata() -> None:
    ctx = context("a = Conv(x, w)  b = Relu(a)  y = Abs(b)")
    conv, relu = find(ctx, "a"), find(ctx, "b")
    conv.metadata_props["from"] = "conv"
    relu.doc_string = "a relu"
    new = ir.node("Conv", [*conv.inputs], {"group": 1})
    ctx.replace([conv, relu], new)
    assert lines(ctx) == ["b = Conv(x,w)", "y = Abs(b)"]
    assert (new.name, new.meta[edit.SOURCE], new.doc_string) == ("n0", (0, 1), "a relu")
    assert new.metadata_props == {"from": "conv"}


def test_replace_of_a_graph_output_keeps_its_name_and_type() -> None:
    ctx = context("y = Relu(x)", x="float[N]")
    output = ctx.model.graph.outputs[0]
    ctx.replace(find(ctx, "y"), ir.node("Abs", [value(ctx, "x")]))
    (found,) = ctx.model.graph.outputs
    assert lines(ctx) == ["y = Abs(x)"]
    assert (found.name, found.type, found.shape) == ("y", output.type, output.shape)


def test_replace_by_several_nodes_names_the_inner_values() -> None:
    ctx = context("a = Relu(x)  y = Abs(a)")
    first = ir.node("Neg", [value(ctx, "x")])
    second = ir.node("Neg", [first.outputs[0]])
    ctx.replace(find(ctx, "a"), [first, second])
    assert lines(ctx) == ["a_s1 = Neg(x)", "a = Neg(a_s1)", "y = Abs(a)"]
    assert [n.name for n in ctx.model.graph] == ["n0/Neg_s1", "n0", "n1"]


def test_an_old_node_that_is_read_stays_under_another_name_than_the_new_one() -> None:
    ctx = context("a = Conv(x, w)  b = Relu(a)  y = Abs(b)  z = Neg(a)")
    conv, relu = find(ctx, "a"), find(ctx, "b")
    ctx.replace([conv, relu], ir.node("Conv", [*conv.inputs]))
    assert lines(ctx) == ["a = Conv(x,w)", "b = Conv(x,w)", "y = Abs(b)", "z = Neg(a)"]
    names = [n.name for n in ctx.model.graph]
    assert len(set(names)) == 4
    assert names[0] == "n0"  # the untouched node keeps its own name


def test_replace_maps_outputs_as_told() -> None:
    ctx = context("p, q = Split<axis = 1>(x)  y = Neg(p)  z = Abs(q)", opset=11)
    split = find(ctx, "p")
    new = ir.node("Split", [split.inputs[0]], {"axis": 1}, num_outputs=2)
    pairs = [(split.outputs[0], new.outputs[1]), (split.outputs[1], new.outputs[0])]
    ctx.replace(split, new, pairs)
    assert lines(ctx) == ["q,p = Split(x)", "y = Neg(p)", "z = Abs(q)"]


def test_replace_inside_a_branch_stays_inside() -> None:
    body = IF.format("h = Neg(x) p = Neg(h)", "q = Neg(x)")
    ctx = context(body, x="float[N]")
    node = find(ctx, "p")
    ctx.replace([find(ctx, "h"), node], ir.node("Abs", [value(ctx, "x")]))
    (branch,) = [g for g in edit.all_graphs(ctx.model) if g.name == "t"]
    assert lines(ctx) == ["y = If(c)"]
    assert [(n.op_type, n.outputs[0].name) for n in branch] == [("Abs", "p")]
    assert branch.outputs[0].name == "p"


def test_replace_may_hand_on_the_subgraphs_of_an_old_node() -> None:
    ctx = context(IF.format("p = Neg(h)", "q = Abs(x)"), x="float[N]", h="float[N]")
    node = find(ctx, "y")
    ctx.replace(node, ir.node("If", [*node.inputs], node.attributes))
    assert verify_structure(ctx.model) == []
    inner = [n for g in edit.all_graphs(ctx.model) for n in g if n.op_type in ("Neg", "Abs")]
    assert [n.inputs[0].name for n in inner if n.inputs[0] is not None] == ["h", "x"]
    assert [n.op_type for n in ctx.nodes("Neg", "Abs")] == ["Neg", "Abs"]


# ------------------------------------------------------------------ bypass


def test_bypass_hands_readers_on() -> None:
    ctx = context("a = Relu(x)  b = Neg(a)  y = Abs(b)  z = Exp(b)")
    assert ctx.bypass(find(ctx, "b"), value(ctx, "a"))
    assert lines(ctx) == ["a = Relu(x)", "y = Abs(a)", "z = Exp(a)"]
    assert find(ctx, "a").meta[edit.SOURCE] == (0, 1)


def test_bypass_reaches_readers_in_branches() -> None:
    ctx = context(f"h = Neg(x)  {IF.format('p = Relu(h)', 'q = Abs(x)')}", x="float[N]")
    assert ctx.bypass(find(ctx, "h"), value(ctx, "x"))
    inner = find(ctx, "p")
    assert lines(ctx) == ["y = If(c)"]
    assert inner.inputs[0] is value(ctx, "x")


def test_bypass_of_a_graph_output_renames_what_comes_before() -> None:
    ctx = context("a = Relu(x)  y = Neg(a)  z = Abs(a)")
    assert ctx.bypass(find(ctx, "y"), value(ctx, "a"))
    assert lines(ctx) == ["y = Relu(x)", "z = Abs(y)"]
    assert [v.name for v in ctx.model.graph.outputs] == ["y", "z"]


@pytest.mark.parametrize(
    ("body", "given"),
    [
        ("y = Neg(x)", {}),  # a graph input cannot take the name
        ("y = Neg(k)  z = Relu(x)", {"k": [1.0, 2.0]}),  # nor an initializer
        ("a = Relu(x)  y = Neg(a)", {"outputs": ["a", "y"]}),  # nor another output
    ],
)
def test_bypass_refuses_what_would_rename_the_interface(body: str, given: dict[str, Any]) -> None:
    ctx = context(body, **given)
    node, before, revision = find(ctx, "y"), lines(ctx), ctx.revision
    target = node.inputs[0]
    assert target is not None
    assert ctx.bypass(node, target) is False
    assert (lines(ctx), ctx.revision) == (before, revision)


def test_bypass_refuses_an_outer_value_as_a_branch_output() -> None:
    ctx = context(IF.format("p = Neg(h)", "q = Abs(x)") + "", x="float[N]", h="float[N]")
    assert not ctx.bypass(find(ctx, "p"), value(ctx, "h"))
    assert find(ctx, "p").inputs[0] is value(ctx, "h")


def test_bypass_of_one_of_several_outputs_keeps_the_node() -> None:
    ctx = context("p, m = Dropout(x)  y = Neg(p)  z = Not(m)")
    assert ctx.bypass(find(ctx, "p"), value(ctx, "x"))
    assert lines(ctx) == ["p,m = Dropout(x)", "y = Neg(x)", "z = Not(m)"]


# ------------------------------------------------------------------ smaller edits


def test_set_input_and_set_attributes() -> None:
    ctx = context("a = Relu(x)  y = Clip(a, lo, hi)", lo=0.0, hi=1.0)
    node = find(ctx, "y")
    ctx.set_input(node, 1, None)
    ctx.set_input(node, 0, value(ctx, "x"))
    assert lines(ctx) == ["a = Relu(x)", "y = Clip(x,_,hi)"]
    ctx = context("y = LeakyRelu<alpha = 0.5>(x)  z = Transpose(x)")
    ctx.set_attributes(find(ctx, "y"), {"alpha": None})
    ctx.set_attributes(find(ctx, "z"), {"perm": [3, 2, 1, 0]})
    assert edit.attr(find(ctx, "y"), "alpha", "default") == "default"
    assert tuple(edit.attr(find(ctx, "z"), "perm")) == (3, 2, 1, 0)


def test_remove_drops_what_nobody_reads_and_nothing_else() -> None:
    ctx = context("a = Relu(x)  b = Neg(a)  y = Abs(a)", outputs=["y"])
    ctx.remove(find(ctx, "a"))
    assert lines(ctx) == ["a = Relu(x)", "b = Neg(a)", "y = Abs(a)"]
    ctx.remove(find(ctx, "b"))
    assert lines(ctx) == ["a = Relu(x)", "y = Abs(a)"]


def test_removing_an_if_frees_what_its_branches_read() -> None:
    body = f"h = Relu(x)  {IF.format('p = Neg(h)', 'q = Abs(x)')}  z = Exp(x)"
    ctx = context(body, x="float[N]", outputs=["z"])
    ctx.remove(find(ctx, "y"))
    assert len(find(ctx, "h").outputs[0].uses()) == 0
    assert list(ctx.nodes("Neg", "Abs")) == []
    ctx.remove(find(ctx, "h"))
    assert lines(ctx) == ["z = Exp(x)"]


@pytest.mark.parametrize(
    "array",
    [
        np.array(2.5, np.float32),
        np.float32(2.5),
        np.zeros((0, 3), np.float16),
        np.arange(6).reshape(2, 3).T,
        np.array([1, 2], np.uint8)[::-1],
        np.array([True]),
        np.array(["a"], dtype=object),
    ],
    ids=["rank 0", "scalar", "empty", "transposed", "reversed", "bool", "string"],
)
def test_a_constant_is_the_array_that_was_given(array: Any) -> None:
    ctx = context("y = Relu(x)")
    found = ctx.constant(ctx.model.graph, "w", array)
    assert found.const_value is not None and found.shape is not None
    assert found.name == found.const_value.name == "w_s1"
    assert found.shape.numpy() == found.const_value.shape.numpy() == array.shape
    assert found.dtype == found.const_value.dtype
    stored = found.const_value.numpy()
    if array.dtype == object:
        assert [bytes(s).decode() if isinstance(s, bytes) else s for s in stored] == ["a"]
    else:
        assert stored.dtype == array.dtype and np.array_equal(stored, array)
    assert ctx.model.graph.initializers["w_s1"] is found


def test_a_constant_from_a_tensor_leaves_the_tensor_alone() -> None:
    ctx = context("y = Conv(x, w)")
    tensor = value(ctx, "w").const_value
    assert tensor is not None
    found = ctx.constant(ctx.model.graph, "w", tensor)
    assert (tensor.name, found.name) == ("w", "w_s1")
    assert found.const_value is not None
    assert np.array_equal(found.const_value.numpy(), tensor.numpy())


# ------------------------------------------------------------------ the rest


def test_a_refusal_counts_once_per_node_and_reason() -> None:
    ctx = context("a = Relu(x)  y = Relu(a)")
    for _ in range(2):
        for node in ctx.nodes("Relu"):
            assert ctx.skip(node, "why") is False
    ctx.skip(find(ctx, "a"), "another reason")
    assert ctx.skipped == [("n0", "why"), ("n1", "why"), ("n0", "another reason")]


def test_an_analysis_is_computed_again_only_after_an_edit() -> None:
    ctx = context("a = Relu(x)  y = Neg(a)")
    calls = []

    def count(model: ir.Model) -> int:
        calls.append(1)
        return len(model.graph)

    assert [ctx.analysis(count), ctx.analysis(count), len(calls)] == [2, 2, 1]
    ctx.bypass(find(ctx, "a"), value(ctx, "x"))
    assert [ctx.analysis(count), ctx.analysis(count), len(calls)] == [1, 1, 2]


def test_opset_and_revision() -> None:
    ctx = context("y = Relu(x)", opset=13)
    before = ctx.revision
    assert ctx.opset == 13
    ctx.constant(ctx.model.graph, "k", np.zeros(1))
    assert ctx.revision > before


def test_a_pass_through_the_context() -> None:
    ctx = context("a = Neg(x)  b = Neg(a)  d = Neg(b)  e = Neg(d)  y = Relu(e)")
    assert EliminateDoubleNeg().run(ctx.model, ctx) == 2
    assert lines(ctx) == ["a = Neg(x)", "d = Neg(x)", "y = Relu(x)"]  # the dead are another's job
