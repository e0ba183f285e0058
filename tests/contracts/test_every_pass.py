"""What every pass owes, whatever it does: new passes join this suite by existing."""

from __future__ import annotations

import inspect
import pickle
import re
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings, target

import onnxslim.passes
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from onnxslim.graph.serialize import to_proto
from onnxslim.pipeline import Numerics, Pass, PassContext
from onnxslim.pipeline.base import class_key
from onnxslim.pipeline.registry import all_passes, get_pass
from onnxslim.pipeline.spec import format_pass, parse_pass
from onnxslim.testing import assert_close, model_bytes, shared_worker
from onnxslim.verify.structure import verify_structure
from tests.fuzz.generate import THEMES, themed
from tests.strategies import Sample, models

PASSES = list(all_passes())
VERBS = (
    "convert", "correct", "deduplicate", "distill", "eliminate", "equalize", "fold", "fuse",
    "infer", "inline", "insert", "match", "merge", "prune", "push", "quantize", "reconstruct",
    "reestimate", "unshare",
)  # fmt: skip
EXAMPLES = settings(max_examples=30)

each = pytest.mark.parametrize("cls", PASSES, ids=lambda cls: cls.name)


def run(cls: type[Pass], model: onnx.ModelProto) -> tuple[ir.Model, int, bytes, PassContext]:
    """The model after the pass, its count, the bytes before, and the context."""
    loaded = from_proto(model)
    infer_shapes(loaded, worker=shared_worker())
    before = model_bytes(loaded)
    ctx = PassContext(loaded, worker=shared_worker())
    return loaded, cls().run(loaded, ctx), before, ctx


def runs_without_data(cls: type[Pass]) -> bool:
    """Passes with required options, or that need sample data, have suites of their own."""
    return cls.numerics is not Numerics.LOSSY


def test_there_are_passes() -> None:
    assert len(PASSES) >= 8
    assert len({cls.name for cls in PASSES}) == len(PASSES)


@each
def test_is_named_right(cls: type[Pass]) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", cls.name)
    assert cls.name.split("-")[0] in VERBS
    source = Path(inspect.getfile(cls))
    if source.parent.resolve() == Path(onnxslim.passes.__path__[0]).resolve():
        assert source.stem == cls.name.replace("-", "_")
    for spelling in (cls.name, cls.name.replace("-", "_"), cls.__name__):
        assert class_key(spelling) == class_key(cls.name)
        assert get_pass(spelling) is cls
    assert isinstance(cls.numerics, Numerics)


@each
def test_is_documented(cls: type[Pass]) -> None:
    module = inspect.getmodule(cls)
    assert module is not None and module.__doc__ and cls.__doc__
    summary = cls.summary()
    assert summary.endswith(".") and len(summary) <= 100, "the first line is a sentence"
    text = " ".join(f"{module.__doc__}\n{cls.__doc__}".split())
    assert "Source:" in text or "kipped when" in text or "eft alone" in text
    for option in cls().options():
        assert re.search(rf"^\s+{option}: ", cls.__doc__, re.M), f"option {option} is undocumented"


@each
def test_is_a_value(cls: type[Pass]) -> None:
    item = cls()
    assert item == cls() and hash(item) == hash(cls())
    assert pickle.loads(pickle.dumps(item)) == item
    with pytest.raises(AttributeError):
        item.anything = 1  # type: ignore[attr-defined]


@each
def test_options_survive_their_text(cls: type[Pass]) -> None:
    item = cls()
    assert parse_pass(format_pass(item)) == item
    for option, value in item.options().items():
        for other in _others(value):
            changed = cls(**{option: other})
            assert parse_pass(format_pass(changed)) == changed


def _others(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        return [value + 1]
    return []


@each
@EXAMPLES
@given(sample=models())
def test_keeps_its_promises(cls: type[Pass], sample: Sample) -> None:
    if runs_without_data(cls):
        target(float(check_promises(cls, sample)), label="rewrites")


@each
def test_keeps_its_promises_on_every_kind_of_node(cls: type[Pass]) -> None:
    if runs_without_data(cls):
        for theme in THEMES:
            model, feeds = themed(theme)
            check_promises(cls, Sample(model, feeds))


def check_promises(cls: type[Pass], sample: Sample) -> int:
    """Valid, equal within the promise, honest count, settled, deterministic; gives the count."""
    model, count, before, _ = run(cls, sample.model)
    after = model_bytes(model)
    assert isinstance(count, int) and count >= 0
    assert (before != after) == (count > 0), f"{count} rewrites"
    again, second, _, _ = run(cls, sample.model)
    assert (second, model_bytes(again)) == (count, after), "two runs differ"
    if not count:
        return 0
    assert verify_structure(model) == []
    shared_worker().check(after, full=True)
    proto, original = to_proto(model), onnx.ModelProto.FromString(before)
    assert list(proto.graph.output) == list(original.graph.output)
    assert list(proto.graph.input) == list(original.graph.input)
    settled, more, _, _ = run(cls, onnx.ModelProto.FromString(after))
    assert (more, model_bytes(settled)) == (0, after), "a second run finds more"
    with shared_worker().session(before) as one, shared_worker().session(after) as two:
        for feed in sample.feeds:
            assert_close(one.run(feed), two.run(feed), numerics=cls.numerics)
    return count


@each
@settings(max_examples=10)
@given(sample=models(max_nodes=8))
def test_runs_inside_a_pass_manager_of_onnx_ir(cls: type[Pass], sample: Sample) -> None:
    if not runs_without_data(cls):
        return
    model = ir.from_proto(sample.model)
    result = ir.passes.PassManager([cls()], steps=2)(model)
    assert result.model is model
    assert verify_structure(model) == []
    with (
        shared_worker().session(sample.model.SerializeToString()) as one,
        shared_worker().session(ir.to_proto(model).SerializeToString()) as two,
    ):
        for feed in sample.feeds:
            assert_close(one.run(feed), two.run(feed), numerics=cls.numerics)


@each
def test_leaves_a_model_without_nodes_alone(cls: type[Pass]) -> None:
    if not runs_without_data(cls):
        return
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2])
    graph = onnx.helper.make_graph([], "g", [value], [value])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    _, count, _, ctx = run(cls, model)
    assert (count, ctx.skipped) == (0, [])
