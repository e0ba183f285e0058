from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from onnxslim.errors import UnsupportedModelError
from onnxslim.graph.load import from_proto, load
from onnxslim.graph.signature import signature
from tests.graph.iomodels import CONDITION, adding, branch, choice, external, info, model, node

VALUES = np.arange(4, dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    (tmp_path / "m" / "sub").mkdir(parents=True)
    (tmp_path / "m" / "w.bin").write_bytes(b"head" + VALUES.tobytes())
    return tmp_path / "m"


def _save(folder: Path, proto: onnx.ModelProto) -> Path:
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    return folder / "model.onnx"


def _refused(folder: Path, proto: onnx.ModelProto | onnx.TensorProto) -> str:
    proto = adding(proto) if isinstance(proto, onnx.TensorProto) else proto
    with pytest.raises(UnsupportedModelError) as caught:
        load(_save(folder, proto))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "fields", [{"offset": 4, "length": 16}, {"offset": 4}, {"offset": 4, "anything": "x"}]
)
def test_a_plain_file_is_mapped(folder: Path, fields: dict[str, Any]) -> None:
    loaded = load(_save(folder, adding(external("w.bin", **fields))))
    tensor = loaded.graph.initializers["w"].const_value
    assert tensor is not None
    np.testing.assert_array_equal(tensor.numpy(), VALUES)
    assert not tensor.numpy().flags.writeable
    assert signature(loaded).is_external
    assert signature(loaded).bytes == (folder / "model.onnx").stat().st_size + 16


def test_a_subfolder_with_a_unicode_name_is_fine(folder: Path) -> None:
    (folder / "sub" / "gewichte ü.bin").write_bytes(VALUES.tobytes())
    loaded = load(_save(folder, adding(external("sub/gewichte ü.bin"))))
    assert loaded.graph.initializers["w"].const_value is not None


@pytest.mark.parametrize(
    "location",
    [
        "",
        ".",
        "./w.bin",
        "../secret.bin",
        "sub/../../secret.bin",
        "sub/../w.bin",
        "sub//w.bin",
        "/etc/passwd",
        "file:///etc/passwd",
        "C:/w.bin",
        "..\\secret.bin",
        "w.bin\0x",
        "*/_ORT_MEM_ADDR_/*",
    ],
)
def test_locations_that_are_refused(folder: Path, location: str) -> None:
    message = _refused(folder, external(location, offset=4, length=16))
    assert "location" in message and "'w'" in message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"offset": -4}, "offset is '-4'"),
        ({"offset": "abc"}, "offset is 'abc'"),
        ({"offset": "٤"}, "offset is"),
        ({"offset": 5}, "ends at byte 21"),
        ({"offset": 1 << 62}, "ends at byte"),
        ({"length": 15}, "length is 15 bytes"),
        ({"length": 17}, "length is 17 bytes"),
        ({"length": -1}, "length is '-1'"),
        ({"length": 2**63 - 1}, "length is 9223372036854775807"),
    ],
)
def test_sizes_that_are_refused(folder: Path, fields: dict[str, Any], message: str) -> None:
    assert message in _refused(folder, external("w.bin", **fields))


def test_dimensions_beyond_the_file_are_refused_before_mapping(folder: Path) -> None:
    assert "ends at byte" in _refused(folder, external("w.bin", dims=(1 << 20, 1 << 20)))


def test_a_key_twice_is_refused(folder: Path) -> None:
    tensor = external("w.bin")
    tensor.external_data.add(key="location", value="../secret.bin")
    assert "the key 'location' twice" in _refused(folder, tensor)


def test_symlinks_are_refused_and_named(folder: Path) -> None:
    (folder / "link.bin").symlink_to("../secret.bin")
    (folder / "inside.bin").symlink_to("w.bin")
    (folder / "dir").symlink_to("..")
    for location in ("link.bin", "inside.bin", "dir/secret.bin"):
        message = _refused(folder, external(location))
        assert "is a symlink" in message and "--allow-external-dir" in message


def test_symlinks_into_an_allowed_folder_are_followed(folder: Path) -> None:
    blobs = folder.parent / "blobs"
    blobs.mkdir()
    (blobs / "b").write_bytes(VALUES.tobytes())
    (folder / "w.data").symlink_to(blobs / "b")
    (folder / "other.data").symlink_to("../secret.bin")
    path = _save(folder, adding(external("w.data")))
    loaded = load(path, allow_external_dir=blobs)
    assert signature(loaded).rewritten
    with pytest.raises(UnsupportedModelError, match="is a symlink"):
        load(_save(folder, adding(external("other.data"))), allow_external_dir=blobs)
    with pytest.raises(UnsupportedModelError, match="absolute"):
        load(_save(folder, adding(external(str(blobs / "b")))), allow_external_dir=blobs)


def test_hard_links_folders_fifos_and_the_model_itself(folder: Path) -> None:
    os.link(folder.parent / "secret.bin", folder / "hard.bin")
    os.mkfifo(folder / "fifo")
    for location, message in [
        ("hard.bin", "a hard link"),
        ("fifo", "a FIFO"),
        ("sub", "a folder"),
        ("model.onnx", "the model file itself"),
        ("none.bin", "No such file"),
        ("w.bin/x", "Not a directory"),
    ]:
        assert message in _refused(folder, external(location))


def test_data_in_two_places_is_refused(folder: Path) -> None:
    tensor = external("w.bin", offset=4)
    tensor.raw_data = bytes(16)
    assert "only one of them" in _refused(folder, tensor)


def test_external_strings_are_refused(folder: Path) -> None:
    tensor = external("w.bin")
    tensor.data_type = onnx.TensorProto.STRING
    assert "string tensor in an external file" in _refused(folder, tensor)


def _constant(tensor: onnx.TensorProto) -> onnx.NodeProto:
    made = node("Constant", "", "k")
    made.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(tensor)
    return made


def _in_attribute(tensor: onnx.TensorProto) -> onnx.ModelProto:
    return model([_constant(tensor), node("Add", "x k", "y")])


def _in_subgraph(tensor: onnx.TensorProto) -> onnx.ModelProto:
    then = branch("t", node("Identity", "w", "t"), initializer=[tensor])
    inputs = [info("x"), CONDITION]
    return model([choice(then, branch("e", node("Neg", "x", "e")))], inputs=inputs)


def _in_function(tensor: onnx.TensorProto) -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", 17)]
    nodes = [_constant(tensor), node("Add", "a k", "r")]
    function = helper.make_function("loc", "F", ["a"], ["r"], nodes, opsets)
    return model([node("F", "x", "y", domain="loc")], functions=[function])


def _in_sparse(tensor: onnx.TensorProto) -> onnx.ModelProto:
    proto = model([node("Add", "x w", "y")])
    sparse = proto.graph.sparse_initializer.add(dims=[4])
    sparse.values.CopyFrom(tensor)
    sparse.indices.CopyFrom(helper.make_tensor("", onnx.TensorProto.INT64, [4], range(4)))
    return proto


@pytest.mark.parametrize("place", [_in_attribute, _in_subgraph, _in_function, _in_sparse])
def test_every_place_goes_through_the_resolver(folder: Path, place: object) -> None:
    assert callable(place)
    assert "'..'" in _refused(folder, place(external("../secret.bin")))
    load(_save(folder, place(external("w.bin", offset=4))))


def test_a_model_without_a_folder_has_no_external_data(folder: Path) -> None:
    proto = adding(external("w.bin", offset=4))
    with pytest.raises(UnsupportedModelError, match="base_dir"):
        from_proto(proto)
    assert from_proto(proto, base_dir=folder).graph.initializers["w"].const_value is not None
