"""Push Transposes through operators that work in any layout, to where they cancel.

    Relu(Transpose(x) + k)  ->  Transpose(Relu(x + k'))        k' = k in the other layout

Around a Transpose the region of all connected nodes is taken that could work on the transposed
tensors: elementwise operators, Concat, Split, Slice, Pad, reductions, Softmax, Squeeze, Unsqueeze,
quantization. Which of them should is the minimum cut of a graph whose edges cost the elements that
a Transpose there would move. It is done only when fewer Transposes are left.

Source: the idea of layout pushing is ONNX Runtime's "transpose optimizer"; choosing layouts by a
minimum cut is Picard and Ratliff 1975, doi:10.1002/net.3230050405.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import onnx_ir as ir

from onnxslim.graph import edit
from onnxslim.passes._layout_build import build
from onnxslim.passes._layout_region import Choice, Region, choose
from onnxslim.passes._transposes import Perm, inverse, is_identity, permutation
from onnxslim.pipeline.base import Numerics, Pass, register
from onnxslim.pipeline.context import PassContext


@register
@dataclass(frozen=True)
class PushTranspose(Pass):
    """Push Transposes through operators that work in any layout, to where they cancel.

    Skipped when no fewer Transposes would be left, or more elements moved.
    """

    name: ClassVar[str] = "push-transpose"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def run(self, model: ir.Model, ctx: PassContext) -> int:
        """Look at the region after, then before every Transpose."""
        state = _State()
        return sum(_push(node, ctx, state) for node in ctx.nodes("Transpose"))


@dataclass
class _State:
    """What one run remembers.

    Attributes:
        tried: Tensors and permutations around which nothing is won.
        order: Place of each node in its graph; a new node stands at the place of an old one.
    """

    tried: set[tuple[ir.Value, Perm]] = field(default_factory=set)
    order: dict[ir.Node, tuple[int, ...]] = field(default_factory=dict)

    def know(self, graph: ir.Graph, node: ir.Node) -> None:
        """Number the nodes of a graph, once."""
        if node not in self.order:
            self.order.update((n, (index,)) for index, n in enumerate(graph))


def _push(node: ir.Node, ctx: PassContext, state: _State) -> bool:
    perm, x, graph = permutation(node), node.inputs[0], node.graph
    if perm is None or x is None or not isinstance(graph, ir.Graph) or is_identity(perm):
        return False
    for value, own in ((node.outputs[0], perm), (x, inverse(perm))):
        if (value, own) in state.tried or edit.is_constant(value):
            continue
        region = Region(graph, ctx.opset)
        region.grow(value, own)
        state.tried.update(region.perms.items())
        if not region.nodes:
            continue
        choice = choose(region)
        if choice.saved > 0:
            state.know(graph, next(iter(region.nodes)))
            _Rewrite(region, choice, ctx, state.order).apply()
            state.tried.clear()
            return True
    return False


@dataclass
class _Rewrite:
    """Puts the chosen nodes into the other layout."""

    region: Region
    choice: Choice
    ctx: PassContext
    order: dict[ir.Node, tuple[int, ...]]
    turned: dict[ir.Value, ir.Value] = field(default_factory=dict)
    fresh: list[ir.Node] = field(default_factory=list)

    def apply(self) -> None:
        """Rewrite nodes in graph order, then the Transposes after them; drop what is not read."""
        region, other = self.region, self.choice.other
        chosen = sorted((n for n in region.nodes if n in other), key=self.order.__getitem__)
        exits = [
            (node, value, region.turned_after(node, value))
            for value in region.perms
            for node in region.after(value)
            if (node, value) in other
        ]
        entries = [n for v in region.perms if (n := region.before(v)) is not None]
        for node in chosen:
            self._turn(node)
        for node, value, perm in exits:
            self._exit(node, self.turned[value], perm)
        for node in [*reversed(self.fresh), *entries]:
            self.ctx.remove(node)

    def _turn(self, node: ir.Node) -> None:
        """Replace one node, with Transposes back to the own layout behind it."""
        perms = self.region.nodes[node]
        before: list[ir.Node] = []
        new = build(node, perms, lambda value: self._other(value, node, before), self.ctx)
        pairs: list[tuple[ir.Value, ir.Value]] = []
        backs: list[ir.Node] = []
        for old, value in zip(node.outputs, new.outputs, strict=True):
            if old not in perms:
                pairs.append((old, value))
                continue
            back = edit.new_node("Transpose", [value], {"perm": perms[old]})
            pairs.append((old, back.outputs[0]))
            backs.append(back)
            self._rename(old, back.outputs[0], value)
        self._place(node, [*before, new, *backs])
        self.ctx.replace([node], [*before, new, *backs], pairs)
        self.fresh += [*before, *backs]

    def _place(self, old: ir.Node, new: list[ir.Node]) -> None:
        place = self.order[old]
        self.order.update((node, (*place, index)) for index, node in enumerate(new))

    def _rename(self, old: ir.Value, back: ir.Value, turned: ir.Value) -> None:
        """``back`` takes the place of ``old``: nodes that come later know it by this value."""
        self.turned[old] = self.turned[back] = turned
        self.region.perms[back] = self.region.perms[old]
        for use in old.uses():
            perms = self.region.nodes.get(use.node)
            if perms is not None and old in perms:
                items = {back if value is old else value: perm for value, perm in perms.items()}
                self.region.nodes[use.node] = items

    def _other(self, value: ir.Value, reader: ir.Node, before: list[ir.Node]) -> ir.Value:
        """A tensor in the other layout; makes a Transpose the first time when there is none."""
        found = self.turned.get(value)
        if found is not None:
            return found
        entry = self.region.before(value)
        source, perm = value, inverse(self.region.perms[value])
        if entry is not None and entry in self.choice.other:
            assert entry.inputs[0] is not None
            source, perm = entry.inputs[0], self.region.turned_before(entry)
        if not is_identity(perm):
            for use in source.uses():
                if self._is_there(use.node, perm, reader):
                    return use.node.outputs[0]
            move = edit.new_node("Transpose", [source], {"perm": perm})
            before.append(move)
            source = move.outputs[0]
        self.turned[value] = source
        return source

    def _is_there(self, node: ir.Node, perm: Perm, reader: ir.Node) -> bool:
        """True for a Transpose of this permutation that stands before the reader."""
        if not edit.is_op(node, "Transpose") or permutation(node) != perm:
            return False
        same = node.graph is reader.graph and node in self.order
        return same and self.order[node] < self.order[reader]

    def _exit(self, node: ir.Node, value: ir.Value, perm: Perm) -> None:
        """Let a Transpose behind the region read the other layout."""
        if not is_identity(perm) or not self.ctx.bypass(node, value):
            new = edit.new_node("Transpose", [value], {"perm": perm})
            self._place(node, [new])
            self.ctx.replace([node], new)
