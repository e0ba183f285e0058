"""Every topology loses half of its units, stays valid, and equals the masked original."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from onnxslim.analysis.dependency.analyze import Dependency
from onnxslim.analysis.dependency.groups import Group, Mask
from onnxslim.testing import model_bytes, shared_worker
from tests.analysis.dependency.pruning import Choice, Pruned, analyzed, apply, half
from tests.topologies import TOPOLOGIES, UNRUNNABLE
from tests.topologies.feeding import feed_of

LEFT = 0.36
"""Most of the parameters that may be left where nothing but the ends is fixed."""

WIDER = {
    **dict.fromkeys(
        [name for name in TOPOLOGIES if name.startswith(("attention_", "packed_attention"))], 0.58
    ),
    "attention_cross": 0.36,
    "attention_per_head_weights": 0.42,
    "blocks_of_bits": 0.38,
    "channel_gather": 0.48,
    "computed_weight": 0.44,
    "custom_operator": 0.83,
    "depthwise_input": 0.39,
    "depthwise_multiplier": 0.40,
    "eca": 0.52,
    "einsum_projections": 0.42,
    "group_query_attention_contrib": 0.54,
    "if_body": 0.43,
    "multi_head_attention_bias": 0.54,
    "multi_head_attention_contrib": 0.54,
    "positional_map": 0.44,
    "rms_norm_23": 0.54,
    "rotary_rows": 0.59,
    "rows_updated": 0.38,
    "shufflenet_v1": 0.45,
    "swiglu_packed": 0.54,
    "two_outputs": 0.40,
}
"""Where more is fixed: the residual stream of width 32 is the input itself, an output in the
middle, an operator without a rule, a convolution along the channels."""

RUNNABLE = [name for name in TOPOLOGIES if name not in UNRUNNABLE]


@functools.cache
def _dependency(name: str) -> Dependency:
    return analyzed(TOPOLOGIES[name]())


def _prune(name: str, choice: Choice) -> Pruned:
    return apply(_dependency(name), choice)


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_half_of_the_units_leave(name: str) -> None:
    model = TOPOLOGIES[name]()
    result = _prune(name, half())
    assert result.dependency.groups
    assert result.parameters <= WIDER.get(name, LEFT)
    if name not in UNRUNNABLE:
        assert result.error(feed_of(model)) < 1e-4
    _assert_described(result)


@pytest.mark.parametrize("name", RUNNABLE)
def test_one_unit_is_left(name: str) -> None:
    """The extreme: one unit per cell, another batch size."""
    model = TOPOLOGIES[name]()
    result = _prune(name, half(1, part=0.0))
    assert result.error(feed_of(model, 3, N=1)) < 1e-4


@pytest.mark.parametrize("name", RUNNABLE)
def test_uneven_parts_leave(name: str) -> None:
    """Every group keeps a part of its own: an axis that belongs to the wrong group shows."""

    def choose(group: Group) -> Mask:
        return half(2, part=(0.3, 0.9, 0.6, 0.75)[group.id % 4])(group)

    model = TOPOLOGIES[name]()
    assert _prune(name, choose).error(feed_of(model, 4, N=3, L=4)) < 1e-4


def _assert_described(result: Pruned) -> None:
    """Shapes of all tensors in the pruned model are those that the decision says."""
    sizes = {
        value.name: value.shape
        for node in result.pruned.graph
        for value in (*node.inputs, *node.outputs)
        if value is not None
    }
    checked = 0
    for value, axes in result.kept.axes.items():
        for axis, index in axes.items():
            shape = sizes.get(value)
            if shape is not None and isinstance(shape[axis], int):
                assert shape[axis] == len(index), value
                checked += 1
    assert checked


@pytest.mark.parametrize("name", ["c2f_slice", "vit", "lstm_both_states", "pixel_shuffle_dcr"])
def test_a_wrong_index_is_seen(name: str) -> None:
    """The comparison with the masked original has teeth: one weight cut at other places fails."""
    model = TOPOLOGIES[name]()
    result = _prune(name, half())
    feed = feed_of(model)
    assert result.error(feed) < 1e-4
    matrices = {
        value: axes
        for value, axes in result.kept.axes.items()
        if value in result.pruned.graph.initializers and len(axes) == 2
    }
    value, axes = next(iter(matrices.items()))
    axis, index = next(iter(axes.items()))
    dense = result.dense.graph.initializers[value].const_value
    assert dense is not None
    moved = (index + 1) % dense.shape.numpy()[axis]
    array = dense.numpy()
    for other, kept in axes.items():
        array = np.take(array, moved if other == axis else kept, axis=other)
    initializer = result.pruned.graph.initializers[value]
    assert initializer.const_value is not None
    initializer.const_value.numpy()[...] = array
    shared_worker().check(model_bytes(result.pruned))
    assert result.error(feed) > 1e-3


def test_whole_heads_leave() -> None:
    """Heads are units: eight positions each in queries, keys and values."""
    for name in ("attention_packed_legacy", "attention_23_rank4", "bert", "vit"):
        groups = _dependency(name).groups
        assert [(g.size, g.width) for g in groups if g.kind == "head"] == [(4, 8)], name


def test_query_heads_leave_with_their_key_head() -> None:
    for name in ("attention_grouped_queries", "attention_23", "group_query_attention_contrib"):
        groups = _dependency(name).groups
        assert [g.size for g in groups if g.kind == "head"] == [2], name


def test_windows_have_heads() -> None:
    """A table of one column per head does not make heads channels."""
    groups = _dependency("swin").groups
    assert [(g.size, g.width) for g in groups if g.kind == "head"] == [(4, 8), (4, 8)]
    for name in ("pixel_shuffle_dcr", "flatten_gemm", "crnn_columns", "lstm", "depthwise"):
        assert not [g for g in _dependency(name).groups if g.kind == "head"], name


def test_blocks_are_cells() -> None:
    """Where the same count must stay in every block of a grouped convolution."""
    groups = _dependency("grouped_conv").groups
    assert {(g.size, g.cell_count) for g in groups} == {(32, 1), (32, 4)}


def test_both_directions_leave_together() -> None:
    """Hidden sizes are one number: a unit is one index of both directions."""
    groups = _dependency("lstm_bidirectional").groups
    assert [g.size for g in groups if g.kind == "hidden"] == [16, 16]


def test_reasons_are_given() -> None:
    """Layers that stay whole say why."""
    reasons = {f.layer: f.reason for f in _dependency("custom_operator").frozen}
    assert "no rule for operator Magic" in reasons["/Conv_2"]
    assert "graph output" in reasons["/Gemm_11"]


def test_explain_gives_the_path() -> None:
    """The two ends of a residual block are coupled by the Add."""
    dependency = _dependency("residual_folded")
    layers = [layer for g in dependency.groups if len(g.layers) > 3 for layer in g.layers]
    path = dependency.explain(layers[0], layers[2])
    assert path[0] == layers[0] and any("Add" in name for name in path)
    assert dependency.explain(layers[0], "no such layer") == ()


def test_couplings_of_a_group() -> None:
    """Each maker of a group with the next one, through the Adds; nothing for a single maker."""
    dependency = _dependency("residual_folded")
    for group in dependency.groups:
        pairs = dependency.couplings(group)
        assert [p[0] for p in pairs[1:]] == [p[1] for p in pairs[:-1]]
        assert all(any("Add" in name for name in path) for _, _, path in pairs)
    assert {len(dependency.couplings(g)) > 0 for g in dependency.groups} == {True, False}
