"""The dependency analysis of a model, and what a decision about its groups means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import networkx as nx
import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dependency.atoms import Labels
from onnxslim.analysis.dependency.builder import Builder
from onnxslim.analysis.dependency.groups import Frozen, Group, Indices, Kept, Mask, Role
from onnxslim.analysis.dependency.rules import rule_of
from onnxslim.analysis.dependency.solve import Solved, layer_name, solve
from onnxslim.graph.edit import shape_of

_AxisNode = tuple[str, int]


def analyze(model: ir.Model) -> Dependency:
    """Find what can be removed from a model, and what must leave together.

    Shapes must be inferred and shape arithmetic folded (recipe ``default`` without folding
    BatchNormalization); initializers that only happen to be equal should be private copies.

    Args:
        model: Not changed.

    Source: Fang et al. 2023 (DepGraph), arXiv:2301.12900, for the idea of coupled layers; here at
    the level of single coordinates of tensor axes.
    """
    builder = Builder(model)
    builder.run(rule_of)
    return Dependency(model, builder, solve(builder))


@dataclass(frozen=True, eq=False)
class Dependency:
    """What leaves together, and why other things stay.

    Attributes:
        model: The model analysed.
        builder: The facts.
        solved: The groups with their classes.
    """

    model: ir.Model
    builder: Builder
    solved: Solved

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups, in graph order of their first site."""
        return self.solved.groups

    @property
    def frozen(self) -> tuple[Frozen, ...]:
        """Layers none of whose outputs can be removed, with the first reason found."""
        found: dict[str, Frozen] = {}
        pruned: set[str] = set()
        for site in self.builder.sites:
            if site.role is not Role.PRODUCE or site.value.shape is None:
                continue
            if len(site.value.shape) < 2:
                continue
            name = layer_name(site.node)
            if (self.solved.group_of[site.labels] >= 0).any():
                pruned.add(name)
            else:
                found.setdefault(name, Frozen(name, self._reason(site.labels)))
        return tuple(f for name, f in found.items() if name not in pruned)

    def _reason(self, labels: Labels) -> str:
        reasons = self.builder.atoms.reasons
        first = int(self.solved.solution.why[labels].min())
        if first < len(reasons):
            return reasons[first]
        idle = self.solved.idle
        roots = self.solved.solution.root[labels].tolist()
        return next((idle[r] for r in roots if r in idle), "it is never read")

    def kept(self, masks: Mapping[int, Mask]) -> Kept:
        """What stays of every tensor.

        Args:
            masks: By group id: (size,) True for units that stay; groups left out stay whole.
        """
        stays = np.ones(len(self.solved.group_of), dtype=bool)
        for number, mask in masks.items():
            own = self.solved.group_of == number
            stays[own] = np.asarray(mask)[self.solved.unit_of[own]]
        axes: dict[str, dict[int, Indices]] = {}
        known: dict[int, Indices | None] = {}
        for value, labels_of in self.builder.axes_of.items():
            dims = shape_of(value)
            for axis, labels in enumerate(labels_of or ()):
                if labels is None or dims is None or dims[axis] != len(labels):
                    continue  # a dynamic size follows by itself
                if id(labels) not in known:
                    mask = stays[labels]
                    known[id(labels)] = None if mask.all() else np.flatnonzero(mask)
                index = known[id(labels)]
                if index is not None and value.name:
                    axes.setdefault(value.name, {})[axis] = index
        return Kept(axes, self._grouped(stays))

    def _grouped(self, stays: Mask) -> dict[str, Indices]:
        found = {}
        for _, weight, table in self.builder.grouped:
            mask = stays[table]
            if not mask.all() and weight.name:
                found[weight.name] = np.stack([np.flatnonzero(row) for row in mask])
        return found

    def explain(self, first: str, second: str) -> tuple[str, ...]:
        """The nodes on the shortest way on which two layers' outputs are coupled.

        Args:
            first: Name of a layer.
            second: Name of another.

        Returns:
            Names of nodes from the first to the second; empty when nothing couples them.
        """
        graph = self._graph
        starts, ends = self._made_by(first), self._made_by(second)
        for start in starts:
            for end in ends:
                if start in graph and end in graph and nx.has_path(graph, start, end):
                    path = nx.shortest_path(graph, start, end)
                    steps = zip(path, path[1:], strict=False)
                    return tuple(dict.fromkeys(graph.edges[a, b]["node"] for a, b in steps))
        return ()

    def couplings(self, group: Group) -> list[tuple[str, str, tuple[str, ...]]]:
        """Why the layers that make a group's units leave them together.

        Returns:
            A layer, the next one, and the nodes on the way between; empty for a single layer.
        """
        makers = [layer_name(s.node) for s in group.of_role(Role.PRODUCE)]
        unique = list(dict.fromkeys(makers))
        pairs = zip(unique, unique[1:], strict=False)
        return [(first, second, self.explain(first, second)) for first, second in pairs]

    def _made_by(self, layer: str) -> list[_AxisNode]:
        return [
            (site.value.name or "", site.axis)
            for site in self.builder.sites
            if site.role is Role.PRODUCE and layer_name(site.node) == layer
        ]

    @cached_property
    def _graph(self) -> nx.Graph[_AxisNode]:
        """Axes of tensors; an edge where a node carries coordinates from one to another."""
        graph: nx.Graph[_AxisNode] = nx.Graph()
        for node in self.model.graph:
            near: list[tuple[_AxisNode, frozenset[int]]] = []
            for value in (*node.inputs, *node.outputs):
                if value is None:
                    continue
                for axis, labels in enumerate(self.builder.axes_of.get(value) or ()):
                    if labels is None:
                        continue
                    alive = labels[self.solved.group_of[labels] >= 0]
                    roots = frozenset(self.solved.solution.root[alive].tolist())
                    if roots:
                        near.append(((value.name or "", axis), roots))
            for i, (one, roots) in enumerate(near):
                for other, others in near[i + 1 :]:
                    if roots & others and not graph.has_edge(one, other):
                        graph.add_edge(one, other, node=layer_name(node))
        return graph
