from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxslim.errors import UnsupportedModelError
from onnxslim.graph.load import from_proto, load
from onnxslim.graph.save import save
from onnxslim.graph.serialize import serialize, tensor_into, to_proto
from onnxslim.graph.signature import signature
from tests.graph.iomodels import adding, differences, info, model, node, weights


def _rich() -> onnx.ModelProto:
    """A model with documentation, metadata and annotations in every place."""
    proto = model(
        [node("Add", "x w", "a", name="add", doc_string="nd"), node("Relu", "a", "y", name="")],
        [weights("w")],
        value_info=[info("a", ("n",))],
        inputs=[info("x", ("n",))],
        outputs=[info("y", ("n",))],
    )
    for holder in (proto, proto.graph, proto.graph.node[0], proto.graph.initializer[0],
                   proto.graph.input[0], proto.graph.value_info[0]):  # fmt: skip
        holder.metadata_props.add(key="z", value="<1>")
        holder.metadata_props.add(key="a", value="2")
        holder.doc_string = "some words"
    annotation = proto.graph.quantization_annotation.add(tensor_name="a")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="w")
    proto.producer_name, proto.model_version = "someone", 7
    return proto


def test_everything_survives_twice() -> None:
    proto = _rich()
    once = to_proto(from_proto(proto))
    proto.opset_import[0].ClearField("domain")
    assert once == proto
    assert serialize(to_proto(from_proto(once))) == serialize(once)


def test_value_info_only_where_it_was() -> None:
    loaded = from_proto(adding(weights("w")))
    for value in (loaded.graph.initializers["w"], *loaded.graph.outputs):
        value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([4])
    assert not to_proto(loaded).graph.value_info


@pytest.mark.parametrize(
    ("known", "written"),
    [
        ([7, "n"], [7, "n"]),  # as declared
        ([7, 4], [7, "n"]),  # the symbol in the file says less than we know: it stays
        ([7, "made_up"], [7, "n"]),
        ([8, "n"], [8, "n"]),  # the file lied
        ([8, "made_up"], [8, None]),  # a symbol of our own is not written
        (["n", "n"], ["n", "n"]),  # a number in the file is not believed
    ],
)
def test_value_info_says_what_is_known(
    known: list[int | str], written: list[int | str | None]
) -> None:
    proto = model(
        [node("Relu", "x", "a"), node("Relu", "a", "y")],
        inputs=[info("x", (7, "n"))],
        outputs=[info("y", (7, "n"))],
        value_info=[info("a", (7, "n"))],
    )
    loaded = from_proto(proto)
    value = next(iter(loaded.graph)).outputs[0]
    value.shape = ir.Shape(known)
    found = to_proto(loaded).graph.value_info[0].type.tensor_type.shape.dim
    assert [d.dim_value or d.dim_param or None for d in found] == written


def test_value_info_of_what_is_unknown_or_gone_is_not_written() -> None:
    proto = model(
        [node("Relu", "x", "a"), node("Neg", "a", "b"), node("Relu", "b", "y")],
        value_info=[info("a"), info("b"), info("gone")],
    )
    loaded = from_proto(proto)
    value = next(iter(loaded.graph)).outputs[0]
    value.type = value.shape = None
    assert [v.name for v in to_proto(loaded).graph.value_info] == ["b"]


def test_inputs_and_outputs_are_written_as_declared() -> None:
    proto = model(
        [node("Relu", "x", "y")], inputs=[info("x", ("batch",))], outputs=[info("y", None)]
    )
    proto.graph.input[0].type.denotation = "TENSOR"
    loaded = from_proto(proto)
    for value in (*loaded.graph.inputs, *loaded.graph.outputs):
        value.type, value.shape = ir.TensorType(ir.DataType.INT8), ir.Shape([1, 2, 3])
    written = to_proto(loaded).graph
    assert (written.input, written.output) == (proto.graph.input, proto.graph.output)


def test_types_that_onnx_ir_has_no_class_for_are_written_back() -> None:
    proto = model([node("ZipMap", "x", "y", domain="ai.onnx.ml")], outputs=[])
    output = proto.graph.output.add(name="y")
    map_type = output.type.sequence_type.elem_type.map_type
    map_type.key_type, map_type.value_type.tensor_type.elem_type = TensorProto.INT64, 1
    proto.opset_import.add(domain="ai.onnx.ml", version=3)
    assert to_proto(from_proto(proto)).graph == proto.graph


def test_negative_dimensions_are_unknown_but_written_back() -> None:
    proto = model(
        [node("Relu", "x", "a"), node("Relu", "a", "y")],
        inputs=[info("x", (-1, 4))],
        value_info=[info("a", (-1, 4))],
    )
    loaded = from_proto(proto)
    shape = loaded.graph.inputs[0].shape
    assert shape is not None and shape.is_unknown_dim(0) and shape[1] == 4
    assert to_proto(loaded).graph == proto.graph


@pytest.mark.parametrize(
    ("values", "dtype", "field"),
    [
        ([1, 2, 3, 300], np.int64, "int64_data"),
        ([1], np.int32, "int32_data"),
        ([-1, -1, 5], np.int64, "int64_data"),
        ([-1, -2, 2**62], np.int64, "raw_data"),
        ([-1], np.int32, "raw_data"),
        ([2**30], np.int32, "raw_data"),
        ([], np.int64, "raw_data"),
        ([1, 2], np.uint8, "raw_data"),
        ([1.0, 2.0], np.float32, "raw_data"),
    ],
)
def test_new_tensors_take_the_smaller_form(
    values: list[float], dtype: type[np.generic], field: str
) -> None:
    array: np.ndarray = np.array(values, dtype=dtype)
    proto = TensorProto()
    tensor_into(proto, ir.Tensor(array, name="t"))
    other = numpy_helper.from_array(array, "t")
    fields = [d.name for d, _ in proto.ListFields() if d.name.endswith("_data")]
    assert fields == [field]
    assert proto.ByteSize() <= other.ByteSize()
    np.testing.assert_array_equal(numpy_helper.to_array(proto), array)


def test_a_loaded_tensor_keeps_its_form() -> None:
    typed = helper.make_tensor("w", TensorProto.INT64, [2], [-1, -1])
    proto = model([node("Reshape", "x w", "y")], [typed])
    assert to_proto(from_proto(proto)).graph.initializer[0] == typed


def test_strings_and_packed_tensors_are_written() -> None:
    proto = TensorProto()
    tensor_into(proto, ir.StringTensor([b"a", "ü".encode()], shape=ir.Shape([2]), name="s"))
    assert list(proto.string_data) == [b"a", "ü".encode()]
    packed = ir.PackedTensor(np.array([0x21, 0x03], np.uint8), ir.DataType.INT4, shape=[3])
    proto = TensorProto()
    tensor_into(proto, packed)
    assert proto.raw_data == b"\x21\x03"


def test_metadata_that_was_changed_is_written_once() -> None:
    loaded = from_proto(_rich())
    tensor = loaded.graph.initializers["w"].const_value
    assert tensor is not None
    tensor.metadata_props["b"] = "3"
    written = to_proto(loaded).graph.initializer[0].metadata_props
    assert [(e.key, e.value) for e in written] == [("z", "<1>"), ("a", "2"), ("b", "3")]


def test_the_name_of_an_initializer_is_its_value_name() -> None:
    loaded = from_proto(adding(weights("w")))
    value = loaded.graph.initializers["w"]
    assert value.const_value is not None
    value.const_value.name = "something else"
    assert to_proto(loaded).graph.initializer[0].name == "w"


def _old_ir() -> onnx.ModelProto:
    return model(
        [node("Add", "x w", "a"), node("Add", "a v", "y")],
        [weights("w"), weights("v")],
        inputs=[info("w"), info("x"), info("v")],
        ir_version=3,
    )


def test_below_ir_4_initializers_are_constants_and_stay_listed_as_inputs() -> None:
    loaded = from_proto(_old_ir())
    assert [v.name for v in loaded.graph.inputs] == ["x"]
    assert signature(loaded).input_names == ("x",) and signature(loaded).overridable == ()
    assert to_proto(loaded).graph == _old_ir().graph


def test_below_ir_4_a_removed_initializer_leaves_the_inputs() -> None:
    loaded = from_proto(_old_ir())
    second = loaded.graph[1]
    second.replace_input_with(1, loaded.graph.initializers["w"])
    del loaded.graph.initializers["v"]
    written = to_proto(loaded)
    assert [v.name for v in written.graph.input] == ["w", "x"] and written.ir_version == 3


def test_below_ir_4_a_new_initializer_raises_the_version() -> None:
    loaded = from_proto(_old_ir())
    tensor = ir.Tensor(np.ones(4, np.float32), name="new")
    value = ir.Value(name="new", const_value=tensor)
    loaded.graph.register_initializer(value)
    loaded.graph[1].replace_input_with(1, value)
    written = to_proto(loaded)
    assert [v.name for v in written.graph.input] == ["x"] and written.ir_version == 4
    assert loaded.ir_version == 3


def test_below_ir_4_an_initializer_is_listed_as_it_is_by_now() -> None:
    loaded = from_proto(_old_ir())
    value = loaded.graph.initializers["w"]
    value.const_value = ir.Tensor(np.ones((2, 3), np.float16), name="w")
    kind = to_proto(loaded).graph.input[0].type.tensor_type
    assert kind.elem_type == onnx.TensorProto.FLOAT16
    assert [dim.dim_value for dim in kind.shape.dim] == [2, 3]


def test_overridable_initializers_stay_inputs() -> None:
    proto = model(
        [node("Add", "x w", "y")], [weights("w")], inputs=[info("x"), info("w")], ir_version=8
    )
    loaded = from_proto(proto)
    assert signature(loaded).overridable == ("w",)
    assert loaded.graph.initializers["w"].is_graph_input()
    assert to_proto(loaded).graph == proto.graph


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        (onnx.AttributeProto(name="a", type="FLOAT", i=3), "type FLOAT and data in"),
        (onnx.AttributeProto(name="a", i=3, f=1.0), "type UNDEFINED and data in"),
        (onnx.AttributeProto(name="a"), "type UNDEFINED"),
        (onnx.AttributeProto(name="a", type="GRAPH"), "no value"),
        (onnx.AttributeProto(name="a", type="STRINGS", strings=[b"\xff\xfe"]), "not UTF-8"),
    ],
)
def test_attributes_that_are_refused(attribute: onnx.AttributeProto, message: str) -> None:
    proto = model([node("Custom", "x", "y", domain="d")])
    proto.graph.node[0].attribute.append(attribute)
    with pytest.raises(UnsupportedModelError, match=message):
        from_proto(proto)


def test_an_attribute_without_a_type_is_not_lost() -> None:
    proto = model([node("Elu", "x", "y")])
    proto.graph.node[0].attribute.add(name="alpha", f=0.5)
    found = to_proto(from_proto(proto)).graph.node[0].attribute[0]
    assert (found.type, found.f) == (onnx.AttributeProto.FLOAT, 0.5)


def test_an_attribute_twice_is_refused() -> None:
    proto = model([node("Elu", "x", "y", alpha=0.5)])
    proto.graph.node[0].attribute.append(proto.graph.node[0].attribute[0])
    with pytest.raises(UnsupportedModelError, match="'alpha' twice"):
        from_proto(proto)


def test_the_bytes_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(_rich(), path)
    code = (
        "import sys, hashlib; from onnxslim.graph.load import load;"
        "from onnxslim.graph.serialize import *;"
        "print(hashlib.sha256(serialize(to_proto(load(sys.argv[1])))).hexdigest())"
    )
    digests = [
        subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True, capture_output=True, text=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    here = hashlib.sha256(serialize(to_proto(load(path)))).hexdigest()
    assert digests == [here + "\n"] * 2


@pytest.mark.corpus
def test_every_model_of_the_corpus_survives_unchanged(tmp_path: Path) -> None:
    folder = os.environ.get("ONNXSLIM_CORPUS", "")
    paths = sorted(Path(folder).glob("*.onnx")) if folder else []
    if not paths:
        pytest.skip("ONNXSLIM_CORPUS names no folder of models")
    for path in paths:
        once = save(load(path), tmp_path / "once.onnx")
        twice = save(load(once.path), tmp_path / "twice.onnx")
        assert once.bytes <= path.stat().st_size, path.name
        assert once.path.read_bytes() == twice.path.read_bytes(), path.name
        before, after = onnx.load(path), onnx.load(once.path)
        for proto in (before, after):
            del proto.graph.value_info[:]
        assert list(differences(before, after)) == [], path.name


def test_differences_are_found() -> None:
    other = _rich()
    other.graph.node[0].name = "changed"
    other.graph.initializer[0].raw_data = bytes(16)
    del other.graph.output[0]
    assert list(differences(_rich(), other)) == [
        "graph.node[0].name",
        "graph.initializer[0].raw_data",
        "graph.output",
    ]
