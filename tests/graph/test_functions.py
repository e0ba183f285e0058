from __future__ import annotations

import onnx
import pytest
from onnx import helper

from onnxslim.errors import UnsupportedModelError
from onnxslim.graph.load import from_proto
from onnxslim.graph.serialize import to_proto
from tests.graph.iomodels import branch, model, node

OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("loc", 1)]


def _function(name: str, *nodes: onnx.NodeProto, outputs: str = "r") -> onnx.FunctionProto:
    return helper.make_function("loc", name, ["a"], outputs.split(), list(nodes), OPSETS)


def _call(name: str, inputs: str = "a", outputs: str = "r") -> onnx.NodeProto:
    return node(name, inputs, outputs, domain="loc")


def _chain(depth: int, width: int) -> onnx.ModelProto:
    functions = [_function("F0", node("Neg", "a", "r"))]
    for level in range(1, depth + 1):
        names = ["a", *(f"t{i}" for i in range(width - 1)), "r"]
        calls = [_call(f"F{level - 1}", *names[i : i + 2]) for i in range(width)]
        functions.append(_function(f"F{level}", *calls))
    return model([_call(f"F{depth}", "x", "y")], functions=functions)


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ([_function("A", _call("A"))], "calls itself"),
        ([_function("A", _call("B")), _function("B", _call("A"))], "calls itself"),
        ([_function("A", node("Neg", "a", "r"))] * 2, "two functions 'A'"),
        ([_function("A", node("Neg", "b", "r"))], "reads 'b'"),
        ([_function("A", node("Neg", "x", "r"))], "reads 'x'"),
        ([_function("A", node("Neg", "a", "q"))], "output 'r' that nothing"),
        ([_function("A", node("Neg", "a", "a"), node("Neg", "a", "r"))], "writes 'a'"),
        (
            [
                _function(
                    "A",
                    node(
                        "If", "a", "r",
                        then_branch=branch("t", _call("A", "a", "t")),
                        else_branch=branch("e", node("Neg", "a", "e")),
                    ),
                )
            ],
            "calls itself",
        ),
    ],
)  # fmt: skip
def test_functions_that_are_refused(functions: list[onnx.FunctionProto], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        from_proto(model([_call("A", "x", "y")], functions=functions))


def test_exponential_calls_are_refused() -> None:
    with pytest.raises(UnsupportedModelError, match=r"1e\+10 nodes"):
        from_proto(_chain(10, 10))
    with pytest.raises(UnsupportedModelError, match="nodes when its functions are inlined"):
        from_proto(_chain(400, 2))


def test_deep_but_linear_calls_are_taken() -> None:
    proto = _chain(1500, 1)
    assert len(from_proto(proto).functions) == 1501


def test_a_function_survives() -> None:
    reference = node("Elu", "a", "t")
    reference.attribute.add(name="alpha", ref_attr_name="alpha", type=onnx.AttributeProto.FLOAT)
    function = _function("A", reference, node("Neg", "t", "r"), outputs="r t")
    function.attribute_proto.append(helper.make_attribute("alpha", 0.25))
    function.attribute.append("other")
    function.doc_string = "doc"
    proto = model([helper.make_node("A", ["x", ""], ["y", ""], domain="loc")], functions=[function])
    written = to_proto(from_proto(proto))
    assert written.graph == proto.graph
    written.functions[0].opset_import[0].domain = ""
    assert written.functions == proto.functions


def test_a_reference_outside_a_function_is_refused() -> None:
    reference = node("Elu", "x", "y")
    reference.attribute.add(name="alpha", ref_attr_name="alpha", type=onnx.AttributeProto.FLOAT)
    with pytest.raises(UnsupportedModelError, match="a reference in a function"):
        from_proto(model([reference]))
