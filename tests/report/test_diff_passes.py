"""Changes that our passes made, told with their names while the result is in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

import onnxslim
from onnxslim.demo import model_path
from onnxslim.report.diff.delta import Delta
from onnxslim.report.diff.telling import groups
from tests.nets import net

BODY = """i = Identity(x)  h = Conv<pads = [1, 1, 1, 1]>(i, w)
    n = BatchNormalization(h, scale, shift, mean, var)  r = Relu(n)
    g = Conv<pads = [1, 1, 1, 1]>(r, v)  s = Relu(g)  y = Conv(s, u)"""


def model() -> onnx.ModelProto:
    weights = {"w": (16, 4, 3, 3), "v": (16, 16, 3, 3), "u": (4, 16, 1, 1)}
    norm = {"scale": (16,), "shift": (16,), "mean": (16,), "var": np.full(16, 0.5, np.float32)}
    found = net(BODY, x="float[N,4,8,8]", **weights, **norm)
    for index, node in enumerate(found.graph.node):
        node.name = f"{node.op_type}_{index}"
    return found


def told(delta: Delta) -> dict[str, tuple[str, ...]]:
    return {hunk.title: hunk.passes for hunk in delta.hunks}


def test_a_hunk_has_the_passes_that_made_it(tmp_path: Path) -> None:
    result = onnxslim.optimize(model(), output=tmp_path / "out.onnx")
    delta = onnxslim.diff(model(), result.model)
    assert told(delta) == {
        "Identity removed": ("eliminate-identity",),
        "BatchNormalization folded into Conv": ("fold-batchnorm",),
    }
    assert [g.heading for g in groups(delta)] == [
        "BatchNormalization folded into Conv (fold-batchnorm)",
        "Identity removed (eliminate-identity)",
    ]
    assert [h["passes"] for h in delta.to_json()["hunks"]] == [list(h.passes) for h in delta.hunks]
    written = onnxslim.diff(model(), tmp_path / "out.onnx")
    assert {*told(written).values()} == {()}  # a file does not say who made it
    assert [h.title for h in written.hunks] == [h.title for h in delta.hunks]


def test_channels_that_a_pass_cut() -> None:
    result = onnxslim.prune(model(), ratio=0.5)
    found = told(onnxslim.diff(model(), result.model))
    cut = [passes for title, passes in found.items() if "channels pruned" in title]
    assert cut and all("prune-channels" in passes for passes in cut)


def test_what_only_cleans_up_is_not_named() -> None:
    dead = net("k = Shape(x)  z = Relu(x)  y = Tanh(x)", outputs={"y": "float[2,4,8,8]"})
    result = onnxslim.optimize(dead)
    assert {*told(onnxslim.diff(dead, result.model)).values()} == {("eliminate-dead",)}
    result = onnxslim.optimize(model_path())
    names = {n for hunk in onnxslim.diff(model_path(), result.model).hunks for n in hunk.passes}
    assert "fold-batchnorm" in names and "eliminate-dead" not in names


def test_a_heading_names_few_passes() -> None:
    result = onnxslim.optimize(model())
    (group, *_) = groups(onnxslim.diff(model(), result.model))
    group.passes.update(["a-pass", "b-pass", "c-pass", "d-pass"])
    assert group.heading.endswith("(fold-batchnorm, a-pass, b-pass, 2 more)")
