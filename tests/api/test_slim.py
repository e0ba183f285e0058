"""``onnxslim.slim``: the call that programs written for another simplifier make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxslim
from onnxslim.demo import model_path
from onnxslim.errors import UsageError
from onnxslim.testing import shared_worker


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_a_model_comes_back() -> None:
    before = onnx.load(model_path())
    after = onnxslim.slim(before)
    assert isinstance(after, onnx.ModelProto)
    assert "BatchNormalization" in ops(before)
    assert "BatchNormalization" not in ops(after)


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    out.write_bytes(b"old")
    assert onnxslim.slim(str(model_path()), str(out)) is None
    assert "BatchNormalization" not in ops(onnx.load(out))


def test_shapes_outputs_and_skipped_passes() -> None:
    after = onnxslim.slim(
        str(model_path()), input_shapes=["input:1,1,28,28"], skip_optimizations=["graph_fusion"]
    )
    assert after is not None
    assert [d.dim_value for d in after.graph.input[0].type.tensor_type.shape.dim] == [1, 1, 28, 28]
    assert "BatchNormalization" in ops(after)


def test_an_empty_list_skips_everything() -> None:
    before = onnx.load(model_path())
    after = onnxslim.slim(before, skip_optimizations=[])
    assert after is not None
    assert ops(after) == ops(before)


def test_cut_outputs() -> None:
    name = next(n.output[0] for n in onnx.load(model_path()).graph.node if n.op_type == "Relu")
    after = onnxslim.slim(str(model_path()), outputs=[f"{name}:fp32"])
    assert after is not None
    assert [v.name for v in after.graph.output] == [name]


def test_a_size_threshold_limits_folding() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> agraph (float[2] x) => (float[2] y)
        <float[2] k = {1, 2}> { j = Neg(k) y = Add(x, j) }"""
    model = onnx.parser.parse_model(text)
    whole, limited = onnxslim.slim(model), onnxslim.slim(model, size_threshold=4)
    assert whole is not None and ops(whole) == ["Add"]
    assert limited is not None and ops(limited) == ["Neg", "Add"]


def test_what_has_no_counterpart_says_so() -> None:
    with pytest.raises(UsageError, match="expected 'fp16'"):
        onnxslim.slim(str(model_path()), dtype="int3")
    with pytest.warns(UserWarning, match="no argument 'flux'"):
        onnxslim.slim(str(model_path()), flux=1)
    with pytest.warns(UserWarning, match="pattern 'FusionGemm2'"):
        onnxslim.slim(str(model_path()), skip_fusion_patterns=["FusionGemm2"])


def test_half_precision(tmp_path: Path) -> None:
    before = onnx.load(model_path())
    after = onnxslim.slim(before, dtype="fp16")
    assert after is not None
    kinds = [v.type.tensor_type.elem_type for v in (*after.graph.input, *after.graph.output)]
    assert kinds == [onnx.TensorProto.FLOAT16] * len(kinds)
    data = np.random.default_rng(0).random((2, 1, 28, 28)).astype(np.float32)
    name, output = before.graph.input[0].name, before.graph.output[0].name
    with shared_worker().session(before.SerializeToString()) as session:
        wanted = session.run({name: data})[output]
    out = tmp_path / "half.onnx"
    assert onnxslim.slim(before, str(out), dtype="fp16") is None
    with shared_worker().session(out) as session:
        found = session.run({name: data.astype(np.float16)})[output]
    assert out.stat().st_size < 0.7 * model_path().stat().st_size
    np.testing.assert_allclose(found, wanted, atol=2e-2 * np.abs(wanted).max())
