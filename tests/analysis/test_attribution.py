"""Whose time is it? Asked of graphs as ONNX Runtime really rewrites them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnxslim.analysis.attribution import LayerTime, attribute
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from onnxslim.testing import shared_worker
from tests.nets import net


def times(model: onnx.ModelProto, level: Any = "all", **feeds: Any) -> dict[str, LayerTime]:
    for node in model.graph.node:
        node.name = f"n_{node.output[0]}"
    loaded = from_proto(model)
    infer_shapes(loaded)
    given = {"x": np.ones((2, 4, 8, 8), np.float32), **feeds}
    with shared_worker().session(model.SerializeToString(), optimization=level) as session:
        profile = session.profile(given, runs=3)
    assert len(profile.run_ms) == 3
    found = attribute(loaded, profile)
    assert sum(x.ms for x in found) == pytest.approx(profile.kernel_ms)
    return {x.name: x for x in found}


BODY = "h = Conv(x, w)  n = BatchNormalization(h, scale, shift, mean, var)  y = Relu(n)"


def test_without_optimization_every_node_stands_for_itself() -> None:
    found = times(net(BODY), "disable")
    assert {k: v.sources for k, v in found.items()} == {
        "n_h": ("n_h",), "n_n": ("n_n",), "n_y": ("n_y",),
    }  # fmt: skip


def test_a_merged_group_is_named_by_its_arithmetic() -> None:
    found = times(net(BODY))
    assert list(found) == ["n_h"]
    assert found["n_h"].sources == ("n_h", "n_n", "n_y") and found["n_h"].op == "Conv"


def test_layout_changes_count_for_what_they_serve() -> None:
    wide = net("h = Conv(x, w)  y = Relu(h)", w=(16, 4, 3, 3))
    found = times(wide)
    assert list(found) == ["n_h"]
    assert all(op for _, op, _ in found["n_h"].executed)


def test_a_merged_activation() -> None:
    body = "a = MatMul(x, w) d = Div(a, r) e = Erf(d) p = Add(e, o) m = Mul(a, p) y = Mul(m, q)"
    model = net(body, x="float[2,8]", w=(8, 8), r=1.4142135, o=1.0, q=0.5)
    found = times(model, x=np.ones((2, 8), np.float32))
    assert found["n_a"].sources == ("n_a",)
    assert set(found["n_y"].sources) == {"n_d", "n_e", "n_p", "n_m", "n_y"}
    assert found["n_y"].executed[0][1] == "com.microsoft:Gelu"


def test_time_inside_a_branch_is_the_branch_s() -> None:
    body = """y = If(c) <then_branch = t () => (float[2,4,8,8] a) { q = Relu(x) a = Exp(q) },
                          else_branch = e () => (float[2,4,8,8] b) { b = Neg(x) }>"""
    found = times(net(body), c=np.array(True))
    assert list(found) == ["n_y"] and found["n_y"].executed[0][1] == "If"


def test_what_onnx_runtime_folds_takes_no_time() -> None:
    found = times(net("k = Exp(b)  h = Reshape(k, s)  y = Add(x, h)", s=[1, 4, 1, 1], b=(4,)))
    assert list(found) == ["n_y"]


def test_what_several_kernels_read_was_computed_before_them() -> None:
    body = """h = Conv(x, w)  k = Conv<pads=[1,1,1,1]>(h, v)  s = Add(k, h)  r = Relu(s)
              p = Conv(r, u)  q = Conv(r, t)  y = Add(p, q)"""
    wide = {"v": (16, 16, 3, 3), "u": (16, 16, 1, 1), "t": (16, 16, 1, 1)}
    found = times(net(body, w=(16, 4, 3, 3), **wide))
    sources = [s for x in found.values() for s in x.sources]
    assert sorted(sources) == [f"n_{c}" for c in "hkpqrsy"]
    assert {"n_k", "n_s", "n_r"} <= set(found["n_k"].sources)


def test_every_node_of_a_network_is_somewhere_once() -> None:
    from onnxslim.demo import model_path

    model = onnx.load(model_path())
    loaded = from_proto(model)
    infer_shapes(loaded)
    with shared_worker().session(model_path(), optimization="all") as session:
        profile = session.profile({"input": np.zeros((1, 1, 28, 28), np.float32)}, runs=2)
    sources = [s for x in attribute(loaded, profile) for s in x.sources]
    assert sorted(sources) == sorted(n.name for n in model.graph.node)
