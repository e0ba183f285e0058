"""Nodes by the names they were given, after passes."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.duplicate import duplicate
from onnxslim.graph.edit import PASSES, SOURCE
from onnxslim.graph.load import from_proto
from onnxslim.graph.provenance import (
    History,
    copy_provenance,
    is_known,
    matching_nodes,
    remember_readers,
)
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.manager import Manager
from onnxslim.pipeline.recipes import get_recipe
from tests.nets import net


def folded() -> ir.Model:
    """A Conv that took in a BatchNormalization, then a Relu."""
    proto = net("h = Conv(x, w)  n = BatchNormalization(h, scale, shift, mean, var)  y = Relu(n)")
    for name, node in zip(("conv", "bn", "relu"), proto.graph.node, strict=True):
        node.name = name
    model = from_proto(proto)
    remember_readers(model)
    infer_shapes(model)
    Manager(get_recipe("default")).run(model, PassContext(model))
    assert [n.op_type for n in model.graph] == ["Conv", "Relu"]
    return model


@pytest.mark.parametrize(
    ("glob", "found"),
    [
        ("conv", ["Conv"]),
        ("bn", ["Conv"]),
        ("h", ["Conv"]),
        ("n", ["Conv"]),
        ("w", ["Conv"]),
        ("scale", ["Conv"]),
        ("op:BatchNormalization", ["Conv"]),
        ("op:Relu", ["Relu"]),
        ("y", ["Relu"]),
        ("*", ["Conv", "Relu"]),
        ("x", []),
        ("nothing", []),
    ],
)
def test_names_as_given(glob: str, found: list[str]) -> None:
    model = folded()
    assert [n.op_type for n in matching_nodes(model, glob)] == found
    assert is_known(model, glob) == bool(found)


def test_a_duplicate_stands_for_the_same() -> None:
    model = folded()
    copy = duplicate(model)
    assert not matching_nodes(copy, "bn")
    copy_provenance(model, copy)
    assert [n.op_type for n in matching_nodes(copy, "bn")] == ["Conv"]


def test_what_is_gone_is_known_still() -> None:
    proto = net("h = Conv(x, w)  y = Neg(h)  z = Relu(h)", outputs=["z"])
    model = from_proto(proto)
    remember_readers(model)
    infer_shapes(model)
    Manager(get_recipe("default")).run(model, PassContext(model))
    assert not matching_nodes(model, "op:Neg") and is_known(model, "op:Neg")


def test_history_is_kept_by_name_and_copied() -> None:
    model = folded()
    before = dict(model.meta[PASSES])
    assert before[0] == before[1] == ("fold-batchnorm",) and 2 not in before
    copy = duplicate(model)
    copy_provenance(model, copy)
    ctx = PassContext(copy)
    relu = next(n for n in copy.graph if n.op_type == "Relu")
    ctx.set_attributes(relu, {})  # no pass runs: nobody to name
    assert copy.meta[PASSES] == before
    ctx.begin(-1, "some-pass")
    ctx.set_attributes(relu, {})
    ctx.set_attributes(relu, {})
    assert copy.meta[PASSES] == {**before, 2: ("some-pass",)} and model.meta[PASSES] == before


def test_a_hub_is_no_news_about_what_it_stands_for() -> None:
    model = folded()
    conv = next(n for n in model.graph if n.op_type == "Conv")
    conv.meta[SOURCE] = tuple(range(40))
    history = History(model)
    history.name = "some-pass"
    before = dict(model.meta[PASSES])
    history.note([conv])
    assert model.meta[PASSES] == before
