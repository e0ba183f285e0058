"""Copies are identical, one mutation is one change, and the way round does not matter."""

from __future__ import annotations

import os
import random
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxslim.errors import UnsupportedModelError
from onnxslim.graph.proto import from_proto
from onnxslim.report.diff.delta import Delta, difference
from tests.report import variants
from tests.strategies import Sample, models

FOLDER = os.environ.get("ONNXSLIM_CORPUS")
CORPUS = sorted(Path(FOLDER).glob("*.onnx")) if FOLDER else []
SLOW = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))

COPIES = {
    "renamed": lambda m, seed: variants.renamed(m, seed),
    "reordered": lambda m, seed: variants.reordered(m, seed),
    "restored": lambda m, seed: variants.restored(m),
    "all": lambda m, seed: variants.restored(variants.reordered(variants.renamed(m, seed), seed)),
}


def compare(a: onnx.ModelProto, b: onnx.ModelProto) -> Delta:
    return difference(from_proto(a), from_proto(b))


def told(delta: Delta) -> str:
    return delta.text(None)


def shape(delta: Delta, flip: bool = False) -> dict[str, object]:
    """What mirrors: how many entries of each kind."""
    swap = {"added": "removed", "removed": "added", "changed": "changed"}
    found: dict[str, object] = {"meta": sorted(delta.meta), "unchanged": None}
    for part in ("nodes", "initializers", "inputs", "outputs"):
        for key, entries in getattr(delta, part).items():
            ops = [] if key == "changed" else sorted(str(e.get("op", "")) for e in entries)
            found[f"{part} {swap[key] if flip else key}"] = (len(entries), ops)
    return found


@SLOW
@given(models(), st.sampled_from(sorted(COPIES)), st.integers(0, 99))
def test_a_copy_is_identical(sample: Sample, how: str, seed: int) -> None:
    delta = compare(sample.model, COPIES[how](sample.model, seed))
    assert delta.identical, told(delta)


@SLOW
@given(models(), st.sampled_from(sorted(variants.MUTATIONS)), st.integers(0, 99))
def test_one_mutation_is_one_change(sample: Sample, how: str, seed: int) -> None:
    changed = variants.copy(sample.model)
    if not variants.MUTATIONS[how](changed, random.Random(seed)):
        return
    hidden = variants.reordered(variants.renamed(changed, seed), seed)
    try:
        delta = compare(sample.model, hidden)
    except UnsupportedModelError:
        return
    assert delta.changes == 1, f"{how}: {told(delta)}"


@SLOW
@given(models(max_nodes=10), models(max_nodes=10))
def test_the_way_round_does_not_matter(first: Sample, second: Sample) -> None:
    there, back = compare(first.model, second.model), compare(second.model, first.model)
    assert shape(there) == shape(back, flip=True)
    assert there.counts["unchanged"] == back.counts["unchanged"]


@SLOW
@given(models(max_nodes=12), st.lists(st.sampled_from(sorted(variants.MUTATIONS)), max_size=4))
def test_every_entry_is_in_one_hunk(sample: Sample, how: list[str]) -> None:
    changed = variants.copy(sample.model)
    for number, name in enumerate(how):
        variants.MUTATIONS[name](changed, random.Random(number))
    try:
        delta = compare(sample.model, changed)
    except UnsupportedModelError:
        return
    for key in ("added", "removed", "changed"):
        places = sorted(i for hunk in delta.hunks for i in getattr(hunk, key))
        assert places == list(range(len(delta.nodes[key])))
    constants = sorted(p for hunk in delta.hunks for p in hunk.initializers)
    assert constants == sorted(
        f"{key}:{i}" for key, v in delta.initializers.items() for i in range(len(v))
    )


@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS, reason="ONNXSLIM_CORPUS names no folder with models")
@pytest.mark.parametrize("path", CORPUS or [Path("none.onnx")], ids=lambda path: path.stem)
def test_copies_and_mutations_of_a_real_model(path: Path) -> None:
    model = onnx.load(path)
    copied = compare(model, COPIES["all"](model, 1))
    assert copied.identical, told(copied)
    for how, mutation in variants.MUTATIONS.items():
        changed = variants.copy(model)
        if mutation(changed, random.Random(0)):
            delta = compare(model, variants.reordered(variants.renamed(changed, 2), 2))
            assert delta.changes == 1, f"{how}: {told(delta)}"


def _pairs() -> list[tuple[Path, Path]]:
    """Models of the corpus that come from both exporters."""
    by_name = {path.stem: path for path in CORPUS}
    stems = [name.removesuffix("_dynamo") for name in by_name if name.endswith("_dynamo")]
    olds = [(by_name.get(f"{s}_ts") or by_name.get(s), by_name[f"{s}_dynamo"]) for s in stems]
    return [(old, new) for old, new in olds if old is not None]


@pytest.mark.corpus
@pytest.mark.skipif(not _pairs(), reason="ONNXSLIM_CORPUS has no model of two exporters")
@pytest.mark.parametrize(("old", "new"), _pairs(), ids=lambda path: path.stem)
def test_the_way_round_does_not_matter_for_two_exports(old: Path, new: Path) -> None:
    first, second = onnx.load(old), onnx.load(new)
    there, back = compare(first, second), compare(second, first)
    assert shape(there) == shape(back, flip=True) and not there.identical
    assert there.counts["unchanged"] == back.counts["unchanged"] > 0
