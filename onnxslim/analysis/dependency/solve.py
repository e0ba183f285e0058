"""From facts to groups: classes of coordinates, what competes with what, equal counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import networkx as nx
import numpy as np
import onnx_ir as ir

from onnxslim.analysis.dependency.atoms import Solution
from onnxslim.analysis.dependency.builder import Builder, EqualCount, RawSite
from onnxslim.analysis.dependency.groups import Group, Indices, Role, Site
from onnxslim.analysis.dependency.products import resolve
from onnxslim.analysis.shape_context import describe
from onnxslim.graph.edit import is_op

Key = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Solved:
    """The groups with the classes that they stand on.

    Attributes:
        solution: Classes of all atoms.
        groups: In graph order.
        group_of: (atoms,) group of each atom, -1 for none.
        unit_of: (atoms,) unit in its group, -1 for none.
        idle: Why classes that do not stay are in no group, by class.
    """

    solution: Solution
    groups: tuple[Group, ...]
    group_of: Indices
    unit_of: Indices
    idle: dict[int, str]


def solve(b: Builder) -> Solved:
    """Resolve products, equal counts and classes; terminates as every round unites more."""
    resolve(b)
    while True:
        solution = b.atoms.solve()
        if _freeze_unequal(b, solution):
            continue
        members, idle = _members(b, solution)
        drafts = _drafts(b, solution, members)
        broken = [e for d in drafts for e in d.broken]
        if not broken:
            return _finish(b, solution, drafts, idle)
        for constraint in broken:
            for row in constraint.blocks[1:]:
                b.atoms.unite(constraint.blocks[0], row)


def _freeze_unequal(b: Builder, solution: Solution) -> bool:
    """Blocks that must stay equal all stay when one of them cannot shrink."""
    changed = False
    for constraint in b.equal:
        stays = solution.stays[constraint.blocks]
        if stays.any() and not stays.all():
            why = f"{describe(constraint.node)} needs as many in every block, and some stay"
            b.atoms.freeze(constraint.blocks.reshape(-1), why)
            changed = True
    return changed


def _members(b: Builder, solution: Solution) -> tuple[dict[int, Key], dict[int, str]]:
    """Per class that may leave the sites and parts it takes part in; why others are left out."""
    sites: dict[int, list[int]] = {}
    made, used = set(), set()
    for index, site in enumerate(b.sites):
        roots = np.unique(solution.root[site.labels])
        for root in roots[~solution.stays[roots]].tolist():
            sites.setdefault(root, []).append(index)
            if site.role is Role.PRODUCE and _is_weight(site):
                made.add(root)
            elif site.role in (Role.CONSUME, Role.STATISTIC):
                used.add(root)
    _add_parts(b, solution, sites)
    idle = {}
    for root in sites:
        if root not in made:
            idle[root] = "no constant weight makes it"
        elif root not in used:
            idle[root] = "nothing sums over it"
    return {root: tuple(own) for root, own in sites.items() if root not in idle}, idle


def _add_parts(b: Builder, solution: Solution, sites: dict[int, list[int]]) -> None:
    """Units in different parts of a split tensor do not compete: no part may end up empty."""
    for number, part in enumerate(b.parts, len(b.sites)):
        for root in np.unique(solution.root[part]).tolist():
            if root in sites:
                sites[root].append(number)


def _is_weight(site: RawSite) -> bool:
    shape = site.value.shape
    return shape is None or len(shape) > 1


@dataclass(frozen=True, eq=False)
class _Draft:
    """A group before its sites: classes, their cells, and constraints that it cannot hold."""

    roots: Indices
    cells: Indices
    broken: tuple[EqualCount, ...]


def _drafts(b: Builder, solution: Solution, members: dict[int, Key]) -> list[_Draft]:
    segments: dict[Key, list[int]] = {}
    for root in sorted(members):
        segments.setdefault(members[root], []).append(root)
    keys = list(segments)
    segment_of = {root: i for i, key in enumerate(keys) for root in segments[key]}
    linked: nx.Graph[int] = nx.Graph()
    linked.add_nodes_from(range(len(keys)))
    tables = [(e, solution.root[e.blocks]) for e in b.equal]
    held: dict[int, list[tuple[EqualCount, Indices]]] = {}
    for constraint, table in tables:
        touched = sorted({segment_of[r] for r in np.unique(table).tolist() if r in segment_of})
        if touched:
            nx.add_path(linked, touched)
            held.setdefault(touched[0], []).append((constraint, table))
    drafts = []
    for parts in sorted(sorted(p) for p in nx.connected_components(linked)):
        constraints = [pair for part in parts for pair in held.get(part, ())]
        drafts.append(_draft([segments[keys[p]] for p in parts], constraints))
    return drafts


def _draft(parts: list[list[int]], constraints: list[tuple[EqualCount, Indices]]) -> _Draft:
    """Units of one cell are in the same segment and in the same blocks of every constraint."""
    counts = [_contributions(table) for _, table in constraints]
    cells: dict[tuple[object, ...], int] = {}
    roots, cell_of = [], []
    for number, part in enumerate(parts):
        for root in part:
            key = (number, *(c.get(root, ()) for c in counts))
            cell_of.append(cells.setdefault(key, len(cells)))
            roots.append(root)
    sizes = np.bincount(cell_of)
    even = bool((sizes == sizes[0]).all())
    broken = tuple(
        constraint
        for j, (constraint, table) in enumerate(constraints)
        if not (even and _balanced(cells, j + 1, len(table)))
    )
    return _Draft(np.asarray(roots, np.int64), np.asarray(cell_of, np.int64), broken)


def _contributions(table: Indices) -> dict[int, Key]:
    """Per class how often it is in each block: ``(block, times, block, times, ...)``."""
    found: dict[int, list[int]] = {}
    for block, row in enumerate(table):
        for root, times in zip(*np.unique(row, return_counts=True), strict=True):
            found.setdefault(int(root), []).extend((block, int(times)))
    return {root: tuple(pairs) for root, pairs in found.items()}


def _balanced(cells: dict[tuple[object, ...], int], column: int, blocks: int) -> bool:
    totals = np.zeros(blocks, dtype=np.int64)
    for key in cells:
        pairs = key[column]
        assert isinstance(pairs, tuple)
        np.add.at(totals, list(pairs[::2]), list(pairs[1::2]))
    return bool((totals == totals[0]).all())


def _finish(b: Builder, solution: Solution, drafts: list[_Draft], idle: dict[int, str]) -> Solved:
    group_of = np.full(b.atoms.count, -1, dtype=np.int64)
    unit_of = np.full(b.atoms.count, -1, dtype=np.int64)
    kept: list[tuple[Indices, Indices]] = []
    for draft in drafts:
        if len(draft.roots) < 2 * (int(draft.cells.max()) + 1):
            idle.update((int(r), "all of it depends on each other") for r in draft.roots)
            continue
        order = np.argsort(draft.roots, kind="stable")
        group_of[draft.roots[order]] = len(kept)
        unit_of[draft.roots[order]] = np.arange(len(order))
        kept.append((draft.roots[order], draft.cells[order]))
    group_of, unit_of = group_of[solution.root], unit_of[solution.root]
    sites: list[list[Site]] = [[] for _ in kept]
    for raw in b.sites:
        for number, site in _site(raw, group_of, unit_of):
            sites[number].append(site)
    groups = tuple(
        _group(i, cells, tuple(own))
        for i, ((_, cells), own) in enumerate(zip(kept, sites, strict=True))
    )
    return Solved(solution, groups, group_of, unit_of, idle)


def _site(raw: RawSite, group_of: Indices, unit_of: Indices) -> Iterator[tuple[int, Site]]:
    groups = group_of[raw.labels]
    for number in np.unique(groups).tolist():
        if number >= 0:
            units = np.where(groups == number, unit_of[raw.labels], -1)
            yield number, Site(raw.node, raw.role, raw.value, raw.axis, units)


def _group(number: int, cells: Indices, sites: tuple[Site, ...]) -> Group:
    width = _width(sites)
    layers: dict[str, None] = {}
    for site in sites:
        if site.role in (Role.PRODUCE, Role.CONSUME) and site.constant:
            layers[layer_name(site.node)] = None
    hidden = any(is_op(s.node, "LSTM", "GRU", "RNN") and s.role is Role.PRODUCE for s in sites)
    kind = "hidden" if hidden else "head" if width > 1 else "channel"
    return Group(number, len(cells), cells, width, sites, tuple(layers), kind)


def _width(sites: tuple[Site, ...]) -> int:
    """Positions that a unit takes where it is made and where it is read.

    The lesser of both: a channel takes many columns of a dense layer behind a Flatten, and many
    filters in front of DepthToSpace, and is no head for that.
    """
    weights = [s for s in sites if s.constant]
    widest = {
        role: max((int(np.bincount(s.units[s.units >= 0]).max()) for s in weights
                   if s.role is role), default=0)
        for role in (Role.PRODUCE, Role.CONSUME)
    }  # fmt: skip
    known = [width for width in widest.values() if width]
    return min(known, default=1)


def layer_name(node: ir.Node) -> str:
    """What a layer is called: its name, or that of its first output."""
    return node.name or node.outputs[0].name or node.op_type
