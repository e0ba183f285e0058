"""What nothing reads goes; the interface stays."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxslim.graph.load import from_proto
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import assert_pass
from tests.nets import net

PASS = get_pass("eliminate-dead")()


def names_left(model: onnx.ModelProto) -> list[str]:
    loaded = from_proto(model)
    PASS.run(loaded, PassContext(loaded))
    return list(loaded.graph.initializers)


def test_removes_a_chain_of_unread_nodes() -> None:
    model = net("a = Neg(x)  b = Abs(a)  d = Conv(b, w)  y = Relu(x)", outputs=["y"])
    assert_pass(PASS, model, ["y = Relu(x)"])


def test_removes_unread_initializers_and_those_of_removed_nodes() -> None:
    model = net("a = Add(x, k)  y = Relu(x)", outputs=["y"], k=(8,), unused=(3,))
    assert_pass(PASS, model, ["y = Relu(x)"])
    assert names_left(model) == []


def test_keeps_what_is_read_or_an_output() -> None:
    model = net("a = Add(x, k)  y = Relu(a)", outputs=["a", "y"], k=(8,))
    assert_pass(PASS, model, None)


def test_keeps_an_unread_input_and_an_overridable_initializer() -> None:
    model = net("y = Relu(x)", unread="float[3]", k=(8,), overridable=["k"])
    assert_pass(PASS, model, None)


def test_keeps_a_value_that_only_a_subgraph_reads() -> None:
    body = """
    t = Neg(x)
    y = If (c) <
      then_branch = t1 () => (float[2,4,8,8] o1) { o1 = Relu(t) },
      else_branch = e () => (float[2,4,8,8] o2) { o2 = Abs(x) }
    >
    """
    assert_pass(PASS, net(body), None)


def test_cleans_subgraphs_and_then_what_they_read() -> None:
    body = """
    t = Neg(x)
    y = If (c) <
      then_branch = t1 () => (float[2,4,8,8] o1) { a = Abs(t)  o1 = Relu(x) },
      else_branch = e () => (float[2,4,8,8] o2) { o2 = Abs(x) }
    >
    """
    line = "y = If(c) else_branch={o2 = Abs(x)} then_branch={o1 = Relu(x)}"
    assert_pass(PASS, net(body), [line])


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (
            "y, i = MaxPool<kernel_shape = [2, 2]>(x)",
            "y = MaxPool(x) kernel_shape=(2, 2)",
        ),
        ("y, m = Dropout(x)", "y = Dropout(x)"),
        ("y, m, s = LayerNormalization(x, g)", "y = LayerNormalization(x, g)"),
    ],
)
def test_leaves_out_optional_outputs(body: str, line: str) -> None:
    model = net(body, outputs=["y"], g=(8,), x="float[2,3,8,8]")
    assert_pass(PASS, model, [line])


def test_leaves_out_a_middle_output() -> None:
    body = "a, b, y = LSTM<hidden_size = 2>(x, lw, lr)"
    model = net(body, outputs=["y"], x="float[5,N,3]", lw=(1, 8, 3), lr=(1, 8, 2))
    assert_pass(PASS, model, ["_, _, y = LSTM(x, lw, lr) hidden_size=2"])


def test_keeps_outputs_that_make_batchnorm_train() -> None:
    body = "y, m, v = BatchNormalization<training_mode = 1>(x, scale, shift, mean, var)"
    assert_pass(PASS, net(body, outputs=["y"]), None, run=False)


def test_keeps_the_parts_of_a_split() -> None:
    model = net("y, z = Split<axis = 1>(x)", opset=13, outputs=["y"])
    assert_pass(PASS, model, None)


def test_removes_functions_that_nothing_calls() -> None:
    functions = """
    <domain: "local", opset_import: ["" : 17]> F (a) => (o) { o = local.G(a) }
    <domain: "local", opset_import: ["" : 17]> G (a) => (o) { o = Neg(a) }
    <domain: "local", opset_import: ["" : 17]> H (a) => (o) { o = local.G(a) }
    """.replace('["" : 17]', '["" : 17, "local" : 1]')
    model = net("y = local.F(x)", functions=functions, outputs={"y": "float[2,4,8,8]"})
    loaded = from_proto(model)
    assert PASS.run(loaded, PassContext(loaded)) == 1
    assert [key[1] for key in loaded.functions] == ["F", "G"]


def test_removes_random_and_foreign_nodes_too() -> None:
    body = "a = RandomNormalLike(x)  b = my.dom.Op(x)  y = Relu(x)"
    assert_pass(PASS, net(body, outputs=["y"]), ["y = Relu(x)"], run=False)


def test_float16_and_dynamic_batch() -> None:
    model = net("a = Neg(x)  y = Relu(x)", outputs=["y"], x="float[N,3]", dtype="float16")
    assert_pass(PASS, model, ["y = Relu(x)"])


def test_a_clean_model_is_not_changed() -> None:
    model = net("h = Conv(x, w)  y = Relu(h)", k=np.float32(1), overridable=["k"])
    assert_pass(PASS, model, None)
