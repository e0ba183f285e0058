from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from onnxslim.errors import UnsupportedModelError
from onnxslim.graph.load import from_proto
from onnxslim.graph.serialize import to_proto
from onnxslim.graph.signature import signature
from tests.graph.iomodels import CONDITION, branch, choice, info, model, node, weights


def _ops(proto: onnx.GraphProto) -> list[tuple[str, list[str], list[str]]]:
    return [(n.op_type, list(n.input), list(n.output)) for n in proto.node]


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (
            model([node("Relu", "x", "a"), node("Neg", "x", "a"), node("Neg", "a", "y")]),
            "writes 'a', the name of another node",
        ),
        (model([node("Relu", "x", "x"), node("Neg", "x", "y")]), "an input or initializer"),
        (model([node("Split", "x", "y y")]), "the name of another node"),
        (model([node("Add", "x nope", "y")]), "reads 'nope', which is not defined"),
        (model([node("Relu", "x", "z")]), "output 'y' that nothing in it computes"),
        (model([node("Relu", "x", "y")], inputs=[info("x"), info("x")]), "two inputs named 'x'"),
        (model([node("Relu", "x", "y")], inputs=[info("x"), info("")]), "input named ''"),
        (model([node("Add", "x w", "y")], [weights("w"), weights("w")]), "two initializers"),
        (model([node("Relu", "x", "w")], [weights("w")]), "an input or initializer"),
        (model([node("Add", "x b", "a"), node("Relu", "a", "b"), node("Neg", "a", "y")]), "cycle"),
        (model([node("Add", "x a", "a"), node("Neg", "a", "y")]), "cycle"),
        (
            model([node("If", "c", "y", then_branch=branch("t", node("Relu", "x", "t")))],
                  inputs=[info("x"), CONDITION]),
            "without a graph else_branch",
        ),
        (
            model([choice(branch("t", node("Relu", "x", "t")), branch("x"))],
                  inputs=[info("x"), CONDITION]),
            "output 'x' that nothing in it computes",
        ),
        (
            model([choice(branch("t", node("Relu", "x", "t")), branch("e", node("Neg", "t", "e")))],
                  inputs=[info("x"), CONDITION]),
            "reads 't', which is not defined",
        ),
    ],
)  # fmt: skip
def test_names_that_are_refused(proto: onnx.ModelProto, message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        from_proto(proto)
    assert "\n" not in str(caught.value)


def test_sorted_nodes_stay_as_they_are() -> None:
    proto = model([node("Relu", "x", "a"), node("Neg", "x", "b"), node("Add", "a b", "y")])
    loaded = from_proto(proto)
    assert to_proto(loaded).graph == proto.graph
    assert not signature(loaded).rewritten


def test_unsorted_nodes_are_sorted_and_otherwise_keep_their_order() -> None:
    proto = model(
        [
            node("Add", "a b", "y"),
            node("Neg", "x", "b"),
            node("Abs", "x", "u"),
            node("Relu", "x", "a"),
        ]
    )
    loaded = from_proto(proto)
    assert [n.op_type for n in loaded.graph] == ["Neg", "Abs", "Relu", "Add"]
    assert signature(loaded).rewritten


def test_a_subgraph_that_reads_a_later_name_moves_behind_it() -> None:
    proto = model(
        [
            choice(branch("t", node("Relu", "late", "t")), branch("e", node("Neg", "x", "e"))),
            node("Abs", "x", "late"),
        ],
        inputs=[info("x"), CONDITION],
    )
    assert [n.op_type for n in from_proto(proto).graph] == ["Abs", "If"]


def test_a_subgraph_is_sorted_too() -> None:
    then = branch("t", node("Relu", "i", "t"), node("Neg", "x", "i"))
    proto = model([choice(then, branch("e", node("Neg", "x", "e")))], inputs=[info("x"), CONDITION])
    graph = next(iter(from_proto(proto).graph)).attributes["then_branch"].as_graph()
    assert [n.op_type for n in graph] == ["Neg", "Relu"]


def test_a_hidden_name_is_replaced_from_its_definition_on() -> None:
    then = branch(
        "t", node("Abs", "a", "before"), node("Relu", "x", "a"), node("Add", "a before", "t"),
        value_info=[info("a")],
    )  # fmt: skip
    proto = model(
        [
            node("Neg", "x", "a"),
            choice(then, branch("e", node("Identity", "a", "e")), "b"),
            node("Add", "a b", "y"),
        ],
        inputs=[info("x"), CONDITION],
    )
    loaded = from_proto(proto)
    written = to_proto(loaded).graph
    branches = {a.name: a.g for a in written.node[1].attribute}
    assert _ops(branches["then_branch"]) == [
        ("Abs", ["a"], ["before"]),
        ("Relu", ["x"], ["a_1"]),
        ("Add", ["a_1", "before"], ["t"]),
    ]
    assert [v.name for v in branches["then_branch"].value_info] == ["a_1"]
    assert _ops(branches["else_branch"]) == [("Identity", ["a"], ["e"])]
    assert signature(loaded).rewritten
    assert to_proto(from_proto(to_proto(loaded))) == to_proto(loaded)


def test_hidden_inputs_and_outputs_of_a_loop_body_are_replaced() -> None:
    body = helper.make_graph(
        [node("Identity", "c", "keep"), node("Add", "x w", "y")],
        "body",
        [info("i", (), TensorProto.INT64), info("c", (), TensorProto.BOOL), info("x")],
        [info("keep", (), TensorProto.BOOL), info("y")],
        [weights("w")],
    )
    proto = model(
        [node("Loop", "m c x", "y", body=body)],
        [helper.make_tensor("m", TensorProto.INT64, [], [3]), weights("w", seed=9)],
        inputs=[info("x"), CONDITION],
    )
    written = to_proto(from_proto(proto)).graph.node[0].attribute[0].g
    assert [v.name for v in written.input] == ["i", "c_1", "x_1"]
    assert [v.name for v in written.output] == ["keep", "y_1"]
    assert _ops(written) == [
        ("Identity", ["c_1"], ["keep"]),
        ("Add", ["x_1", "w_1"], ["y_1"]),
    ]
    assert written.initializer[0].raw_data == weights("w").raw_data


def test_a_name_hidden_twice_is_refused() -> None:
    inner = choice(branch("x", node("Neg", "k", "x")), branch("e", node("Neg", "k", "e")), "r")
    then = branch("r", node("Abs", "k", "x"), inner)
    proto = model(
        [choice(then, branch("e", node("Neg", "k", "e")))], inputs=[info("x"), info("k"), CONDITION]
    )
    with pytest.raises(UnsupportedModelError, match="three times"):
        from_proto(proto)


def test_sibling_branches_may_use_the_same_names() -> None:
    branches = [branch("r", node(op, "x", "i"), node("Abs", "i", "r")) for op in ("Relu", "Neg")]
    proto = model([choice(*branches)], inputs=[info("x"), CONDITION])
    assert to_proto(from_proto(proto)).graph == proto.graph


def test_an_output_may_come_twice_and_be_an_input() -> None:
    proto = model([node("Relu", "x", "y")], outputs=[info("y"), info("y"), info("x")])
    assert to_proto(from_proto(proto)).graph == proto.graph
