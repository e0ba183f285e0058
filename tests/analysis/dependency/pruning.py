"""Prune a model as the tests need it: prepare, analyse, decide, cut, and the masked original."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.analysis.cost import parameter_count
from onnxslim.analysis.dependency.analyze import Dependency, analyze
from onnxslim.analysis.dependency.groups import Group, Kept, Mask
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.duplicate import duplicate
from onnxslim.graph.load import from_proto
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.manager import Manager
from onnxslim.pipeline.recipes import Recipe, Repeat
from onnxslim.pipeline.registry import get_pass
from onnxslim.pipeline.surgery import cut
from onnxslim.testing import model_bytes, shared_worker
from onnxslim.verify.masked import masked_original

PREPARE = (
    "eliminate-identity", "eliminate-noop", "fold-constants", "eliminate-where",
    "eliminate-zero-state", "eliminate-expand", "fold-shape", "fuse-shape", "fold-subgraph",
    "fuse-reshape", "fuse-slice", "fuse-split", "eliminate-strided-gather",
    "convert-channel-shuffle", "unshare-initializers", "eliminate-dead",
)  # fmt: skip
"""Leaves normalizations apart and shape arithmetic folded."""

Choice = Callable[[Group], Mask]


@dataclass(frozen=True)
class Pruned:
    """A cut and what it is compared with.

    Attributes:
        dependency: Of the dense model.
        kept: The decision.
        dense: The prepared model.
        masked: The dense model with masks.
        pruned: The model that was cut.
    """

    dependency: Dependency
    kept: Kept
    dense: ir.Model
    masked: ir.Model
    pruned: ir.Model

    @property
    def parameters(self) -> float:
        """The part of the parameters that is left."""
        return parameter_count(self.pruned) / parameter_count(self.dense)

    def error(self, feed: Mapping[str, Any]) -> float:
        """Largest difference of the pruned model to the masked one, by the output's peak."""
        expected, found = (
            shared_worker().session(model_bytes(m)).run(dict(feed))
            for m in (self.masked, self.pruned)
        )
        worst = 0.0
        for name, value in expected.items():
            a, b = np.asarray(value, np.float64), np.asarray(found[name], np.float64)
            assert a.shape == b.shape, f"{name}: {b.shape}, expected {a.shape}"
            assert np.isfinite(b).all() and b.std() > 0, f"{name} says nothing"
            worst = max(worst, float(np.abs(a - b).max() / np.abs(a).max()))
        return worst


def prepare(proto: onnx.ModelProto) -> ir.Model:
    """A loaded model, its shape arithmetic folded."""
    model = from_proto(proto)
    infer_shapes(model, worker=shared_worker())
    ctx = PassContext(model, worker=shared_worker())
    Manager(Recipe("prepare", (Repeat(tuple(get_pass(n)() for n in PREPARE)),))).run(model, ctx)
    infer_shapes(model)
    return model


def analyzed(proto: onnx.ModelProto) -> Dependency:
    """The analysis of a prepared model."""
    return analyze(prepare(proto))


def apply(dependency: Dependency, choice: Choice) -> Pruned:
    """Cut what a choice leaves out of every group; the result is valid."""
    kept = dependency.kept({g.id: choice(g) for g in dependency.groups})
    model = duplicate(dependency.model)
    infer_shapes(model)
    cut(PassContext(model), kept)
    shared_worker().check(model_bytes(model))
    masked = masked_original(dependency, kept)
    return Pruned(dependency, kept, dependency.model, masked, model)


def prune(proto: onnx.ModelProto, choice: Choice) -> Pruned:
    """All of it."""
    return apply(analyzed(proto), choice)


def half(seed: int = 0, part: float = 0.5) -> Choice:
    """Keep a part of the units of each cell, drawn at random; at least one."""

    def choose(group: Group) -> Mask:
        rng = np.random.default_rng([seed, group.id])
        stays = np.zeros(group.size, dtype=bool)
        for cell in range(group.cell_count):
            own = np.flatnonzero(group.cells == cell)
            stays[rng.permutation(own)[: max(1, round(len(own) * part))]] = True
        return stays

    return choose
