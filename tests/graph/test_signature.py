from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.graph.load import from_proto
from onnxslim.graph.serialize import to_proto
from onnxslim.graph.signature import accept_ports, fix_shape, rename_dims, signature
from tests.graph.iomodels import info, model, node


def _model() -> ir.Model:
    proto = model(
        [node("Relu", "x", "a"), node("Add", "a b", "y"), node("Neg", "a", "z")],
        inputs=[info("x", ("n", 4)), info("b", ("n", "k"))],
        outputs=[info("y", ("n", 4)), info("z", ("n", None))],
    )
    proto.graph.input[0].doc_string = "an image"
    return from_proto(proto)


def test_it_describes_the_model_as_loaded() -> None:
    found = signature(_model())
    assert found.input_names == ("x", "b") and found.output_names == ("y", "z")
    assert [p.shape for p in found.inputs] == [("n", 4), ("n", "k")]
    assert found.outputs[1].shape == ("n", None)
    assert found.inputs[0].dtype == ir.DataType.FLOAT
    assert found.inputs[0].doc_string == "an image"
    assert found.opsets == {"": 17} and found.ir_version == 8
    assert found.dims == {"n", "k"}
    assert found.sizes == {"bytes": found.bytes} and found.bytes > 0


def test_it_survives_cloning_and_renaming() -> None:
    loaded = _model()
    before = signature(loaded)
    assert signature(loaded.clone()) is before
    loaded.graph.outputs[0].shape = ir.Shape([1])
    assert signature(loaded) is before


def test_a_model_built_in_memory_has_its_present_one() -> None:
    value = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["n", 2]))
    built = ir.Model(ir.Graph([value], [value], nodes=[], opset_imports={"": 17}), ir_version=8)
    assert signature(built).inputs[0].shape == ("n", 2)
    assert to_proto(built).graph.output[0].name == "x"


def test_fixing_a_shape_fixes_its_symbols_everywhere() -> None:
    loaded = _model()
    fix_shape(loaded, "b", [3, 4])
    found = to_proto(loaded).graph
    shapes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in found.input]
    assert shapes == [[3, 4], [3, 4]]
    assert [d.dim_value for d in found.output[1].type.tensor_type.shape.dim] == [3, 0]
    assert loaded.graph.inputs[0].shape == ir.Shape([3, 4])


@pytest.mark.parametrize("dims", [[3], [3, 5], [3, 4, 1]])
def test_a_shape_that_contradicts_is_refused(dims: list[int]) -> None:
    with pytest.raises(ValueError, match="'x' has the shape"):
        fix_shape(_model(), "x", dims)
    with pytest.raises(KeyError):
        fix_shape(_model(), "nope", dims)


def test_renaming_dimensions() -> None:
    loaded = _model()
    new = rename_dims(loaded, {"n": "batch", "k": 7})
    assert [p.shape for p in new.inputs] == [("batch", 4), ("batch", 7)]
    assert new.dims == {"batch"}
    assert to_proto(loaded).graph.input[1].type.tensor_type.shape.dim[1].dim_value == 7


def test_cutting_outputs_and_adding_a_new_one() -> None:
    loaded = _model()
    inner = loaded.graph[0].outputs[0]
    inner.type, inner.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["n", 4])
    del loaded.graph.outputs[0]
    loaded.graph.outputs.append(inner)
    assert accept_ports(loaded).output_names == ("z", "a")
    written = to_proto(loaded).graph.output
    assert [v.name for v in written] == ["z", "a"]
    assert [d.dim_value or d.dim_param for d in written[1].type.tensor_type.shape.dim] == ["n", 4]
