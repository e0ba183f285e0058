"""A region of nodes that can all work in another layout, and its cheapest choice of layouts.

Each node of the region takes one of two layouts: its own (0) or the other one (1). A tensor that is
made in one and read in the other needs a Transpose; a Transpose at the border becomes another one,
or nothing. The cheapest choice is a minimum cut. Costs are the elements that Transposes move, so
that data movement never grows.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._layout import Perms, perms_of
from onnxslim.passes._mincut import UNCUTTABLE, Cut
from onnxslim.passes._transposes import Perm, compose, inverse, is_identity, permutation

MAX_NODES = 500
"""A region grows no further than this."""
_UNKNOWN = 16
"""Stands for a size that is not known, when moves are compared."""

OWN, OTHER = "own", "other"


@dataclass
class Region:
    """Nodes around a Transpose, with the permutation of each tensor between the two layouts.

    Attributes:
        graph: All nodes are in this one.
        opset: Version of the operator set.
        nodes: Nodes that can work in both layouts, with the permutations of their tensors.
        perms: Permutation of each tensor that the region reads or makes.
    """

    graph: ir.Graph
    opset: int
    nodes: dict[ir.Node, Perms] = field(default_factory=dict)
    perms: Perms = field(default_factory=dict)

    def grow(self, value: ir.Value, perm: Perm) -> None:
        """Take in everything that is connected with a tensor, Transposes left out."""
        self.perms[value] = perm
        queue = [value]
        while queue:
            here = queue.pop()
            producer = here.producer()
            around = [use.node for use in here.uses()]
            for node in [producer, *around] if producer is not None else around:
                queue.extend(self._take(node, here))

    def _take(self, node: ir.Node, value: ir.Value) -> list[ir.Value]:
        if node in self.nodes or node.graph is not self.graph or len(self.nodes) >= MAX_NODES:
            return []
        found = perms_of(node, value, self.perms[value], self.opset)
        if found is None or any(self.perms.get(v, p) != p for v, p in found.items()):
            return []
        found = {v: p for v, p in found.items() if not is_identity(p)}
        if value not in found:
            return []
        self.nodes[node] = found
        new = [v for v in found if v not in self.perms]
        self.perms.update(found)
        return new

    # ---------------------------------------------------------------- Transposes at the border

    def before(self, value: ir.Value) -> ir.Node | None:
        """The Transpose that makes a tensor of the region."""
        node = value.producer()
        return node if node is not None and self._is_border(node) else None

    def after(self, value: ir.Value) -> list[ir.Node]:
        """Transposes that read what a node of the region makes and lead out of it."""
        if value.producer() not in self.nodes:
            return []
        readers = dict.fromkeys(use.node for use in value.uses())
        return [n for n in readers if self._is_border(n) and n.outputs[0] not in self.perms]

    def _is_border(self, node: ir.Node) -> bool:
        is_move = edit.is_op(node, "Transpose") and node.graph is self.graph
        return is_move and permutation(node) is not None

    def turned_before(self, node: ir.Node) -> Perm:
        """What a Transpose into the region becomes when the other layout is wanted."""
        return compose(_perm(node), inverse(self.perms[node.outputs[0]]))

    def turned_after(self, node: ir.Node, value: ir.Value) -> Perm:
        """What a Transpose out of the region becomes when it reads the other layout."""
        return compose(self.perms[value], _perm(node))


def _perm(node: ir.Node) -> Perm:
    perm = permutation(node)
    assert perm is not None
    return perm


@dataclass(frozen=True)
class Choice:
    """Which nodes take the other layout.

    Attributes:
        other: Region nodes and border Transposes that work in the other layout.
        saved: Transposes that go, less those that come.
    """

    other: dict[Hashable, None]
    saved: int


def choose(region: Region) -> Choice:
    """The choice of layouts that moves the fewest elements."""
    cut = Cut(OWN, OTHER)
    for value in region.perms:
        _add_value(region, value, cut)
    _, other = cut.solve()
    before = after = 0
    for value in region.perms:
        old, new = _count(region, value, other)
        before, after = before + old, after + new
    return Choice(other, before - after)


def _maker(region: Region, value: ir.Value) -> Hashable:
    """Who makes a tensor: a node of the region, a Transpose, or something in the own layout."""
    producer = value.producer()
    if producer is not None and (producer in region.nodes or region.before(value) is not None):
        return producer
    return OWN


def _readers(region: Region, value: ir.Value) -> list[Hashable]:
    border = region.after(value)
    found: dict[Hashable, None] = {}
    for use in value.uses():
        known = use.node in region.nodes or use.node in border
        found[(use.node, value) if use.node in border else use.node if known else OWN] = None
    if value.is_graph_output():
        found[OWN] = None
    return list(found)


def _add_value(region: Region, value: ir.Value, cut: Cut) -> None:
    maker, size = _maker(region, value), moved_elements(value, region.perms[value])
    node = region.before(value)
    if node is not None:
        cut.edge(node, OTHER, moved_elements(value, _perm(node)))
        cut.edge(OWN, node, moved_elements(value, region.turned_before(node)))
    for border in region.after(value):
        cut.edge((border, value), OTHER, moved_elements(value, _perm(border)))
        cut.edge(OWN, (border, value), moved_elements(value, region.turned_after(border, value)))
    into, back = ("into", value), ("back", value)
    cut.edge(maker, into, size)
    cut.edge(back, maker, size)
    for reader in _readers(region, value):
        is_border = isinstance(reader, tuple)  # such a one never asks for another Transpose
        cut.edge(maker if is_border else into, reader, UNCUTTABLE)
        cut.edge(reader, back, UNCUTTABLE)


def _count(region: Region, value: ir.Value, other: dict[Hashable, None]) -> tuple[int, int]:
    """Transposes at a tensor before and after."""
    old = new = 0
    node = region.before(value)
    if node is not None:
        old += 1
        new += 0 if node in other and is_identity(region.turned_before(node)) else 1
    for border in region.after(value):
        old += 1
        free = (border, value) in other and is_identity(region.turned_after(border, value))
        new += 0 if free else 1
    sides = {reader in other for reader in _readers(region, value)}
    new += int(bool(sides - {_maker(region, value) in other}))
    return old, new


def moved_elements(value: ir.Value, perm: Perm) -> int:
    """Elements that a Transpose of a tensor moves: 0 for none, 1 if only axes of size 1 move."""
    if is_identity(perm):
        return 0
    shape = edit.shape_of(value)
    if shape is None or len(shape) != len(perm):
        return 1 << 20
    count = 1
    for size in shape:
        count *= size if isinstance(size, int) else _UNKNOWN
    axes = [axis for axis in perm if shape[axis] != 1]
    return 1 if axes == sorted(axes) else max(count, 2)
