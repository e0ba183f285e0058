from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from onnxslim.errors import UnsupportedModelError
from onnxslim.graph import load as loading
from onnxslim.graph.edit import SOURCE, SOURCES
from onnxslim.graph.load import from_proto, load
from onnxslim.graph.serialize import to_proto
from tests.graph.iomodels import CONDITION, adding, branch, choice, info, model, node, weights


def _refused(path: Path) -> str:
    with pytest.raises(UnsupportedModelError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message and "expected" in message and str(path) in message
    return message


def _invalid(proto: onnx.ModelProto) -> str:
    with pytest.raises(UnsupportedModelError) as caught:
        from_proto(proto)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "an empty file"),
        (bytes(4096), "zero bytes"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"PK\x03\x04....", "zip archive"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"\x00\x00\x00\x00ORTM....", "ONNX Runtime's own format"),
        (adding(weights("w")).SerializeToString()[:-1], "truncated"),
        (adding(weights("w")).SerializeToString() + b"\xff\xff\xff\xffrest", "protobuf"),
        (b"\x3a\x02\x0a\x05\x08\x08", "cannot be parsed"),
    ],
)
def test_files_that_are_no_model(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    assert message in _refused(path)


def test_missing_folder_and_fifo(tmp_path: Path) -> None:
    assert "No such file" in _refused(tmp_path / "none.onnx")
    assert "a folder" in _refused(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    assert "a FIFO" in _refused(tmp_path / "fifo")


def test_a_huge_sparse_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.truncate(3 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "zero bytes" in _refused(path)
    with path.open("r+b") as file:
        file.write(b"\x08\x08\x42\x00")
    assert "2 GiB" in _refused(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def _edited(**changes: object) -> onnx.ModelProto:
    proto = adding(weights("w"))
    for name, value in changes.items():
        proto.ClearField(name)
        if isinstance(value, list):
            getattr(proto, name).extend(value)
        elif value is not None:
            setattr(proto, name, value)
    return proto


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (_edited(graph=None), "no graph"),
        (_edited(opset_import=None), "no opset_import"),
        (_edited(opset_import=[helper.make_opsetid("", 999)]), "opset 999"),
        (_edited(opset_import=[helper.make_opsetid("", -1)]), "opset -1"),
        (_edited(opset_import=[helper.make_opsetid("ai.onnx.ml", 99)]), "opset 99 of 'ai.onnx.ml'"),
        (_edited(opset_import=[helper.make_opsetid("", v) for v in (17, 11)]), "imported twice"),
        (_edited(opset_import=[helper.make_opsetid(d, 17) for d in ("", "ai.onnx")]), "twice"),
        (_edited(ir_version=None), "IR version 0"),
        (_edited(ir_version=999), "IR version 999"),
        (_edited(training_info=[onnx.TrainingInfoProto()]), "training information"),
        (model([], outputs=[]), "empty graph"),
    ],
)
def test_headers_that_are_refused(proto: onnx.ModelProto, message: str) -> None:
    assert message in _invalid(proto)


def test_the_newest_opset_of_the_installed_onnx_is_taken() -> None:
    newest = onnx.defs.onnx_opset_version()
    proto = _edited(opset_import=[helper.make_opsetid("", newest)], ir_version=onnx.IR_VERSION)
    assert from_proto(proto).opset_imports == {"": newest}


def test_a_graph_may_have_no_nodes() -> None:
    proto = model([], outputs=[info("x")])
    assert [v.name for v in from_proto(proto).graph.outputs] == ["x"]


def test_the_alias_of_the_standard_domain_is_normalised() -> None:
    proto = model([node("Relu", "x", "y", domain="ai.onnx")])
    proto.opset_import[0].domain = "ai.onnx"
    loaded = from_proto(proto)
    assert loaded.opset_imports == {"": 17}
    assert [n.domain for n in loaded.graph] == [""]
    assert to_proto(loaded).graph.node[0].domain == ""


@pytest.mark.parametrize("place", ["name", "input", "op_type", "doc_string"])
def test_names_that_are_not_utf8(tmp_path: Path, place: str) -> None:
    proto = model([node("Neg", "x", "mid"), node("Relu", "mid", "y", name="n")])
    field = getattr(proto.graph.node[1], place)
    if place == "input":
        proto.graph.node[0].output[0] = field[0] = "AAAA"
    else:
        setattr(proto.graph.node[1], place, "AAAA")
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString().replace(b"AAAA", b"\xff\xfe\xc0A"))
    assert "UTF-8" in _refused(path)


def test_graphs_nested_too_deep() -> None:
    proto = model([], outputs=[info("x")])
    graph = proto.graph
    for _ in range(200):
        graph = graph.node.add(op_type="Custom").attribute.add(name="g", type=5).g
    assert "more than 30 nested graphs" in _invalid(proto)


def test_from_proto_does_not_change_its_argument() -> None:
    proto = adding(weights("w"))
    before = proto.SerializeToString()
    loaded = from_proto(proto)
    loaded.graph.initializers["w"].name = "renamed"
    assert proto.SerializeToString() == before


def test_every_node_gets_its_provenance() -> None:
    proto = model(
        [
            node("Relu", "x", "a", name="first"),
            choice(branch("t", node("Neg", "a", "t")), branch("e", node("Abs", "a", "e"))),
        ],
        inputs=[info("x"), CONDITION],
    )
    loaded = from_proto(proto)
    sources = loaded.meta[SOURCES]
    nodes = list(loaded.graph.all_nodes())
    assert [n.meta[SOURCE] for n in nodes] == [(i,) for i in range(4)]
    assert [sources[i] for i in range(4)] == [
        (n.name, n.op_type, tuple(v.name for v in n.outputs)) for n in nodes
    ]
    assert sources[0] == ("first", "Relu", ("a",))
    assert loaded.clone().graph.meta[SOURCES] == sources


def test_large_weights_stay_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "MAP_FROM", 1000)
    monkeypatch.setattr(loading, "PAYLOAD_FROM", 400)
    proto = model(
        [
            node("Constant", "", "k", value=weights("", 300, seed=2)),
            node("Add", "x w", "a"),
            node("Add", "a k", "b"),
            node("Add", "b small", "y"),
        ],
        [weights("w", 300, seed=1), weights("small", 1)],
        inputs=[info("x", (300,))],
        outputs=[info("y", (300,))],
    )
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    loaded = load(path)
    tensor = loaded.graph.initializers["w"].const_value
    assert isinstance(tensor, ir.Tensor) and not tensor.numpy().flags.writeable
    np.testing.assert_array_equal(tensor.numpy(), onnx.numpy_helper.to_array(weights("w", 300, 1)))
    assert isinstance(loaded.graph.initializers["small"].const_value, ir.TensorProtoTensor)
    assert to_proto(loaded).graph == proto.graph


def test_wrong_sizes_of_mapped_weights_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "MAP_FROM", 1000)
    monkeypatch.setattr(loading, "PAYLOAD_FROM", 400)
    proto = adding(weights("w", 300))
    proto.graph.initializer[0].dims[0] = 299
    onnx.save(proto, tmp_path / "m.onnx")
    assert "1200 bytes of data; expected 1196" in _refused(tmp_path / "m.onnx")


def test_loading_needs_no_runtime_and_no_sympy(tmp_path: Path) -> None:
    onnx.save(adding(weights("w")), tmp_path / "m.onnx")
    code = (
        "import sys; from onnxslim import _lazy_sympy; _lazy_sympy.install();"
        "from onnxslim.graph.load import load; load(sys.argv[1]);"
        "print(sorted({'onnxruntime', 'sympy', 'torch'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "m.onnx")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "[]\n"
