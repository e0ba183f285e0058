"""``onnxslim inspect`` as other programs see it."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import onnxslim
from onnxslim.cli.main import invoke
from onnxslim.demo import model_path
from tests.nets import net

CORPUS = os.environ.get("ONNXSLIM_CORPUS")
MODELS = sorted(Path(CORPUS).glob("*.onnx")) if CORPUS else []

# Billions of multiply-accumulates: `_ops` of the weights in torchvision.models, as published.
PUBLISHED = {
    "light_densenet121": 2.834, "light_resnet50": 4.089, "light_vgg19": 19.632,
    "mobilenet_v2_ts": 0.301, "mobilenet_v3_small_ts": 0.057, "shufflenet_v2_x1_0_ts": 0.145,
    "squeezenet1_1_ts": 0.349,
}  # fmt: skip


def run(*args: str | Path) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = invoke([str(a) for a in args])
    return code, out.getvalue(), err.getvalue()


def document(*args: str | Path) -> dict[str, Any]:
    code, out, err = run("inspect", *args, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def saved(tmp_path: Path, model: onnx.ModelProto) -> Path:
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    return path


def test_the_document() -> None:
    found = document(model_path())
    assert found["schema"] == 1 and found["command"] == "inspect"
    assert set(found["model"]) == {"nodes", "parameters", "macs", "bytes", "opset", "operators"}
    assert found["inputs"] == [{"name": "input", "type": "float", "shape": ["batch", 1, 28, 28]}]
    layers = found["layers"]
    assert len(layers) == found["model"]["nodes"] and found["hidden_layers"] == 0
    assert sum(x["macs"] for x in layers) == found["model"]["macs"] == found["totals"]["macs"]
    assert sum(x["parameters"] for x in layers) == found["model"]["parameters"]
    assert sum(x["macs_share"] for x in layers) == pytest.approx(1, abs=1e-4)
    conv = next(x for x in layers if x["name"] == "/stem/Conv")
    assert conv["macs"] == 230_400 and conv["output_shape"] == ["batch", 16, 24, 24]


def test_sorted_filtered_limited() -> None:
    found = document(model_path(), "--sort", "macs", "--only", "op:Conv", "--top", "3")
    macs = [x["macs"] for x in found["layers"]]
    assert len(macs) == 3 and macs == sorted(macs, reverse=True)
    assert {x["op"] for x in found["layers"]} == {"Conv"}
    assert found["hidden_layers"] == found["model"]["nodes"] - 3
    by_name = document(model_path(), "--only", "/blocks/blocks.1/*")
    assert by_name["layers"] and all("blocks.1" in x["name"] for x in by_name["layers"])
    by_weight = document(model_path(), "--only", "head.weight")["layers"]
    assert [x["name"] for x in by_weight] == ["/head/Gemm"]


def test_a_glob_that_matches_nothing_is_a_mistake() -> None:
    code, out, err = run("inspect", model_path(), "--only", "op:Nothing")
    assert code == 2 and not out and "matches nothing" in err and err.count("\n") == 1


def test_an_unknown_order_is_a_mistake() -> None:
    assert run("inspect", model_path(), "--sort", "size")[0] == 2


def test_csv() -> None:
    code, out, _ = run("inspect", model_path(), "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0 and len(rows) == 55
    stem = next(r for r in rows if r["name"] == "/stem/Conv")
    assert stem["macs"] == "230400" and stem["output_shape"] == "[batch, 16, 24, 24]"


def test_text_says_what_is_hidden() -> None:
    code, out, _ = run("inspect", model_path())
    assert code == 0 and "13.05 M" in out and "--all" in out and "/Flatten" not in out
    assert "Flatten" in run("inspect", model_path(), "--all")[1]


def test_sizes_make_numbers(tmp_path: Path) -> None:
    path = saved(tmp_path, net("y = MatMul(x, w)", x="float[N,S,4]", w=(4, 5)))
    assert document(path)["totals"]["macs"] == "20*S"
    assert "--dim" in document(path)["warnings"][0]
    assert document(path, "--dim", "S=3")["totals"]["macs"] == 60
    assert document(path, "--input-shape", "x=2,3,4")["totals"]["macs"] == 120
    assert run("inspect", path, "--dim", "T=3")[0] == 2


def test_two_sizes_that_share_a_placeholder(tmp_path: Path) -> None:
    path = saved(tmp_path, net("y = MatMul(x, w)", x="float[-1,-1,4]", w=(4, 5)))
    model = onnx.load(path)
    for dim in model.graph.input[0].type.tensor_type.shape.dim[:2]:
        dim.dim_param = "?"
    onnx.save(model, path)
    assert document(path, "--input-shape", "x=2,3,4")["totals"]["macs"] == 120


def test_the_body_of_a_function_is_listed(tmp_path: Path) -> None:
    function = '<opset_import: ["" : 17], domain: "l"> F (a, b) => (r) { r = MatMul(a, b) }'
    model = net("y = l.F(x, w)", functions=function, x="float[2,4]", w=(4, 5))
    found = document(saved(tmp_path, model))
    assert [x["op"] for x in found["layers"]] == ["MatMul"] and found["functions"] == ["l:F"]
    assert found["model"]["macs"] == 40


def test_names_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    model = net("y = MatMul(x, w)", x="float[2,4]", w=(4, 5))
    model.graph.node[0].name = "a\x1b[31mb\nc"
    code, out, _ = run("inspect", saved(tmp_path, model))
    assert code == 0 and "\x1b" not in out and "a?[31mb c" in out


def test_an_odd_model_is_still_described(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mystery", ["x"], ["a"], domain="some.where"),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
        helper.make_node("NotInOnnx", ["b"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, None)
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    w = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    graph = helper.make_graph(nodes, "g", [x], [y], [w])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("some.where", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    found = document(saved(tmp_path, model))
    assert found["model"]["macs"] is None and found["totals"]["sparsity"] == 0.75
    assert [x["macs"] for x in found["layers"]] == [0, None, 0]
    assert found["inputs"][0]["shape"] is None


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"nothing like a model")
    code, out, err = run("inspect", path, "--json")
    assert code == 2 and not out and err.count("\n") == 1


def test_in_python() -> None:
    found = onnxslim.inspect(onnx.load(model_path()), sort="parameters", top=1)
    assert found.path is None and found.layers[0].parameters == 20_736


@pytest.mark.corpus
@pytest.mark.skipif(not MODELS, reason="ONNXSLIM_CORPUS is not set")
@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_every_model_is_described(path: Path) -> None:
    found = document(path)
    assert len(found["layers"]) == found["model"]["nodes"] or found["functions"]
    unread = found["totals"]["unread_parameters"]
    top = sum(x["parameters"] for x in found["layers"] if x["depth"] == 0)
    assert top + unread == found["model"]["parameters"]
    if path.stem in PUBLISHED:
        assert found["model"]["macs"] / 1e9 == pytest.approx(PUBLISHED[path.stem], rel=0.01)
