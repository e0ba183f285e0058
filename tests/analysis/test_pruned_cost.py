"""The cost of a decision is the cost of the model that it makes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.cost import model_macs, parameter_count
from onnxslim.analysis.dependency import analyze
from onnxslim.analysis.pruned_cost import (
    BlockedCost,
    CostModel,
    Term,
    _recurrent,
    bindings_of,
    macs_terms,
    parameter_terms,
    positions_of,
)
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.duplicate import duplicate
from onnxslim.graph.load import from_proto
from onnxslim.pipeline.context import PassContext
from onnxslim.pipeline.surgery import cut
from tests.nets import net

NETS = {
    "chain": net(
        "h = Conv(x, w1, b1)  a = Relu(h)  y = Conv(a, w2)",
        x="float[N,3,9,9]", w1=(16, 3, 3, 3), b1=(16,), w2=(4, 16, 3, 3),
    ),
    "depthwise": net(
        "h = Conv(x, w1)  d = Conv<group = 16>(h, wd)  y = Conv(d, w2)",
        x="float[N,3,9,9]", w1=(16, 3, 1, 1), wd=(16, 1, 3, 3), w2=(4, 16, 1, 1),
    ),
    "grouped": net(
        "h = Conv(x, w1)  d = Conv<group = 4>(h, wd)  y = Conv(d, w2)",
        x="float[N,3,9,9]", w1=(16, 3, 1, 1), wd=(8, 4, 3, 3), w2=(4, 8, 1, 1),
    ),
    "transposed": net(
        "h = ConvTranspose(x, w1)  a = Relu(h)  y = Conv(a, w2)",
        x="float[N,3,9,9]", w1=(3, 16, 2, 2), w2=(4, 16, 1, 1),
    ),
    "gemm": net(
        "h = Gemm<transB = 1>(x, w1, b1)  a = Relu(h)  y = Gemm(a, w2)",
        x="float[N,5]", w1=(16, 5), b1=(16,), w2=(16, 4),
    ),
    "gemm transposed": net(
        "h = Gemm<transA = 1, transB = 1>(x, w1, b1)  a = Relu(h)  y = Gemm<transB = 1>(a, w2)",
        x="float[5,N]", w1=(16, 5), b1=(16,), w2=(4, 16),
    ),
    "matmul": net(
        "h = MatMul(x, w1)  a = Relu(h)  y = MatMul(a, w2)",
        x="float[N,S,5]", w1=(5, 16), w2=(16, 4),
    ),
    "products of activations": net(
        "q = MatMul(x, w1)  k = MatMul(x, w2)  t = Transpose<perm = [0, 2, 1]>(k)"
        "  s = MatMul(q, t)  y = Relu(s)",
        x="float[N,7,5]", w1=(5, 16), w2=(5, 16),
    ),
    "lstm": net(
        "h = MatMul(x, w1)  o, oh, oc = LSTM<hidden_size = 12>(h, wl, rl)"
        "  s = Squeeze(o, ax)  y = MatMul(s, w2)",
        x="float[7,N,5]", w1=(5, 16), wl=(1, 48, 16), rl=(1, 48, 12), ax=np.array([1]), w2=(12, 4),
        outputs={"y": "float[7,N,4]"},
    ),
    "concatenated": net(
        "a = Conv(x, w1)  b = Conv(x, w2)  c = Concat<axis = 1>(a, b, x)  y = Conv(c, w3)",
        x="float[N,3,9,9]", w1=(8, 3, 1, 1), w2=(12, 3, 1, 1), w3=(4, 23, 1, 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("seed", [0, 1])
def test_predicted_and_real_costs_agree(name: str, seed: int) -> None:
    dense = from_proto(NETS[name])
    infer_shapes(dense)
    dependency = analyze(dense)
    assert dependency.groups
    sizes = bindings_of(dense, {"N": 1, "S": 7})
    positions = positions_of(dependency)
    orders, counts, masks = {}, {}, {}
    rng = np.random.default_rng(seed)
    for group in dependency.groups:
        cells = group.cell_count
        per_cell = group.size // cells
        out = int(rng.integers(1, per_cell))
        rounds = [np.flatnonzero(group.cells == c)[rng.permutation(per_cell)] for c in range(cells)]
        order = np.stack(rounds, axis=1).reshape(-1)
        orders[group.id], counts[group.id] = order, out * cells
        masks[group.id] = ~np.isin(np.arange(group.size), order[: out * cells])
    pruned = duplicate(dense)
    infer_shapes(pruned)
    cut(PassContext(pruned), dependency.kept(masks))
    terms = macs_terms(dense, positions, sizes)
    assert terms is not None
    macs = CostModel(*terms, positions, orders)
    weights = CostModel(*parameter_terms(dense, positions), positions, orders)
    assert (macs.total, weights.total) == (model_macs(dense, sizes), parameter_count(dense))
    for group_id, count in counts.items():
        macs.remove(group_id, count)
        weights.remove(group_id, count)
    assert weights.total == parameter_count(pruned) < parameter_count(dense)
    assert round(macs.total) == model_macs(pruned, sizes)
    for group_id in counts:
        macs.remove(group_id, 0)
    assert round(macs.total) == model_macs(dense, sizes)


def test_sizes_are_assumed_so_that_every_layer_has_work() -> None:
    body = "h = Conv<strides = [256]>(x, w1)  y = Conv(h, w2)"
    model = from_proto(net(body, x="float[N,1,T]", w1=(8, 1, 256), w2=(4, 8, 3)))
    infer_shapes(model)
    assert bindings_of(model, {}) == {"N": 1, "T": 1024}
    assert bindings_of(model, {"T": 5000}) == {"N": 1, "T": 5000}


def test_a_recurrent_weight_of_unknown_shape_has_no_part_in_the_cost() -> None:
    known = ir.Value(name="r", shape=ir.Shape((1, 48, 12)))
    shares = [share for share, _ in _recurrent(None, known)]
    assert shares == [0.0, 1.0]
    assert [share for share, _ in _recurrent(known, ir.Value(name="w"))] == [1.0, 0.0]
    assert [share for share, _ in _recurrent(known, known)] == [0.5, 0.5]


POSITIONS = {
    "w": {0: {0: np.arange(20)}, 1: {1: np.array([0, 0, 1, 1, 2, 2]), 2: np.full(6, -1)}},
    "v": {0: {0: np.concatenate([np.arange(20), np.full(10, -1)])}},
}
"""Group 0 has 20 units; group 1 has 3 units of 2 positions; 10 positions of v are nobody's."""

ORDERS = {0: np.arange(20)[::-1], 1: np.array([2, 0, 1])}


def cost(block: int = 1) -> CostModel:
    terms = [Term(2.0, (("w", 0), ("w", 1))), Term(3.0, (("v", 0),))]
    return CostModel(terms, 5.0, POSITIONS, ORDERS, block)


def test_a_cost_follows_the_units_that_are_out() -> None:
    found = cost()
    assert found.total == 5 + 2 * 20 * 6 + 3 * 30
    assert found.remove(0, 4) == 5 + 2 * 16 * 6 + 3 * 26
    assert found.remove(1, 1) == 5 + 2 * 16 * 4 + 3 * 26
    assert (found.removed(0), found.removed(1)) == (4, 1)
    assert found.remove(0, 1) == found.total == 5 + 2 * 19 * 4 + 3 * 29


def test_sizes_above_a_block_count_as_whole_blocks() -> None:
    found = cost(block=16)
    assert found.total == 5 + 2 * 32 * 6 + 3 * 32
    assert found.remove(0, 4) == 5 + 2 * 16 * 6 + 3 * 32
    assert found.remove(0, 5) == 5 + 2 * 15 * 6 + 3 * 32


def test_blocks_that_are_badly_filled_cost_more() -> None:
    dense = cost().total
    for slack, costs in ((1.0, dense), (1.1, dense / 1.1), (1.25, 5 + 2 * 17 * 6 + 3 * 27)):
        both = BlockedCost(cost(), cost(block=16), slack)
        assert both.total == pytest.approx(dense)
        assert both.remove(0, 3) == both.total == pytest.approx(costs)
        assert both.removed(0) == 3
        assert both.remove(0, 4) == 5 + 2 * 16 * 6 + 3 * 26
