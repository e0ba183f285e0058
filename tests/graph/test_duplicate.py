from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.errors import UnsupportedModelError
from onnxslim.graph.duplicate import duplicate
from onnxslim.graph.load import from_proto
from onnxslim.graph.serialize import serialize, to_proto
from onnxslim.graph.signature import signature
from tests.graph.iomodels import adding, model, node, weights


def test_a_copy_shares_large_tensors_and_nothing_else() -> None:
    loaded = from_proto(
        model([node("Add", "x w", "a"), node("Add", "a v", "y")], [weights("w", 999), weights("v")])
    )
    before = serialize(to_proto(loaded))
    copy = duplicate(loaded)
    shared = copy.graph.initializers["w"].const_value
    assert shared is loaded.graph.initializers["w"].const_value
    assert copy.graph.initializers["v"].const_value is not shared
    assert signature(copy) is signature(loaded)
    copy.graph[0].op_type = "Sub"
    copy.graph.initializers["w"].name = "other"
    del copy.graph.initializers["v"]
    assert serialize(to_proto(loaded)) == before
    assert to_proto(copy).graph.initializer[0].name == "other"


def test_a_model_of_onnx_ir_gets_the_checks_of_a_file() -> None:
    proto = adding(weights("w", 999))
    copy = duplicate(ir.from_proto(proto))
    assert signature(copy).output_names == ("y",)
    assert signature(copy).bytes >= 999 * 4
    np.testing.assert_array_equal(
        copy.graph.initializers["w"].const_value, ir.from_proto(proto.graph.initializer[0]).numpy()
    )
    proto.graph.node[0].input[0] = "nope"
    with pytest.raises(UnsupportedModelError, match="nope"):
        duplicate(ir.from_proto(proto))
