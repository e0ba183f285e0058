"""A model run in stages gives what it gives as a whole, with the weights of the moment."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.errors import CalibrationError, UnsupportedModelError
from onnxslim.graph.load import from_proto
from onnxslim.pipeline.staged import Stages, Store
from onnxslim.testing import shared_worker
from tests.nets import net
from tests.pruned import draws

BODY = (
    "k = Identity(b)  h = Conv(x, w, k)  r = Relu(h)  g = Conv<pads = [1, 1, 1, 1]>(r, w)"
    "  a = Add(g, r)  s = Shape(a)  z = If (c) <then_branch = t () => (u) { u = Neg(a) },"
    " else_branch = e () => (u) { u = Abs(a) }>  y = Reshape(z, s)"
)


def test_gives_what_the_whole_model_gives() -> None:
    proto = net(BODY)
    model = from_proto(proto)
    feeds = [{**feed, "c": np.array(i % 2 == 0)} for i, feed in enumerate(draws((2, 4, 8, 8)))]
    names = ["h", "r", "a", "y"]
    with shared_worker().session(proto.SerializeToString(), outputs=names[:3]) as session:
        wanted = [session.run(feed) for feed in feeds]
    with Stages(model, shared_worker(), feeds, [*names, "r"]) as stages:
        for name in [*names, "r"]:
            stages.fetch([name])
            for batch, found in enumerate(wanted):
                np.testing.assert_allclose(stages.get(name, batch), found[name], atol=1e-5)
            stages.release(name)


def test_runs_with_the_weights_of_the_moment_and_no_node_twice() -> None:
    model = from_proto(net("h = Conv(x, w)  r = Relu(h)  y = Conv(r, w)"))
    nodes = list(model.graph)
    with Stages(model, shared_worker(), draws((2, 4, 8, 8)), ["r", "y"]) as stages:
        stages.fetch(["r"])
        before = np.array(stages.get("r", 0))
        for node in (nodes[0], nodes[2]):
            zero = ir.Value(
                name=f"zero_{node.outputs[0].name}",
                const_value=ir.tensor(np.zeros((4, 4, 3, 3), "f4")),
            )
            model.graph.register_initializer(zero)
            node.replace_input_with(1, zero)
        stages.fetch(["y"])
        assert not np.asarray(stages.get("y", 0)).any()
        np.testing.assert_array_equal(stages.get("r", 0), before)


def test_what_is_not_read_any_more_is_dropped() -> None:
    model = from_proto(net("h = Conv(x, w)  r = Relu(h)  y = Conv(r, w)"))
    with Stages(model, shared_worker(), draws((2, 4, 8, 8)), ["h", "y"]) as stages:
        stages.fetch(["h"])
        stages.release("h")
        stages.fetch(["y"])
        with pytest.raises(KeyError):
            stages.get("h", 0)
        with pytest.raises(KeyError):
            stages.get("x", 0)


def test_spills_to_disk_and_reads_back() -> None:
    store = Store(budget=100)
    arrays = [np.full(20, i, np.float32) for i in range(3)]
    for array in arrays:
        store.add("a", array)
    for i, array in enumerate(arrays):
        np.testing.assert_array_equal(store.get("a", i), array)
    assert isinstance(store.get("a", 2), np.memmap)
    store.drop("a")
    assert "a" not in store
    store.close()


def test_says_what_is_missing() -> None:
    model = from_proto(net("y = Conv(x, w)"))
    with pytest.raises(CalibrationError, match="no samples"):
        Stages(model, shared_worker(), [], ["y"])
    stages = Stages(model, shared_worker(), draws((2, 4, 8, 8)), ["y"])
    with pytest.raises(UnsupportedModelError, match="'q'"):
        stages.fetch(["q"])
