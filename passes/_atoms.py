"""Follow blocks of axes ("atoms") through Transposes and views.

Every dimension that is not the number 1 starts as one atom. A view joins neighbouring atoms into
one dimension or splits an atom into factors; a Transpose moves dimensions with all their atoms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.analysis import dims
from onnxslim.graph import edit
from onnxslim.passes._transposes import permutation

Dim = int | ir.SymbolicDim
Groups = list[list[int]]


@dataclass(frozen=True)
class Movement:
    """Where the atoms of a tensor end up.

    Attributes:
        source: Dimensions before.
        wanted: Dimensions after.
        start: Atoms of each dimension before; atoms are numbered in this order.
        end: Atoms of each dimension after.
        sizes: Size of each atom.
    """

    source: tuple[Dim, ...]
    wanted: tuple[Dim, ...]
    start: tuple[tuple[int, ...], ...]
    end: tuple[tuple[int, ...], ...]
    sizes: tuple[Dim, ...]

    @property
    def order(self) -> list[int]:
        """The atoms in the order in which they end up."""
        return [atom for group in self.end for atom in group]

    @property
    def in_order(self) -> bool:
        """True when nothing moves."""
        return self.order == list(range(len(self.sizes)))

    def as_transpose(self) -> tuple[int, ...] | None:
        """The permutation of a single Transpose that does it all, or None."""
        if len(self.start) != len(self.end):
            return None
        free = list(range(len(self.start)))
        perm: list[int] = []
        for group in self.end:
            axis = next((i for i in free if self.start[i] == group), None)
            if axis is None:
                return None
            free.remove(axis)
            perm.append(axis)
        return tuple(perm)

    def transpose_first(self) -> tuple[int, ...] | None:
        """Permutation of the axes before, then a view is enough; axes of size 1 come last."""
        return _sorted_axes(self.start, self.order)

    def transpose_last(self) -> tuple[int, ...] | None:
        """Permutation to the axes after, before which a view is enough."""
        axes = _sorted_axes(self.end, list(range(len(self.sizes))))
        if axes is None:
            return None
        perm = [0] * len(axes)
        for position, axis in enumerate(axes):
            perm[axis] = position
        return tuple(perm)

    def units(self) -> tuple[list[Dim], tuple[int, ...]]:
        """Sizes of the blocks that move as a whole, and the permutation of these blocks."""
        order = self.order
        heads = [a for i, a in enumerate(order) if i == 0 or order[i - 1] != a - 1]
        starts = sorted(heads)
        ends = [*starts[1:], len(self.sizes)]
        sizes = [dims.product(self.sizes[a:b]) for a, b in zip(starts, ends, strict=True)]
        return sizes, tuple(starts.index(head) for head in heads)


def _sorted_axes(groups: Sequence[Sequence[int]], order: Sequence[int]) -> tuple[int, ...] | None:
    """Axes in the order of their atoms, if each axis' atoms follow each other there, else None."""
    place = {atom: index for index, atom in enumerate(order)}
    for group in groups:
        if any(place[b] != place[a] + 1 for a, b in zip(group, group[1:], strict=False)):
            return None
    full = [axis for axis, group in enumerate(groups) if group]
    ones = [axis for axis, group in enumerate(groups) if not group]
    return tuple(sorted(full, key=lambda axis: place[groups[axis][0]]) + ones)


def trace(chain: Sequence[ir.Node]) -> Movement | None:
    """Follow the atoms through a chain of Transposes and views; None when sizes do not tell."""
    source, wanted = edit.shape_of(chain[0].inputs[0]), edit.shape_of(chain[-1].outputs[0])
    if source is None or wanted is None:
        return None
    sizes: list[Dim] = [size for size in source if not _is_one(size)]
    atoms = iter(range(len(sizes)))
    start: Groups = [[] if _is_one(size) else [next(atoms)] for size in source]
    groups = [list(group) for group in start]
    for node in chain:
        if node.op_type == "Transpose":
            perm = permutation(node)
            if perm is None or len(perm) != len(groups):
                return None
            groups = [groups[axis] for axis in perm]
            continue
        shape = edit.shape_of(node.outputs[0])
        if shape is None:
            return None
        split = _Splitter(sizes, [atom for group in groups for atom in group], start)
        found = split.into(shape)
        if found is None:
            return None
        groups = found
    return _numbered(source, wanted, start, groups, sizes)


def _is_one(size: Dim) -> bool:
    return isinstance(size, int) and size == 1


def _numbered(
    source: tuple[Dim, ...], wanted: tuple[Dim, ...], start: Groups, end: Groups, sizes: list[Dim]
) -> Movement:
    """Number the atoms in the order of the start."""
    names = {atom: index for index, atom in enumerate(a for group in start for a in group)}
    return Movement(
        source,
        wanted,
        tuple(tuple(names[a] for a in group) for group in start),
        tuple(tuple(names[a] for a in group) for group in end),
        tuple(sizes[atom] for atom in names),
    )


class _Splitter:
    """Distributes a row of atoms over the dimensions of a view, splitting atoms where needed."""

    def __init__(self, sizes: list[Dim], row: list[int], start: Groups) -> None:
        self.sizes = sizes
        self.row = row
        self.start = start

    def into(self, shape: Sequence[Dim]) -> Groups | None:
        """Atoms of each dimension, or None when the sizes do not divide in a known way."""
        groups: Groups = []
        for size in shape:
            group = self._take(size)
            if group is None:
                return None
            groups.append(group)
        return None if self.row else groups

    def _take(self, size: Dim) -> list[int] | None:
        group: list[int] = []
        left = size
        while not _is_one(left):
            if not self.row:
                return None
            atom = self.row[0]
            rest = dims.exact_div(left, self.sizes[atom])
            if rest is None:
                other = dims.exact_div(self.sizes[atom], left)
                if other is None:
                    return None
                self._split(atom, left, other)
                rest = 1
            group.append(self.row.pop(0))
            left = rest
        return group

    def _split(self, atom: int, left: Dim, right: Dim) -> None:
        new = len(self.sizes)
        self.sizes[atom] = left
        self.sizes.append(right)
        self.row.insert(1, new)
        for group in self.start:
            if atom in group:
                group.insert(group.index(atom) + 1, new)
