"""Reading and extending a serialized model without parsing it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.errors import UnsupportedModelError
from onnxslim.runtime import wire
from tests.runtime.workermodels import chain


@given(st.integers(0, 2**63 - 1))
def test_varint(number: int) -> None:
    assert onnx.TensorProto.FromString(wire.field(1, number)).dims == [number]


def test_outputs_are_found_and_added() -> None:
    data = chain()
    assert wire.output_names(data) == ["y"]
    more = wire.merge(data, ["b", "y", "größe"])
    merged = onnx.load_model_from_string(more)
    assert [v.name for v in merged.graph.output] == ["y", "b", "größe"]
    assert wire.output_names(more) == ["y", "b", "größe"]
    del merged.graph.output[1:]
    assert merged == onnx.load_model_from_string(data)
    assert wire.merge(data, ["y"]) == data


@pytest.mark.parametrize("data", [b"no model at all", b"\xff" * 20, chain()[:-3], b"\x3a\x7f"])
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedModelError, match="no serialized ONNX model"):
        wire.output_names(data)


def test_declared_bytes_counts_external_files_wherever_they_hide(tmp_path: Path) -> None:
    def tensor(name: str, location: str) -> onnx.TensorProto:
        made = onnx.TensorProto(
            name=name, data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL
        )
        made.external_data.add(key="location", value=location)
        return made

    proto = onnx.load_model_from_string(chain())
    proto.graph.initializer.append(tensor("p", "one.data"))
    proto.graph.initializer.append(tensor("q", "one.data"))
    proto.graph.node.add(op_type="Constant").attribute.add(name="value", t=tensor("r", "two.data"))
    for location in ("../three.data", str(tmp_path / "four.data"), "gone.data", "nul\0"):
        proto.graph.initializer.append(tensor("s", location))
    (tmp_path / "sub").mkdir()
    for name, size in (("sub/one.data", 1000), ("sub/two.data", 20), ("three.data", 3)):
        (tmp_path / name).write_bytes(bytes(size))
    (tmp_path / "four.data").write_bytes(bytes(4))
    path = tmp_path / "sub" / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    assert wire.declared_bytes(path) == path.stat().st_size + 1020
    empty = tmp_path / "empty.onnx"
    empty.touch()
    assert wire.declared_bytes(empty) == 0


def test_tiny_model_is_valid() -> None:
    model = onnx.load_model_from_string(wire.tiny_model())
    onnx.checker.check_model(model, full_check=True)
