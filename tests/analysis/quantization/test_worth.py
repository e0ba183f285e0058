"""What pays: a minimum cut between what integers save and what conversions cost."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.quantization import recognize
from onnxslim.analysis.quantization.carriers import Carriers
from onnxslim.analysis.quantization.recognize import Found
from onnxslim.analysis.quantization.targets import SHIPPED, Costs
from onnxslim.analysis.quantization.worth import Worth
from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from tests.nets import net

PAD = "Conv<pads = [1, 1, 1, 1]>"


def layers(body: str, **given: Any) -> tuple[ir.Model, list[Found]]:
    """A model with inferred shapes, and its layers."""
    model = from_proto(net(body, **given))
    infer_shapes(model)
    found = [f for node in model.graph if (f := recognize.find(node)) is not None]
    assert not any(f.refusal for f in found)
    return model, found


def gain(body: str, sizes: dict[str, int] | None = None, **given: Any) -> float:
    return Worth(Costs(), sizes or {}).gain(layers(body, **given)[1][0])


def test_a_wide_convolution_gains_and_a_depthwise_or_tiny_one_loses() -> None:
    assert gain(f"y = {PAD}(x, w)", x="float[1,64,56,56]", w=(64, 64, 3, 3)) > 1e5
    depthwise = "y = Conv<pads = [2, 2, 2, 2], group = 64>(x, w)"
    assert gain(depthwise, x="float[1,64,56,56]", w=(64, 1, 5, 5)) < 0
    assert gain(f"y = {PAD}(x, w)", x="float[1,2,8,8]", w=(4, 2, 3, 3)) < 0


def test_a_wide_product_gains_and_a_tiny_one_loses() -> None:
    assert gain("y = MatMul(x, w)", x="float[128,768]", w=(768, 768)) > 1e5
    assert gain("y = MatMul(x, w)", x="float[1,16]", w=(16, 16)) < 0


def test_sizes_left_open_are_those_of_the_sample() -> None:
    given: dict[str, Any] = {"x": "float[N,64,H,W]", "w": (64, 64, 3, 3)}
    small, large = (
        gain(f"y = {PAD}(x, w)", {"N": 1, "H": size, "W": size}, **given) for size in (8, 56)
    )
    assert large > 20 * small
    assert gain(f"y = {PAD}(x, w)", **given) == math.inf  # unknown: as if it paid


def test_a_conversion_costs_a_node_and_its_elements() -> None:
    model, _ = layers(f"y = {PAD}(x, w)", x="float[1,4,8,8]", w=(4, 4, 3, 3))
    worth, costs = Worth(Costs(), {}), Costs()
    value = model.graph.inputs[0]
    assert worth.conversion(value, between=False) == costs.node + 256 * costs.conversion
    more = worth.conversion(value, between=True) - worth.conversion(value, between=False)
    assert more == pytest.approx(256 * costs.layout)


CHAIN = "a = Conv(x, u)  b = Relu(a)  c = Conv(b, v)  d = Relu(c)  e = Conv(d, w)  y = Relu(e)"
FORK = "a = Conv(x, u)  b = Relu(a)  c = Conv(b, v)  d = Neg(b)  e = Conv(d, w)  y = Add(c, e)"
SHARED = "a = Conv(x, u)  b = Conv(a, v)  c = Conv(a, w)  d = Neg(b)  y = Mul(c, d)"
GIVEN: dict[str, Any] = {"x": "float[1,2,4,4]", **{n: (2, 2, 1, 1) for n in "uvw"}}


class Drawn(Worth):
    """Gains and conversions drawn at random instead of reckoned."""

    def __init__(self, seed: int) -> None:
        super().__init__(Costs(), {})
        self.rng = np.random.default_rng(seed)
        self.drawn: dict[Any, float] = {}

    def gain(self, found: Found) -> float:
        return self.drawn.setdefault(found.node, float(self.rng.normal()))

    def conversion(self, value: ir.Value, *, between: bool) -> float:
        return self.drawn.setdefault(value, float(self.rng.random()))

    def total(self, found: list[Found], chosen: set[ir.Node]) -> float:
        """Time of a choice over that of all layers in integers without a conversion."""
        makers = {f.result: f.node for f in found if f.result is not None}
        cost = sum(self.gain(f) for f in found if f.node not in chosen)
        for value in dict.fromkeys([*makers, *(f.data for f in found)]):
            readers = [f.node in chosen for f in found if f.data is value]
            made = makers.get(value) in chosen
            elsewhere = len(value.uses()) > len(readers) or value.is_graph_output()
            price = self.conversion(value, between=False)
            cost += price * (made and (elsewhere or not all(readers)))
            cost += price * (not made and any(readers))
        return cost


@pytest.mark.parametrize("body", [CHAIN, FORK, SHARED])
@pytest.mark.parametrize("seed", range(8))
def test_the_choice_is_the_best_of_all(body: str, seed: int) -> None:
    """Every subset of the layers is tried; a tensor is converted once, however many read it."""
    _, found = layers(body, **GIVEN)
    worth = Drawn(seed)
    chosen = worth.choose(found, {}, {})
    nodes = [f.node for f in found]
    subsets = itertools.chain.from_iterable(itertools.combinations(nodes, n) for n in range(4))
    best = min(worth.total(found, set(subset)) for subset in subsets)
    assert worth.total(found, chosen) == pytest.approx(best)


def test_what_is_forced_is_chosen_whatever_it_costs() -> None:
    _, found = layers(CHAIN, **GIVEN)
    assert Worth(Costs(node=1e9), {}).choose(found, {}, {}) == set()
    assert found[1].node in Worth(Costs(node=1e9), {}).choose(found, {}, {}, [found[1]])


def test_an_add_between_layers_saves_its_conversions() -> None:
    """Chosen as a carrier: between integer layers only, and never before one."""
    body = (
        f"a = {PAD}(x, u)  b = {PAD}(a, v)  s = Add(a, b)  y = {PAD}(s, w)"
        f"  n = Neg(x)  m = Add(n, x)  z = Neg(m)"
    )
    model, found = layers(body, x="float[1,64,56,56]", **{n: (64, 64, 3, 3) for n in "uvw"})
    wanted = dict.fromkeys(v for f in found for v in (f.data, f.result) if v is not None)
    made = [f.result for f in found if f.result is not None]
    carriers = Carriers(model, SHIPPED[0], wanted, made)
    chosen = Worth(Costs(), {}).choose(found, carriers.set, carriers.results)
    names = {n.outputs[0].name for n in chosen}
    assert {"a", "b", "s", "y"} <= names and "m" not in names
