"""Random networks: what is cut equals what is masked, whatever the shape of the network."""

from __future__ import annotations

import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from onnxslim.analysis.dependency.groups import Group, Mask
from tests.analysis.dependency.pruning import analyzed, apply, half
from tests.analysis.dependency.random_nets import BLOCKS, Block, Walk, random_net
from tests.topologies.feeding import feed_of

PARTS = (0.3, 0.8, 0.5, 0.65)


class Drawn:
    """A network, shown as text when it fails."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model

    def __repr__(self) -> str:
        nodes = [f"{n.op_type}({', '.join(n.input)}) -> {n.output}" for n in self.model.graph.node]
        return "\n".join(nodes)


@st.composite
def networks(draw: st.DrawFn) -> Drawn:
    walk = Walk(lambda low, high: draw(st.integers(low, high)), draw(st.integers(1, 10)))
    return Drawn(walk.model())


@settings(max_examples=40)
@given(networks(), st.integers(0, 1000))
def test_cut_equals_masked(network: Drawn, seed: int) -> None:
    dependency = analyzed(network.model)

    def choose(group: Group) -> Mask:
        return half(seed, PARTS[(group.id + seed) % 4])(group)

    result = apply(dependency, choose)
    # A piece of a Split may lose all of its channels: not every operator runs on nothing.
    assume(all(len(i) for axes in result.kept.axes.values() for i in axes.values()))
    assert result.error(feed_of(network.model, seed)) < 1e-4


@pytest.mark.parametrize("seed", range(8))
def test_large_networks(seed: int) -> None:
    """Forty blocks: the analysis finds units in all of them, and most parameters can leave."""
    model = random_net([seed, 7], 40)
    dependency = analyzed(model)
    result = apply(dependency, half(seed))
    assert len(dependency.groups) > 5
    assert result.parameters < 0.6
    if all(len(i) for axes in result.kept.axes.values() for i in axes.values()):
        assert result.error(feed_of(model, seed)) < 1e-4


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.__name__)
def test_every_block_lets_channels_leave(block: Block) -> None:
    """No kind of block is frozen by nature."""
    model = Walk(lambda low, high: (low + high + 1) // 2, 2, block).model()
    assert apply(analyzed(model), half()).parameters < 0.6
