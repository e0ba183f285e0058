"""What depends on constants only, and what of it is written down."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.analysis.shapes import infer_shapes
from onnxslim.graph.load import from_proto
from onnxslim.passes._fold_region import Region
from tests.nets import net

F = np.float32


class Regions:
    """A region of a model, with what it says of its nodes."""

    def __init__(self, body: str, limit: int = 1 << 20, **given: Any) -> None:
        model = from_proto(net(body, **given))
        infer_shapes(model)
        self.nodes = list(model.graph)
        self.said: dict[str, str] = {}
        self.region = Region(self.nodes, limit, self.skip)

    def skip(self, node: ir.Node, reason: str) -> bool:
        self.said[name_of(node)] = reason
        return False

    @property
    def inside(self) -> list[str]:
        return [name_of(node) for node in self.region.order]

    def choose(self, small: int = 64) -> list[str]:
        return [name_of(node) for node in self.region.choose(small)]


def name_of(node: ir.Node) -> str:
    return str(node.outputs[0].name)


K = np.arange(6, dtype=F).reshape(2, 3)


@pytest.mark.parametrize(
    ("body", "given", "inside"),
    [
        ("a = Neg(k)  b = Abs(a)  y = Add(b, x)", {"k": K, "x": "float[2,3]"}, ["a", "b"]),
        ("a = Clip(k, , m)  y = Add(a, x)", {"k": K, "m": F(2), "x": "float[2,3]"}, ["a"]),
        ("a = Neg(k)  y = com.microsoft.Gelu(a)", {"k": K, "outputs": {"y": "float[2,3]"}}, ["a"]),
        ("a = RandomNormalLike(k)  y = Neg(a)", {"k": K}, []),
        ("k = Constant<value_float = 2.0>()  a = Neg(k)  y = Add(a, x)", {}, ["a"]),
        ("a = Add(k, x)  y = Neg(a)", {"k": K, "x": "float[2,3]"}, []),
        ("a = NonZero(k)  y = Add(a, x)", {"k": K, "x": "int64[2,1]"}, ["a"]),
        ("a, b = TopK(k, n)  y = Add(a, x)", {"k": K, "n": [1], "x": "float[2,1]"}, ["a"]),
    ],
)
def test_inside(body: str, given: dict[str, Any], inside: list[str]) -> None:
    regions = Regions(body, **given)
    assert [n for n in regions.inside if n != "y"] == inside


@pytest.mark.parametrize(
    ("body", "given", "reason"),
    [
        ("a = DequantizeLinear(k, s)  y = Neg(a)", {"k": np.ones(3, np.int8), "s": F(1)}, "widens"),
        ("a = Cast<to = 1>(k)  y = Neg(a)", {"k": np.ones(3, np.int8)}, "widens"),
        ("a = Cast<to = 1>(k)  y = Neg(a)", {"k": np.ones(3, np.uint8)}, "widens"),
        ("a = Cast<to = 1>(k)  y = Neg(a)", {"k": np.ones(3, np.int16)}, ""),
        ("a = Cast<to = 1>(k)  y = Neg(a)", {"k": np.ones(3, bool)}, ""),
        ("a = Cast<to = 2>(k)  y = Identity(a)", {"k": np.ones(3, np.int8)}, ""),
    ],
)
def test_quantized_weights_are_not_widened(body: str, given: dict[str, Any], reason: str) -> None:
    said = Regions(body, **given).said.get("a", "")
    assert reason in said and bool(reason) == bool(said)


@pytest.mark.parametrize(("limit", "fits"), [(24, True), (23, False)])
def test_results_have_a_limit(limit: int, fits: bool) -> None:
    regions = Regions("a = Neg(k)  y = Add(a, x)", limit, k=K, x="float[2,3]")
    assert (regions.inside == ["a"]) == fits
    assert fits or regions.said == {"a": f"the result is larger than {limit} bytes"}


@pytest.mark.parametrize(("limit", "fits"), [(96, True), (95, False)])
def test_places_of_non_zeros_are_counted_at_their_most(limit: int, fits: bool) -> None:
    regions = Regions("a = NonZero(k)  y = Add(a, x)", limit, k=K, x="int64[2,1]")
    assert (regions.inside == ["a"]) == fits


@pytest.mark.parametrize(("limit", "fits"), [(36, True), (35, False)])
def test_every_result_counts(limit: int, fits: bool) -> None:
    """float32[3,1] and int64[3,1]; the second one only if it is there."""
    given: dict[str, Any] = {"k": K.reshape(3, 2), "n": [1], "x": "float[3,1]"}
    body = "a, b = TopK(k, n)  y = Add(a, x)  z = Neg(b)"
    assert (Regions(body, limit, **given).inside[:1] == ["a"]) == fits


def test_taken_out_with_all_that_follows() -> None:
    body = "a = Neg(k)  b = Abs(a)  d = Exp(b)  e = Abs(k)  y = Sum(d, e, x)"
    regions = Regions(body, k=K, x="float[2,3]")
    assert regions.inside == ["a", "e", "b", "d"] or regions.inside == ["a", "b", "d", "e"]
    regions.region.remove([regions.nodes[1]])
    assert regions.inside == ["a", "e"]
    assert [str(v.name) for v in regions.region.frontier(regions.nodes[0])] == ["a"]
    assert regions.choose() == ["a", "e"]


def test_only_what_is_read_outside_is_written() -> None:
    body = "a = Neg(k)  b = Abs(a)  d = Exp(b)  y = Add(d, x)"
    regions = Regions(body, k=K, x="float[2,3]")
    assert regions.choose() == ["d"]
    needed = regions.region.needed([regions.nodes[2]])
    assert [name_of(node) for node in needed] == ["a", "b", "d"]
    assert [name_of(node) for node in regions.region.needed([regions.nodes[1]])] == ["a", "b"]


def test_a_graph_output_stays_with_what_it_reads() -> None:
    regions = Regions("a = Neg(k)  y = Abs(a)", k=K)
    assert regions.choose() == ["a"]
    assert regions.said == {"y": "a graph output must be written by a node"}


def spread_out(size: int, op: str = "Expand", readers: str = "") -> Regions:
    given: dict[str, Any] = {"k": np.ones(1, F), "s": [size]}
    if op == "ConstantOfShape":
        given.pop("k")
    call = "Expand(k, s)" if op == "Expand" else "ConstantOfShape(s)"
    return Regions(f"a = {call}  y = Add(a, x){readers}", x=f"float[{size}]", **given)


def test_what_makes_the_file_larger() -> None:
    """4 bytes a number; the node (64), its constants (4 and 8) are no longer needed."""
    freed = 64 + 4 + 8
    assert spread_out(16).choose(64) == ["a"]
    most = (64 + freed) // 4
    assert spread_out(most).choose(64) == ["a"]
    regions = spread_out(most + 1)
    assert regions.choose(64) == []
    assert regions.said == {"a": "the result would make the file larger"}
    shared = "  z = Neg(k)"
    assert spread_out(most - 1, readers=shared).choose(64) == ["a"]
    assert spread_out(most, readers=shared).choose(64) == []


def test_a_constant_of_shape_has_less_room() -> None:
    most = (64 // 8 + 64 + 8) // 4
    assert spread_out(most, "ConstantOfShape").choose(64) == ["a"]
    assert spread_out(most + 1, "ConstantOfShape").choose(64) == []


def test_a_refused_result_leaves_what_it_reads() -> None:
    body = "a = Neg(k)  b = Expand(a, s)  y = Add(b, x)"
    regions = Regions(body, k=np.ones(1, F), s=[1000], x="float[1000]")
    assert regions.choose(64) == ["a"] and regions.inside == ["a"]
