"""Observations: merged, cached, counted densely enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxslim.analysis.quantization.observe import (
    ENOUGH,
    Observations,
    cache_path,
    sample_sizes,
)
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.errors import CalibrationError
from onnxslim.graph.load import from_proto
from onnxslim.testing import shared_worker
from tests.nets import net

MODEL = net("r = Relu(x)  y = Neg(r)", x="float[N,4]")
WIDE = net("r = Relu(x)  y = Neg(r)", x="float[N,1024,4]")


def data(count: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.standard_normal((3, 4)).astype(np.float32)} for _ in range(count)]


def observed(*parts: list[dict[str, Any]]) -> Observations:
    found = Observations()
    with shared_worker().session(MODEL.SerializeToString(), optimization="all") as session:
        for part in parts:
            found.see(session, ["x", "r"], part)
    return found


def same(a: Observations, b: Observations) -> bool:
    keys = ("counts", "edges", "zeros", "min", "max")
    return all(np.array_equal(a.facts[n][k], b.facts[n][k]) for n in ("x", "r") for k in keys)


def test_parts_make_the_whole() -> None:
    feeds = data(6)
    assert same(observed(feeds), observed(feeds[:2], feeds[2:]))


def test_inner_tensors_are_seen_as_they_are() -> None:
    feeds = data(4)
    rectified = np.maximum(np.concatenate([f["x"] for f in feeds]), 0)
    facts = observed(feeds).facts["r"]
    assert facts["max"] == rectified.max() and facts["zeros"] == int((rectified == 0).sum())


def test_no_feeds_are_an_error() -> None:
    with pytest.raises(CalibrationError, match="--data"):
        observed([])


def test_a_cache_gives_back_what_was_seen(tmp_path: Path) -> None:
    path, found = tmp_path / "deep" / "seen.npz", observed(data(3))
    assert found.save(path)
    again = Observations()
    assert again.load(path) and same(found, again)
    assert [p.name for p in path.parent.iterdir()] == ["seen.npz"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"no archive at all"])
def test_a_broken_cache_is_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "seen.npz"
    path.write_bytes(content)
    found = Observations()
    assert not found.load(path) and not found.histograms


def test_another_model_or_other_data_has_another_cache(tmp_path: Path) -> None:
    one, two = tmp_path / "a", tmp_path / "b"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    paths = {
        cache_path(one, "d", ["x"]),
        cache_path(two, "d", ["x"]),
        cache_path(one, "e", ["x"]),
        cache_path(one, "d", ["x", "y"]),
    }
    assert len(paths) == 4


def test_the_more_feeds_there_are_the_fewer_values_of_each_count() -> None:
    feeds = [{"x": np.full((64, 1024, 4), i + 1, np.float32)} for i in range(2)]
    counted = []
    for batches in (1, 64):
        found = Observations()
        with shared_worker().session(WIDE.SerializeToString(), optimization="all") as session:
            found.see(session, ["x", "r"], feeds, batches=batches)
        counted.append(found.facts["r"]["counts"].sum())
        assert (found.facts["r"]["min"], found.facts["r"]["max"]) == (1, 2)
    assert ENOUGH / 1.5 < counted[0] / 2 < ENOUGH * 1.5
    assert ENOUGH / 1.5 < counted[1] / 2 * 64 < ENOUGH * 1.5


def test_sizes_of_one_sample_are_those_of_a_feed() -> None:
    model = from_proto(net("r = Relu(x)", x="float[N,3,H,H]"))
    infer_shapes(model)
    sizes = sample_sizes(model, {"x": np.zeros((8, 3, 224, 224), np.float32)})
    assert sorted(sizes.values()) == [1, 224]
