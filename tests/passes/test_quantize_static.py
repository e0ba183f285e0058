"""Static quantization: what becomes integers, with what parameters, and what ONNX Runtime runs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import CalibrationError, UsageError
from onnxslim.graph.load import from_proto
from onnxslim.pipeline import PassContext
from onnxslim.pipeline.registry import get_pass
from onnxslim.testing import model_bytes, shared_worker
from onnxslim.verify.compare import Stats
from onnxslim.verify.structure import verify_structure
from tests.nets import net

WIDE: dict[str, Any] = {
    "x": "float[N,32,16,16]",
    "w": (32, 32, 3, 3),
    "w2": (32, 32, 3, 3),
    "b": (32,),
}
CONV = "Conv<pads = [1, 1, 1, 1]>"


def feeds(model: onnx.ModelProto, count: int = 4, batch: int = 4, seed: int = 0) -> list[Any]:
    """Seeded normal data for the inputs."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        feed = {}
        for value in model.graph.input:
            dims = value.type.tensor_type.shape.dim
            shape = [d.dim_value or batch for d in dims]
            feed[value.name] = rng.standard_normal(shape).astype(np.float32)
        found.append(feed)
    return found


def quantize(model: onnx.ModelProto, **options: Any) -> tuple[ir.Model, PassContext, int]:
    """The model after the pass."""
    loaded = from_proto(model)
    infer_shapes(loaded, worker=shared_worker())
    ctx = PassContext(loaded, worker=shared_worker(), calibration=feeds(model))
    rewrites = get_pass("quantize-static")(**options).run(loaded, ctx)
    assert verify_structure(loaded) == []
    if rewrites:
        shared_worker().check(model_bytes(loaded), full=True)
    return loaded, ctx, rewrites


def run_ops(model: ir.Model) -> Counter[str]:
    """Operators that ONNX Runtime really runs."""
    return Counter(n["op"].split(":")[-1] for n in shared_worker().optimized(model_bytes(model)))


def sqnr(before: onnx.ModelProto, after: ir.Model, level: str = "all") -> float:
    """Of all outputs together on fresh data, in dB."""
    stats = Stats()
    data = model_bytes(after)
    with (
        shared_worker().session(before.SerializeToString()) as one,
        shared_worker().session(data, optimization=level) as two,  # type: ignore[arg-type]
    ):
        for feed in feeds(before, seed=7):
            a, b = one.run(feed), two.run(feed)
            for name in a:
                stats.add(a[name], b[name])
    return stats.sqnr_db


def test_a_chain_of_convolutions_runs_on_integers() -> None:
    model = net(f"h = {CONV}(x, w, b)  r = Relu(h)  y = {CONV}(r, w2)", **WIDE)
    after, _, rewrites = quantize(model)
    assert rewrites == 2
    ops = run_ops(after)
    assert ops["QLinearConv"] == 2
    assert not ops["Conv"] + ops["FusedConv"] + ops["Relu"]
    assert sqnr(model, after) > 30


def test_nothing_is_done_without_data() -> None:
    loaded = from_proto(net(f"y = {CONV}(x, w)", **WIDE))
    infer_shapes(loaded, worker=shared_worker())
    with pytest.raises(CalibrationError, match="--data"):
        get_pass("quantize-static")().run(loaded, PassContext(loaded, worker=shared_worker()))


def test_a_glob_without_a_match_is_an_error() -> None:
    with pytest.raises(UsageError, match="--exclude 'nothing'"):
        quantize(net(f"y = {CONV}(x, w)", **WIDE), exclude=("nothing",))


@pytest.mark.parametrize("opset", [9, 11, 12])
def test_an_old_opset_is_raised_and_the_model_is_valid(opset: int) -> None:
    model = net(f"h = {CONV}(x, w, b)  y = Relu(h)", opset=opset, **WIDE)
    after, _, rewrites = quantize(model)
    assert rewrites == 1
    assert after.graph.opset_imports[""] == 13
    assert run_ops(after)["QLinearConv"] == 1
    assert sqnr(model, after) > 30
